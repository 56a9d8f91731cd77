package nix

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"gitlab.com/skerry/skerry/internal/cli/logfmt"
	"gitlab.com/skerry/skerry/internal/cli/program"
)

const gcc = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-gcc-14.2.0"

// fake is a runner with stores; it notes what it is asked.
type fake struct {
	stores []Store
	paths  []Path
	asked  []string
	fails  map[string]error // by store
	closed bool
}

func (f *fake) Flags(cmd *cobra.Command) { cmd.Flags().String("state-dir", "", "as for `jobs`") }

func (f *fake) Connect(context.Context) (Stores, error) { return f, f.fails["connect"] }

func (f *fake) Close() { f.closed = true }

func (f *fake) Stat(context.Context) ([]Store, error) { return f.stores, nil }

// Known has nothing but names: nothing else may be needed of it.
func (f *fake) Known(context.Context) ([]Store, error) {
	var all []Store
	for _, s := range f.stores {
		all = append(all, Store{Name: s.Name, For: s.For})
	}
	return all, nil
}

func (f *fake) note(format string, args ...any) {
	f.asked = append(f.asked, fmt.Sprintf(format, args...))
}

func (f *fake) List(_ context.Context, store string) ([]Path, error) {
	f.note("ls %s", store)
	return slices.Clone(f.paths), f.fails[store]
}

func (f *fake) Collect(_ context.Context, store string, c Collection) (Collected, error) {
	keep := "-"
	if c.KeepFor != nil {
		keep = c.KeepFor.String()
	}
	f.note("gc %s keep=%s free=%d/%g max=%d dry=%t", store, keep, c.FreeBytes, c.FreePercent, c.MaxFreed, c.DryRun)
	return Collected{Count: 1, Paths: []string{gcc}, Bytes: 3 << 30, Kept: 2, Free: 50 << 30}, f.fails[store]
}

func (f *fake) Pin(_ context.Context, store, name string, paths []string) ([]string, error) {
	f.note("pin %s %s %s", store, name, strings.Join(paths, " "))
	return paths, f.fails[store]
}

func (f *fake) Unpin(_ context.Context, store, name string) ([]string, error) {
	f.note("unpin %s %s", store, name)
	return []string{gcc}, f.fails[store]
}

func two() []Store {
	return []Store{
		{
			Name: "skerry-o-nix-project-open-aaaa", For: "project 42, other refs", Daemon: "running", Nix: "2.26.3", Sandbox: "off", Why: "the engine does not let it", Jobs: 3,
			All: Share{Paths: 5000, Bytes: 7 << 30}, Held: Share{Paths: 1000, Bytes: 1 << 30}, Recent: Share{Paths: 3000, Bytes: 4 << 30}, Unused: Share{Paths: 1000, Bytes: 2 << 30}, Free: 30 << 30, Total: 100 << 30,
			LastUsed: time.Now().Add(-100 * time.Hour),
		},
		{Name: "skerry-o-nix-project-closed-bbbb", For: "project 42, protected\nrefs", Daemon: "stopped"},
	}
}

// run is a command line of `skerry nix`.
func run(t *testing.T, f *fake, args ...string) (out, log string, err error) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	output := logfmt.New(&stderr, false)
	p := &program.Program{Streams: program.Streams{Out: &stdout, Err: &stderr}, Output: output, Logger: output.Logger()}
	cmd := &cobra.Command{Use: "skerry"}
	cmd.AddCommand(New(p, f))
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetOut(io.Discard)
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return usage(cmd, err) })
	cmd.SetArgs(append([]string{"nix"}, args...))
	err = cmd.ExecuteContext(t.Context())
	return stdout.String(), stderr.String(), err
}

