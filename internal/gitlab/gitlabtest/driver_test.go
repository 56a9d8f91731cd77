package gitlabtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// driver speaks the runner API word for word, right or wrong as a test wants it.
type driver struct {
	t      *testing.T
	c      *gitlabtest.Coordinator
	token  string
	last   string // last_update
	drop   []string
	twoPh  bool
	client http.Client
}

func newDriver(t *testing.T, c *gitlabtest.Coordinator) *driver {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &driver{t: t, c: c, token: c.AddRunner(gitlabtest.RunnerSpec{}).Token, client: http.Client{
		Transport:     transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request with the right headers, less those in d.drop.
func (d *driver) do(method, path string, header map[string]string, body []byte) (*http.Response, []byte, error) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, d.c.URL()+gitlab.APIPath+path, bytes.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	req.Header.Set(gitlab.HeaderRequestID, strings.Repeat("0123", 8))
	req.Header.Set("Content-Type", "application/json")
	for k, v := range header {
		req.Header.Set(k, v)
	}
	for _, k := range d.drop {
		req.Header.Del(k)
	}
	res, err := d.client.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, b, err
}

func (d *driver) must(method, path string, header map[string]string, body []byte, want int) (*http.Response, []byte) {
	d.t.Helper()
	res, b, err := d.do(method, path, header, body)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	if res.StatusCode != want {
		d.t.Fatalf("%s %s: status %d instead of %d: %s", method, path, res.StatusCode, want, b)
	}
	return res, b
}

func (d *driver) ask(want int) *jobpayload.Payload {
	d.t.Helper()
	info := gitlab.Info{Features: gitlab.Features{
		Refspecs: true, UploadMultipleArtifacts: true, UploadRawArtifacts: true, ArtifactsExclude: true, ReturnExitCode: true,
		FallbackCacheKeys: true, CancelGracefully: true, TwoPhaseJobCommit: d.twoPh,
	}}
	req := gitlab.JobRequest{Token: d.token, SystemID: "s_0123456789ab", LastUpdate: d.last, Info: info}
	res, b := d.must("POST", "jobs/request", map[string]string{gitlab.HeaderRunnerToken: d.token}, marshal(d.t, req), want)
	if lu := res.Header.Get(gitlab.HeaderLastUpdate); lu != "" {
		d.last = lu
	}
	if want != http.StatusCreated {
		return nil
	}
	var p jobpayload.Payload
	if err := json.Unmarshal(b, &p); err != nil {
		d.t.Fatal(err)
	}
	return &p
}

func (d *driver) patch(p *jobpayload.Payload, start int, text string, want int) *http.Response {
	d.t.Helper()
	res, _ := d.must("PATCH", fmt.Sprintf("jobs/%d/trace?debug_trace=false", p.ID), map[string]string{
		gitlab.HeaderJobToken: p.Token, "Content-Type": "text/plain", "Content-Range": fmt.Sprintf("%d-%d", start, start+len(text)-1),
	}, []byte(text), want)
	return res
}

func (d *driver) put(p *jobpayload.Payload, u gitlab.Update, want int) *http.Response {
	d.t.Helper()
	u.Token = p.Token
	res, _ := d.must("PUT", fmt.Sprintf("jobs/%d", p.ID), map[string]string{gitlab.HeaderJobToken: p.Token}, marshal(d.t, u), want)
	return res
}

func (d *driver) upload(p *jobpayload.Payload, kind, format string, content []byte, want int) {
	d.t.Helper()
	var body bytes.Buffer
	w := multipart.NewWriter(&body)
	f, err := w.CreateFormFile("file", "artifacts."+format)
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := f.Write(content); err != nil {
		d.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		d.t.Fatal(err)
	}
	d.must("POST", fmt.Sprintf("jobs/%d/artifacts?artifact_type=%s&artifact_format=%s", p.ID, kind, format),
		map[string]string{gitlab.HeaderJobToken: p.Token, "Content-Type": w.FormDataContentType()}, body.Bytes(), want)
}

func final(state, text string) gitlab.Update {
	return gitlab.Update{State: state, Output: gitlab.Output{
		Checksum: fmt.Sprintf("crc32:%08x", crc32.ChecksumIEEE([]byte(text))), Bytesize: int64(len(text)),
	}}
}

func failed(reason string, exit int, text string) gitlab.Update {
	u := final("failed", text)
	u.FailureReason, u.ExitCode = reason, exit
	return u
}

func marshal(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func add(t *testing.T, c *gitlabtest.Coordinator, spec gitlabtest.JobSpec) int64 {
	t.Helper()
	id, err := c.AddJob(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func jobOf(t *testing.T, c *gitlabtest.Coordinator, id int64) gitlabtest.Job {
	t.Helper()
	j, ok := c.Job(id)
	if !ok {
		t.Fatalf("no job %d", id)
	}
	return j
}

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// repository makes a git repository with these files, committed on main.
func repository(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"init", "--quiet", "--initial-branch=main"}, {"add", "-A"},
		{"-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "--quiet", "-m", "Add all\n\nThe body."},
	} {
		runGit(t, dir, args...)
	}
	return dir
}

func runGit(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func itoa(n int64) string { return fmt.Sprintf("%d", n) }
