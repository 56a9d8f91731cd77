package engine_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/spool"
	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/fake"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/payload"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
	"gitlab.com/skerry/skerry/internal/job"
	"gitlab.com/skerry/skerry/internal/stage"
)

const (
	scriptID  = "step_script"
	uploadsID = "upload_artifacts_on_success"
)

// hostile is an agent that lies, and what becomes of its job.
type hostile struct {
	name   string
	script fake.Script
	spec   func(*payload.Spec) // what its job has beside a script
	state  string              // of the job in the end
	reason string
	log    []string // in this order
}

// says makes the place answer requests whose path ends in suffix with body, whatever it asks for.
func says(place executor.Place, suffix string, status int, body string) func(executor.Place, http.ResponseWriter, *http.Request) bool {
	return func(p executor.Place, w http.ResponseWriter, r *http.Request) bool {
		if p != place || !strings.HasSuffix(r.URL.Path, suffix) || r.Method != http.MethodGet {
			return false
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		return true
	}
}

// scripts is a Script whose step_script is a.
func scripted(a fake.Action) fake.Script {
	return fake.Script{Stages: map[string]fake.Action{scriptID: a}}
}

func hostileConnections() []hostile {
	const lost, late = "runner_system_failure", "job_execution_timeout"
	return []hostile{
		{name: "speaks no HTTP/2", state: "failed", reason: lost, log: []string{"prepare environment"}, script: fake.Script{
			Connection: func(_ executor.Place, c net.Conn) {
				go func() { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.6\r\n"+strings.Repeat("\x00\xff", 1<<16)) }()
				_, _ = io.Copy(io.Discard, c)
			},
		}},
		{name: "accepts and says nothing", state: "failed", reason: lost, log: []string{"the agent cannot be reached"}, script: fake.Script{
			Connection: func(_ executor.Place, c net.Conn) { _, _ = io.Copy(io.Discard, c) },
		}},
		{name: "never answers a stage", state: "failed", reason: late, log: []string{"took longer than 1h0m0s"}, script: fake.Script{
			Intercept: func(_ executor.Place, _ http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/v1/stages/") {
					<-r.Context().Done()
				}
				return strings.HasPrefix(r.URL.Path, "/v1/stages/")
			},
		}},
		{name: "hangs up at every stage", state: "failed", reason: lost, log: []string{"stage get_sources"}, script: fake.Script{
			Intercept: func(_ executor.Place, _ http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, "/v1/stages/") {
					panic(http.ErrAbortHandler)
				}
				return false
			},
		}},
		{name: "endless hello", state: "failed", reason: lost, log: []string{"prepare environment"}, script: fake.Script{
			Intercept: says(executor.Helper, "/v1/hello", http.StatusOK, `{"version": "`+strings.Repeat("x", 5<<20)),
		}},
		{name: "endless status", state: "failed", reason: lost, log: []string{"stage step_script"}, script: fake.Script{
			Intercept: says(executor.Build, "/v1/stages/"+scriptID, http.StatusOK, `{"known": true, "at": `+strings.Repeat("1", 5<<20)),
		}},
		{name: "another protocol", state: "failed", reason: lost, log: []string{"protocol"}, script: fake.Script{
			Hello: func(_ executor.Place, h *wire.Hello) { h.Protocol = 9900 },
		}},
		{name: "over without result", state: "failed", reason: lost, log: []string{"over and not how"}, script: fake.Script{
			Intercept: says(executor.Build, "/v1/stages/"+scriptID, http.StatusOK, `{"known": true, "over": true}`),
		}},
		{name: "never knew the stage", state: "failed", reason: lost, log: []string{"does not know this stage"}, script: fake.Script{
			Intercept: says(executor.Build, "/v1/stages/"+scriptID, http.StatusOK, `{}`),
		}},
		{name: "claims to be another's", state: "failed", reason: lost, log: []string{"newer runner process"}, script: fake.Script{
			Intercept: says(executor.Build, "/v1/stages/"+scriptID, http.StatusGone, `{}`),
		}},
		{name: "host name of a megabyte", state: "success", log: []string{"Running on x", "Job succeeded"}, script: fake.Script{
			Hello: func(_ executor.Place, h *wire.Hello) { h.Host = strings.Repeat("x\n", 1<<19) },
		}},
		{name: "use of a Nix store", state: "success", log: []string{"Job account: ", "Nix: 3 built, 12 substituted (48.0 MiB), 40 reused", "Job succeeded"}, script: fake.Script{
			Hello:     func(_ executor.Place, h *wire.Hello) { h.Nix = true },
			Intercept: says(executor.Helper, "/v1/nix", http.StatusOK, `{"built":{"paths":3},"substituted":{"paths":12,"bytes":50331648},"reused":{"paths":40}}`),
		}},
		{name: "use of a Nix store that nobody can have", state: "success", log: []string{"Job account: ", "Nix: 2147483647 built, 1 substituted", "Job succeeded"}, script: fake.Script{
			Hello:     func(_ executor.Place, h *wire.Hello) { h.Nix = true },
			Intercept: says(executor.Helper, "/v1/nix", http.StatusOK, `{"built":{"paths":9000000000000},"substituted":{"paths":1,"bytes":-5},"reused":{"paths":-40}}`),
		}},
		{name: "no use of a Nix store", state: "success", log: []string{"Job account: ", "Job succeeded"}, script: fake.Script{
			Hello:     func(_ executor.Place, h *wire.Hello) { h.Nix = true },
			Intercept: says(executor.Helper, "/v1/nix", http.StatusOK, `{"built":{"paths":1e300`),
		}},
	}
}

