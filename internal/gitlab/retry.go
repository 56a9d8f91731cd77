package gitlab

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter is the longest that a server can put us to sleep with one answer.
const maxRetryAfter = time.Hour

// Retry is the one policy for trying a call again. The zero value is GitLab Runner's: 100 ms
// doubling up to 60 s, with jitter, five attempts (network/retry_requester.go). It is used by the
// methods that say so, and by callers with loops of their own (polling, the trace) through Delay.
type Retry struct {
	Min, Max time.Duration // of the pause; 0 means 100 ms and 60 s
	Attempts int           // at most so many calls; 0 means 5, negative no limit but the context

	Now    func() time.Time                           // nil means time.Now; for servers that do not tell their time
	Sleep  func(context.Context, time.Duration) error // nil waits for real; returns ctx's error when that ends first
	Jitter func() float64                             // in [0, 1); nil is random
}

// Delay returns how long to wait after the failed-th failure in a row (from 1), the last of which
// was err: what the server asked for, at most an hour, else the backoff. Jitter takes up to half of
// the backoff away, and adds up to a tenth to what the server asked for, so that runners which were
// turned away together do not return together.
func (r Retry) Delay(failed int, err error) time.Duration {
	jitter := r.Jitter
	if jitter == nil {
		jitter = rand.Float64
	}
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		return e.RetryAfter + time.Duration(jitter()*float64(e.RetryAfter)/10)
	}
	low, high := r.Min, r.Max
	if low <= 0 {
		low = 100 * time.Millisecond
	}
	if high <= 0 {
		high = time.Minute
	}
	d := low
	for i := 1; i < failed && d < high; i++ {
		d *= 2
	}
	d = min(d, high)
	return max(d-time.Duration(jitter()*float64(d)/2), min(low, high))
}

// Do calls op until it returns nil or an error that is not Retryable, the attempts are used up, or
// ctx ends; it returns op's last error.
func (r Retry) Do(ctx context.Context, op func(context.Context) error) error {
	attempts := r.Attempts
	if attempts == 0 {
		attempts = 5
	}
	for failed := 1; ; failed++ {
		err := op(ctx)
		if err == nil || !Retryable(err) || failed == attempts || ctx.Err() != nil {
			return err
		}
		if r.Wait(ctx, r.Delay(failed, err)) != nil {
			return err
		}
	}
}

// Wait sleeps for d or until ctx ends, whose error it then returns.
func (r Retry) Wait(ctx context.Context, d time.Duration) error {
	if r.Sleep != nil {
		return r.Sleep(ctx, d)
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// retryAfter reads when the server wants to be asked again: RateLimit-ResetTime, then Retry-After
// (seconds or a date). Dates are meant by the server's clock, which its Date tells.
func (r Retry) retryAfter(header http.Header) time.Duration {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	if at, err := http.ParseTime(header.Get("Date")); err == nil {
		now = func() time.Time { return at }
	}
	if at, err := http.ParseTime(header.Get(HeaderRateLimitReset)); err == nil {
		if d := at.Sub(now()); d > 0 {
			return min(d, maxRetryAfter)
		}
	}
	value := strings.TrimSpace(header.Get("Retry-After"))
	if seconds, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Duration(min(max(seconds, 0), int64(maxRetryAfter/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now()), 0), maxRetryAfter)
	}
	return 0
}
