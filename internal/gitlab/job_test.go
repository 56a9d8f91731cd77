package gitlab_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab"
)

func TestUpdateSends(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(200, "200"))
	got, err := s.client(t, nil).Job(42, "job-token").Update(t.Context(), gitlab.Update{
		State: "failed", FailureReason: "script_failure", ExitCode: 3,
		Output: gitlab.Output{Checksum: "crc32:0000abcd", Bytesize: 1 << 40},
	})
	if err != nil || !got.Accepted || got.Already {
		t.Errorf("Update = %+v, %v", got, err)
	}
	sent := s.requests()[0]
	if sent.Method != http.MethodPut || sent.URI != "/api/v4/jobs/42" || sent.Header.Get("Job-Token") != "job-token" {
		t.Errorf("%s %s %v", sent.Method, sent.URI, sent.Header)
	}
	body := decode(t, sent.Body)
	if info, _ := body["info"].(map[string]any); info["version"] != "1.2.3" {
		t.Errorf("info %v", info)
	}
	delete(body, "info")
	want := map[string]any{
		"token": "job-token", "state": "failed", "failure_reason": "script_failure", "exit_code": 3.0,
		"checksum": "crc32:0000abcd", "output": map[string]any{"checksum": "crc32:0000abcd", "bytesize": float64(1 << 40)},
	}
	if diff := cmp.Diff(want, body); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateAnswers(t *testing.T) {
	t.Parallel()
	type outcome = gitlab.UpdateResult
	for name, tc := range map[string]struct {
		state  string
		answer http.HandlerFunc
		want   outcome
		is     error // nil: no error
		isNot  error
	}{
		"accepted":  {"success", reply(200, "200", "X-GitLab-Trace-Update-Interval: 30"), outcome{Accepted: true, Interval: 30 * time.Second}, nil, nil},
		"not yet":   {"success", reply(202, "202", "X-GitLab-Trace-Update-Interval: 5"), outcome{Interval: 5 * time.Second}, nil, nil},
		"canceling": {"running", reply(200, "200", "Job-Status: canceling"), outcome{Accepted: true, Status: "canceling"}, nil, nil},
		"canceled":  {"running", reply(403, "", "Job-Status: canceled"), outcome{Status: "canceled"}, gitlab.ErrJobGone, nil},
		"already": {"success", reply(403, `{"message":"403 Forbidden - Job is not running"}`, "Job-Status: success"),
			outcome{Accepted: true, Already: true, Status: "success"}, nil, nil},
		"ended otherwise":    {"success", reply(403, "", "Job-Status: failed"), outcome{Status: "failed"}, gitlab.ErrJobGone, nil},
		"running but ended":  {"running", reply(403, "", "Job-Status: success"), outcome{Status: "success"}, gitlab.ErrJobGone, nil},
		"token dead":         {"success", reply(403, ""), outcome{}, gitlab.ErrJobGone, nil},
		"404 with status":    {"success", reply(404, "", "Job-Status: canceled"), outcome{Status: "canceled"}, gitlab.ErrJobGone, nil},
		"404 of a proxy":     {"success", reply(404, "<html>"), outcome{}, gitlab.ErrNotFound, gitlab.ErrJobGone},
		"assigned elsewhere": {"running", reply(409, ""), outcome{}, gitlab.ErrConflict, gitlab.ErrJobGone},
		"log differs":        {"success", reply(412, ""), outcome{}, gitlab.ErrTraceMismatch, gitlab.ErrJobGone},
		"senseless interval": {"success", reply(202, "", "X-GitLab-Trace-Update-Interval: -4"), outcome{}, nil, nil},
		"endless interval":   {"success", reply(202, "", "X-GitLab-Trace-Update-Interval: 999999999"), outcome{Interval: time.Hour}, nil, nil},
		"status is no word":  {"running", reply(200, "", "Job-Status: <b>Canceled!</b>"), outcome{Accepted: true}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, tc.answer)
			got, err := s.client(t, nil).Job(1, "job-token").Update(t.Context(), gitlab.Update{State: tc.state})
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if !errors.Is(err, tc.is) || tc.isNot != nil && errors.Is(err, tc.isNot) {
				t.Errorf("error %v; want %v", err, tc.is)
			}
			if status, gone := gitlab.Gone(err); gone != errors.Is(err, gitlab.ErrJobGone) || gone && status != tc.want.Status {
				t.Errorf("Gone = %q, %v", status, gone)
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("%d requests, want 1", n)
			}
		})
	}
}

func TestUpdateRetries(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(500, ""), hangUp, reply(429, "", "Retry-After: 9"), reply(200, ""))
	got, err := s.client(t, nil).Job(1, "job-token").Update(t.Context(), gitlab.Update{State: "running"})
	if err != nil || !got.Accepted || !got.Again {
		t.Errorf("Update = %+v, %v", got, err)
	}
	if diff := cmp.Diff([]time.Duration{100 * time.Millisecond, 200 * time.Millisecond, 9 * time.Second}, s.slept()); diff != "" {
		t.Error(diff)
	}
	sent := s.requests()
	for _, again := range sent[1:] {
		if again.Body != sent[0].Body || again.Header.Get("X-Request-Id") == sent[0].Header.Get("X-Request-Id") {
			t.Errorf("repeated differently, or under the same id: %+v", again)
		}
	}
}

