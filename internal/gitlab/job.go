package gitlab

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// JobClient makes the calls about one job. Its methods may be called concurrently.
type JobClient struct {
	client *Client
	id     int64
	token  string
}

// Job returns a client for the job id with its own token.
func (c *Client) Job(id int64, token string) *JobClient { return &JobClient{c, id, token} }

func (j *JobClient) call(verb string, endpoint Endpoint, method, path string) call {
	return call{
		op: fmt.Sprintf("%s of job %d", verb, j.id), endpoint: endpoint, method: method,
		path: fmt.Sprintf("jobs/%d%s", j.id, path), token: j.token, job: true,
		header: http.Header{},
	}
}

// UpdateResult is an answer to an update.
type UpdateResult struct {
	// Accepted says that the server has the state (200). Otherwise it still stores the log (202):
	// send the same update again after Interval.
	Accepted bool
	// Already comes with Accepted: the job had ended before this update in the very state that it
	// reports: by an earlier one whose answer was lost, or, for failed, by the server itself.
	Already bool
	// Again says that this call was made more than once, and an earlier attempt may have arrived.
	Again    bool
	Status   string        // Job-Status: StatusCanceling asks to stop gracefully; often ""
	Interval time.Duration // until the next update; 0 when the server did not say
}

// Update reports u.State (and, at the end, what the trace is) and retries. Token, and the fields
// Info and Checksum if they are empty, are filled in. Errors beside the Retryable ones are
// ErrJobGone, ErrConflict (another manager has the job), ErrTraceMismatch, or 400.
func (j *JobClient) Update(ctx context.Context, u Update) (UpdateResult, error) {
	u.Token = j.token
	u.Info = j.client.info(u.Info)
	if u.Checksum == "" {
		u.Checksum = u.Output.Checksum
	}
	k, err := jsonCall(j.call("update", EndpointUpdateJob, http.MethodPut, ""), HeaderJobToken, u)
	if err != nil {
		return UpdateResult{}, err
	}
	var out UpdateResult
	again := false
	err = j.client.opts.Retry.Do(ctx, func(ctx context.Context) error {
		a, err := j.client.exchange(ctx, k)
		if err == nil {
			out, err = j.updated(k, u.State, a)
		}
		out.Again, again = again, true
		return err
	})
	return out, err
}

func (j *JobClient) updated(k call, state string, a *answer) (UpdateResult, error) {
	out := UpdateResult{Status: jobStatus(a.header), Interval: interval(a.header)}
	final := state == StatusSuccess || state == StatusFailed
	switch {
	case a.status == http.StatusOK:
		out.Accepted = true
	case a.status == http.StatusAccepted:
	case a.status == http.StatusForbidden && final && out.Status == state:
		out.Accepted, out.Already = true, true
	default:
		return out, j.client.failure(k, a)
	}
	return out, nil
}

// PatchResult is an answer to a patch of the trace.
type PatchResult struct {
	// Offset is where the server's log ends, and the next patch has to begin: also beside ErrRange.
	// It comes from the server: check that it lies within the log before sending from there.
	Offset   int64
	Status   string        // Job-Status: StatusCanceling asks to stop gracefully
	Interval time.Duration // until the next patch; 0: your own pace
}

// PatchTrace appends body to the server's log at offset start; debug says that the job runs with
// CI_DEBUG_TRACE, which makes the server hide the log. It makes one request, or none when body is
// empty. Errors are ErrRange, ErrJobGone, or Retryable; on all others Offset is start.
func (j *JobClient) PatchTrace(ctx context.Context, body []byte, start int64, debug bool) (PatchResult, error) {
	out := PatchResult{Offset: start}
	if len(body) == 0 {
		return out, nil
	}
	end := start + int64(len(body))
	k := j.call("append to the log", EndpointPatchTrace, http.MethodPatch, "/trace")
	k.body = body
	k.query = url.Values{QueryDebugTrace: {strconv.FormatBool(debug)}}
	k.header.Set(HeaderJobToken, j.token)
	k.header.Set("Content-Type", "text/plain")
	// Inclusive and without a unit, unlike the Range of the answer (gitlab-runner issue 3275).
	k.header.Set("Content-Range", fmt.Sprintf("%d-%d", start, end-1))
	a, err := j.client.exchange(ctx, k)
	if err != nil {
		return out, err
	}
	out.Status, out.Interval = jobStatus(a.header), interval(a.header)
	switch a.status {
	case http.StatusAccepted:
		out.Offset = end
		if n, ok := rangeEnd(a.header.Get("Range")); ok {
			out.Offset = n
		}
		if out.Status == StatusCanceled || out.Status == StatusFailed {
			e := j.client.failure(k, a)
			e.gone = true
			return out, e
		}
		return out, nil
	case http.StatusRequestedRangeNotSatisfiable:
		out.Offset, _ = rangeEnd(a.header.Get("Range")) // 0 when it does not say: all again
	}
	return out, j.client.failure(k, a)
}

// rangeEnd reads the exclusive end from "0-N" as GitLab answers to patches.
func rangeEnd(value string) (int64, bool) {
	first, last, ok := strings.Cut(strings.TrimSpace(value), "-")
	if !ok || first != "0" || last == "" || strings.ContainsFunc(last, func(r rune) bool { return r < '0' || r > '9' }) {
		return 0, false
	}
	n, err := strconv.ParseInt(last, 10, 64)
	if err != nil {
		return 0, false
	}
	return n, true
}

// Gone reports whether err says that the job is no longer ours, and the state it has on the server
// if the server said so.
func Gone(err error) (status string, gone bool) {
	var e *Error
	if errors.As(err, &e) && e.gone {
		return e.JobStatus, true
	}
	return "", false
}
