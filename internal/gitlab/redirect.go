package gitlab

import (
	"errors"
	"net/http"
	"net/url"
)

const maxRedirects = 5

var errRedirects = errors.New("too many redirects")

// stayOnHost lets a call be redirected (say, from http to https) only where it came from, and only
// with its method and body: everything else is shown as the answer it is.
func stayOnHost(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return errRedirects
	case req.Method != first.Method, req.URL.Hostname() != first.URL.Hostname(), downgrade(first.URL, req.URL):
		return http.ErrUseLastResponse
	}
	return nil
}

// followUpload goes wherever a 307 or 308 to an upload leads, with the job's token: a Geo secondary
// sends uploads to its primary like this, which needs the token. Where the address names no path,
// the call's own is meant (GitLab Runner takes only the host of it).
func followUpload(req *http.Request, via []*http.Request) error {
	first := via[0]
	switch {
	case len(via) > maxRedirects:
		return errRedirects
	case req.Method != first.Method, downgrade(first.URL, req.URL):
		return http.ErrUseLastResponse
	}
	if req.URL.Path == "" || req.URL.Path == "/" {
		req.URL.Path, req.URL.RawQuery = first.URL.Path, first.URL.RawQuery
	}
	return nil
}

// followDownload goes to object storage without what is meant for GitLab alone.
func followDownload(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return errRedirects
	}
	req.Header.Del("Referer") // a presigned address is a secret
	first := via[0].URL
	if req.URL.Host != first.Host || downgrade(first, req.URL) {
		req.Header.Del(HeaderJobToken)
		req.Header.Del(HeaderRunnerToken)
		req.Header.Del(HeaderRequestID)
	}
	return nil
}

// downgrade reports whether the way from one address to the other gives encryption up.
func downgrade(from, to *url.URL) bool { return from.Scheme == "https" && to.Scheme != "https" }
