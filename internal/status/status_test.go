package status

import (
	"errors"
	"flag"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/job"
)

var update = flag.Bool("update", false, "write the golden files")

// clock is a clock that a test turns.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) turn(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newBoard() (*Board, *clock) {
	c := &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	b := New(Options{SystemID: "s_0123456789ab", Clock: c.Now, Build: Build{Name: "skerry", Version: "1.2.3", Revision: "abcdef01", Branch: "main"}})
	return b, c
}

func runnerA() Runner {
	return Runner{Key: "key-a", Token: "tokenaaaa", Name: "first", Executor: "shell", Limit: 3, RequestConcurrency: 2}
}

// scene runs through everything that can be reported.
func scene(b *Board, c *clock) {
	b.SetRunners(8, []Runner{runnerA(), {Key: "key-b", Token: "tokenbbbb", Name: "second", Executor: "docker"}})
	b.ConfigurationLoaded(nil)
	b.ConfigurationLoaded(errors.New("line 3"))
	b.ConfigurationSaved(nil)
	b.Asked("key-a")
	b.Asked("key-a")
	b.Answered("key-a", 201, time.Second, true)
	b.Asked("key-b")
	b.Answered("key-b", 403, time.Second, false)
	b.Refused("key-b")
	b.RequestDone("key-a", "request_job", "POST", 201, 300*time.Millisecond)
	b.RequestDone("key-a", "request_job", "POST", 0, time.Second)
	b.RequestDone("key-a", "patch_trace", "", 502, 2*time.Second)
	b.SlotChanged("key-a", true)
	b.SlotChanged("key-a", true)
	b.SlotChanged("key-a", false)
	b.JobStarted(Job{Ref: "1", ID: 1, URL: "https://gitlab.example/g/p/-/jobs/1", Runner: runnerA(), Queue: job.Queue{Waited: 2 * time.Second, ProjectRunning: "0", Size: 1, Depth: 1}})
	b.JobStarted(Job{Ref: "2", ID: 2, URL: "https://gitlab.example/g/p/-/jobs/2", Runner: runnerA(), Queue: job.Queue{ProjectRunning: "hostile", Size: 7, Depth: 3}})
	b.JobStarted(Job{Ref: "3", ID: 3, URL: "https://gitlab.example/g/p/-/jobs/3 state=x\n", Runner: runnerA(), Adopted: true})
	b.StageEntered("1", job.StagePrepareExecutor)
	c.turn(2 * time.Second)
	b.StageEntered("1", job.StageStepScript)
	b.StageEntered("1", job.StageStepScript)
	b.StageEntered("none", job.StageStepScript)
	c.turn(40 * time.Second)
	b.JobEnded("1", job.Result{State: job.Failed, Reason: job.ReasonScript, ExitCode: 1})
	b.JobEnded("1", job.Result{State: job.Failed, Reason: job.ReasonSystem})
	b.JobEnded("2", job.Result{State: job.Success})
	b.JobOver("2")
	b.JobOver("none")
}

func get(t *testing.T, h http.Handler, method, path string) (*http.Response, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	res := rec.Result()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestMetrics(t *testing.T) {
	t.Parallel()
	b, c := newBoard()
	h := b.Handler()
	scene(b, c)
	_, body := get(t, h, http.MethodGet, "/metrics")
	var ours []string
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "gitlab_runner_") && !strings.HasPrefix(line, "gitlab_runner_version_info") {
			ours = append(ours, line)
		}
	}
	got := strings.Join(ours, "")
	golden := filepath.Join("testdata", "metrics.txt")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{
		`gitlab_runner_version_info{architecture="`, `version="1.2.3"`, "go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(body, name) {
			t.Errorf("no %s in /metrics", name)
		}
	}
}

func TestJobList(t *testing.T) {
	t.Parallel()
	b, c := newBoard()
	scene(b, c)
	res, body := get(t, b.Handler(), http.MethodGet, "/debug/jobs/list?v=2")
	want := "url=https://gitlab.example/g/p/-/jobs/1 state=failed stage=step_script executor_stage=finish duration=42s\n" +
		"url=https://gitlab.example/g/p/-/jobs/3_state=x_ state=running stage= executor_stage=created duration=42s\n"
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
	if v := res.Header.Get("X-List-Version"); v != "2" {
		t.Errorf("X-List-Version %q", v)
	}
}

