package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"

	"gitlab.com/skerry/skerry/internal/executor"
)

// systemdRuns is there while systemd is the machine's init (sd_booted(3)).
const systemdRuns = "/run/systemd/system"

// leave moves an agent out of the runner's control group, so that stopping the runner's service does
// not end it: into a transient scope of systemd where that runs, else into a sibling of the runner's
// own group. setsid alone does not do it (systemd.kill(5), KillMode=control-group). about tells people
// whose agent it is.
func leave(ctx context.Context, ref executor.Ref, about string, pid int) error {
	if _, err := os.Stat(systemdRuns); err != nil {
		return sibling(ref, pid)
	}
	// A systemd that does not answer must not hold the job up.
	ctx, cancel := context.WithTimeoutCause(ctx, scopeWithin, fmt.Errorf("systemd did not answer within %s", scopeWithin))
	defer cancel()
	conn, err := reachSystemd(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return transientScope(ctx, conn, scope{name: "skerry-job-" + ref.ID + ".scope", about: about, pid: pid})
}

// scopeWithin is how long systemd may take to answer; a loaded machine takes seconds.
const scopeWithin = 30 * time.Second

// reachSystemd connects to the service manager that the runner's uid may ask for scopes: the machine's as
// root, else the user's own. Without a bus, or while it is started again, systemd's private socket serves,
// as it does systemctl.
func reachSystemd(ctx context.Context) (*dbus.Conn, error) {
	socket, bus := "/run/systemd/private", dbus.NewSystemConnectionContext
	if uid := os.Getuid(); uid != 0 {
		socket, bus = filepath.Join(runtimeDir(uid), "systemd/private"), dbus.NewUserConnectionContext
	}
	conn, busErr := bus(ctx)
	if busErr == nil {
		return conn, nil
	}
	conn, err := dbus.NewConnection(func() (*godbus.Conn, error) { return dialPrivate(ctx, socket) })
	if err != nil {
		return nil, fmt.Errorf("reach systemd: %w", errors.Join(busErr, err))
	}
	return conn, nil
}

// runtimeDir is where the user's service manager has its socket; a service of the machine that runs as
// that user has no XDG_RUNTIME_DIR.
func runtimeDir(uid int) string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return dir
	}
	return filepath.Join("/run/user", strconv.Itoa(uid))
}

func dialPrivate(ctx context.Context, socket string) (*godbus.Conn, error) {
	conn, err := godbus.Dial("unix:path="+socket, godbus.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", socket, err)
	}
	if err := conn.Auth([]godbus.Auth{godbus.AuthExternal(strconv.Itoa(os.Getuid()))}); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	// No Hello: nobody else is on this connection. Once systemd has answered here, it sends its signals here.
	if _, err := conn.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1").GetProperty("org.freedesktop.systemd1.Manager.Version"); err != nil {
		return nil, errors.Join(fmt.Errorf("ask for its version: %w", err), conn.Close())
	}
	return conn, nil
}

// scope is what a transient scope is asked for with.
type scope struct {
	name, about string
	pid         int
}

// manager is what of systemd makes scopes.
type manager interface {
	StartTransientUnitContext(ctx context.Context, name, mode string, properties []dbus.Property, ch chan<- string) (int, error)
	AttachProcessesToUnit(ctx context.Context, unit, subcgroup string, pids []uint32) error
}

// transientScope asks systemd for a scope of the agent's own, or for a place in the one that an agent
// before it had, where something of the job still runs.
func transientScope(ctx context.Context, m manager, s scope) error {
	properties := []dbus.Property{
		dbus.PropDescription(s.about),
		{Name: "PIDs", Value: godbus.MakeVariant([]uint32{uint32(s.pid)})}, //nolint:gosec // a pid
		{Name: "CollectMode", Value: godbus.MakeVariant("inactive-or-failed")},
	}
	// Else systemd ends the whole scope, agent and all, when the kernel ends one process of the job that
	// wants too much memory; the script's own exit status tells of it.
	oom := dbus.Property{Name: "OOMPolicy", Value: godbus.MakeVariant("continue")}
	done := make(chan string, 1)
	_, err := m.StartTransientUnitContext(ctx, s.name, "fail", append(slices.Clone(properties), oom), done)
	if isDBus(err, "org.freedesktop.DBus.Error.PropertyReadOnly") { // systemd before 253 does not know it for scopes
		_, err = m.StartTransientUnitContext(ctx, s.name, "fail", properties, done)
	}
	if isDBus(err, "org.freedesktop.systemd1.UnitExists") {
		if err := m.AttachProcessesToUnit(ctx, s.name, "", []uint32{uint32(s.pid)}); err != nil { //nolint:gosec // a pid
			return fmt.Errorf("enter the scope %s: %w", s.name, err)
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("start the scope %s: %w", s.name, err)
	}
	select {
	case state := <-done:
		if state != "done" {
			return fmt.Errorf("start the scope %s: systemd says %q", s.name, state)
		}
		return nil
	case <-ctx.Done():
		if !together(s.pid) {
			return nil // the answer was lost, as when systemd executes itself anew
		}
		return fmt.Errorf("start the scope %s: %w", s.name, context.Cause(ctx))
	}
}

// isDBus reports whether err is the D-Bus error of that name.
func isDBus(err error, name string) bool {
	var e godbus.Error
	return errors.As(err, &e) && e.Name == name
}

// inService reports whether the runner is in the control group of a service of systemd.
func inService() (bool, error) {
	if _, err := os.Stat(systemdRuns); err != nil {
		return false, nil //nolint:nilerr // no systemd, no service
	}
	groups, err := groupsOf("self")
	return slices.ContainsFunc(groups, func(g group) bool { return strings.HasSuffix(g.path, ".service") }), err
}

// Survives reports why jobs would not outlive the runner, nil when they do.
func (e *Executor) Survives(ctx context.Context) error {
	if os.Getpid() == 1 {
		return errors.New("the runner is the first process of its container, which ends with it")
	}
	if service, err := inService(); err != nil || !service {
		return err // nobody ends the control group with the runner
	}
	ctx, cancel := context.WithTimeout(ctx, scopeWithin)
	defer cancel()
	conn, err := reachSystemd(ctx)
	if err != nil {
		return fmt.Errorf("systemd cannot be asked for a scope for each job: %w", err)
	}
	conn.Close()
	return nil
}
