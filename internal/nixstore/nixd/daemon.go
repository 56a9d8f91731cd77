package nixd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/boottime"
	"gitlab.com/skerry/skerry/internal/nixstore/nixconn"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/seed"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd/worker"
)

// status is what the first process of the container tells the commands in it.
type status struct {
	Serving     bool   `json:"serving"`
	PID         int    `json:"pid"`
	Restarts    int    `json:"restarts"`
	Sandbox     bool   `json:"sandbox"`
	Why         string `json:"why,omitempty"` // the sandbox is off
	Users       int    `json:"users"`
	Fingerprint string `json:"fingerprint"`
}

func statusFile(l volumes.Layout) string { return l.Run() + "/status.json" }

// board is where the status is written for others to read. Safe for concurrent use.
type board struct {
	path string
	mu   sync.Mutex
	s    status
}

// update changes the status and writes it.
func (b *board) update(change func(*status)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.s)
	raw, err := json.Marshal(b.s)
	if err != nil {
		return err
	}
	return volumes.Write(b.path, 0o644, raw)
}

// daemon is the container's first process. It returns when it is told to end, or with why it cannot serve.
func daemon(c Config, l volumes.Layout) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if os.Getuid() != 0 {
		return errors.New("the daemon's container must run as root, whatever user its image names")
	}
	if err := l.Make(); err != nil {
		return err
	}
	k, err := l.Own(10 * time.Second)
	if err != nil {
		return err
	}
	defer k.Release()
	if gc, err := volumes.Take(l.Gate()+"/daemon/gc.lock", 0); err == nil {
		gc.Release() // it is there when the disk is full
	}
	for dir, mode := range map[string]os.FileMode{l.Run(): 0o755, l.Root + "/tmp": 0o777 | os.ModeSticky, l.Root + "/root": 0o700} {
		if _, err := os.Stat(dir); err != nil {
			if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, mode)); err != nil {
				return err
			}
		}
	}
	_ = os.Remove(statusFile(l)) // of the container's last start
	boot := boottime.ID()
	if err := volumes.Begin(l, c.Image, boot); err != nil {
		return err
	}
	nix, err := volumes.FindNix(l, c.Image)
	if err != nil {
		return err
	}
	if err := initialize(l, nix); err != nil {
		return err
	}
	seeded := make(chan error, 1)
	go func() { seeded <- seedFrom(c, l, nix, log) }() // beside the trial build; each takes some tenths of a second
	s, err := prepare(c, l, nix, log)
	if seedErr := <-seeded; seedErr != nil {
		return seedErr
	}
	if err != nil {
		return err
	}
	return keep(l, nix, s, log, func() {
		if !alone(time.Second) {
			return
		}
		if err := volumes.End(l, c.Image, boot); err != nil {
			log.Warn("What the daemon has left is not removed; its next start tries again, and takes the longer", "error", err)
		}
	})
}

// initialize has the store's database made before two programs want it.
func initialize(l volumes.Layout, nix volumes.Program) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	return volumes.Initialize(ctx, l, nix)
}

// seedFrom seeds the volumes from this container, where nothing is hidden that it takes.
func seedFrom(c Config, l volumes.Layout, nix volumes.Program, log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, err := seed.Inside(ctx, c.Image, l, nix)
	if err == nil && s.Why != "" {
		log.Warn("Jobs whose image has no Nix get none", "why", s.Why)
	}
	return err
}