func TestHealthAndMethods(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	h := b.Handler()
	for _, tc := range []struct {
		ready        bool
		method, path string
		status       int
		body         string
	}{
		{false, "GET", "/health/ready", 503, "not ready\n"},
		{true, "GET", "/health/ready", 200, "ready\n"},
		{true, "GET", "/debug/process/state", 200, "running\n"},
		{true, "GET", "/debug/jobs/list", 200, ""},
		{true, "POST", "/metrics", 405, "Method Not Allowed\n"},
		{true, "POST", "/debug/jobs/list", 405, "Method Not Allowed\n"},
		{true, "GET", "/", 404, "404 page not found\n"},
	} {
		b.SetReady(tc.ready)
		res, body := get(t, h, tc.method, tc.path)
		if res.StatusCode != tc.status || body != tc.body {
			t.Errorf("%s %s: %d %q, want %d %q", tc.method, tc.path, res.StatusCode, body, tc.status, tc.body)
		}
	}
}

func TestSnapshot(t *testing.T) {
	t.Parallel()
	b, c := newBoard()
	scene(b, c)
	s := b.Snapshot()
	if len(s.Jobs) != 2 || s.Jobs[0].Ref != "1" || s.Jobs[0].Result.Reason != job.ReasonScript || s.Concurrent != 8 {
		t.Errorf("%+v", s)
	}
	s.Jobs[0].Result.Reason = "changed"
	s.Runners[0].Name = "changed"
	if again := b.Snapshot(); again.Jobs[0].Result.Reason != job.ReasonScript || again.Runners[0].Name != "first" {
		t.Error("a reader's change is seen by others")
	}
	for want, r := range map[string]job.Result{
		StateSuccess:  {State: job.Success},
		StateFailed:   {State: job.Failed, Reason: job.ReasonSystem},
		StateCanceled: {State: job.Failed, Reason: job.ReasonCanceled},
		StateTimedOut: {State: job.Failed, Reason: job.ReasonTimeout},
	} {
		if got := endState(r); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
}

func TestForeignLabelsNeverPanic(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	h := b.Handler()
	bad := Runner{Key: "k\xff", Name: "n\xff", Executor: "e\xff"}
	b.SetRunners(1, []Runner{bad, bad})
	b.Asked(bad.Key)
	b.Asked("unknown\xff")
	b.Refused("unknown")
	b.JobStarted(Job{Ref: "r", Runner: bad, Queue: job.Queue{ProjectRunning: "\xff"}})
	b.JobEnded("r", job.Result{State: job.Failed, Reason: job.ReasonSystem})
	if res, body := get(t, h, http.MethodGet, "/metrics"); res.StatusCode != http.StatusOK {
		t.Errorf("%d %s", res.StatusCode, body)
	}
}

func TestCountLog(t *testing.T) {
	t.Parallel()
	b, _ := newBoard()
	h := b.Handler()
	var out strings.Builder
	log := slog.New(b.CountLog(slog.NewTextHandler(&out, nil)))
	log.Info("i")
	log.With("a", 1).Warn("w")
	log.WithGroup("g").Error("e", "k", "v")
	log.Error("e")
	if n := strings.Count(out.String(), "\n"); n != 4 {
		t.Errorf("%d lines passed on", n)
	}
	_, body := get(t, h, http.MethodGet, "/metrics")
	for _, line := range []string{`gitlab_runner_errors_total{level="warning"} 1`, `gitlab_runner_errors_total{level="error"} 2`, `gitlab_runner_errors_total{level="fatal"} 0`} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("no %s", line)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	b, c := newBoard()
	h := b.Handler()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				scene(b, c)
				b.Snapshot()
				get(t, h, http.MethodGet, "/metrics")
			}
		})
	}
	wg.Wait()
}
