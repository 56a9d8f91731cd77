package gitlabtest_test

import (
	"net/http"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/clock"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/store"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

// running starts a coordinator with one job that has been handed out, is running and logged "hello\n".
func running(t *testing.T, opts gitlabtest.Options) (*gitlabtest.Coordinator, *driver, *jobpayload.Payload) {
	t.Helper()
	c := gitlabtest.Start(t, opts)
	d := newDriver(t, c)
	add(t, c, gitlabtest.JobSpec{})
	p := d.ask(http.StatusCreated)
	d.put(p, gitlab.Update{State: "running"}, 200)
	d.patch(p, 0, "hello\n", 202)
	return c, d, p
}

// patchCut sends a patch whose answer must not arrive.
func (d *driver) patchCut(p *jobpayload.Payload, start int, text string) {
	d.t.Helper()
	_, _, err := d.do("PATCH", "jobs/"+itoa(p.ID)+"/trace", map[string]string{
		gitlab.HeaderJobToken: p.Token, "Content-Type": "text/plain", "Content-Range": rangeOf(start, text),
	}, []byte(text))
	if err == nil {
		d.t.Errorf("the patch at %d was answered", start)
	}
}

func rangeOf(start int, text string) string {
	return itoa(int64(start)) + "-" + itoa(int64(start+len(text)-1))
}

// None of these is the runner's fault: Start fails the test for any breach.
func TestFaultsMakeRepetitionLegitimate(t *testing.T) {
	t.Parallel()
	const log = "hello\n"
	cases := []struct {
		name  string
		fault fault.Fault
		do    func(d *driver, p *jobpayload.Payload)
	}{
		{"patch cut before it is handled", fault.Fault{Endpoint: gitlabtest.EndpointTrace, Cut: true}, func(d *driver, p *jobpayload.Payload) {
			d.patchCut(p, 6, "x")
			d.patch(p, 6, "x", 202)
			d.put(p, final("success", log+"x"), 200)
		}},
		{"patch handled but unanswered", fault.Fault{Endpoint: gitlabtest.EndpointTrace, Handle: true, Cut: true}, func(d *driver, p *jobpayload.Payload) {
			d.patchCut(p, 6, "x")
			if r := d.patch(p, 6, "x", 416).Header.Get("Range"); r != "0-7" {
				d.t.Errorf("Range is %q", r)
			}
			d.put(p, final("success", log+"x"), 200)
		}},
		{"final update handled but unanswered", fault.Fault{Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Handle: true, Cut: true}, func(d *driver, p *jobpayload.Payload) {
			if _, _, err := d.do("PUT", "jobs/"+itoa(p.ID), map[string]string{gitlab.HeaderJobToken: p.Token}, marshalFinal(d.t, p, log)); err == nil {
				d.t.Error("the update was answered")
			}
			if s := d.put(p, final("success", log), 403).Header.Get(gitlab.HeaderJobStatus); s != "success" {
				d.t.Errorf("Job-Status is %q", s)
			}
		}},
		{"202 twice", fault.Fault{Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 202, Count: 2}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", log), 202)
			d.put(p, final("success", log), 202)
			d.put(p, final("success", log), 200)
		}},
		{"412 loses the log", fault.Fault{Endpoint: gitlabtest.EndpointUpdate, State: fault.Final, Status: 412, Lose: true}, func(d *driver, p *jobpayload.Payload) {
			d.put(p, final("success", log), 412)
			d.patch(p, 0, log, 202)
			d.put(p, final("success", log), 200)
		}},
		{"416 loses a part", fault.Fault{Endpoint: gitlabtest.EndpointTrace, Status: 416, Lose: true, Truncate: 2}, func(d *driver, p *jobpayload.Payload) {
			if r := d.patch(p, 6, "x", 416).Header.Get("Range"); r != "0-2" {
				d.t.Errorf("Range is %q", r)
			}
			d.patch(p, 2, "llo\nx", 202)
			d.put(p, final("success", log+"x"), 200)
		}},
		{"503 three times", fault.Fault{Endpoint: gitlabtest.EndpointUpdate, Status: 503, Count: 3}, func(d *driver, p *jobpayload.Payload) {
			for range 3 {
				d.put(p, final("success", log), 503)
			}
			d.put(p, final("success", log), 200)
		}},
		{"silence", fault.Fault{Endpoint: gitlabtest.EndpointTrace, Wait: 10 * time.Minute, Cut: true}, func(d *driver, p *jobpayload.Payload) {
			d.patchCut(p, 6, "x")
			d.put(p, final("success", log), 200)
		}},
		{"slow", fault.Fault{Endpoint: gitlabtest.EndpointTrace, Slow: 1000}, func(d *driver, p *jobpayload.Payload) {
			d.patch(p, 6, "x", 202)
			d.put(p, final("success", log+"x"), 200)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			c, d, p := running(t, gitlabtest.Options{Scale: 6000, LongPoll: -1, Limits: longLimits()})
			h := c.Fault(tc.fault)
			tc.do(d, p)
			if h.Hits() == 0 {
				t.Error("the fault hit nothing")
			}
			if j := jobOf(t, c, p.ID); j.Status != "success" {
				t.Errorf("job is %s", j.Status)
			}
		})
	}
}

