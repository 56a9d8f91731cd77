package nixd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/seed"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// Info is the answer of CommandInfo.
type Info struct {
	Nix         string `json:"nix"`      // version, as the daemon says it
	Protocol    string `json:"protocol"` // of its connections, "1.38"; at most ours
	Sandbox     string `json:"sandbox"`  // "on" or "off"
	Why         string `json:"why,omitempty"`
	Tools       string `json:"tools"`       // directory of Nix's programs in the store; empty: there are none, see Seeded.Why
	Certs       string `json:"certs"`       // file of certificates in the store, or empty
	Fingerprint string `json:"fingerprint"` // what the sandbox was proved with; see Config.Proved
	BuildUsers  int    `json:"buildUsers"`  // none: builds run as the container's root
	PID         int    `json:"pid"`         // of nix-daemon, in the container
	Restarts    int    `json:"restarts"`    // of nix-daemon since the container's start
	Free        int64  `json:"free"`        // bytes
	Total       int64  `json:"total"`
	FreeInodes  int64  `json:"freeInodes"` // both 0 where the file system has no limit
	TotalInodes int64  `json:"totalInodes"`
}

func infoOf(ctx context.Context, l volumes.Layout, args []string) (Info, error) {
	wait, err := waitOf(CommandInfo, args)
	if err != nil {
		return Info{}, err
	}
	s, err := serving(ctx, l, wait)
	if err != nil {
		return Info{}, err
	}
	i := Info{
		Sandbox: "off", Why: s.Why, Fingerprint: s.Fingerprint, BuildUsers: s.Users, PID: s.PID, Restarts: s.Restarts,
	}
	if s.Sandbox {
		i.Sandbox = "on"
	}
	if d, err := volumes.ReadSeeded(l); err == nil {
		i.Tools, i.Certs = d.Tools, d.Certs
	}
	var f unix.Statfs_t
	if err := unix.Statfs(l.Store(), &f); err != nil {
		return i, fmt.Errorf("free space of %s: %w", l.Store(), err)
	}
	i.Free, i.Total = int64(f.Bavail)*f.Bsize, int64(f.Blocks)*f.Bsize //nolint:gosec // no disk is that large
	i.FreeInodes, i.TotalInodes = int64(f.Ffree), int64(f.Files)       //nolint:gosec // nor has so many
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	w, err := worker.Dial(ctx, l.Socket())
	if err != nil {
		return i, err
	}
	defer w.Close()
	i.Nix, i.Protocol = w.Nix(), w.Protocol()
	return i, nil
}

// waitOf reads how long a command is to wait.
func waitOf(command string, args []string) (wait time.Duration, err error) {
	for _, a := range args {
		value, ok := strings.CutPrefix(a, "--wait=")
		if wait, err = time.ParseDuration(value); !ok || err != nil {
			return 0, fmt.Errorf("%s: %q is not --wait=DURATION", command, a)
		}
	}
	return wait, nil
}

// seededOf waits until the volumes are seeded from an image, and says what came of it.
func seededOf(ctx context.Context, image string, l volumes.Layout, args []string) (s Seeded, err error) {
	wait, err := waitOf(CommandSeeded, args)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, max(wait, time.Millisecond))
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if s, err = seed.Done(image, l); err == nil {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the store is not filled from the image (yet): see the container's log (%w)", err)
		case <-tick.C:
		}
	}
}

// serving waits for the daemon to serve. When it cannot, its container ends, and we with it.
func serving(ctx context.Context, l volumes.Layout, wait time.Duration) (status, error) {
	ctx, cancel := context.WithTimeout(ctx, max(wait, time.Millisecond))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var s status
		raw, err := os.ReadFile(statusFile(l))
		if err == nil {
			err = json.Unmarshal(raw, &s)
		}
		if err == nil && s.Serving {
			return s, nil
		}
		select {
		case <-ctx.Done():
			return s, fmt.Errorf("the daemon does not serve (yet): see the container's log (%w)", cmp.Or(err, errors.New("it is starting")))
		case <-tick.C:
		}
	}
}

// Verified is the answer of CommandVerify.
type Verified struct {
	OK     bool     `json:"ok"`
	Faults []string `json:"faults,omitempty"` // Nix's words
}

// verify compares all paths with their hashes. It repairs nothing, but Nix forgets paths whose files have vanished.
func verify(ctx context.Context, l volumes.Layout) (Verified, error) {
	nix, err := volumes.FindNix(l, "")
	if err != nil {
		return Verified{}, err
	}
	said := &volumes.Tail{Limit: 1 << 20}
	c := nix.Command(ctx, "nix-store", "--verify", "--check-contents")
	c.Stdout, c.Stderr = said, said // which nothing writes to side by side, being the same
	err = c.Run()
	var v Verified
	for line := range strings.Lines(said.String()) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "reading the Nix store") && !strings.HasPrefix(line, "checking ") {
			v.Faults = append(v.Faults, line)
		}
	}
	if err != nil && len(v.Faults) == 0 {
		return v, err
	}
	v.OK = err == nil && len(v.Faults) == 0
	return v, nil
}
