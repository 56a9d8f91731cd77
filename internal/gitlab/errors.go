package gitlab

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// What went wrong, for errors.Is on what the methods of Client and JobClient return.
var (
	// ErrForbidden: 401 or 403; the token is not, or no longer, valid for this call.
	ErrForbidden = errors.New("forbidden")
	// ErrJobGone: the job is no longer this runner's to report about: a 403 on a call with the job's
	// token (with a Job-Status it has ended, without one the token is dead), a 404 with a Job-Status,
	// or a Job-Status canceled or failed beside a patch that was taken. Error.JobStatus says which.
	ErrJobGone = errors.New("job is gone")
	// ErrNotFound: 404. Without a Job-Status it may come from anything between here and GitLab.
	ErrNotFound = errors.New("not found")
	// ErrConflict: 409.
	ErrConflict = errors.New("conflict")
	// ErrTraceMismatch: 412 to an update; the server's log differs from the checksum: send it again whole.
	ErrTraceMismatch = errors.New("log differs from its checksum")
	// ErrTooLarge: 413.
	ErrTooLarge = errors.New("too large")
	// ErrRange: 416 to a patch; PatchResult.Offset says where the server's log ends.
	ErrRange = errors.New("range does not fit")
	// ErrArtifactExists: another artifact of the same type is there already.
	ErrArtifactExists = errors.New("artifact exists")
	// ErrBodyTooLarge: an answer was larger than this client reads.
	ErrBodyTooLarge = errors.New("answer is too large")
)

// Error is a call that was not answered as hoped, or not at all. It never holds a token.
type Error struct {
	Op         string        // what was tried: "update job 12"
	StatusCode int           // of the answer; 0 when none came (see Err)
	JobStatus  string        // header Job-Status, "" when absent
	Message    string        // GitLab's words, for users; may be ""
	RetryAfter time.Duration // how long the server wants to be left alone; 0 when it did not say
	RequestID  string        // X-Request-Id of the answer, else of the request
	Err        error         // why no answer came or could be read

	gone, exists bool
	ended        bool // the caller's context is over
	elsewhere    bool // the answer came from another host, after a redirect
}

// Error says what was tried, what came back and how to find it in the server's logs.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.StatusCode != 0 {
		fmt.Fprintf(&b, ": %d %s", e.StatusCode, http.StatusText(e.StatusCode))
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.JobStatus != "" {
		fmt.Fprintf(&b, " (job status %q)", e.JobStatus)
	}
	if e.RequestID != "" && e.StatusCode != 0 {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is reports whether e is what one of the sentinels of this package names.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrForbidden:
		return e.StatusCode == http.StatusForbidden || e.StatusCode == http.StatusUnauthorized
	case ErrJobGone:
		return e.gone
	case ErrNotFound:
		return e.StatusCode == http.StatusNotFound
	case ErrConflict:
		return e.StatusCode == http.StatusConflict
	case ErrTraceMismatch:
		return e.StatusCode == http.StatusPreconditionFailed
	case ErrTooLarge:
		return e.StatusCode == http.StatusRequestEntityTooLarge
	case ErrRange:
		return e.StatusCode == http.StatusRequestedRangeNotSatisfiable
	case ErrArtifactExists:
		return e.exists
	}
	return false
}

// Retryable reports whether the call that returned err may succeed if it is made again: no answer,
// 408, 429, or a fault of the server or of what stands before it. The end of the caller's context
// is not retryable, and neither is an answer that was too large.
func Retryable(err error) bool {
	var e *Error
	if !errors.As(err, &e) || errors.Is(err, ErrBodyTooLarge) {
		return false
	}
	switch e.StatusCode {
	case 0:
		return !e.ended
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return false
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return true
	default:
		return e.StatusCode >= http.StatusInternalServerError
	}
}

// plain takes the URL off an error of net/http: it may hold a presigned address' signature.
func plain(err error) error {
	var u *url.Error
	if !errors.As(err, &u) {
		return err
	}
	host := "the server"
	if parsed, perr := url.Parse(u.URL); perr == nil && parsed.Host != "" {
		host = parsed.Host
	}
	if strings.Contains(u.Err.Error(), "Location") {
		return fmt.Errorf("%s %s: it redirects to an address that cannot be read", strings.ToUpper(u.Op), host)
	}
	return fmt.Errorf("%s %s: %w", strings.ToUpper(u.Op), host, plain(u.Err))
}