func hostileResults() []hostile {
	return []hostile{
		{name: "message of megabytes", state: "failed", reason: "runner_system_failure", log: []string{"ERROR: Job failed (system failure): xx"},
			script: scripted(fake.Claim(stage.Result{Reason: stage.System, Message: strings.Repeat("x", 3<<20)}))},
		{name: "unknown reason", state: "failed", reason: "runner_system_failure", log: []string{`says "bogus\x1b[2J": invalid`},
			script: scripted(fake.Claim(stage.Result{Reason: "bogus\x1b[2J", Message: "invalid \xff\xfe\nlines\r\n"}))},
		{name: "failed with exit code 0", state: "failed", reason: "script_failure", log: []string{"exit code 1"},
			script: scripted(fake.Claim(stage.Result{Reason: stage.Failed}))},
		{name: "failed with a senseless exit code", state: "failed", reason: "script_failure", log: []string{"exit code 1"},
			script: scripted(fake.Claim(stage.Result{Reason: stage.Failed, ExitCode: -1 << 40}))},
		{name: "times before time", state: "success", log: []string{"Job succeeded"},
			script: scripted(fake.Claim(stage.Result{Started: -1 << 62, Ended: -1 << 62}))},
		{name: "times after time", state: "success", log: []string{"Job succeeded"},
			script: scripted(fake.Claim(stage.Result{Started: 1<<63 - 1, Ended: 1<<63 - 1}))},
	}
}

func hostileOutput() []hostile {
	write := func(f func(s *fake.Stage)) fake.Script {
		return scripted(func(s *fake.Stage) stage.Result {
			f(s)
			return stage.Result{}
		})
	}
	year := func(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() }
	return []hostile{
		{name: "no end", state: "success", log: []string{"all there is", "ERROR: the rest of this stage's output is missing", "Job succeeded"},
			script: write(func(s *fake.Stage) { s.Write(spool.Stdout, "all there is\n"); s.NoEnd() })},
		{name: "a record too large", state: "success", log: []string{"before", "ERROR: this stage's output is unreadable", "Job succeeded"},
			script: write(func(s *fake.Stage) {
				s.Write(spool.Stdout, "before\n")
				s.WriteRaw([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 1})
			})},
		{name: "year 1 and year 9999", state: "success", log: []string{"early", "late", "Job succeeded"},
			script: write(func(s *fake.Stage) {
				s.WriteAt(year(1), spool.Stdout, "early\n")
				s.WriteAt(year(9999), spool.Stdout, "late\n")
				s.WriteAt(-1<<63, spool.Stdout, "never\n")
				s.WriteAt(1<<63-1, spool.Stderr, "ever\n")
			})},
		{name: "more dropped than there can be", state: "success", log: []string{"left out here", "Job succeeded"},
			script: write(func(s *fake.Stage) { s.Dropped(1<<64 - 1) })},
		{name: "more than the limit", state: "success", log: []string{"exceeded limit", "Job succeeded"},
			script: write(func(s *fake.Stage) { s.Write(spool.Stdout, strings.Repeat("0123456789abcdef\n", 1<<18)) })},
		{name: "spool is not kept", state: "success", log: []string{"WARNING: output of this stage was left out", "Job succeeded"}, script: fake.Script{
			Intercept: says(executor.Build, scriptID+"/spool", http.StatusRequestedRangeNotSatisfiable, `{"message": "trimmed"}`),
		}},
		{name: "spool is refused", state: "success", log: []string{"ERROR: the rest of this stage's output is missing", "Job succeeded"}, script: fake.Script{
			Intercept: says(executor.Build, scriptID+"/spool", http.StatusTeapot, `no`),
		}},
	}
}

