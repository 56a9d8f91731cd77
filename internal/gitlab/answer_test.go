package gitlab

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

func TestChainHoldsEveryCertificateOnce(t *testing.T) {
	t.Parallel()
	leaf, root := &x509.Certificate{Raw: []byte("leaf")}, &x509.Certificate{Raw: []byte("root")}
	state := &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf, root}, {leaf, root}}}
	got := chain(state)
	if strings.Count(got, "BEGIN CERTIFICATE") != 2 || !strings.Contains(got, "bGVhZg==") || !strings.Contains(got, "cm9vdA==") {
		t.Errorf("chain %q", got)
	}
	if got := chain(nil); got != "" {
		t.Errorf("over plain HTTP the chain is %q", got)
	}
}

// FuzzAnswer feeds what a hostile or broken server may send to everything that reads answers.
func FuzzAnswer(f *testing.F) {
	f.Add(400, "application/json", `{"message": {"tags": ["a", {"b": [null, 1e9]}]}, "error": "x"}`, "0-100", "5", "canceled", "3")
	f.Add(201, "application/json", `{"id": "4", "token": "t", "token_expires_at": "2030-01-02T03:04:05Z"}`, "0-", "-1", "", "Wed, 21 Oct 2015 07:28:00 GMT")
	f.Add(403, "application/xml", `<?xml version="1.0"?><Error><Code>a</Code><Message>b</Message></Error>`, "bytes=0-3", "x", "\x00", "99999999999999999999")
	f.Add(200, "text/plain", "200", "1-5", "999999999999", "Canceled", "-5")
	f.Fuzz(func(t *testing.T, status int, kind, body, ranges, seconds, jobState, after string) {
		header := http.Header{
			"Content-Type": {kind}, "Range": {ranges}, "Retry-After": {after},
			http.CanonicalHeaderKey(HeaderUpdateInterval): {seconds}, HeaderJobStatus: {jobState},
			http.CanonicalHeaderKey(HeaderRateLimitReset): {after},
		}
		text := message(status, header, []byte(body))
		if utf8.RuneCountInString(text) > maxMessage+1 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Errorf("message %q", text)
		}
		if n, ok := rangeEnd(ranges); n < 0 || !ok && n != 0 {
			t.Errorf("range %q ends at %d", ranges, n)
		}
		if d := interval(header); d < 0 || d > time.Hour {
			t.Errorf("interval %q is %v", seconds, d)
		}
		if d := (Retry{}).retryAfter(header); d < 0 || d > maxRetryAfter {
			t.Errorf("retry after %q is %v", after, d)
		}
		if s := jobStatus(header); s != "" && s != jobState {
			t.Errorf("status %q of %q", s, jobState)
		}
		if r, err := registered([]byte(body)); err != nil && r != (Registered{}) {
			t.Errorf("a registration %+v beside an error", r)
		}
	})
}
