package nixd_test

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/moby/moby/client"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// socketOf is the daemon's socket as this machine sees it, by a name that is short enough.
func (d *domain) socketOf() string {
	t := d.t
	t.Helper()
	v, err := d.raw.VolumeInspect(t.Context(), d.name+"-gate", client.VolumeInspectOptions{})
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(os.TempDir(), fmt.Sprint("nixd-", time.Now().UnixNano()))
	if err := os.Symlink(filepath.Join(v.Volume.Mountpoint, "daemon"), link); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(link) })
	return link + "/socket"
}

// TestClaims has paths claimed and added while all that is dead is collected again and again: what has been claimed stays.
func TestClaims(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, d *domain) {
		d.seed()
		d.start(d.config())
		claimAll(t, d.socketOf(), 20*time.Second, func() (nixd.Collected, error) {
			var c nixd.Collected
			out, err := d.try("gc")
			return c, errors.Join(err, json.Unmarshal(out, &c))
		})
		d.clean()
	})
}

func claimAll(t *testing.T, socket string, during time.Duration, collect func() (nixd.Collected, error)) {
	t.Helper()
	end := time.Now().Add(during)
	var all sync.WaitGroup
	var claims, lost, collections, collected atomic.Int64
	// On a machine that has much to do it goes on until it has come to something.
	goesOn := func() bool {
		now := time.Now()
		return now.Before(end) || (claims.Load() == 0 || collected.Load() == 0) && now.Before(end.Add(5*time.Minute))
	}
	for n := range 6 {
		all.Go(func() {
			for goesOn() {
				held, gone, err := claim(t, socket, n)
				if err != nil {
					t.Error(err)
					return
				}
				claims.Add(int64(held))
				lost.Add(int64(gone))
			}
		})
	}
	all.Go(func() {
		for goesOn() {
			c, err := collect()
			if err != nil {
				t.Error(err)
				return
			}
			collections.Add(1)
			collected.Add(int64(c.Count))
		}
	})
	all.Wait()
	t.Logf("%d claims, %d collections of %d paths", claims.Load(), collections.Load(), collected.Load())
	if lost.Load() > 0 || claims.Load() == 0 || collected.Load() == 0 {
		t.Errorf("%d of %d claims lost, %d paths collected", lost.Load(), claims.Load(), collected.Load())
	}
}

// TestClaimOfWhatManyNeed claims a dead path while what refers to it is deleted, which takes long: the moment in which
// Nix's own collection loses it.
func TestClaimOfWhatManyNeed(t *testing.T) {
	t.Parallel()
	eachEngine(t, func(t *testing.T, d *domain) {
		d.seed()
		d.start(d.config())
		socket := d.socketOf()
		for n := range 3 {
			claimNeeded(t, socket, n, func() error { _, err := d.try("gc"); return err })
		}
		d.clean()
	})
}

