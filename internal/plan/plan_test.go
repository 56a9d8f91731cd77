package plan_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/plan"
)

var update = flag.Bool("update", false, "write the golden files")

// given is a file of testdata: a payload as the coordinator sends it, and on which runner it arrives.
type given struct {
	Runner  plan.Runner     `json:"runner"`
	Slot    plan.Slot       `json:"slot"`
	Payload json.RawMessage `json:"payload"`
}

// dump is all that a plan says, for people to read.
type dump struct {
	Error     string             `json:"error,omitempty"`
	Reason    string             `json:"reason,omitempty"`
	Timeout   time.Duration      `json:"timeout"`
	Layout    plan.Layout        `json:"layout"`
	Flags     map[plan.Flag]bool `json:"flags"`
	Settings  plan.Settings      `json:"settings"`
	Variables []string           `json:"variables"`
	Secrets   []string           `json:"secrets"`
	Stages    []stageDump        `json:"stages"`
	Uploads   []plan.Upload      `json:"uploads,omitempty"`
	Downloads []plan.Download    `json:"downloads,omitempty"`
}

type stageDump struct {
	When  string
	Title string
	Lines []string      `json:",omitempty"`
	Limit time.Duration `json:",omitempty"`
	Spec  any
}

func defaults() given {
	return given{
		Runner: plan.Runner{Name: "golden", Token: "glrt-0123456789abcdef", Executor: "docker", BuildsDir: "/builds", CacheDir: "/cache"},
	}
}

func version() plan.Version {
	return plan.Version{Name: "skerry", Version: "1.2.3", Revision: "abcdef", Platform: "linux", Arch: "amd64"}
}

// reason is the failure reason that an error carries.
func reason(err error) string {
	var f *executor.Failure
	if errors.As(err, &f) {
		return string(f.Reason)
	}
	return ""
}

// describe makes a plan and all its stages.
func describe(t *testing.T, g given) dump {
	t.Helper()
	j, err := jobpayload.Translate(g.Payload)
	if err != nil {
		t.Fatal(err)
	}
	p, err := plan.New(j, g.Runner, g.Slot, version())
	d := dump{Timeout: p.Timeout, Layout: p.Layout, Flags: p.Flags, Settings: p.Settings, Secrets: p.Secrets()}
	if err != nil {
		d.Error, d.Reason = err.Error(), reason(err)
		return d
	}
	for _, v := range p.Sources().Spec.Env {
		line := v.Key + "=" + v.Value
		if v.File != "" {
			line += " (in " + v.File + ")"
		}
		d.Variables = append(d.Variables, line)
	}
	add := func(when string, st plan.Step) {
		st.Spec.Env = nil // above
		d.Stages = append(d.Stages, stageDump{when, st.Title, st.Lines, st.Timeout, st.Spec})
	}
	fault := func(when string, err error) { add(when, plan.Step{Title: err.Error() + " (" + reason(err) + ")"}) }
	add("always", p.Sources())
	if st, due, err := p.RestoreCache(); err != nil {
		fault("restore", err)
	} else if due {
		add("always", st)
	}
	st, downloads := p.Downloads()
	if d.Downloads = downloads; len(downloads) > 0 {
		add("always", st)
	}
	for _, st := range p.Scripts() {
		add("always", st)
	}
	if st, due := p.AfterScript("success"); due {
		add("success", st)
	}
	for _, success := range []bool{true, false} {
		when := map[bool]string{true: "success", false: "failure"}[success]
		if st, due, err := p.SaveCache(success); err != nil {
			fault("save", err)
		} else if due {
			add(when, st)
		}
		if st, uploads := p.Pack(success, time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)); len(uploads) > 0 {
			add(when, st)
			d.Uploads = append(d.Uploads, uploads...)
		}
	}
	add("always", p.Cleanup())
	return d
}

func TestGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".json"), func(t *testing.T) {
			t.Parallel()
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			g := defaults()
			if err := json.Unmarshal(b, &g); err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(describe(t, g), "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, append(got, '\n'), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(got)+"\n"); diff != "" {
				t.Errorf("(-golden +got)\n%s", diff)
			}
		})
	}
}