// prepare makes users and nix.conf, and settles whether the sandbox is on.
func prepare(c Config, l volumes.Layout, nix volumes.Program, log *slog.Logger) (status, error) {
	var s status
	var err error
	if s.Users, err = makeUsers(l); err != nil {
		return s, err
	}
	group := buildGroup
	if s.Users == 0 {
		group = ""
		log.Warn("This container has no user ids for Nix's build users; builds run as its root: give a rootless engine subordinate ids (/etc/subuid, /etc/subgid)")
	}
	if s.Fingerprint, err = fingerprint(c, nix); err != nil {
		return s, err
	}
	if err := c.writeConf(l, c.Sandbox != SandboxOff, group); err != nil {
		return s, fmt.Errorf("write nix.conf: %w", err)
	}
	if c.Sandbox == SandboxOff {
		s.Why = "it is switched off in the settings"
		return s, nil
	}
	if s.Why, err = prove(c, l, nix, s.Fingerprint); err != nil {
		return s, fmt.Errorf("try whether Nix builds: %w", err)
	}
	switch s.Sandbox = s.Why == ""; {
	case s.Sandbox:
	case c.Sandbox == SandboxRequired:
		return s, fmt.Errorf("nix's sandbox does not work in this container, and it is required: %s", s.Why)
	default:
		log.Warn("NIX BUILDS WITHOUT A SANDBOX: builds see the daemon's container and its network, and what they make may depend on it", "why", s.Why)
		err = c.writeConf(l, false, group)
	}
	return s, err
}

// prove runs the trial build, unless it has succeeded under the same circumstances.
func prove(c Config, l volumes.Layout, nix volumes.Program, fingerprint string) (why string, err error) {
	stamp := l.Memory() + "/sandbox"
	if raw, err := os.ReadFile(stamp); err == nil && string(raw) == fingerprint || c.Proved == fingerprint {
		return "", nil
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("it took longer than two minutes"))
	defer cancel()
	if why, err = trial(ctx, l, nix); err != nil || why != "" {
		return why, err
	}
	return "", volumes.Write(stamp, 0o644, []byte(fingerprint))
}

// keep serves until it is told to end. quiet is called when nothing of the daemon is at work any more.
func keep(l volumes.Layout, nix volumes.Program, s status, log *slog.Logger, quiet func()) error {
	fresh := l.Socket() + ".new"
	socket, err := listen(fresh)
	if err != nil {
		return err
	}
	defer socket.Close()
	stop, err := holdRoots(l)
	if err != nil {
		return err
	}
	defer stop()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	refused := make(chan error, 1)
	b := &board{path: statusFile(l), s: s}
	v := supervisor{
		start: func() (int, error) {
			return syscall.ForkExec(self, []string{"agent", Command, commandServe, nix.Dir + "/nix-daemon"}, &syscall.ProcAttr{
				Dir: "/", Env: nix.Env, Files: []uintptr{0, 2, 2, socket.Fd()},
			})
		},
		started: func(pid, restarts int) {
			if err := b.update(func(s *status) { s.PID, s.Restarts = pid, restarts }); err != nil {
				log.Warn("The daemon's state could not be written down", "error", err)
			}
			if restarts == 0 {
				go func() {
					if err := open(l, fresh, b, log); err != nil {
						refused <- err
					}
				}()
			}
		},
		refused: refused, log: log, first: 100 * time.Millisecond, last: 10 * time.Second, healthy: time.Minute, tries: 10,
		grace: 5 * time.Second, signal: signalOthers, quiet: quiet,
	}
	return v.run()
}

// open shows the socket to all once nix-daemon has answered on it, and trusts nobody.
func open(l volumes.Layout, fresh string, b *board, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	trusting := errors.New("nix-daemon trusts everybody who connects, although its nix.conf says nobody: it does not read " + l.Etc() + "/nix/nix.conf")
	w, err := worker.Dial(ctx, fresh)
	var trusted *nixconn.TrustedError
	switch {
	case errors.As(err, &trusted):
		return trusting
	case err != nil:
		return fmt.Errorf("nix-daemon does not answer: %w", err)
	}
	defer w.Close()
	switch trusts, err := w.Trusted(); {
	case err != nil:
		return fmt.Errorf("ask nix-daemon whom it trusts: %w", err)
	case trusts:
		return trusting
	}
	if err := os.Rename(fresh, l.Socket()); err != nil {
		return err
	}
	log.Info("The Nix daemon serves", "nix", w.Nix(), "protocol", w.Protocol(), "sandbox", b.s.Sandbox)
	return b.update(func(s *status) { s.Serving = true })
}
