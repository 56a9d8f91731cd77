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

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	half := func() float64 { return 0.5 }
	none := func() float64 { return 0 }
	most := func() float64 { return 0.999999 }
	after := func(d time.Duration) error { return &gitlab.Error{StatusCode: 429, RetryAfter: d} }
	for _, tc := range []struct {
		name   string
		retry  gitlab.Retry
		failed int
		err    error
		want   time.Duration
	}{
		{"first", gitlab.Retry{Jitter: none}, 1, nil, 100 * time.Millisecond},
		{"second", gitlab.Retry{Jitter: none}, 2, nil, 200 * time.Millisecond},
		{"tenth", gitlab.Retry{Jitter: none}, 10, nil, 51200 * time.Millisecond},
		{"eleventh is the limit", gitlab.Retry{Jitter: none}, 11, nil, time.Minute},
		{"millionth", gitlab.Retry{Jitter: none}, 1e6, nil, time.Minute},
		{"zeroth", gitlab.Retry{Jitter: none}, 0, nil, 100 * time.Millisecond},
		{"jitter", gitlab.Retry{Jitter: half}, 11, nil, 45 * time.Second},
		{"jitter keeps the minimum", gitlab.Retry{Jitter: most}, 1, nil, 100 * time.Millisecond},
		{"bounds of its own", gitlab.Retry{Min: time.Second, Max: 3 * time.Second, Jitter: none}, 5, nil, 3 * time.Second},
		{"minimum above maximum", gitlab.Retry{Min: time.Hour, Jitter: none}, 1, nil, time.Minute},
		{"the server's wish", gitlab.Retry{Jitter: none}, 1, after(7 * time.Second), 7 * time.Second},
		{"the server's wish with jitter", gitlab.Retry{Jitter: half}, 1, after(100 * time.Second), 105 * time.Second},
	} {
		if got := tc.retry.Delay(tc.failed, tc.err); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	for range 100 {
		if d := (gitlab.Retry{}).Delay(20, nil); d < 30*time.Second || d > time.Minute {
			t.Fatalf("random delay %v", d)
		}
	}
}

func TestRetryAfterHeaders(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	date := func(d time.Duration) string { return now.Add(d).Format(http.TimeFormat) }
	for name, tc := range map[string]struct {
		headers []string
		want    time.Duration
	}{
		"none":                   {nil, 0},
		"seconds":                {[]string{"Retry-After: 12"}, 12 * time.Second},
		"date":                   {[]string{"Retry-After: " + date(20*time.Second)}, 20 * time.Second},
		"past date":              {[]string{"Retry-After: " + date(-20*time.Second)}, 0},
		"reset time":             {[]string{"RateLimit-ResetTime: " + date(30*time.Second)}, 30 * time.Second},
		"reset time comes first": {[]string{"RateLimit-ResetTime: " + date(30*time.Second), "Retry-After: 5"}, 30 * time.Second},
		"past reset time":        {[]string{"RateLimit-ResetTime: " + date(-time.Second), "Retry-After: 5"}, 5 * time.Second},
		"garbage":                {[]string{"RateLimit-ResetTime: tomorrow", "Retry-After: soon"}, 0},
		"negative":               {[]string{"Retry-After: -4"}, 0},
		"for ever":               {[]string{"Retry-After: 9223372036854775807"}, time.Hour},
		"overflow":               {[]string{"Retry-After: 99999999999999999999"}, 0},
		"next year":              {[]string{"RateLimit-ResetTime: " + date(9000*time.Hour)}, time.Hour},
	} {
		s := serve(t, reply(429, "", append(tc.headers, "Date: "+date(0))...))
		c := s.client(t, func(o *gitlab.Options) { o.Retry.Now = func() time.Time { return now.Add(-4 * time.Hour) } }) // a clock that is wrong
		_, err := c.RequestJob(t.Context(), gitlab.JobRequest{})
		var e *gitlab.Error
		if !errors.As(err, &e) || e.RetryAfter != tc.want {
			t.Errorf("%s: error %+v; want to wait %v", name, e, tc.want)
		}
	}
}

func TestRetryable(t *testing.T) {
	t.Parallel()
	for code, want := range map[int]bool{
		0: true, 400: false, 401: false, 403: false, 404: false, 408: true, 409: false, 412: false, 413: false, 416: false,
		429: true, 500: true, 501: false, 502: true, 503: true, 504: true, 505: false, 507: true, 520: true,
	} {
		if got := gitlab.Retryable(&gitlab.Error{StatusCode: code}); got != want {
			t.Errorf("Retryable(%d) = %v", code, got)
		}
	}
	if gitlab.Retryable(nil) || gitlab.Retryable(errors.New("x")) {
		t.Error("what is no *Error is not retryable")
	}
}

func TestRetryDo(t *testing.T) {
	t.Parallel()
	bad := &gitlab.Error{StatusCode: 500}
	final := &gitlab.Error{StatusCode: 403}
	for name, tc := range map[string]struct {
		attempts int
		errs     []error
		calls    int
		want     error
	}{
		"at once":       {0, []error{nil}, 1, nil},
		"third time":    {0, []error{bad, bad, nil}, 3, nil},
		"five times":    {0, []error{bad, bad, bad, bad, bad, nil}, 5, bad},
		"once only":     {1, []error{bad, nil}, 1, bad},
		"without limit": {-1, []error{bad, bad, bad, bad, bad, bad, bad, nil}, 8, nil},
		"final":         {0, []error{bad, final, nil}, 2, final},
	} {
		var sleeps []time.Duration
		r := gitlab.Retry{
			Attempts: tc.attempts, Jitter: func() float64 { return 0 },
			Sleep: func(_ context.Context, d time.Duration) error { sleeps = append(sleeps, d); return nil },
		}
		calls := 0
		err := r.Do(t.Context(), func(context.Context) error { calls++; return tc.errs[calls-1] })
		if !errors.Is(err, tc.want) || calls != tc.calls || len(sleeps) != calls-1 {
			t.Errorf("%s: %v after %d calls and %v", name, err, calls, sleeps)
		}
	}
}

func TestRetryWaitEndsWithContext(t *testing.T) {
	t.Parallel()
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := (gitlab.Retry{}).Wait(ctx, time.Hour); !errors.Is(err, cause) {
		t.Errorf("Wait = %v", err)
	}
	if err := (gitlab.Retry{}).Wait(t.Context(), time.Nanosecond); err != nil {
		t.Errorf("Wait = %v", err)
	}
	bad := &gitlab.Error{StatusCode: 500}
	calls := 0
	err := (gitlab.Retry{Min: time.Hour, Max: time.Hour}).Do(ctx, func(context.Context) error { calls++; return bad })
	if diff := cmp.Diff(1, calls); diff != "" || !errors.Is(err, error(bad)) {
		t.Errorf("Do = %v after %d calls; want the operation's own error", err, calls)
	}
}
