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
		IdleConnTimeout: 30 * time.Second, ForceAttemptHTTP2: true,
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
	code, err := s.do(ctx, http.MethodHead, name, nil)
	switch {
	case err != nil:
		return false, err
	case code == http.StatusNotFound, code == http.StatusGone, code == http.StatusForbidden:
		return false, nil
	case code < http.StatusOK || code >= http.StatusMultipleChoices:
		return false, s.refused(http.MethodHead, name, code, "")
	}
	return true, nil
}

// Put implements Cache.
func (s *site) Put(ctx context.Context, name string, o Object) error {
	_, err := s.do(ctx, http.MethodPut, name, &o)
	return err
}

// do makes a request. An answer to a PUT that is none of success is an error.
func (s *site) do(ctx context.Context, method, name string, o *Object) (int, error) {
	var size int64
	if o != nil {
		size = o.Size
	}
	w := begin(ctx, s.patience, size)
	code, err := s.request(w.ctx, method, name, o)
	if err = w.end(err); errors.Is(err, errStalled) {
		err = fmt.Errorf("%s %s/%s: %w", method, s.base, name, err)
	}
	return code, err
}

func (s *site) request(ctx context.Context, method, name string, o *Object) (int, error) {
	r, err := http.NewRequestWithContext(ctx, method, s.base+"/"+name, http.NoBody)
	if err != nil {
		return 0, err
	}
	if o != nil {
		r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(o.reader()), nil }
		r.Body, _ = r.GetBody() // there is no error
		r.ContentLength = o.Size
		r.Header.Set("Content-Type", o.Type)
	}
	if s.login != nil {
		r.SetBasicAuth(s.login.user, s.login.password)
	}
	a, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer a.Body.Close()
	said, _ := io.ReadAll(io.LimitReader(a.Body, maxSaid)) // it is for people
	if method == http.MethodPut && (a.StatusCode < http.StatusOK || a.StatusCode >= http.StatusMultipleChoices) {
		return a.StatusCode, s.refused(method, name, a.StatusCode, string(bytes.ToValidUTF8(said, nil)))
	}
	return a.StatusCode, nil
}

// maxSaid bounds what is quoted of an answer.
const maxSaid = 200

func (s *site) refused(method, name string, code int, said string) error {
	hint := ""
	if code == http.StatusUnauthorized || code == http.StatusForbidden {
		hint = "; a login for it is taken from the file that NETRC in the runner's environment names, or ~/.netrc of its user"
	}
	if said = strings.Join(strings.Fields(said), " "); said != "" {
		said = " (" + said + ")"
	}
	return fmt.Errorf("%s %s/%s was answered by %d %s%s%s", method, s.base, name, code, http.StatusText(code), said, hint)
}