// longLimits keeps scaled clocks out of tests about something else.
func longLimits() gitlabtest.Limits {
	const ages = 1000 * time.Hour
	return gitlabtest.Limits{Stuck: ages, Touch: ages, Overdue: ages, Token: ages, Pending: ages}
}

func marshalFinal(t *testing.T, p *jobpayload.Payload, log string) []byte {
	u := final("success", log)
	u.Token = p.Token
	return marshal(t, u)
}

// A fault can act on the job that its request is about, or that was handed out.
func TestFaultActsOnTheJob(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{})
	d := newDriver(t, c)
	id := add(t, c, gitlabtest.JobSpec{})
	c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointRequest, Handle: true, Do: c.Cancel})
	c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointTrace, Handle: true, Do: func(job int64) { c.Drop(job, "stuck_or_timeout_failure") }})
	p := d.ask(http.StatusCreated)
	if j, err := c.WaitFor(soon(t), id, func(j gitlabtest.Job) bool { return j.Status == gitlabtest.StatusCanceling }); err != nil {
		t.Fatalf("job is %s: %v", j.Status, err)
	}
	d.patch(p, 0, "x", 202)
	if j, err := c.Wait(soon(t), id); err != nil || j.Reason != "stuck_or_timeout_failure" {
		t.Errorf("job is %s %s, %v", j.Status, j.Reason, err)
	}
	if s := d.put(p, final("success", "x"), 403).Header.Get(gitlab.HeaderJobStatus); s != "failed" {
		t.Errorf("Job-Status is %q", s)
	}
}

func TestTooSoonAfterRetryAfter(t *testing.T) {
	t.Parallel()
	clock := clock.NewManual(time.Now())
	c, d, p := running(t, gitlabtest.Options{Clock: clock})
	limit := fault.Fault{Endpoint: gitlabtest.EndpointTrace, Status: 429, Header: http.Header{"Retry-After": {"2"}}}
	c.Fault(limit)
	d.patch(p, 6, "x", 429)
	d.patch(p, 6, "x", 202)
	if b := c.TakeBreaches(); len(b) != 1 || b[0].Kind != breach.TooSoon {
		t.Errorf("breaches are %v", b)
	}
	c.Fault(limit)
	d.patch(p, 7, "y", 429)
	clock.Advance(2 * time.Second)
	d.patch(p, 7, "y", 202)
}

func TestAnswerThatNeverArrives(t *testing.T) {
	t.Parallel()
	clock := clock.NewManual(time.Now())
	c := gitlabtest.Start(t, gitlabtest.Options{Clock: clock})
	d := newDriver(t, c)
	d.twoPh = true
	id := add(t, c, gitlabtest.JobSpec{})
	c.Fault(fault.Fault{Endpoint: gitlabtest.EndpointRequest, Handle: true, Cut: true})
	if _, _, err := d.do("POST", "jobs/request", map[string]string{gitlab.HeaderRunnerToken: d.token},
		marshal(t, gitlab.JobRequest{Token: d.token, Info: gitlab.Info{Features: gitlab.Features{Refspecs: true, TwoPhaseJobCommit: true}}})); err == nil {
		t.Fatal("the request was answered")
	}
	lost := jobOf(t, c, id)
	d.ask(http.StatusNoContent)
	clock.Advance(3 * time.Minute)
	c.Sweep()
	p := d.ask(http.StatusCreated)
	if p.ID != id || p.Token == lost.Token {
		t.Errorf("job %d with token %q again", p.ID, p.Token)
	}
	d.put(p, gitlab.Update{State: "pending"}, 200)
	d.put(p, gitlab.Update{State: "running"}, 200)
	d.put(p, final("success", ""), 200)
}

