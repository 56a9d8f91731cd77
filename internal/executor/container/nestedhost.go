package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"

	"gitlab.com/skerry/skerry/internal/agent/nested"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nestedneeds"
	"gitlab.com/skerry/skerry/internal/executor/container/seccomp"
	"gitlab.com/skerry/skerry/internal/executor/sockdir"
)

func nestedDevices() []container.DeviceMapping {
	return []container.DeviceMapping{{PathOnHost: nestedneeds.Tun, PathInContainer: nestedneeds.Tun, CgroupPermissions: "rwm"}}
}

// nestedDrop is what engines give to containers by default but SETUID and SETGID: with these, which only newuidmap and
// newgidmap have, ids are mapped.
func nestedDrop() []string {
	return []string{
		"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETPCAP", "SYS_CHROOT",
	}
}

// nestedLog is how the engine outside keeps what the job's own one says, which a job can make talk.
func (v *environment) nestedLog() container.LogConfig {
	c := map[string]string{"max-size": "10m"}
	maps.Copy(c, v.e.o.LogOptions)
	return container.LogConfig{Type: "json-file", Config: c}
}

// nested is what the limits leave for the job's own engine with all of its containers: half of what is counted, so that
// the job has no more than its limits with both.
func (l Limits) nested(outside engineapi.Kind) Limits {
	h := Limits{
		CPUShares: l.CPUShares, CPUSet: l.CPUSet, CPUSetMems: l.CPUSetMems, CgroupParent: l.CgroupParent, OOMScoreAdjust: l.OOMScoreAdjust,
		UsernsMode: l.UsernsMode, Runtime: l.Runtime, Ulimit: l.Ulimit,
		Memory: l.Memory, MemorySwap: l.MemorySwap, MemoryReservation: l.MemoryReservation, NanoCPUs: l.NanoCPUs, Pids: l.Pids,
	}
	if h.Pids == 0 && outside == engineapi.Docker {
		h.Pids = 2 * nestedPids
	}
	return h.half()
}

// nestedPids is how many processes and threads a job's own engine may have with all of its containers where nothing is said. Docker
// would give any number, and one job could take all of the machine's; Podman gives so many by itself, where it can count them.
const nestedPids = 2048

// half is the limits with half of what is counted.
func (l Limits) half() Limits {
	for _, n := range []*int64{&l.Memory, &l.MemorySwap, &l.MemoryReservation, &l.NanoCPUs, &l.Pids} {
		if *n > 0 { // -1 is no limit
			*n = (*n + 1) / 2
		}
	}
	return l
}

// diskBound is what an engine may keep. One that jobs share keeps what disk_budget leaves it: it may not lose all that it has.
func (v *environment) diskBound() nested.Bound {
	switch {
	case v.bound != nil:
		return *v.bound
	case v.e.o.Nested == nil:
		return nested.Bound{}
	}
	return v.e.o.Nested.Disk
}

// buildLimits are those of the build place.
func (v *environment) buildLimits() Limits {
	if v.b.Nested != nil {
		return v.e.o.Build.half()
	}
	return v.e.o.Build
}

// nestedSecurity are the options without which a container may not make user namespaces, and mount in them. What the kernel
// has to say of file systems and processes is not hidden: else it refuses to mount them in a namespace.
func (v *environment) nestedSecurity(h *container.HostConfig) error {
	profile, err := json.Marshal(seccomp.Nested(v.engine.Arch, v.diskBound() != (nested.Bound{})))
	if err != nil {
		return err
	}
	h.SecurityOpt = []string{"label=disable", "apparmor=unconfined"}
	if v.engine.Kind == engineapi.Docker {
		h.MaskedPaths, h.ReadonlyPaths = []string{}, []string{} // what its command calls systempaths=unconfined
		// The daemon may have no-new-privileges for all containers, with which newuidmap and newgidmap have no capabilities.
		h.SecurityOpt = append(h.SecurityOpt, "no-new-privileges=false", seccompOption+string(profile))
		return nil
	}
	path := filepath.Join(v.profileDir, seccomp.FileName(profile)) // Podman reads the file itself
	if v.profileDir == "" {
		path = filepath.Join(v.dir, "seccomp.json")
		if err := os.WriteFile(path, profile, 0o600); err != nil {
			return fmt.Errorf("record the job's environment: %w", err)
		}
	}
	h.SecurityOpt = append(h.SecurityOpt, "unmask=ALL", seccompOption+path)
	return nil
}

// removeOwn removes a container of the job, but none that others have made by its name.
func (v *environment) removeOwn(ctx context.Context, name string) error {
	s, err := v.engine.State(ctx, name)
	if engineapi.IsAbsent(err) {
		return nil
	}
	if err != nil { // whose it is cannot be known
		return err
	}
	if mine := v.b.Ref; s.Labels[labelOwner] != string(mine.Owner) || s.Labels[labelRef] != mine.String() {
		v.log.Warn("A container has the name of a job's own engine and is somebody else's: it is left alone", "container", name)
		return nil
	}
	return v.engine.Remove(ctx, name)
}

