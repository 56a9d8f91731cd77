package daemon

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/agent/agenttest"
	"gitlab.com/skerry/skerry/internal/agent/embedded"
	"gitlab.com/skerry/skerry/internal/cli/program"
	"gitlab.com/skerry/skerry/internal/config"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	testclock "gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
)

// patience bounds every wait of these tests.
const patience = 2 * time.Minute

// log is a daemon's log, for several goroutines.
type log struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// bench is a daemon with one runner whose token is an hour old in a life of four, and a coordinator.
type bench struct {
	*Daemon
	t     *testing.T
	co    *gitlabtest.Coordinator
	time  *testclock.Manual
	path  string // of the configuration
	token string // as registered
	log   *log
}

func newBench(t *testing.T, lines string) *bench {
	t.Helper()
	dir := t.TempDir()
	co, err := gitlabtest.New(gitlabtest.Options{Dir: filepath.Join(dir, "coordinator")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(co.Close)
	now := time.Now().UTC().Truncate(time.Second)
	b := &bench{t: t, co: co, time: testclock.NewManual(now), path: filepath.Join(dir, "config.toml"), log: &log{}}
	b.token = co.AddRunner(gitlabtest.RunnerSpec{TokenExpires: now.Add(3 * time.Hour)}).Token
	text := fmt.Sprintf("check_interval = 1\nconcurrent = 2\n\n[[runners]] # kept\nname = \"one\"\nurl = %q\ntoken = %q\ntoken_obtained_at = %s\ntoken_expires_at = %s\nexecutor = \"shell\"\nlimit = 1\n%s\n",
		co.URL(), b.token, now.Add(-time.Hour).Format(time.RFC3339), now.Add(3*time.Hour).Format(time.RFC3339), lines)
	if err := os.WriteFile(b.path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := agenttest.Build(t)
	if _, err := embedded.Find("amd64"); err != nil {
		t.Setenv(embedded.Variable, agent)
	}
	b.Daemon, err = New(t.Context(), Options{
		StateDir: filepath.Join(dir, "state"), WorkDir: dir, SystemID: "s_0123456789ab",
		Log: slog.New(slog.NewTextHandler(io.MultiWriter(b.log), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.clock = b.time
	return b
}

// serve runs the daemon until the test ends.
func (b *bench) serve() {
	b.t.Helper()
	c, err := config.Load(b.path, config.Options{Executors: Executors()})
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.t.Context())
	served := make(chan error, 1)
	go func() { served <- b.Serve(ctx, Service{Config: c, Follow: true}) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			b.t.Error(err)
		}
		if err := b.Close(); err != nil {
			b.t.Error(err)
		}
		if b.t.Failed() {
			b.t.Logf("log:\n%s", b.log)
		}
	})
}

// until moves the daemon's clock on, a minute at a time, until cond holds.
func (b *bench) until(what string, cond func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain: %s\n%s", what, b.log)
		}
		b.time.Advance(time.Minute)
	}
}

// settles waits until cond holds, while the daemon's clock stands still: a token that has just been replaced would be again
// when an hour of it has passed before the file is read.
func (b *bench) settles(what string, cond func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("waited in vain: %s\n%s", what, b.log)
		}
	}
}

func (b *bench) tokenInFile() string {
	c, err := config.Load(b.path, config.Options{NoSystemID: true})
	if err != nil {
		b.t.Fatal(err)
	}
	return c.Runners[0].Token
}

func (b *bench) job(lines ...string) int64 {
	b.t.Helper()
	id, err := b.co.AddJob(b.t.Context(), gitlabtest.JobSpec{Script: lines})
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bench) success(id int64) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), patience)
	defer cancel()
	if j, err := b.co.Wait(ctx, id); err != nil || j.Status != "success" {
		b.t.Fatalf("job %d is %s: %v\n%s", id, j.Status, err, b.log)
	}
}

