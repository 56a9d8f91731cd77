package server_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/server"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

func repository(t *testing.T, yaml string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "name")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".gitlab-ci.yml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "-A"},
		{"-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "--quiet", "-m", "Add"},
	} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	return dir
}

// call sends one request to the instance at base and decodes the answer into out unless it is nil.
func call(t *testing.T, method, url, token string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set(gitlab.HeaderRequestID, strings.Repeat("ab", 16))
	req.Header.Set(gitlab.HeaderRunnerToken, token)
	req.Header.Set(gitlab.HeaderJobToken, token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode > 299 {
		t.Fatalf("%s %s: %s: %s", method, url, res.Status, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
	}
}

// Each case runs the command to its end, with a runner that ends the one job as the case says.
func TestOnce(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name  string
		end   gitlab.Update
		code  int
		print string
	}{
		{"success", gitlab.Update{State: "success"}, 0, " success\n"},
		{"failure", gitlab.Update{State: "failed", FailureReason: "script_failure", ExitCode: 4}, 1, "failed (script_failure, exit code 4)"},
		{"breach", gitlab.Update{State: "success", Output: gitlab.Output{Bytesize: 3}}, 1, "trace-size"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			dir := repository(t, "a:\n  script: x\n")
			r, w := io.Pipe()
			code := make(chan int, 1)
			go func() {
				var errs bytes.Buffer
				code <- server.Main([]string{"--repo", dir, "--once", "--logs", "--dir", t.TempDir(), "--runner-token", "glrt-abc"}, w, &errs)
				_, _ = io.Copy(w, &errs)
				_ = w.Close()
			}()
			out := bufio.NewReader(r)
			line, err := out.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			base := strings.Fields(line)[1] + gitlab.APIPath
			rest := make(chan string, 1)
			started := make(chan struct{})
			go drain(out, started, rest)
			<-started
			var p jobpayload.Payload
			call(t, "POST", base+"jobs/request", "glrt-abc", gitlab.JobRequest{Token: "glrt-abc", Info: gitlab.Info{Features: gitlab.Features{Refspecs: true}}}, &p)
			tc.end.Token = p.Token
			call(t, "PUT", fmt.Sprintf("%sjobs/%d", base, p.ID), p.Token, tc.end, nil)
			if got := <-code; got != tc.code {
				t.Errorf("exit code is %d instead of %d", got, tc.code)
			}
			if all := <-rest; !strings.Contains(all, tc.print) {
				t.Errorf("output has no %q:\n%s", tc.print, all)
			}
		})
	}
}

// drain reads everything, and closes started when the first job waits for a runner.
func drain(r *bufio.Reader, started chan struct{}, rest chan<- string) {
	var all strings.Builder
	for {
		line, err := r.ReadString('\n')
		all.WriteString(line)
		if started != nil && strings.HasSuffix(line, " pending\n") {
			close(started)
			started = nil
		}
		if err != nil {
			rest <- all.String()
			return
		}
	}
}

func TestBadUse(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name string
		args []string
		want string
	}{
		{"once without a repository", []string{"--once"}, "--once needs --repo"},
		{"no repository there", []string{"--once", "--repo", "/nonexistent"}, "is no git repository"},
		{"once and watch", []string{"--once", "--watch", "--repo", "."}, "exclude each other"},
		{"no such breach", []string{"--tolerate", "nonsense"}, "there is no such breach; the breaches are request-id, "},
		{"no such fault", []string{"--fault", "trace:explode"}, `"explode" is not known; write ENDPOINT`},
		{"no time", []string{"--scale", "0"}, "should be above 0"},
		{"outside", []string{"--repo", ".", "--path", "../../x"}, "should be GROUP/NAME"},
		{"no such flag", []string{"--nonsense"}, "unknown flag"},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			var errs bytes.Buffer
			if code := server.Main(tc.args, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), tc.want) {
				t.Errorf("exit code %d, message %q", code, errs.String())
			}
		})
	}
	t.Run("nothing committed", func(t *testing.T) {
		t.Parallel()
		dir, errs := t.TempDir(), bytes.Buffer{}
		if out, err := exec.CommandContext(t.Context(), "git", "init", "--quiet", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if code := server.Main([]string{"--repo", dir}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "there is no commit in demo/") {
			t.Errorf("exit code %d, message %q", code, errs.String())
		}
	})
	t.Run("bad pipeline", func(t *testing.T) {
		t.Parallel()
		var errs bytes.Buffer
		code := server.Main([]string{"--once", "--repo", repository(t, "a:\n  nonsense: x\n")}, io.Discard, &errs)
		if code != 1 || !strings.Contains(errs.String(), ".gitlab-ci.yml:2: a:nonsense: is not supported") {
			t.Errorf("exit code %d, message %q", code, errs.String())
		}
	})
}
