package fault_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gitlab.com/skerry/skerry/internal/gitlab/gitlabtest/fault"
)

func TestParse(t *testing.T) {
	t.Parallel()
	cases := []struct {
		text   string
		want   fault.Fault
		action string
	}{
		{"request:status=503,count=3", fault.Fault{Endpoint: "request", Status: 503, Count: 3}, ""},
		{"trace:status=429,retry-after=2", fault.Fault{Endpoint: "trace", Status: 429, Header: http.Header{"Retry-After": {"2"}}}, ""},
		{"update:state=final,status=412,lose", fault.Fault{Endpoint: "update", State: "final", Status: 412, Lose: true}, ""},
		{"trace:status=416,truncate=100", fault.Fault{Endpoint: "trace", Status: 416, Lose: true, Truncate: 100}, ""},
		{"request:handle,cut", fault.Fault{Endpoint: "request", Handle: true, Cut: true}, ""},
		{"any:wait=10m,cut,count=-1", fault.Fault{Wait: 10 * time.Minute, Cut: true, Count: -1}, ""},
		{"trace:slow=1000,partial=5,body=x", fault.Fault{Endpoint: "trace", Slow: 1000, Partial: 5, Body: "x"}, ""},
		{"trace:skip=2,then=cancel", fault.Fault{Endpoint: "trace", Skip: 2}, "cancel"},
	}
	for _, tc := range cases {
		got, action, err := fault.Parse(tc.text, []string{"request", "trace", "update"}, []string{"cancel"})
		if err != nil || action != tc.action {
			t.Errorf("%s: then %q, error %v", tc.text, action, err)
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.text, diff)
		}
	}
	for text, want := range map[string]string{
		"":                     `there is no endpoint ""`,
		"nowhere:cut":          `there is no endpoint "nowhere"`,
		"trace":                "says nothing of what is to happen",
		"trace:status=9":       "is no status",
		"trace:wait=soon":      "is no duration",
		"trace:count=x":        "is no number",
		"trace:cut=yes":        "takes no value",
		"trace:retry-after=-1": "is no number of seconds",
		"trace:explode":        `"explode" is not known`,
		"trace:then=explode":   "is none of cancel",
	} {
		_, _, err := fault.Parse(text, []string{"trace"}, []string{"cancel"})
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "for example") {
			t.Errorf("%q: error is %v, wanted %q in it", text, err, want)
		}
	}
}
