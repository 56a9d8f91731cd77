package gitlabtest_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest"
	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/breach"
	"gitlab.com/skerry/skerry/internal/gitlab/jobpayload"
)

func TestRunnerDiedAllowsOneRepetition(t *testing.T) {
	t.Parallel()
	c, d, p := running(t, gitlabtest.Options{})
	c.RunnerDied()
	d.client.CloseIdleConnections() // the next runner makes its own
	d.patch(p, 2, "llo\n", 416)
	d.put(p, final("success", "hello\n"), 200)
	d.put(p, final("success", "hello\n"), 403)
	if b := c.Breaches(); len(b) != 0 {
		t.Errorf("breaches are %v", b)
	}
	d.put(p, final("success", "hello\n"), 403)
	if b := c.TakeBreaches(); len(b) != 1 || b[0].Kind != breach.SecondFinal {
		t.Errorf("breaches are %v", b)
	}
}

// TestPatchOfTheDead has the patch of a runner that has died arrive late, before and after the next runner's: neither that,
// nor that the next runner does not know of it, is a breach; what the next one does wrong after that is.
func TestPatchOfTheDead(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"the dead runner's", "the next runner's"} {
		t.Run(first, func(t *testing.T) {
			t.Parallel()
			c, d, p := running(t, gitlabtest.Options{})
			finish := d.halfPatch(p, len(hello), "more\n")
			c.RunnerDied()
			d.client.CloseIdleConnections()
			if first == "the dead runner's" {
				finish()
				d.patch(p, len(hello), "more\n", 416)
			} else {
				d.patch(p, len(hello), "more\n", 202)
				finish()
			}
			d.patch(p, len(hello+"more\n"), "end\n", 202)
			if b := c.Breaches(); len(b) != 0 {
				t.Errorf("breaches are %v", b)
			}
			d.patch(p, 0, hello, 416)
			if b := c.TakeBreaches(); len(b) != 1 || b[0].Kind != breach.Overlap {
				t.Errorf("breaches are %v", b)
			}
		})
	}
}

// halfPatch sends the head of a patch over a connection of its own. What is returned sends the rest and awaits the answer.
func (d *driver) halfPatch(p *jobpayload.Payload, start int, text string) (finish func()) {
	d.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(d.c.URL(), "http://"))
	if err != nil {
		d.t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "PATCH %s/jobs/%d/trace?debug_trace=false HTTP/1.1\r\nHost: c\r\nConnection: close\r\n%s: %s\r\n%s: %s\r\n"+
		"Content-Type: text/plain\r\nContent-Range: %d-%d\r\nContent-Length: %d\r\n\r\n", strings.TrimSuffix(gitlab.APIPath, "/"), p.ID,
		gitlab.HeaderJobToken, p.Token, gitlab.HeaderRequestID, strings.Repeat("0123", 8), start, start+len(text)-1, len(text))
	if err != nil {
		d.t.Fatal(err)
	}
	return func() {
		d.t.Helper()
		defer conn.Close()
		if _, err := io.WriteString(conn, text); err != nil {
			d.t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil {
			d.t.Fatal(err)
		}
	}
}
