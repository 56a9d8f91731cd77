package peer_test

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/cli/doctor/finding"
	"gitlab.com/skerry/skerry/internal/cli/doctor/peer"
	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
)

func coordinator(t *testing.T) *gitlabtest.Coordinator {
	t.Helper()
	c, err := gitlabtest.New(gitlabtest.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// runner is an entry with this token, whose GitLab's certificate may be found in certs.
func runner(raw, token, certs string) peer.Runner {
	return peer.Runner{
		Name: "one", URL: raw, CertDir: certs,
		Verify: func(ctx context.Context, clock func(time.Time, time.Duration)) (gitlab.Registered, error) {
			o := gitlab.Options{URL: raw, Clock: clock, Retry: gitlab.Retry{Attempts: 1}}
			if u, err := url.Parse(raw); err == nil {
				if f := filepath.Join(certs, u.Hostname()+".crt"); certs != "" && there(f) {
					o.TLS.CAFile = f
				}
			}
			c, err := gitlab.New(o)
			if err != nil {
				return gitlab.Registered{}, err
			}
			return c.Verify(ctx, token, "s_1")
		},
	}
}

func there(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestGitLab(t *testing.T) {
	t.Parallel()
	c := coordinator(t)
	token := c.AddRunner(gitlabtest.RunnerSpec{}).Token
	r := runner(c.URL(), token, "")
	want(t, peer.GitLab(r), finding.Fine, "GitLab answers", "")
	want(t, peer.GitLab(runner(c.URL(), "glrt-no", "")), finding.Fine, "GitLab answers", "") // though it refuses
	c.Fault(fault.Fault{Endpoint: "verify", Status: http.StatusNotFound})
	want(t, peer.GitLab(r), finding.Failure, "it answers 404 Not Found", "whether url is that of the GitLab instance")
	c.Down()
	got := want(t, peer.GitLab(r), finding.Failure, "connection refused", "`curl -v "+c.URL()+"`")
	if strings.Contains(got.What+got.Advice, token) {
		t.Error("it shows a token")
	}
	if err := c.Up(); err != nil {
		t.Fatal(err)
	}
	want(t, peer.GitLab(r), finding.Fine, "GitLab answers", "")

	want(t, peer.GitLab(runner("http://nobody.invalid", token, "")), finding.Failure, "the name nobody.invalid is not known", "name servers")
	want(t, peer.GitLab(runner("ftp://user:hidden@x", token, "")), finding.Failure, "scheme", "url")
	if about := peer.GitLab(runner("http://user:hidden@x", token, "")).About; about != "http://x" {
		t.Error(about)
	}
	r.Token = errors.New("$X is not set")
	want(t, peer.GitLab(r), finding.Skipped, "without a token", "")
}

// TestGitLabCertificate has a certificate that nobody knows, and puts it where the advice says.
func TestGitLabCertificate(t *testing.T) {
	t.Parallel()
	c := coordinator(t)
	back, err := url.Parse(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(back))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	r := runner(s.URL, c.AddRunner(gitlabtest.RunnerSpec{}).Token, t.TempDir())
	file := r.CertDir + "/127.0.0.1.crt"
	want(t, peer.GitLab(r), finding.Failure, "its certificate is not trusted", "put the certificate of whoever has signed it at "+file)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, peer.GitLab(r), finding.Fine, "GitLab answers", "")
}
