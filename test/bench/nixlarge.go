package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// largePaths is how many paths a large store has.
const largePaths = 100000

// nixLargeStore measures whether a store's size slows the start of its jobs: two runners have a store each, of which one is
// filled, and get jobs in turn.
func nixLargeStore(ctx context.Context, s *settings, out *report, e containerEngine, ref, name string) (err error) {
	var both []*nixRunner // the empty one first
	for range 2 {
		r, err := shareStore(ctx, s, e, ref, 1)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, r.remove(ctx)) }()
		both = append(both, r)
	}
	if err := both[1].rest(ctx); err != nil {
		return err
	}
	if err := both[1].fill(ctx, largePaths); err != nil {
		return fmt.Errorf("fill the store: %w", err)
	}
	times, err := nixStarts(ctx, both, max(s.rounds/2, 1))
	if err != nil {
		return err
	}
	for i, least := range []int{0, largePaths} {
		if has, err := both[i].stat(ctx); err != nil || has.All.Paths < least || has.All.Paths > least+1000 {
			return errors.Join(err, fmt.Errorf("a store that was to have %d paths and some of its own has %d", least, has.All.Paths))
		}
	}
	for _, f := range []struct {
		suffix, note string
		of           func(nixStart) time.Duration
	}{
		{"", "to the script's first line", func(t nixStart) time.Duration { return t.first }},
		{"-build", "to the end of a build that is cached", func(t nixStart) time.Duration { return t.built }},
		{"-cold", "the same where the daemon has to be started", func(t nixStart) time.Duration { return t.cold }},
	} {
		out.add(figure{
			name: name + f.suffix, value: middle(times[1], f.of), unit: "ms", floor: middle(times[0], f.of), goal: &goal{limit: 1.1, ratio: true}, note: f.note,
		})
	}
	return nixCommands(ctx, out, both, name)
}

// nixStart is how long jobs took from the answer that handed them out.
type nixStart struct {
	first, built time.Duration // until their first line, and until firstBuild, which was cached
	cold         time.Duration // likewise, of one for which the daemon had to be started
}

func middle(all []nixStart, of func(nixStart) time.Duration) float64 {
	var times []time.Duration
	for _, t := range all {
		times = append(times, of(t))
	}
	return median(times)
}

// nixStarts starts jobs on each of some runners in turn, after a round that does not count.
func nixStarts(ctx context.Context, runners []*nixRunner, rounds int) ([][]nixStart, error) {
	times := make([][]nixStart, len(runners))
	for round := range rounds + 1 {
		for i, r := range runners {
			if err := r.rest(ctx); err != nil {
				return nil, err
			}
			cold, err := r.start(ctx)
			if err != nil {
				return nil, err
			}
			warm, err := r.start(ctx)
			if err != nil {
				return nil, err
			}
			if round > 0 {
				warm.cold = cold.built
				times[i] = append(times[i], warm)
			}
		}
	}
	return times, nil
}

// start runs a job that says when it begins, and when its build is there.
func (r *nixRunner) start(ctx context.Context) (t nixStart, err error) {
	const beganAt = "began at "
	j, err := r.job(ctx, gitlabtest.JobSpec{Script: []string{`echo "` + beganAt + `$(date +%s.%N)"`, firstBuild}})
	if err != nil {
		return t, err
	}
	trace, err := r.co.Trace(j.ID)
	if err != nil {
		return t, err
	}
	began, err := saidAt(trace, beganAt)
	if err != nil {
		return t, err
	}
	built, err := saidAt(trace, builtAt)
	if err != nil {
		return t, err
	}
	return nixStart{first: began.Sub(j.HandedOut), built: built.Sub(j.HandedOut)}, r.listening(ctx)
}

// rest stops the daemon.
func (r *nixRunner) rest(ctx context.Context) error {
	if err := r.engine.command(ctx, nil, "stop", r.store); err != nil {
		return err
	}
	// A daemon that somebody else has stopped is not started within a second, which is not to be measured.
	t := time.NewTimer(1500 * time.Millisecond)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// fill brings n small paths to the store, whose daemon is at rest, and registers them.
func (r *nixRunner) fill(ctx context.Context, n int) error {
	from, to := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := writePaths(to, n)
		_ = to.CloseWithError(err) // never fails
		written <- err
	}()
	err := r.engine.command(ctx, from, "run", "--rm", "--interactive", "--network", "none",
		"--volume", r.store+"-store:/nix/store", "--volume", r.store+"-var:/nix/var/nix", r.image,
		"sh", "-ec", "tar -xf - -C /; nix-store --load-db < /registration")
	_ = from.CloseWithError(errors.New("nobody reads on")) // never fails
	return errors.Join(err, <-written)
}

// writePaths writes an archive of n small paths, and of what nix-store --load-db is to read. Each path refers to three
// earlier ones, as if of a tree.
func writePaths(out io.Writer, n int) error {
	w := tar.NewWriter(out)
	var all bytes.Buffer
	add := func(name string, content []byte) error {
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o444, Size: int64(len(content)), ModTime: time.Unix(1, 0)}); err != nil {
			return err
		}
		_, err := w.Write(content)
		return err
	}
	for i := range n {
		content := fmt.Appendf(nil, "path %d\n", i)
		nar := narOf(content)
		sum := sha256.Sum256(nar)
		node := volumes.Node{Size: int64(len(nar)), Hash: hex.EncodeToString(sum[:])}
		for _, part := range []int{2, 3, 7} {
			if ref := largePath(i / part); i > 0 && !slices.Contains(node.Refs, ref) {
				node.Refs = append(node.Refs, ref)
			}
		}
		all.WriteString(node.Registration(largePath(i)))
		if err := add("nix/store/"+largePath(i), content); err != nil {
			return err
		}
	}
	return errors.Join(add("registration", all.Bytes()), w.Close())
}

// largePath is the name of the i-th path, whose hash is as good as any.
func largePath(i int) string {
	const digits = "0123456789abcdfghijklmnpqrsvwxyz"
	hash := sha256.Sum256(fmt.Appendf(nil, "%d", i))
	for at, b := range hash {
		hash[at] = digits[int(b)%len(digits)]
	}
	return fmt.Sprintf("%s-large-%d", hash, i)
}

// narOf is a file as Nix hashes it.
func narOf(content []byte) []byte {
	var nar []byte
	for _, part := range []string{"nix-archive-1", "(", "type", "regular", "contents", string(content), ")"} {
		nar = binary.LittleEndian.AppendUint64(nar, uint64(len(part)))
		nar = append(nar, part...)
		nar = append(nar, make([]byte, -len(part)&7)...) // a multiple of eight
	}
	return nar
}

// nixCommands measures what is asked of the stores at the end: what is in them, a collection that deletes nothing, and one
// that deletes all.
func nixCommands(ctx context.Context, out *report, runners []*nixRunner, name string) error {
	for _, c := range []struct {
		suffix, note string
		args         []string
	}{
		{"-stat", "skerry nix stat", []string{"stat"}},
		{"-gc", "skerry nix gc, nothing to delete", []string{"gc"}},
		{"-gc-all", "skerry nix gc --all, which deletes them", []string{"gc", "--all"}},
	} {
		var took []float64
		for _, r := range runners {
			start := time.Now()
			if _, err := r.nix(ctx, c.args...); err != nil {
				return err
			}
			took = append(took, ms(time.Since(start)))
		}
		out.add(figure{name: name + c.suffix, value: took[1], unit: "ms", floor: took[0], note: c.note})
	}
	return nil
}
