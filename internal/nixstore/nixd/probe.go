package nixd

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"gitlab.com/skerry/skerry/internal/nixstore/nixd/volumes"
)

// observed is what the builder of the trial build saw.
type observed struct {
	UID       int      `json:"uid"`
	Outside   bool     `json:"outside"`   // files of the container
	Processes int      `json:"processes"` // in /proc
	Links     []string `json:"links"`     // network interfaces but the loopback
	Store     int      `json:"store"`     // store paths that are visible
}

// faults says in which ways what was seen is no sandbox; empty: it is one.
func (o observed) faults() string {
	var f []string
	if o.UID == 0 {
		f = append(f, "the build ran as root")
	}
	if o.Outside {
		f = append(f, "files of the daemon's container were visible")
	}
	if o.Processes > 3 {
		f = append(f, fmt.Sprintf("%d processes were visible", o.Processes))
	}
	if len(o.Links) > 0 {
		f = append(f, "the network was reachable: "+strings.Join(o.Links, ", "))
	}
	return strings.Join(f, "; ")
}

// canary is a file of the container that the sandbox hides.
func canary(l volumes.Layout) string { return l.Run() + "/canary" }

// report is the builder: it writes what it sees to out.
func report(l volumes.Layout, out string) error {
	if out == "" {
		return errors.New("probe: is started by a trial build alone")
	}
	o := observed{UID: os.Getuid()}
	_, err := os.Stat(canary(l))
	o.Outside = err == nil
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, p := range processes {
		if _, err := strconv.Atoi(p.Name()); err == nil {
			o.Processes++
		}
	}
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	for _, i := range links {
		if i.Flags&net.FlagLoopback == 0 && i.Flags&net.FlagUp != 0 {
			o.Links = append(o.Links, i.Name)
		}
	}
	if paths, err := os.ReadDir(volumes.StoreDir); err == nil {
		o.Store = len(paths)
	}
	raw, err := json.Marshal(o)
	if err != nil {
		return err
	}
	return os.WriteFile(out, raw, 0o444) //nolint:gosec // Nix makes it so anyway
}

// trial proves the sandbox by a build whose builder is this program. Nothing of it stays in the store.
func trial(ctx context.Context, l volumes.Layout, nix volumes.Program) (why string, err error) {
	if err := volumes.Write(canary(l), 0o644, nil); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(l.Run(), "trial-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	builder := filepath.Join(tmp, "skerry-trial-agent")
	if err := volumes.CopyFile(self, builder, 0o755); err != nil {
		return "", err
	}
	added, err := nix.Run(ctx, nil, "nix-store", "--add", builder)
	if err != nil {
		return "", err
	}
	garbage := []string{strings.TrimSpace(string(added))}
	defer func() { discard(context.WithoutCancel(ctx), nix, garbage) }()
	drv, err := nix.Run(ctx, nil, "nix-instantiate", "--expr", fmt.Sprintf(
		`derivation { name = "skerry-trial"; system = builtins.currentSystem; builder = builtins.storePath %q; args = [ %q %q ]; nonce = %q; }`,
		garbage[0], Command, commandProbe, rand.Text()))
	if err != nil {
		return "", err
	}
	garbage = append(garbage, strings.TrimSpace(string(drv)))
	out, err := nix.Run(ctx, nil, "nix-store", "--realise", garbage[1], "--option", "substitute", "false",
		"--option", "max-silent-time", "60", "--option", "timeout", "60")
	if err != nil {
		return "the trial build failed: " + err.Error(), nil
	}
	garbage = append(garbage, strings.TrimSpace(string(out)))
	raw, err := os.ReadFile(l.Real(garbage[2]))
	if err != nil {
		return "", err
	}
	var o observed
	if err := json.Unmarshal(raw, &o); err != nil {
		return "", fmt.Errorf("read the result of the trial build: %w", err)
	}
	return o.faults(), nil
}

// discard deletes what a trial build has left; if it is not, the next collection will.
func discard(ctx context.Context, p volumes.Program, paths []string) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	_, _ = p.Run(ctx, nil, "nix-store", append([]string{"--delete"}, paths...)...)
}

// fingerprint changes when what the sandbox depends on does: kernel and its settings, what the engine lets the container
// do, Nix, and this program.
func fingerprint(c Config, nix volumes.Program) (string, error) {
	h := sha256.New()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	fmt.Fprintf(h, "%s %s %s %q %q\n", u.Release, u.Version, u.Machine, c.Image, nix.Dir)
	for _, f := range []string{
		"/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/attr/current", "/proc/sys/user/max_user_namespaces",
		"/proc/sys/kernel/unprivileged_userns_clone", "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
	} {
		raw, err := os.ReadFile(f)
		fmt.Fprintf(h, "%s %q %t\n", f, raw, err == nil)
	}
	for _, f := range []string{"/proc/self/status", "/proc/self/mountinfo"} {
		raw, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		for line := range strings.Lines(string(raw)) {
			fmt.Fprint(h, kept(f, line))
		}
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return "", err
	}
	defer self.Close()
	if _, err := io.Copy(h, self); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil))[:32], nil
}

// kept is what of a line of a file in /proc says what the container may do.
func kept(file, line string) string {
	f := strings.Fields(line)
	switch {
	case strings.HasSuffix(file, "status"):
		if strings.HasPrefix(line, "Cap") || strings.HasPrefix(line, "Seccomp:") || strings.HasPrefix(line, "NoNewPrivs") {
			return line
		}
	case len(f) > 5 && (strings.HasPrefix(f[4], "/proc") || strings.HasPrefix(f[4], "/sys")):
		return f[4] + " " + f[5] + "\n" // what masks or write-protects parts of them
	}
	return ""
}
