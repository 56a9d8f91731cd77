// Package scope moves processes that have to outlive the runner out of its control group: stopping a
// service of systemd ends every process of its group, and setsid alone does not help (systemd.kill(5),
// KillMode=control-group).
package scope

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
)

// systemdRuns is there while systemd is the machine's init (sd_booted(3)).
const systemdRuns = "/run/systemd/system"

// Unit is where a process goes.
type Unit struct {
	Name  string // of the transient scope where systemd runs: "NAME.scope"
	About string // tells people what it is for
	Group string // the name of a control group beside the runner's own where it does not
}

// Leave moves a process out of the runner's control group: into a transient scope of systemd where that
// runs, else into a sibling of the runner's own group.
func (u Unit) Leave(ctx context.Context, pid int) error {
	if _, err := os.Stat(systemdRuns); err != nil {
		return sibling(u.Group, pid)
	}
	// A systemd that does not answer must not hold the job up.
	ctx, cancel := context.WithTimeoutCause(ctx, Within, fmt.Errorf("systemd did not answer within %s", Within))
	defer cancel()
	conn, err := Reach(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	return transientScope(ctx, conn, scope{name: u.Name, about: u.About, pid: pid})
}

// Within is how long systemd may take to answer; a loaded machine takes seconds.
const Within = 30 * time.Second

// Reach connects to the service manager that the runner's uid may ask for scopes: the machine's as
// root, else the user's own. Without a bus, or while it is started again, systemd's private socket serves,
// as it does systemctl.
func Reach(ctx context.Context) (*dbus.Conn, error) {
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
		if !Together(s.pid) {
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

// InService reports whether the runner is in the control group of a service of systemd.
func InService() (bool, error) {
	if _, err := os.Stat(systemdRuns); err != nil {
		return false, nil //nolint:nilerr // no systemd, no service
	}
	groups, err := Of("self")
	return slices.ContainsFunc(groups, func(g Group) bool { return strings.HasSuffix(g.Path, ".service") }), err
}
