package gitlab

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"time"
)

// Endpoint names a kind of call for metrics, with GitLab Runner's names where it has one.
type Endpoint string

// The endpoints.
const (
	EndpointRegister   Endpoint = "register"
	EndpointVerify     Endpoint = "verify"
	EndpointUnregister Endpoint = "unregister"
	EndpointResetToken Endpoint = "reset_token"
	EndpointRequestJob Endpoint = "request_job"
	EndpointUpdateJob  Endpoint = "update_job"
	EndpointPatchTrace Endpoint = "patch_trace"
	EndpointUpload     Endpoint = "upload_artifacts"
	EndpointDownload   Endpoint = "download_artifacts"
)

// Options says how to reach one GitLab instance. Only URL is needed.
type Options struct {
	URL string // of the instance, http or https, with its relative root if it has one
	TLS TLS

	UserAgent string // empty: made of Info
	// Info is sent wherever a request's own Info is zero.
	Info   Info
	Logger *slog.Logger // for the operator; nil logs nothing

	// ConnectionMaxAge is how long connections are used, so that load balancers can move them and
	// changed certificates are seen; 0 is for ever.
	ConnectionMaxAge time.Duration
	Timeout          time.Duration // of one call with a small answer; 0 means 2 min
	// StallTimeout ends an upload or download during which no byte moved for so long; 0 means 5 min.
	// After an upload the answer may take twice as long.
	StallTimeout time.Duration
	// Retry is for the calls that are made again by themselves: Verify, JobClient.Update,
	// JobClient.UploadArtifact and Client.DownloadArtifact.
	Retry Retry
	// Observe is called after every request with the status (0: no answer) and the time until the
	// answer was read; from several goroutines at once.
	Observe func(endpoint Endpoint, status int, took time.Duration)
	// Clock is called after every small answer that tells the server's time, with that and how long ago it may have been
	// written; from several goroutines at once. nil: nobody wants to know.
	Clock func(server time.Time, took time.Duration)
}

// Client speaks the runner API of one instance. Its methods may be called concurrently. Errors that
// are about the server or the network are *Error.
//
// # Who retries
//
// Verify, Update, UploadArtifact and DownloadArtifact retry what is Retryable by Options.Retry.
// RequestJob and PatchTrace make one request: their callers have loops of their own and use
// Retry.Delay. Register, Unregister, UnregisterManager and ResetToken make one request, since a
// second one is not the same as the first.
type Client struct {
	base   *url.URL // ends in APIPath
	agent  string
	opts   Options
	log    *slog.Logger
	api    http.Client // follows redirects within the host
	upload http.Client // follows 307 and 308 anywhere, with the token, as GitLab's answer to an upload means it
	fetch  http.Client // follows redirects of downloads, without the token elsewhere
	pool   *pool
}

// New returns a client for the instance at o.URL. It reads the TLS files, makes no request, and
// needs no closing: idle connections end by themselves.
func New(o Options) (*Client, error) {
	base, err := baseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = 5 * time.Minute
	}
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &pool{tls: o.TLS, maxAge: o.ConnectionMaxAge, headerTimeout: 2 * o.StallTimeout, now: o.Retry.Now, log: log}
	if p.now == nil {
		p.now = time.Now
	}
	if _, err := p.current(); err != nil {
		return nil, err
	}
	c := &Client{base: base, agent: o.UserAgent, opts: o, log: log, pool: p}
	if c.agent == "" {
		c.agent = userAgent(o.Info)
	}
	c.api = http.Client{Transport: p, CheckRedirect: stayOnHost}
	c.upload = http.Client{Transport: p, CheckRedirect: followUpload}
	c.fetch = http.Client{Transport: p, CheckRedirect: followDownload}
	return c, nil
}

// baseURL returns the API's address for what users write as url: with or without "/", and with the
// "/ci" of GitLab's distant past, which GitLab Runner still takes off.
func baseURL(raw string) (*url.URL, error) {
	base, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return nil, errors.New("url: it cannot be read as the address of a GitLab instance") // its text may hold a password
	}
	if base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("url: the scheme is %q where http or https was expected", base.Scheme)
	}
	if base.Host == "" {
		return nil, errors.New("url: it names no host")
	}
	base.RawQuery, base.Fragment, base.RawPath = "", "", ""
	base.Path = strings.TrimSuffix(strings.TrimRight(base.Path, "/"), "/ci") + APIPath
	return base, nil
}

func userAgent(i Info) string {
	name, version, revision := i.Name, i.Version, i.Revision
	if name == "" {
		name = "gitlab-runner"
	}
	if version == "" {
		version = "development"
	}
	if revision == "" {
		revision = "HEAD"
	}
	return fmt.Sprintf("%s %s (%s; %s; %s/%s)", name, version, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
