package peer

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/gitlab"
)

// Runner is a runner entry as its GitLab is asked about it.
type Runner struct {
	Name string
	URL  string
	// CertDir is where a certificate of the instance may be put: HOST.crt.
	CertDir string
	// Token says why the entry's token is not known here; nil: it is.
	Token error
	// Verify asks GitLab whether the token is valid. It tells clock, unless that is nil, the server's time and how long ago that was.
	Verify func(ctx context.Context, clock func(server time.Time, took time.Duration)) (gitlab.Registered, error)
}

// answered reports whether GitLab itself has answered: the token is valid, or refused.
func answered(err error) bool {
	var e *gitlab.Error
	return err == nil || errors.As(err, &e) && e.StatusCode == http.StatusForbidden
}

// GitLab checks that a runner's instance answers.
func GitLab(r Runner) finding.Check {
	return finding.Check{Name: "gitlab", About: shown(r.URL), Look: func(ctx context.Context) finding.Result {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		if r.Token != nil {
			return finding.Skip("it is not asked without a token")
		}
		_, err := r.Verify(ctx, nil)
		if answered(err) {
			return finding.OK("GitLab answers")
		}
		bad := finding.Result{Severity: finding.Failure, Why: "no job can be asked for, and the end of none can be told"}
		var e *gitlab.Error
		u, urlErr := url.Parse(r.URL)
		if urlErr != nil || !errors.As(err, &e) {
			bad.What, bad.Advice = oneLine(err), "correct the runner's url and its tls- files"
			return bad
		}
		why, certificate := "", false
		if e.Err != nil {
			why, certificate = trouble(e.Err)
		}
		switch {
		case certificate:
			bad.What = why
			bad.Advice = fmt.Sprintf("put the certificate of whoever has signed it at %s/%s.crt, or name it in tls-ca-file", r.CertDir, u.Hostname())
		case e.StatusCode != 0:
			bad.What = fmt.Sprintf("it answers %d %s", e.StatusCode, http.StatusText(e.StatusCode))
			bad.Advice = "see whether url is that of the GitLab instance, with its relative path if it has one, and whether something stands before it: " + curl(r.URL)
		default:
			bad.What = "GitLab cannot be reached: " + why
			bad.Advice = "correct url, name servers, proxy (HTTPS_PROXY) or firewall, until this answers: " + curl(r.URL)
		}
		return bad
	}}
}

// curl is how people look for themselves.
func curl(raw string) string {
	return "`" + finding.Command{"curl", "-v", shown(raw)}.String() + "`"
}
