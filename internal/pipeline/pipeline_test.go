package pipeline_test

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/pipeline"
)

var update = flag.Bool("update", false, "write the golden files")

func TestParseGolden(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile(filepath.Join("testdata", "full.yml"))
	if err != nil {
		t.Fatal(err)
	}
	p, err := pipeline.Parse("full.yml", data)
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "full.golden.json")
	if *update {
		if err := os.WriteFile(golden, append(got, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.TrimSpace(string(want)), string(got)); diff != "" {
		t.Errorf("pipeline (-want +got):\n%s", diff)
	}
}

func TestParseErrors(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, yaml, want string }{
		{"empty", "", "f.yml: is empty; write at least one job"},
		{"not yaml", "a: [", "f.yml:2: not YAML"},
		{"tab", "a:\n\tscript: x\n", "f.yml:2: not YAML: found character that cannot start any token; indent with spaces, not with tabs"},
		{"not UTF-8", "a:\n  script: \xff\n", "f.yml:2: is not UTF-8"},
		{"deep", strings.Repeat("[", 100_000), "f.yml:1: not YAML: exceeded max depth"},
		{"no such anchor", "a:\n  script: x\nb: *nope\n", "f.yml:3: not YAML: unknown anchor"},
		{"two documents", "a:\n  script: x\n---\nb:\n  script: y\n", "f.yml:3: a second YAML document begins"},
		{"broken second document", "a:\n  script: x\n---\nb: [", "f.yml:5: not YAML"},
		{"null", "~\n", "f.yml: is empty"},
		{"comment only", "# nothing\n", "f.yml: is empty"},
		{"name without letters", "'':\n  script: x\n", "f.yml:1: a job has no name"},
		{"reserved name", "true:\n  script: x\n", "f.yml:1: true: is no name for a job"},
		{"long name", strings.Repeat("n", 256) + ":\n  script: x\n", "f.yml:1: nnnnnnnnnnnnnnnnnnnn…: is too long a name"},
		{"keyword as a job", "image:\n  script: x\na:\n  script: y\n", "f.yml:2: a:image:script: is not supported here"},
		{"stages as a string", "stages: build\na:\n  script: x\n", "f.yml:1: stages: is a string, but should be a list of strings"},
		{"tags as a string", "a:\n  script: x\n  tags: b\n", "f.yml:3: a:tags: is a string, but should be a list of strings"},
		{"paths as a string", "a:\n  script: x\n  artifacts:\n    paths: b\n", "f.yml:4: a:artifacts:paths: is a string, but should be a list of strings"},
		{"needs as a string", "a:\n  script: x\n  needs: b\n", "f.yml:3: a:needs: is a string, but should be a list; write each in a line"},
		{"delayed without start_in", "a:\n  script: x\n  when: delayed\n", "f.yml:1: a: when: delayed and start_in belong together"},
		{"start_in without delayed", "a:\n  script: x\n  start_in: 1 day\n", "f.yml:1: a: when: delayed and start_in belong together"},
		{"start_in too long", "a:\n  script: x\n  when: delayed\n  start_in: 8 days\n", "f.yml:4: a:start_in: should be a week at most"},
		{"never", "a:\n  script: x\n  when: never\n", "f.yml:3: a:when: is \"never\", which stands only in rules"},
		{"no time", "a:\n  script: x\n  timeout: 0s\n", "f.yml:3: a:timeout: is no time at all"},
		{"boolean variable", "variables:\n  A: true\na:\n  script: x\n", "f.yml:2: variables:A: is a boolean, but should be a string or a number; quote it"},
		{"word for a boolean as a variable", "variables:\n  A: yes\na:\n  script: x\n", "f.yml:2: variables:A: is a boolean"},
		{"null variable", "a:\n  script: x\n  variables:\n    A:\n", "f.yml:4: a:variables:A: is nothing"},
		{"NUL", "a:\n  script: \"x\\0\"\n", "f.yml:2: a:script: holds a NUL byte"},
		{"two defaults", "default:\n  image: x\nimage: y\na:\n  script: x\n", "f.yml:3: image: has a default in line 2 already"},
		{"only", "a:\n  script: x\n  only: [main]\n", "f.yml:3: a:only: is not supported here"},
		{"trigger", "a:\n  trigger: x\n", "f.yml:2: a:trigger: is not supported here"},
		{"workflow", "workflow:\n  rules: []\na:\n  script: x\n", "f.yml:1: workflow: is not supported"},
		{"itself", "a:\n  script: x\n  needs: [a]\n", "a:needs: goes in a circle: a → a"},
		{"hidden need", ".b:\n  script: x\na:\n  script: x\n  needs: [.b]\n", `f.yml:5: a:needs: there is no job ".b"`},
		{"no job", "stages: [a]\n", "f.yml: has no job that runs"},
		{"no script", "a:\n  stage: test\n", "f.yml:1: a: has no script"},
		{"unknown keyword", "a:\n  script: x\n  rules: []\n", "f.yml:3: a:rules: is not supported here"},
		{"include", "include: x\na:\n  script: x\n", "f.yml:1: include: is not supported"},
		{"unknown stage", "a:\n  stage: prod\n  script: x\n", `f.yml:1: a:stage: there is no stage "prod"; the stages are .pre, build, test, deploy, .post`},
		{"number for a string", "a:\n  script:\n    - x\n    - 3\n", "f.yml:4: a:script: is a number, but should be a string or a list of strings; quote it"},
		{"mapping in a script", "a:\n  script:\n    - echo: hi\n", "f.yml:3: a:script: is a mapping, but should be a string or a list of strings; quote the line"},
		{"reference", "a:\n  script: !reference [b, script]\n", "f.yml:2: a:script: !reference is not supported"},
		{"twice", "a:\n  script: x\n  script: y\n", "f.yml:3: a:script: stands here twice"},
		{"bad when", "a:\n  script: x\n  when: later\n", `f.yml:3: a:when: is "later", but should be one of`},
		{"bad timeout", "a:\n  script: x\n  timeout: soon\n", `f.yml:3: a:timeout: duration "soon" cannot be read`},
		{"no such need", "a:\n  script: x\n  needs: [b]\n", `f.yml:3: a:needs: there is no job "b"`},
		{"later need", "a:\n  stage: build\n  script: x\n  needs: [b]\nb:\n  script: x\n", `f.yml:4: a:needs: "b" is in the later stage test`},
		{"circle", "a:\n  script: x\n  needs: [b]\nb:\n  script: x\n  needs: [a]\n", "a:needs: goes in a circle: a → b → a"},
		{"extends circle", ".a:\n  extends: b\nb:\n  extends: .a\n  script: x\n", "goes in a circle"},
		{"no such extends", "b:\n  extends: .a\n  script: x\n", `f.yml:2: b:extends: there is no job ".a"`},
		{"dependency", "a:\n  script: x\n  dependencies: [b]\nb:\n  script: x\n", `a:dependencies: "b" is not in an earlier stage`},
		{"retry", "a:\n  script: x\n  retry: 3\n", "f.yml:3: a:retry: is 3, but should be from 0 to 2"},
		{"cache key", "a:\n  script: x\n  cache:\n    key: a/b\n", "f.yml:4: a:cache:key: is \"a/b\", but must hold no slash"},
		{"report", "a:\n  script: x\n  artifacts:\n    reports:\n      nonsense: x\n", "f.yml:5: a:artifacts:reports:nonsense: is not a report"},
		{"variable name", "variables:\n  A-B: x\na:\n  script: x\n", "f.yml:2: variables:A-B: is no name for a variable"},
		{"default key", "default:\n  stage: x\na:\n  script: x\n", "f.yml:2: default:stage: is not supported here"},
		{"scalar job", "a: 3\n", "f.yml:1: a: is not supported"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			_, err := pipeline.Parse("f.yml", []byte(tc.yaml))
			var e *pipeline.Error
			if !errors.As(err, &e) {
				t.Fatalf("error is %v", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %q, wanted %q in it", err, tc.want)
			}
		})
	}
}