// nestedTime is how long the job's own engine may take until it answers, wherever it is.
const nestedTime = nested.AwaitTime

// awaitNested waits until the job's own engine answers, or has ended.
func (v *environment) awaitNested(ctx context.Context) error {
	return v.awaitNestedFor(ctx, nestedTime)
}

func (v *environment) awaitNestedFor(ctx context.Context, d time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, d, fmt.Errorf("it does not answer within %s", d))
	defer cancel()
	look := time.Now().Add(lookAfter)
	for pause := 5 * time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		try, stop := context.WithTimeout(ctx, lookEvery)
		_, err := v.pingNested(try)
		stop()
		if err == nil {
			return nil
		}
		if time.Now().After(look) {
			look = time.Now().Add(lookAfter)
			if err := v.nestedEnded(ctx); err != nil {
				return err
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			said, _ := v.engine.Logs(context.WithoutCancel(ctx), v.b.Nested.Name, lastServiceLines, lastServiceBytes)
			return v.nestedLacks(context.Cause(ctx), said)
		}
	}
}

// pingNested asks the job's own engine whether it is there.
func (v *environment) pingNested(ctx context.Context) (http.Header, error) {
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return sockdir.Dial(ctx, filepath.Join(v.dir, nestedDir), nestedSocket)
	}, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://nested/_ping", nil)
	if err != nil {
		return nil, err
	}
	r, err := transport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	return r.Header, r.Body.Close()
}

// nestedEnded is why the job's own engine has ended; nil while it runs.
func (v *environment) nestedEnded(ctx context.Context) error {
	s, err := v.engine.State(ctx, v.b.Nested.Name)
	if err != nil || s.Running {
		return err
	}
	said, _ := v.engine.Logs(ctx, v.b.Nested.Name, lastServiceLines, lastServiceBytes)
	switch {
	case s.OOMKilled:
		return v.nestedLacks(errors.New("it ran out of memory and was killed"+limitWords(s.Memory)), "")
	case s.Error != "":
		return v.nestedLacks(errors.New(s.Error), said)
	}
	return v.nestedLacks(fmt.Errorf("it ended with exit code %d", s.ExitCode), said)
}

// nestedLacks says what the machine lacks when the job's own engine did not come up; said are its last words. The words that
// are looked for are those of the kernel's errors as Podman, crun and newuidmap print them.
func (v *environment) nestedLacks(err error, said string) error {
	words := strings.ToLower(err.Error() + "\n" + said)
	has := func(all ...string) bool {
		for _, s := range all {
			if !strings.Contains(words, s) {
				return false
			}
		}
		return true
	}
	advice := ""
	switch {
	case has(nestedneeds.Tun):
		advice = fmt.Sprintf("the engine's machine has no %s that the engine's user may open: `modprobe tun`, and mode %04o", nestedneeds.Tun, nestedneeds.TunMode)
	case has("newuidmap"), has("newgidmap"), has("uid_map"), has("gid_map"):
		advice = fmt.Sprintf("the image %s cannot map ids: make it by `skerry image build podman`, which gives newuidmap and newgidmap file capabilities; and a rootless engine's user "+
			"needs %d ids (/etc/subuid, /etc/subgid; then `podman system migrate`)", v.b.Nested.Image, nestedneeds.IDs)
	case has("user namespaces"), has("clone", "operation not permitted"), has("unshare", "operation not permitted"), has("clone", "no space left"):
		advice = "the machine does not let users make user namespaces: set " + nestedneeds.SettingsWords() + " by sysctl"
	case has("overlay", "not support"), has("mount", "operation not permitted"), has("mount", "permission denied"):
		advice = "the machine does not let user namespaces mount what containers need: a kernel of " + nestedneeds.KernelWords() + " or later is needed, and the sysctls " + nestedneeds.SettingsWords()
	case has("executable file not found"), has("no such file or directory", "podman"):
		advice = fmt.Sprintf("the image %s has no Podman: make it by `skerry image build podman`", v.b.Nested.Image)
	}
	if said = strings.TrimSpace(said); said != "" && !strings.Contains(err.Error(), said) {
		err = fmt.Errorf("%w; its last words: %s", err, said)
	}
	if advice == "" {
		return fmt.Errorf("%s %w", v.notUp(), err)
	}
	return fmt.Errorf("%s %s (docs/nested.md): %w", v.notUp(), advice, err)
}

// notUp says whose engine is not there; the reason follows.
func (v *environment) notUp() string {
	switch v.b.Nested.Labels[labelPart] {
	case partShared:
		return "the container engine that jobs share did not come up:"
	case partReader, partMaker:
		return "a container engine that copies images for later jobs did not come up:"
	}
	return "the job's own container engine did not come up:"
}