func TestTraceBeforeAcknowledgement(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{})
	d := newDriver(t, c)
	d.twoPh = true
	add(t, c, gitlabtest.JobSpec{})
	p := d.ask(http.StatusCreated)
	if !p.Features.TwoPhaseJobCommit {
		t.Error("the payload does not say that the job waits to be acknowledged")
	}
	d.patch(p, 0, "x", 403)
	d.put(p, final("success", ""), 400)
	got := c.TakeBreaches()
	if len(got) != 2 || got[0].Kind != breach.NotRunning || got[1].Kind != breach.State {
		t.Errorf("breaches are %v", got)
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	t.Run("gracefully", func(t *testing.T) {
		t.Parallel()
		c, d, p := running(t, gitlabtest.Options{})
		c.Cancel(p.ID)
		if s := d.patch(p, 6, "x", 202).Header.Get(gitlab.HeaderJobStatus); s != "canceling" {
			t.Errorf("Job-Status is %q", s)
		}
		if s := d.put(p, failed("script_failure", 1, "hello\nx"), 200).Header.Get(gitlab.HeaderJobStatus); s != "canceled" {
			t.Errorf("Job-Status is %q", s)
		}
	})
	t.Run("by force", func(t *testing.T) {
		t.Parallel()
		c, d, p := running(t, gitlabtest.Options{})
		c.ForceCancel(p.ID)
		if s := d.put(p, gitlab.Update{State: "running"}, 403).Header.Get(gitlab.HeaderJobStatus); s != "canceled" {
			t.Errorf("Job-Status is %q", s)
		}
	})
	t.Run("token dead", func(t *testing.T) {
		t.Parallel()
		c, d, p := running(t, gitlabtest.Options{})
		c.KillToken(p.ID)
		if res := d.put(p, gitlab.Update{State: "running"}, 403); res.Header.Get(gitlab.HeaderJobStatus) != "" {
			t.Error("the 403 is not bare")
		}
	})
	t.Run("runner gone", func(t *testing.T) {
		t.Parallel()
		c, d, _ := running(t, gitlabtest.Options{})
		c.RemoveRunner(d.token)
		d.ask(http.StatusForbidden)
	})
}

func TestDownAndUp(t *testing.T) {
	t.Parallel()
	c, d, p := running(t, gitlabtest.Options{})
	url := c.URL()
	c.Down()
	d.patchCut(p, 6, "x")
	if err := c.Up(); err != nil {
		t.Fatal(err)
	}
	if c.URL() != url {
		t.Errorf("URL is %s instead of %s", c.URL(), url)
	}
	d.patch(p, 6, "x", 202)
	d.put(p, final("success", "hello\nx"), 200)
}

func TestTraceModes(t *testing.T) {
	t.Parallel()
	for name, mode := range map[string]store.Mode{"file": store.InFile, "hash": store.HashOnly} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, d, p := running(t, gitlabtest.Options{Traces: mode})
			d.put(p, final("success", "hello\n"), 200)
			trace, err := c.Trace(p.ID)
			if mode == store.InFile && (err != nil || string(trace) != "hello\n") {
				t.Errorf("trace is %q, %v", trace, err)
			}
			if mode == store.HashOnly && err == nil {
				t.Errorf("trace is %q", trace)
			}
		})
	}
}

func TestLongPolling(t *testing.T) {
	t.Parallel()
	c := gitlabtest.Start(t, gitlabtest.Options{LongPoll: time.Minute})
	d := newDriver(t, c)
	d.ask(http.StatusNoContent)
	before := d.last
	if before == "" {
		t.Fatal("no queue value")
	}
	held := make(chan *http.Response, 1)
	go func() {
		res, _, err := d.do("POST", "jobs/request", map[string]string{gitlab.HeaderRunnerToken: d.token}, marshal(t, gitlab.JobRequest{Token: d.token, LastUpdate: before}))
		if err != nil {
			t.Error(err)
		}
		held <- res
	}()
	if err := c.WaitHeld(soon(t), 1); err != nil {
		t.Fatal(err)
	}
	add(t, c, gitlabtest.JobSpec{})
	if res := <-held; res == nil || res.StatusCode != http.StatusNoContent || res.Header.Get(gitlab.HeaderLastUpdate) != "" {
		t.Errorf("the held request was answered %+v", res)
	}
	if p := d.ask(http.StatusCreated); p == nil {
		t.Error("no job")
	}
}