// GitLab reads YAML 1.1 and passes numbers on as Ruby writes them.
func TestParseScalars(t *testing.T) {
	t.Parallel()
	const text = `
variables: {OCTAL: 010, HEX: 0x1F, SHORTER: 1.10, WHOLE: 1e3, THOUSANDS: 1_000, STRING: "010", VERSION: 1.2.3}
123:
  script: [&line echo, *line, "yes"]
  allow_failure: yes
`
	p, err := pipeline.Parse("f.yml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	j := p.Jobs[0]
	got := map[string]string{"name": j.Name, "script": strings.Join(j.Script, "; "), "allow_failure": strconv.FormatBool(j.AllowFailure)}
	for _, v := range j.Variables {
		got[v.Key] = v.Value
	}
	want := map[string]string{
		"name": "123", "script": "echo; echo; yes", "allow_failure": "true", "OCTAL": "8", "HEX": "31", "SHORTER": "1.1",
		"WHOLE": "1000.0", "THOUSANDS": "1000", "STRING": "010", "VERSION": "1.2.3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("scalars (-want +got):\n%s", diff)
	}
}

func TestAliasBombIsRefused(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("x0: &x0 [echo, echo, echo, echo, echo, echo, echo, echo]\n")
	for i := 1; i < 9; i++ {
		ref := strings.Repeat("*x"+string(rune('0'+i-1))+", ", 8)
		b.WriteString("x" + string(rune('0'+i)) + ": &x" + string(rune('0'+i)) + " [" + ref + "]\n")
	}
	b.WriteString("a:\n  script: *x8\n")
	begin := time.Now()
	_, err := pipeline.Parse("f.yml", []byte(b.String()))
	if err == nil || !strings.Contains(err.Error(), "aliases") {
		t.Errorf("error is %v", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestParseDuration(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		"3600": time.Hour, "1h 30m": 90 * time.Minute, "90 minutes": 90 * time.Minute, "1.5h": 90 * time.Minute,
		"3 days and 4 hours": 76 * time.Hour, "2 mos": 60 * 24 * time.Hour, "1h30m": 90 * time.Minute, "10 mins 5 sec": 605 * time.Second,
	} {
		if got, err := pipeline.ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "never", "h", "1 fortnight", "99999999 years", "1..2h"} {
		if got, err := pipeline.ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		}
	}
}

func TestRetryApplies(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name   string
		r      pipeline.Retry
		reason string
		exit   int
		tried  int
		want   bool
	}{
		{"none", pipeline.Retry{}, "script_failure", 1, 0, false},
		{"first", pipeline.Retry{Max: 1}, "script_failure", 1, 0, true},
		{"used up", pipeline.Retry{Max: 1}, "script_failure", 1, 1, false},
		{"reason", pipeline.Retry{Max: 1, When: []string{"runner_system_failure"}}, "script_failure", 1, 0, false},
		{"exit code", pipeline.Retry{Max: 1, ExitCodes: []int{7}}, "script_failure", 7, 0, true},
		{"other exit code", pipeline.Retry{Max: 1, ExitCodes: []int{7}}, "script_failure", 8, 0, false},
	}
	for _, tc := range cases {
		if got := tc.r.Applies(tc.reason, tc.exit, tc.tried); got != tc.want {
			t.Errorf("%s: Applies is %v", tc.name, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	full, err := os.ReadFile(filepath.Join("testdata", "full.yml"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(full)
	f.Add([]byte("a: &a\n  script: *a\n"))
	f.Add([]byte("a: &a\n  <<: *a\n  script: x\n"))
	f.Add([]byte("a:\n  extends: [a, b]\n  script: x\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := pipeline.Parse("f.yml", data)
		if (p == nil) == (err == nil) {
			t.Fatalf("pipeline %v and error %v", p, err)
		}
		if p == nil {
			return
		}
		names := map[string]bool{}
		for _, j := range p.Jobs {
			if j.Name == "" || len(j.Script) == 0 {
				t.Errorf("job without name or script: %+v", j)
			}
			names[j.Name] = true
		}
		for _, j := range p.Jobs {
			for _, n := range j.Needs {
				if !names[n.Job] {
					t.Errorf("%q needs %q, which is not there", j.Name, n.Job)
				}
			}
		}
	})
}

// The pipelines of this repository must stay within the subset.
func TestParseOwnPipelines(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"examples/demo", "test/parity/testdata/nasty", "internal/gitlab/gitlabtest/testdata/pipeline"} {
		data, err := os.ReadFile(filepath.Join("..", "..", dir, pipeline.DefaultFile))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pipeline.Parse(dir, data); err != nil {
			t.Error(err)
		}
	}
}