func TestWhatIsAskedAndShown(t *testing.T) {
	t.Parallel()
	one := two()[:1]
	for name, c := range map[string]struct {
		stores []Store
		args   []string
		asked  []string
		out    []string
		log    string
	}{
		"stat": {two(), []string{"stat"}, nil, []string{
			"STORE                             FOR                          DAEMON   SANDBOX  JOBS  PATHS  SIZE     HELD     RECENT   UNUSED   FREE            LAST USED",
			"skerry-o-nix-project-open-aaaa    project 42, other refs       running  off      3     5000   7.0 GiB  1.0 GiB  4.0 GiB  2.0 GiB  30.0 GiB (30%)  100h",
			"skerry-o-nix-project-closed-bbbb  project 42, protected?refs   stopped  -        0     0      0 B      0 B      0 B      0 B      -               -",
		}, "the engine does not let it"},
		"stat of one":                {two(), []string{"stat", "--store", "bbbb", "--json"}, nil, []string{`"name": "skerry-o-nix-project-closed-bbbb"`}, ""},
		"stat of none":               {nil, []string{"stat"}, nil, nil, "the runner has no Nix store"},
		"stat of none, for programs": {[]Store{}, []string{"stat", "--json"}, nil, []string{"[]"}, ""},
		"ls": {one, []string{"ls"}, []string{"ls skerry-o-nix-project-open-aaaa"}, []string{
			"SIZE     HELD BY                      PATH", "1.5 MiB  job:12,recent:2026112606  " + gcc, "999 B    recent:2026112606         /nix/store/x", "1.0 KiB  -                         /nix/store/y",
		}, ""},
		"ls --held": {two(), []string{"ls", "--held", "--store=aaaa"}, []string{"ls skerry-o-nix-project-open-aaaa"}, []string{gcc}, ""},
		"gc": {two(), []string{"gc"}, []string{
			"gc skerry-o-nix-project-open-aaaa keep=- free=0/0 max=0 dry=false", "gc skerry-o-nix-project-closed-bbbb keep=- free=0/0 max=0 dry=false",
		}, []string{"skerry-o-nix-project-open-aaaa: deleted 1 paths with 3.0 GiB; kept 2 that a job came to use meanwhile; 50.0 GiB are free"}, ""},
		"gc by flags": {one, []string{"gc", "--keep-for", "36h", "--free", "15%", "--max", "2g"}, []string{"gc skerry-o-nix-project-open-aaaa keep=36h0m0s free=0/15 max=2147483648 dry=false"}, nil, ""},
		"gc --all":    {one, []string{"gc", "--all", "--free=20GB", "--dry-run"}, []string{"gc skerry-o-nix-project-open-aaaa keep=0s free=21474836480/0 max=0 dry=true"}, []string{gcc + "\n", "would delete 1 paths"}, ""},
		"gc --json":   {one, []string{"gc", "--json"}, []string{"gc skerry-o-nix-project-open-aaaa keep=- free=0/0 max=0 dry=false"}, []string{`"store": "skerry-o-nix-project-open-aaaa"`, `"bytes": 3221225472`}, ""},
		"pin":         {one, []string{"pin", "tools-1", gcc, gcc}, []string{"pin skerry-o-nix-project-open-aaaa tools-1 " + gcc + " " + gcc}, nil, "Pinned"},
		"unpin":       {two(), []string{"unpin", "tools-1", "--store", "skerry-o-nix-project-closed-bbbb"}, []string{"unpin skerry-o-nix-project-closed-bbbb tools-1"}, []string{gcc + "\n"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{stores: c.stores, paths: []Path{
				{Path: gcc, Bytes: 3 << 19, Roots: []string{"job:12", "recent:2026112606"}}, {Path: "/nix/store/x", Bytes: 999, Roots: []string{"recent:2026112606"}}, {Path: "/nix/store/y", Bytes: 1024},
			}}
			out, log, err := run(t, f, c.args...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.asked, f.asked); diff != "" {
				t.Errorf("asked -want +got:\n%s", diff)
			}
			for _, want := range c.out {
				if !strings.Contains(squeeze(out), squeeze(want)) {
					t.Errorf("it does not show %q:\n%s", want, out)
				}
			}
			if !strings.Contains(log, c.log) || !f.closed {
				t.Errorf("log %q, closed: %t", log, f.closed)
			}
			if c.args[0] == "ls" && slices.Contains(c.args, "--held") && strings.Contains(out, "/nix/store/x") {
				t.Errorf("what nothing holds is shown:\n%s", out)
			}
		})
	}
}

// squeeze makes runs of spaces one.
func squeeze(s string) string {
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return s
}

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stores []Store
		args   []string
		usage  bool
		want   string
	}{
		"another command":      {two(), []string{"prune"}, true, `"prune" is not expected here`},
		"a word too many":      {two(), []string{"stat", "x"}, true, `"x" is not expected here`},
		"which store":          {two(), []string{"ls"}, true, "name one with --store: skerry-o-nix-project-open-aaaa (project 42, other refs), "},
		"no such store":        {two(), []string{"ls", "--store", "cccc"}, false, `the runner has no store "cccc": skerry-o-nix`},
		"no store at all":      {nil, []string{"gc"}, false, "the runner has no Nix store"},
		"no store to pin in":   {nil, []string{"pin", "a", gcc}, false, "the runner has no Nix store"},
		"several ends":         {append(two(), Store{Name: "other-aaaa"}), []string{"ls", "--store", "aaaa"}, false, `"aaaa" is the end of several`},
		"pin nothing":          {two(), []string{"pin", "a"}, true, "give NAME PATH..."},
		"pin by a bad name":    {two(), []string{"pin", "../x", gcc}, true, `"../x" is none`},
		"pin a file":           {two(), []string{"pin", "a", gcc + "/bin/gcc", "gcc"}, true, `"gcc" is no store path`},
		"unpin two":            {two(), []string{"unpin", "a", "b"}, true, `"b" is not expected here`},
		"gc both":              {two(), []string{"gc", "--all", "--keep-for=1h"}, true, "exclude each other"},
		"gc negative":          {two(), []string{"gc", "--keep-for=-1h"}, true, "must not be negative"},
		"gc free":              {two(), []string{"gc", "--free", "all"}, true, "--free must be a size"},
		"gc max":               {two(), []string{"gc", "--max", "0"}, true, "--max must be more than nothing"},
		"gc of a broken store": {two(), []string{"gc"}, false, "skerry-o-nix-project-closed-bbbb: it is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fake{stores: c.stores, fails: map[string]error{"skerry-o-nix-project-closed-bbbb": errors.New("it is broken")}}
			_, _, err := run(t, f, c.args...)
			var u *program.UsageError
			if err == nil || errors.As(err, &u) != c.usage || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v (usage: %t), want %q", err, errors.As(err, &u), c.want)
			}
			if name == "gc of a broken store" && len(f.asked) != 2 {
				t.Errorf("asked %q: the other store is to be collected in", f.asked)
			}
		})
	}
}

func TestAWholeNameIsNoEnd(t *testing.T) {
	t.Parallel()
	f := &fake{stores: []Store{{Name: "a-b"}, {Name: "b"}}}
	if _, _, err := run(t, f, "ls", "--store", "b"); err != nil || !cmp.Equal(f.asked, []string{"ls b"}) {
		t.Errorf("%q, %v", f.asked, err)
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	t.Parallel()
	for _, c := range New(&program.Program{}, &fake{}).Commands() {
		if c.Short == "" || c.Long == "" || c.Flags().Lookup("state-dir") == nil || c.Flags().Lookup("store") == nil {
			t.Errorf("%s is not complete", c.Name())
		}
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 KiB", 1 << 20: "1.0 MiB", 1023 << 20: "1.0 GiB", 5 << 40: "5.0 TiB", 1 << 62: "4096.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