func TestTokenIsReplacedWhileAJobRuns(t *testing.T) {
	b := newBench(t, "")
	b.serve()
	dir := t.TempDir()
	first := b.job("touch "+dir+"/began", "until test -e "+dir+"/go; do sleep 0.01; done")
	b.settles("the job begins", func() bool { _, err := os.Stat(dir + "/began"); return err == nil })
	before := b.poller.Stats()

	start := b.time.Now()
	b.until("another token in the file", func() bool { return b.tokenInFile() != b.token })
	if after := b.time.Now().Sub(start); after < 2*time.Hour {
		t.Errorf("replaced after %s of 3 h left, want 2 h: at three quarters of the token's life", after)
	}
	b.settles("the new configuration", func() bool { return strings.Contains(b.log.String(), "Configuration loaded") })
	if diff := cmp.Diff(before, b.poller.Stats()); diff != "" {
		t.Errorf("the poller's runners and slots have changed: %s", diff)
	}
	if err := os.WriteFile(dir+"/go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	b.success(first)
	b.success(b.job("true")) // asked for with the new token
	text, err := os.ReadFile(b.path)
	if err != nil || !strings.Contains(string(text), "[[runners]] # kept") {
		t.Errorf("the file has become %q, %v", text, err)
	}
	if strings.Contains(b.log.String(), b.token) || strings.Contains(b.log.String(), b.tokenInFile()) {
		t.Error("a token is in the log")
	}
	for _, breach := range b.co.Breaches() {
		t.Error(breach)
	}
}

func TestTokenIsNotReplaced(t *testing.T) {
	for name, c := range map[string]struct{ lines, log string }{
		"forbidden": {"[runners.feature_flags]\nFF_DISABLE_AUTOMATIC_TOKEN_ROTATION = true", "is not replaced, because FF_DISABLE_AUTOMATIC_TOKEN_ROTATION is set"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, c.lines)
			b.serve()
			b.until(c.log, func() bool { return strings.Contains(b.log.String(), c.log) })
			b.success(b.job("true"))
			if b.tokenInFile() != b.token {
				t.Error("the token was replaced")
			}
			if n := strings.Count(b.log.String(), c.log); n != 1 {
				t.Errorf("said %d times", n)
			}
		})
	}
}

func TestReplacingATokenIsTriedAgain(t *testing.T) {
	b := newBench(t, "")
	b.co.Fault(fault.Fault{Endpoint: gitlabtest.EndpointReset, Status: 500, Count: 3})
	b.serve()
	b.until("another token in the file", func() bool { return b.tokenInFile() != b.token })
	if n := strings.Count(b.log.String(), "could not be replaced; it is tried again"); n != 3 {
		t.Errorf("%d failures were logged\n%s", n, b.log)
	}
	b.success(b.job("true"))
}

func TestKeysSurviveTokens(t *testing.T) {
	t.Parallel()
	entry := func(id int64, token string) *config.Runner {
		return &config.Runner{URL: "https://x", ID: id, Token: token}
	}
	m := identities{}
	first := m.assign([]*config.Runner{entry(7, "a"), entry(0, "b"), entry(0, "b"), entry(8, "c")})
	seen := map[string]bool{}
	for _, key := range first {
		if seen[key] {
			t.Errorf("two runners have the key %s", key)
		}
		seen[key] = true
	}
	m.replaced(entry(0, "b"), "b2")
	second := m.assign([]*config.Runner{entry(7, "a2"), entry(0, "b2"), entry(0, "b2"), entry(8, "c")})
	if diff := cmp.Diff(first, second); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(first[:1], (identities{}).assign([]*config.Runner{entry(7, "a3")})); diff != "" {
		t.Errorf("another process: %s", diff)
	}
	if got := m.keyOf("https://x", "a"); got != first[0] {
		t.Errorf("the old token leads to %q", got)
	}
}

func TestRotateAt(t *testing.T) {
	t.Parallel()
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		obtained, expires, want time.Time
	}{
		"never":          {obtained: day},
		"three quarters": {day, day.AddDate(0, 0, 4), day.AddDate(0, 0, 3)},
		"unknown":        {expires: day, want: time.Unix(0, 0)},
		"nonsense":       {day, day.AddDate(0, 0, -1), time.Unix(0, 0)},
	} {
		if got := rotateAt(&config.Runner{TokenObtainedAt: c.obtained, TokenExpiresAt: c.expires}); !got.Equal(c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// TestTokenThatCannotBeWritten has GitLab's new token used and kept although the file could not take it.
func TestTokenThatCannotBeWritten(t *testing.T) {
	b := newBench(t, "")
	b.serve()
	b.settles("ready", func() bool { return strings.Contains(b.log.String(), "Runner is ready") })
	b.mu.Lock()
	r := b.config.Runners[0]
	b.mu.Unlock()
	reload := make(chan struct{}, 1)
	fresh := b.co.AddRunner(gitlabtest.RunnerSpec{}).Token
	b.newRotation(b.path, config.Options{}, nil, reload).keep(b.Daemon.log, r, &program.LostTokenError{Token: fresh, Err: os.ErrPermission})
	files, err := filepath.Glob(filepath.Join(b.o.StateDir, "token-*"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	if text, err := os.ReadFile(files[0]); err != nil || string(text) != fresh+"\n" {
		t.Errorf("%q, %v", text, err)
	}
	if strings.Contains(b.log.String(), fresh) || !strings.Contains(b.log.String(), files[0]) {
		t.Error("the log shows the token, or not where it is\n", b.log)
	}
	b.co.RemoveRunner(b.token)
	b.success(b.job("true"))
}
