package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

// command runs the command until the test ends; the lines of its output come from the channel.
func command(t *testing.T, args ...string) <-chan string {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r, w := io.Pipe()
	lines, done := make(chan string, 1000), make(chan struct{})
	go func() {
		cmd := New()
		cmd.SetArgs(args)
		cmd.SetOut(w)
		cmd.SetErr(w)
		_ = w.CloseWithError(cmd.ExecuteContext(ctx))
	}()
	go func() {
		defer close(done)
		defer close(lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			lines <- scan.Text()
		}
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return lines
}

// until returns the first line that holds the text.
func until(t *testing.T, lines <-chan string, text string) string {
	t.Helper()
	var all []string
	for line := range lines {
		if all = append(all, line); strings.Contains(line, text) {
			return line
		}
	}
	t.Fatalf("no line with %q:\n%s", text, strings.Join(all, "\n"))
	return ""
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", append([]string{"-c", "user.name=Dev", "-c", "user.email=dev@example.com"}, args...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func write(t *testing.T, dir, yaml string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, ".gitlab-ci.yml"), []byte(yaml), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWatchRunsEachCommit(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a name")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "a:\n  nonsense: x\n")
	git(t, dir, "init", "--quiet", "--initial-branch=main")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "--quiet", "-m", "Break it")
	lines := command(t, "--repo", dir, "--watch", "--dir", t.TempDir())
	until(t, lines, "error: .gitlab-ci.yml:2: a:nonsense: is not supported here")
	write(t, dir, "a: {script: x, when: manual}\n")
	git(t, dir, "commit", "--quiet", "-am", "Mend it")
	until(t, lines, "pipeline 104 of demo/a-name at main ")
	until(t, lines, "pipeline 104 skipped")
	write(t, dir, "b: {script: x, when: manual, allow_failure: false}\n")
	git(t, dir, "commit", "--quiet", "-am", "Change it")
	until(t, lines, "manual")
}

func TestFaultsFromTheCommandLine(t *testing.T) {
	t.Parallel()
	lines := command(t, "--dir", t.TempDir(), "--runner-token", "glrt-abc", "--fault", "verify:status=429,retry-after=7,count=2", "--fault", "verify:cut")
	base := strings.Fields(until(t, lines, "url"))[1] + gitlab.APIPath
	until(t, lines, "registration token")
	verify := func() (*http.Response, error) {
		body, err := json.Marshal(gitlab.VerifyRequest{Token: "glrt-abc"})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"runners/verify", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return res, err
	}
	for range 2 {
		if res, err := verify(); err != nil || res.StatusCode != http.StatusTooManyRequests || res.Header.Get("Retry-After") != "7" {
			t.Fatalf("answer is %+v, %v", res, err)
		}
	}
	if _, err := verify(); err == nil {
		t.Error("the connection was not cut")
	}
	if res, err := verify(); err != nil || res.StatusCode != http.StatusOK {
		t.Errorf("answer is %+v, %v", res, err)
	}
}
