package nixpush

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// site is a cache that takes objects by HTTP PUT.
type site struct {
	base     string
	client   *http.Client
	login    *login
	patience time.Duration
}

func openSite(base string, getenv func(string) string) (Cache, error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	l, err := findLogin(u.Hostname(), getenv)
	if err != nil {
		return nil, err
	}
	t := &http.Transport{
		Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 30 * time.Second, MaxIdleConnsPerHost: atOnce,
		IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true, ExpectContinueTimeout: 2 * time.Second,
	}
	return &site{base: base, client: &http.Client{Transport: watched{t}, CheckRedirect: sameMethod}, login: l, patience: usualPatience}, nil
}

// sameMethod follows no redirect that makes another request of a PUT: what answers a GET then, as the page of a login does, has
// taken nothing.
func sameMethod(r *http.Request, via []*http.Request) error {
	const most = 10
	switch {
	case r.Method != via[0].Method:
		return http.ErrUseLastResponse
	case len(via) >= most:
		return fmt.Errorf("%d redirects", most)
	}
	return nil
}

func (s *site) String() string { return s.base }

// Has implements Cache. As Nix does, it takes what it may not see for absent: some servers say so of what they do not have.
// Source: Nix, src/libstore/http-binary-cache-store.cc, fileExists.
func (s *site) Has(ctx context.Context, name string) (bool, error) {
	_, ok, err := s.ask(ctx, http.MethodHead, name)
	return ok, err
}

// Get implements Cache.
func (s *site) Get(ctx context.Context, name string) ([]byte, bool, error) {
	return s.ask(ctx, http.MethodGet, name)
}

func (s *site) ask(ctx context.Context, method, name string) (said []byte, ok bool, err error) {
	code, said, err := s.do(ctx, method, name, nil)
	switch {
	case err != nil:
		return nil, false, err
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusForbidden:
		return nil, false, nil
	case !good(code):
		return nil, false, s.refused(method, name, code, said)
	}
	return said, true, nil
}

func good(code int) bool { return code >= http.StatusOK && code < http.StatusMultipleChoices }

// Put implements Cache.
func (s *site) Put(ctx context.Context, name string, o Object) error {
	code, said, err := s.do(ctx, http.MethodPut, name, &o)
	if err == nil && !good(code) {
		err = s.refused(http.MethodPut, name, code, said)
	}
	return err
}

// do makes a request, and returns how much of the answer is of interest.
func (s *site) do(ctx context.Context, method, name string, o *Object) (code int, said []byte, err error) {
	var size int64
	if o != nil {
		size = o.Size
	}
	w := begin(ctx, s.patience, size)
	code, said, err = s.request(w.ctx, method, name, o)
	if err = w.end(err); errors.Is(err, errStalled) {
		err = fmt.Errorf("%s %s/%s: %w", method, s.base, name, err)
	}
	return code, said, err
}

func (s *site) request(ctx context.Context, method, name string, o *Object) (code int, said []byte, err error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+"/"+name, http.NoBody)
	if err != nil {
		return 0, nil, err
	}
	if o != nil {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(o.reader()), nil }
		r.Body, _ = r.GetBody() // there is no error
		r.ContentLength = o.Size
		r.Header.Set("Content-Type", o.Type)
		if o.Size > askFirst {
			r.Header.Set("Expect", "100-continue")
		}
	}
	if s.login != nil {
		r.SetBasicAuth(s.login.user, s.login.password)
	}
	a, err := s.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	said, err = io.ReadAll(io.LimitReader(a.Body, maxGot))
	if method == http.MethodPut { // it is for people
		err = nil
	}
	return a.StatusCode, said, err
}

const (
	// askFirst is the size of objects beyond which a server may refuse one before it is sent: some break the connection of what they
	// refuse, and nobody hears why.
	askFirst = 1 << 20

	maxGot  = 4 << 10 // of an answer
	maxSaid = 200     // of what is quoted of it
)

// refused is the error for an answer that is none of success.
func (s *site) refused(method, name string, code int, said []byte) error {
	hint, text := "", strings.Join(strings.Fields(string(bytes.ToValidUTF8(said[:min(len(said), maxSaid)], nil))), " ")
	if code == http.StatusUnauthorized || code == http.StatusForbidden {
		hint = "; a login for it is taken from the file that NETRC in the runner's environment names, or ~/.netrc of its user"
	}
	if text != "" {
		text = " (" + text + ")"
	}
	err := fmt.Errorf("%s %s/%s was answered by %d %s%s%s", method, s.base, name, code, http.StatusText(code), text, hint)
	switch code {
	case http.StatusBadRequest, http.StatusConflict, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity,
		http.StatusUnavailableForLegalReasons:
		if method == http.MethodPut { // another object may be one that it takes
			return &RefusedError{err}
		}
	}
	return err
}
