package jobpayload_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestTranslateGolden(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/payload/*.json")
	if err != nil || len(files) < 3 {
		t.Fatalf("test data is missing: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			payload, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			j, err := jobpayload.Translate(payload)
			if err != nil {
				t.Fatal(err)
			}
			got, err := json.MarshalIndent(j, "", "\t")
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
				t.Error(diff)
			}
		})
	}
}

func TestTranslateErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ payload, want string }{
		"empty":          {"", "not JSON"},
		"garbage":        {"<html>502</html>", "not JSON"},
		"cut off":        {`{"id": 1, "token": "t"`, "cannot be read"},
		"trailing":       {`{"id": 1, "token": "t"} x`, "cannot be read"},
		"list":           {"[]", "a list instead of an object"},
		"null":           {"null", "null instead of an object"},
		"no id":          {`{"token": "t"}`, "no id"},
		"id 0":           {`{"id": 0, "token": "t"}`, "no id"},
		"id negative":    {`{"id": -4, "token": "t"}`, "no id"},
		"id huge":        {`{"id": 99999999999999999999999, "token": "t"}`, "no id"},
		"id no number":   {`{"id": {}, "token": "t"}`, "no id"},
		"no token":       {`{"id": 5}`, "job 5 has no token"},
		"token null":     {`{"id": 5, "token": null}`, "job 5 has no token"},
		"token no text":  {`{"id": 5, "token": ["x"]}`, "job 5 has no token"},
		"deeply nested":  {strings.Repeat(`{"a":`, 20000), "cannot be read"},
		"over the limit": {`{"id":1,"token":"t","x":"` + strings.Repeat("x", jobpayload.MaxPayload) + `"}`, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j, err := jobpayload.Translate([]byte(tc.payload))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Translate = %v, %v; want an error with %q", j, err, tc.want)
			}
		})
	}
}

// translate completes fields to a payload that has what every payload has.
func translate(t *testing.T, fields string) *job.Job {
	t.Helper()
	j, err := jobpayload.Translate([]byte(`{"id": 1, "token": "t", "git_info": {"repo_url": "https://h/g/p.git"}, ` + fields + `}`))
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestTranslateProjectPath(t *testing.T) {
	t.Parallel()
	for repo, want := range map[string]string{
		"https://gitlab-ci-token:x@h/group/project.git": "group/project",
		"https://h:8443/a/b/c/project":                  "a/b/c/project",
		"https://h/group//project.git/":                 "group/project",
		"https://h/group/pro%20ject.git":                "group/pro ject",
		"ssh://git@h/group/project.git":                 "group/project",
		"https://h/group/project.git?query=1":           "group/project",
		"https://h/../../etc":                           "project-7",
		"https://h/%2e%2e/%2e%2e/etc":                   "project-7",
		"https://h/":                                    "project-7",
		"https://h/.git":                                "project-7",
		"group/project":                                 "project-7",
		"git@h:group/project.git":                       "project-7",
		"https://user:tok%zz@h/group/project.git":       "project-7",
		"file:///srv/git/project.git":                   "project-7",
		"https://h/group/new%0aline.git":                "project-7",
		"":                                              "project-7",
	} {
		raw, err := json.Marshal(repo)
		if err != nil {
			t.Fatal(err)
		}
		j, err := jobpayload.Translate([]byte(`{"id": 1, "token": "t", "job_info": {"project_id": 7}, "git_info": {"repo_url": ` + string(raw) + `}}`))
		if err != nil {
			t.Fatal(err)
		}
		if j.ProjectPath != want || len(j.Unsupported) > 0 {
			t.Errorf("%s: project path %q, unsupported %q; want %q", repo, j.ProjectPath, j.Unsupported, want)
		}
	}
}

func TestTranslateUnsupported(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fields string
		want   string // part of the only message; empty: none
	}{
		"nothing":             {`"steps": []`, ""},
		"run":                 {`"run": "[{}]"`, "CI/CD steps"},
		"run list":            {`"run": [{}]`, "CI/CD steps"},
		"run empty":           {`"run": ""`, ""},
		"step script number":  {`"steps": [{"name": "script", "script": [{}]}]`, "steps[0].script[0] is an object where a string was expected"},
		"timeout":             {`"runner_info": {"timeout": "soon"}`, "runner_info.timeout is a string where a number was expected"},
		"uninteresting":       {`"job_info": 5, "features": "x", "credentials": 7, "policy_options": []`, ""},
		"variables no list":   {`"variables": "x"`, "variables is a string where a list was expected"},
		"cache number":        {`"cache": 5`, "cache is a number where a list was expected"},
		"inputs no list":      {`"inputs": {"a": 1}`, "no list of inputs"},
		"input expression":    {`"inputs": [{"key": "a", "value": {"content": "x"}}], "steps": [{"name": "script", "script": ["${{ 1 + 1 }}"]}]`, "understands ${{ job.inputs.NAME }}"},
		"input unknown":       {`"inputs": [{"key": "a", "value": {"content": "x"}}], "image": {"name": "${{ job.inputs.b }}"}`, `no input "b"`},
		"input unclosed":      {`"inputs": [{"key": "a", "value": {"content": "x"}}], "image": {"name": "${{ job.inputs.a"}`, "not closed"},
		"input sensitive":     {`"inputs": [{"key": "a", "value": {"content": "x", "sensitive": true}}], "image": {"name": "${{ job.inputs.a }}"}`, "sensitive"},
		"input list":          {`"inputs": [{"key": "a", "value": {"content": [1]}}], "image": {"name": "${{ job.inputs.a }}"}`, "a list"},
		"input unused list":   {`"inputs": [{"key": "a", "value": {"content": [1]}}], "image": {"name": "x"}`, ""},
		"input in options":    {`"inputs": [{"key": "a", "value": {"content": "x"}}], "image": {"name": "x", "executor_opts": {"docker": {"user": "${{ job.inputs.a }}"}}}`, "does not put inputs there"},
		"no inputs, template": {`"steps": [{"name": "script", "script": ["echo '${{ secrets.X }}'"]}]`, ""},
		"file with NUL":       {`"variables": [{"key": "F", "value": "a\u0000b", "file": true}]`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := translate(t, tc.fields).Unsupported
			switch {
			case tc.want == "" && len(got) != 0:
				t.Errorf("unsupported: %q, want none", got)
			case tc.want != "" && (len(got) != 1 || !strings.Contains(got[0], tc.want)):
				t.Errorf("unsupported: %q, want one with %q", got, tc.want)
			}
		})
	}
}

func TestTranslateKeepsSecretsOutOfMessages(t *testing.T) {
	t.Parallel()
	payload, err := os.ReadFile("testdata/payload/unsupported.json")
	if err != nil {
		t.Fatal(err)
	}
	j, err := jobpayload.Translate(payload)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Join(j.Unsupported, "\n")
	if strings.Contains(all, "eyJ-secret-jwt") || !strings.Contains(all, "DB_PASSWORD (vault)") {
		t.Errorf("messages: %s", all)
	}
}

func TestTranslateBounds(t *testing.T) {
	t.Parallel()
	j := translate(t, `"runner_info": {"timeout": 9223372036854775807}, "steps": [`+
		strings.Repeat(`{"name": "script", "script": 5},`, 1000)+`{"name":"script","timeout":-5}]`)
	if j.Timeout != 10*365*24*time.Hour { // what is longer overflows when it is added to a clock's time
		t.Errorf("the timeout is %v", j.Timeout)
	}
	if len(j.Unsupported) == 0 || len(j.Unsupported) > 20 {
		t.Errorf("%d messages; want some, but bounded", len(j.Unsupported))
	}
	if last := j.Steps[len(j.Steps)-1]; last.Timeout != 0 {
		t.Errorf("a negative timeout became %v", last.Timeout)
	}
}

func TestTranslateSharesNoMemory(t *testing.T) {
	t.Parallel()
	payload := []byte(`{"id": 1, "token": "tt", "git_info": {"repo_url": "https://h/g/p.git"}, "inputs": [{"key": "kk", "value": {"content": 1}}]}`)
	j, err := jobpayload.Translate(payload)
	if err != nil {
		t.Fatal(err)
	}
	for i := range payload {
		payload[i] = 'X'
	}
	if j.Token != "tt" || !bytes.Contains(j.Inputs, []byte("kk")) {
		t.Errorf("the job changed with the payload: %q %s", j.Token, j.Inputs)
	}
}

// What the test coordinator encodes is what Translate reads.
func TestPayloadRoundTrip(t *testing.T) {
	t.Parallel()
	file, err := os.ReadFile("testdata/payload/full.json")
	if err != nil {
		t.Fatal(err)
	}
	var p jobpayload.Payload
	if err := json.Unmarshal(bytes.ReplaceAll(file, []byte(`"user": 1000`), []byte(`"user": "1000"`)), &p); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want, err := jobpayload.Translate(file)
	if err != nil {
		t.Fatal(err)
	}
	got, err := jobpayload.Translate(again)
	if err != nil {
		t.Fatal(err)
	}
	want.Inputs, got.Inputs = nil, nil // the same JSON with other white space
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzTranslate(f *testing.F) {
	files, err := filepath.Glob("testdata/payload/*.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		payload, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Add([]byte(`{"id":1,"token":"t","image":{"name":"x","executor_opts":{"docker":"no"}}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		j, err := jobpayload.Translate(payload)
		if err != nil {
			if j != nil {
				t.Error("a job beside an error")
			}
			return
		}
		switch {
		case j.ID <= 0 || j.Token == "":
			t.Errorf("a job without id or token: %d %q", j.ID, j.Token)
		case strings.Contains(j.ProjectPath, "..") || strings.HasPrefix(j.ProjectPath, "/"):
			t.Errorf("the project path %q leaves its directory", j.ProjectPath)
		case j.Timeout < 0 || j.Git.Depth < 0:
			t.Errorf("negative timeout %v or depth %d", j.Timeout, j.Git.Depth)
		case len(j.Unsupported) > 20:
			t.Errorf("%d messages", len(j.Unsupported))
		}
		for _, v := range j.Variables {
			if v.Key == "" || strings.ContainsAny(v.Key, "=/\x00") {
				t.Errorf("variable name %q", v.Key)
			}
		}
	})
}

func TestTranslateNumberThatIsTooLarge(t *testing.T) {
	t.Parallel()
	j := translate(t, `"runner_info": {"timeout": 1e30}`)
	if len(j.Unsupported) != 1 || !strings.Contains(j.Unsupported[0], "runner_info.timeout is a number where a smaller one was expected") {
		t.Errorf("%q", j.Unsupported)
	}
}

func TestTranslateQueue(t *testing.T) {
	t.Parallel()
	for given, want := range map[string]time.Duration{
		"1.5": 1500 * time.Millisecond, `"2"`: 2 * time.Second, `"NaN"`: 0, `"-Inf"`: 0, "-1": 0, "null": 0, "1e300": (1<<31 - 1) * time.Second,
	} {
		if got := translate(t, `"job_info": {"time_in_queue_seconds": `+given+`}`).Queue.Waited; got != want {
			t.Errorf("%s: waited %v, want %v", given, got, want)
		}
	}
}