func claimNeeded(t *testing.T, socket string, n int, collect func() error) {
	t.Helper()
	add, err := dialRaw(socket)
	if err != nil {
		t.Fatal(err)
	}
	needed, err := add.addText(fmt.Sprint("needed-", n), time.Now().String(), nil)
	var need []string
	for i := 0; i < 400 && err == nil; i++ {
		var p string
		p, err = add.addText(fmt.Sprintf("needs-%d-%d", n, i), needed, []string{needed})
		need = append(need, p)
	}
	add.conn.Close() // and with it what held them
	if err != nil {
		t.Fatal(err)
	}
	look, err := dialRaw(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer look.conn.Close()
	done := collecting(t, look, need, collect)
	c, err := worker.Dial(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	held, err := c.Hold(needed)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	valid, err := look.valid(needed)
	t.Logf("held: %t, valid in the end: %t", held, valid)
	if err != nil || held && !valid {
		t.Errorf("%s has been claimed and is lost (%v)", needed, err)
	}
}

// collecting collects until the first of the paths are gone; the collection that took them may still be under way and ends in
// done. A daemon lets go of what a closed connection held a moment after it is closed: a collection before that takes nothing.
func collecting(t *testing.T, look *raw, paths []string, collect func() error) (done chan error) {
	t.Helper()
	done = make(chan error, 1)
	start := func() { done <- collect() }
	go start()
	for {
		for _, p := range paths {
			valid, err := look.valid(p)
			if err != nil {
				t.Fatal(err)
			}
			if !valid {
				return done
			}
		}
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			go start()
		default:
		}
	}
}

// claim adds a chain of paths, lets go of it, claims it again, and counts what it held and what of that vanished.
func claim(t *testing.T, socket string, n int) (held, lost int, err error) {
	t.Helper()
	var chain []string
	add, err := dialRaw(socket)
	if err != nil {
		return 0, 0, err
	}
	for i := range 8 {
		var refs []string
		if i > 0 {
			refs = chain[i-1:]
		}
		p, err := add.addText(fmt.Sprintf("claim-%d-%d", n, i), fmt.Sprint(rand.IntN(4), refs), refs) //nolint:gosec // no secret
		if err != nil {
			add.conn.Close()
			return 0, 0, fmt.Errorf("add: %w", err)
		}
		chain = append(chain, p)
	}
	if rand.IntN(2) == 0 { //nolint:gosec // no secret
		add.conn.Close() // and with it what held the chain
	} else {
		defer add.conn.Close()
	}
	c, err := worker.Dial(t.Context(), socket)
	if err != nil {
		return 0, 0, err
	}
	defer c.Close()
	mine := map[string]bool{}
	for _, i := range rand.Perm(len(chain)) {
		valid, err := c.Hold(chain[i])
		if err != nil {
			return held, lost, err
		}
		if valid {
			mine[chain[i]] = true
		}
	}
	for range 3 {
		for p := range mine {
			held++
			if valid, err := c.Hold(p); err != nil || !valid {
				t.Logf("%s is lost (%v)", p, err)
				lost++
			}
		}
	}
	return held, lost, nil
}

// raw speaks as much of the protocol as adding a text takes, as a client of version 1.34.
type raw struct {
	conn net.Conn
	r    *bufio.Reader
}

func dialRaw(socket string) (*raw, error) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return nil, err
	}
	r := &raw{conn, bufio.NewReader(conn)}
	r.send(0x6e697863, 1<<8|32, 0, 0)
	for range 2 {
		if _, err := r.number(); err != nil {
			return nil, err
		}
	}
	return r, r.last()
}

func (r *raw) send(values ...any) {
	var b []byte
	var put func(v any)
	put = func(v any) {
		switch v := v.(type) {
		case int:
			b = binary.LittleEndian.AppendUint64(b, uint64(v)) //nolint:gosec // small
		case string:
			put(len(v))
			b = append(append(b, v...), make([]byte, (8-len(v)%8)%8)...)
		case []string:
			put(len(v))
			for _, s := range v {
				put(s)
			}
		}
	}
	for _, v := range values {
		put(v)
	}
	_, _ = r.conn.Write(b) // reading the answer tells
}

func (r *raw) number() (uint64, error) {
	var b [8]byte
	_, err := io.ReadFull(r.r, b[:])
	return binary.LittleEndian.Uint64(b[:]), err
}

func (r *raw) text() (string, error) {
	n, err := r.number()
	if err != nil || n > 1<<20 {
		return "", errors.Join(err, fmt.Errorf("%d bytes", n))
	}
	b := make([]byte, n+(8-n%8)%8)
	_, err = io.ReadFull(r.r, b)
	return string(b[:n]), err
}

// last reads messages without content that matters, up to the last.
func (r *raw) last() error {
	for {
		switch kind, err := r.number(); {
		case err != nil:
			return err
		case kind == 0x616c7473:
			return nil
		case kind == 0x6f6c6d67:
			if _, err := r.text(); err != nil {
				return err
			}
		default:
			return fmt.Errorf("message %#x", kind)
		}
	}
}

func (r *raw) addText(name, content string, refs []string) (string, error) {
	r.send(8, name, content, refs)
	if err := r.last(); err != nil {
		return "", err
	}
	return r.text()
}

func (r *raw) valid(path string) (bool, error) {
	r.send(1, path)
	if err := r.last(); err != nil {
		return false, err
	}
	n, err := r.number()
	return n != 0, err
}
