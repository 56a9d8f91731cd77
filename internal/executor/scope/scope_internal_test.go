package scope

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-systemd/v22/dbus"
	godbus "github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"
)

// asked is a systemd that notes what it is asked for and answers as refuse says.
type asked struct {
	calls  []string
	refuse func(properties []dbus.Property) error
	state  string // that the job of the scope ends with
}

func (a *asked) StartTransientUnitContext(_ context.Context, name, mode string, properties []dbus.Property, ch chan<- string) (int, error) {
	var names []string
	for _, p := range properties {
		names = append(names, p.Name)
	}
	a.calls = append(a.calls, "start "+name+" "+mode+" "+strings.Join(names, ","))
	if err := a.refuse(properties); err != nil {
		return 0, err
	}
	if a.state != "" {
		ch <- a.state
	}
	return 1, nil
}

func (a *asked) AttachProcessesToUnit(_ context.Context, unit, _ string, _ []uint32) error {
	a.calls = append(a.calls, "attach "+unit)
	return nil
}

// TestTransientScope is what systemd is asked for, by versions that know less and in states that are rare. The
// errors are those of systemd 252 and 257.
func TestTransientScope(t *testing.T) {
	t.Parallel()
	refuse := func(name string, when func([]dbus.Property) bool) func([]dbus.Property) error {
		return func(p []dbus.Property) error {
			if when(p) {
				return godbus.Error{Name: name}
			}
			return nil
		}
	}
	always := func([]dbus.Property) bool { return true }
	knows := func(p []dbus.Property) bool {
		return slices.ContainsFunc(p, func(p dbus.Property) bool { return p.Name == "OOMPolicy" })
	}
	const start, full = "start x.scope fail ", "Description,PIDs,CollectMode,OOMPolicy"
	for name, c := range map[string]struct {
		systemd *asked
		calls   []string
		err     string
	}{
		"a scope": {&asked{refuse: refuse("", func([]dbus.Property) bool { return false }), state: "done"}, []string{start + full}, ""},
		"no OOMPolicy before 253": {
			&asked{refuse: refuse("org.freedesktop.DBus.Error.PropertyReadOnly", knows), state: "done"},
			[]string{start + full, start + "Description,PIDs,CollectMode"}, "",
		},
		"the scope of an agent before": {
			&asked{refuse: refuse("org.freedesktop.systemd1.UnitExists", always)},
			[]string{start + full, "attach x.scope"}, "",
		},
		"refused": {&asked{refuse: refuse("org.freedesktop.DBus.Error.AccessDenied", always)}, []string{start + full}, "start the scope x.scope: "},
		"failed": {
			&asked{refuse: refuse("", func([]dbus.Property) bool { return false }), state: "failed"},
			[]string{start + full}, `start the scope x.scope: systemd says "failed"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := transientScope(t.Context(), c.systemd, scope{name: "x.scope", about: "a test", pid: os.Getpid()})
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.HasPrefix(err.Error(), c.err)) {
				t.Errorf("error %v, want %q", err, c.err)
			}
			if diff := cmp.Diff(c.calls, c.systemd.calls); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// TestTransientScopeNoAnswer: a systemd that says nothing holds no job up for ever.
func TestTransientScopeNoAnswer(t *testing.T) {
	t.Parallel()
	gone, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("no answer"))
	silent := &asked{refuse: func([]dbus.Property) error { return nil }}
	if err := transientScope(gone, silent, scope{name: "x.scope", pid: os.Getpid()}); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("a process that was not moved: error %v", err)
	}
}