func TestUpdateGivesUp(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(502, ""))
	_, err := s.client(t, nil).Job(1, "job-token").Update(t.Context(), gitlab.Update{State: "running"})
	if !gitlab.Retryable(err) || len(s.requests()) != 5 {
		t.Errorf("error %v after %d requests; want the fifth 502", err, len(s.requests()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	s = serve(t, func(w http.ResponseWriter, r *http.Request) {
		reply(502, "")(w, r)
		cancel()
	})
	_, err = s.client(t, nil).Job(1, "job-token").Update(ctx, gitlab.Update{State: "running"})
	if err == nil || len(s.requests()) != 1 {
		t.Errorf("error %v after %d requests; want one", err, len(s.requests()))
	}
}

func TestPatchTraceSends(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		body         string
		start        int64
		debug        bool
		rangeH, path string
	}{
		{"x", 0, false, "0-0", "/api/v4/jobs/9/trace?debug_trace=false"},
		{"hello\n", 100, true, "100-105", "/api/v4/jobs/9/trace?debug_trace=true"},
		{"ab", 1 << 40, false, "1099511627776-1099511627777", "/api/v4/jobs/9/trace?debug_trace=false"},
	} {
		s := serve(t, reply(202, "", "X-GitLab-Trace-Update-Interval: 3", "Job-Status: running"))
		got, err := s.client(t, nil).Job(9, "job-token").PatchTrace(t.Context(), []byte(tc.body), tc.start, tc.debug)
		want := gitlab.PatchResult{Offset: tc.start + int64(len(tc.body)), Status: "running", Interval: 3 * time.Second}
		if err != nil || got != want {
			t.Errorf("PatchTrace = %+v, %v; want %+v", got, err, want)
		}
		sent := s.requests()[0]
		if sent.Method != http.MethodPatch || sent.URI != tc.path || sent.Body != tc.body || sent.Length != int64(len(tc.body)) {
			t.Errorf("sent %+v", sent)
		}
		if h := sent.Header; h.Get("Content-Range") != tc.rangeH || h.Get("Job-Token") != "job-token" || h.Get("Content-Type") != "text/plain" {
			t.Errorf("headers %v", h)
		}
	}
}

func TestPatchTraceAnswers(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		want   gitlab.PatchResult
		is     error
		retry  bool
	}{
		"range agrees":        {reply(202, "", "Range: 0-14"), gitlab.PatchResult{Offset: 14}, nil, false},
		"range of the server": {reply(202, "", "Range: 0-12"), gitlab.PatchResult{Offset: 12}, nil, false},
		"range unreadable":    {reply(202, "", "Range: bytes=0-12"), gitlab.PatchResult{Offset: 14}, nil, false},
		"canceling":           {reply(202, "", "Range: 0-14", "Job-Status: canceling"), gitlab.PatchResult{Offset: 14, Status: "canceling"}, nil, false},
		"canceled":            {reply(202, "", "Range: 0-14", "Job-Status: canceled"), gitlab.PatchResult{Offset: 14, Status: "canceled"}, gitlab.ErrJobGone, false},
		"failed":              {reply(202, "", "Job-Status: failed"), gitlab.PatchResult{Offset: 14, Status: "failed"}, gitlab.ErrJobGone, false},
		"behind":              {reply(416, "", "Range: 0-4"), gitlab.PatchResult{Offset: 4}, gitlab.ErrRange, false},
		"ahead":               {reply(416, "", "Range: 0-99"), gitlab.PatchResult{Offset: 99}, gitlab.ErrRange, false},
		"416 without range":   {reply(416, ""), gitlab.PatchResult{}, gitlab.ErrRange, false},
		"416 hostile":         {reply(416, "", "Range: 0--5"), gitlab.PatchResult{}, gitlab.ErrRange, false},
		"416 overflow":        {reply(416, "", "Range: 0-99999999999999999999"), gitlab.PatchResult{}, gitlab.ErrRange, false},
		"forbidden":           {reply(403, "", "Job-Status: failed"), gitlab.PatchResult{Offset: 10, Status: "failed"}, gitlab.ErrJobGone, false},
		"bare 403":            {reply(403, ""), gitlab.PatchResult{Offset: 10}, gitlab.ErrJobGone, false},
		"404":                 {reply(404, ""), gitlab.PatchResult{Offset: 10}, gitlab.ErrNotFound, false},
		"500":                 {reply(500, ""), gitlab.PatchResult{Offset: 10}, nil, true},
		"429":                 {reply(429, "", "X-GitLab-Trace-Update-Interval: 60"), gitlab.PatchResult{Offset: 10, Interval: time.Minute}, nil, true},
		"no answer":           {hangUp, gitlab.PatchResult{Offset: 10}, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, tc.answer)
			got, err := s.client(t, nil).Job(9, "job-token").PatchTrace(t.Context(), []byte("abcd"), 10, false)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			if tc.is != nil && !errors.Is(err, tc.is) || gitlab.Retryable(err) != tc.retry || (err == nil) != (tc.is == nil && !tc.retry) {
				t.Errorf("error %v (retryable %v)", err, gitlab.Retryable(err))
			}
			if n := len(s.requests()); n != 1 {
				t.Errorf("%d requests: the caller has the loop", n)
			}
		})
	}
}

func TestPatchTraceOfNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, reply(500, ""))
	got, err := s.client(t, nil).Job(9, "job-token").PatchTrace(t.Context(), nil, 77, false)
	if err != nil || got.Offset != 77 || len(s.requests()) != 0 {
		t.Errorf("PatchTrace of nothing = %+v, %v, %d requests", got, err, len(s.requests()))
	}
}