func hostileArchives() []hostile {
	artifacts := func(s *payload.Spec) { s.Artifacts = []jobpayload.Artifact{{Paths: []string{"x"}}} }
	claim := func(archives ...stage.Archive) fake.Script {
		return fake.Script{Stages: map[string]fake.Action{uploadsID: func(s *fake.Stage) stage.Result {
			s.Store("artifact-0", "content")
			return stage.Result{Archives: archives}
		}}}
	}
	const sum = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73" // of "content"
	many := make([]stage.Archive, 1<<14)
	for i := range many {
		many[i] = stage.Archive{Name: "artifact-0", Size: 7, SHA256: fmt.Sprintf("%064x", i)}
	}
	return []hostile{
		{name: "honest", spec: artifacts, state: "success", log: []string{"201 Created", "Job succeeded"},
			script: claim(stage.Archive{Name: "artifact-0", Size: 7, SHA256: sum})},
		{name: "not asked for", spec: artifacts, state: "success", log: []string{"Job succeeded"},
			script: claim(stage.Archive{Name: "../../etc/passwd", Size: 7, SHA256: sum}, stage.Archive{Name: "artifact-1", Size: 7})},
		{name: "negative size", spec: artifacts, state: "failed", reason: "runner_system_failure", log: []string{"size of -7 bytes"},
			script: claim(stage.Archive{Name: "artifact-0", Size: -7, SHA256: sum})},
		{name: "another size than said", spec: artifacts, state: "failed", reason: "runner_system_failure", log: []string{"7 bytes"},
			script: claim(stage.Archive{Name: "artifact-0", Size: 1 << 40, SHA256: sum})},
		{name: "no checksum", spec: artifacts, state: "failed", reason: "runner_system_failure", log: []string{"checksum"},
			script: claim(stage.Archive{Name: "artifact-0", Size: 7, SHA256: strings.Repeat("é", 1<<20)})},
		{name: "the same archive many times", spec: artifacts, state: "success", log: []string{"201 Created", "Job succeeded"}, script: claim(many...)},
	}
}

// A hostile agent harms its own job only: that one ends, in bounded time and with a bounded log, and
// another job of the same engine, begun before and ended after it, is not disturbed.
func TestHostileAgents(t *testing.T) {
	t.Parallel()
	all := append(append(append(hostileConnections(), hostileResults()...), hostileOutput()...), hostileArchives()...)
	for _, c := range all {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			release := make(chan struct{})
			bubble(t, func(j *job.Job) fake.Script {
				if j.Name == "honest" {
					return scripted(fake.Hold(nil, release, fake.Print("honest work\n")))
				}
				return c.script
			}, func(b *bench) {
				release = make(chan struct{}) // the bubble's own
				c.try(b, release)
			})
		})
	}
}

func (c hostile) try(b *bench, release chan struct{}) {
	b.t.Helper()
	honest := minimal()
	honest.Name, honest.Timeout = "honest", 24*time.Hour
	a, other := b.job(honest)
	done := make(chan error)
	go func() { done <- b.engine.Run(b.t.Context(), a) }()

	spec := minimal()
	if c.spec != nil {
		c.spec(&spec)
	}
	began := time.Now()
	co := b.run(spec)
	if took := time.Since(began); took > 90*time.Minute {
		b.t.Errorf("the job of an hour took %v", took)
	}
	close(release)
	if err := <-done; err != nil {
		b.t.Errorf("the honest job: %v", err)
	}
	if got := other.final(b.t); got.State != "success" {
		b.t.Errorf("the honest job ended %+v", got)
	}
	inOrder(b.t, other.text(), []string{"honest work", "Job succeeded"})
	if got := co.final(b.t); got.State != c.state || got.FailureReason != c.reason {
		b.t.Errorf("ended %s %q, want %s %q", got.State, got.FailureReason, c.state, c.reason)
	}
	if n := len(co.text()); n > 2<<20 {
		b.t.Errorf("the log has %d bytes", n)
	}
	inOrder(b.t, co.text(), c.log)
}

// An agent that talks for ever is cut off: at the log's limit while its stage runs, and in the end.
func TestEndlessOutput(t *testing.T) {
	t.Parallel()
	flood := spool.Append(nil, 1, spool.Stdout, []byte(strings.Repeat("flood\n", 4<<10)))
	script := fake.Script{Intercept: func(p executor.Place, w http.ResponseWriter, r *http.Request) bool {
		if p != executor.Build || !strings.HasSuffix(r.URL.Path, "/spool") {
			return false
		}
		for r.Context().Err() == nil {
			if _, err := w.Write(flood); err != nil {
				break
			}
		}
		return true
	}}
	onBench(t, one(script), func(b *bench) {
		b.stop()
		b.drain = 500 * time.Millisecond
		b.open()
		c := b.run(minimal())
		if got := c.final(t); got.State != "success" {
			t.Errorf("ended %+v", got)
		}
		inOrder(t, c.text(), []string{"flood", "exceeded limit", "output is missing", "Job succeeded"})
	})
}
