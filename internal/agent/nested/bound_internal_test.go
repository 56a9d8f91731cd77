package nested

import (
	"net/http/httptest"
	"strings"
	"testing"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

func TestBoundIsWritten(t *testing.T) {
	t.Parallel()
	for _, b := range []Bound{{Bytes: 20 << 30}, {Percent: 50}, {Percent: 12.5}} {
		o, err := parse(append(Bounded(b, "/store"), "/socket", "podman", "--disk", "1"))
		if err != nil || o.bound != b || o.store != "/store" || o.socket != "/socket" || strings.Join(o.line, " ") != "podman --disk 1" {
			t.Errorf("%v: %+v %v", b, o, err)
		}
	}
	if o, err := parse(append(Bounded(Bound{}, "/store"), "/socket", "podman")); err != nil || o.bound != (Bound{}) {
		t.Errorf("no bound: %+v %v", o, err)
	}
	for _, bad := range []string{"", "-1", "0", "NaN", "1e300", "50%%", "0%"} {
		if _, err := parse([]string{"--disk", bad, "--store", "/store", "/socket", "podman"}); err == nil {
			t.Errorf("the bound %q is one", bad)
		}
	}
	if _, err := parse([]string{"--disk", "50%", "/socket", "podman"}); err == nil {
		t.Error("a bound without a place")
	}
}

func TestWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for name, c := range map[string]struct {
		bound      Bound
		used, free kept.Size
		want       bool
	}{
		"as much as allowed":      {Bound{Bytes: gib}, kept.Size{Bytes: gib, Files: 10}, kept.Size{Bytes: leastFree}, false},
		"hardly anything is left": {Bound{Bytes: gib}, kept.Size{Bytes: 1 << 20, Files: 10}, kept.Size{Bytes: leastFree - 1}, true},
		"more":                    {Bound{Bytes: gib}, kept.Size{Bytes: gib + 1, Files: 10}, kept.Size{Bytes: 100 * gib}, true},
		"many empty files":        {Bound{Bytes: gib}, kept.Size{Files: gib/fileBytes + 1}, kept.Size{Bytes: 100 * gib}, true},
		"as much as is left":      {Bound{Percent: 50}, kept.Size{Bytes: 5 * gib}, kept.Size{Bytes: 5 * gib}, false},
		"more than is left":       {Bound{Percent: 50}, kept.Size{Bytes: 5*gib + 1}, kept.Size{Bytes: 5 * gib}, true},
		"a quarter":               {Bound{Percent: 25}, kept.Size{Bytes: 5 * gib}, kept.Size{Bytes: 15*gib - 1}, true},
		"a little on a busy disk": {Bound{Percent: 50}, kept.Size{Bytes: littleKept}, kept.Size{Bytes: enoughFree}, false},
		"a little too much":       {Bound{Percent: 50}, kept.Size{Bytes: enoughFree}, kept.Size{Bytes: enoughFree - 1}, true},
		"more than a little":      {Bound{Percent: 50}, kept.Size{Bytes: littleKept + 1}, kept.Size{Bytes: enoughFree}, true},
		"more files than left":    {Bound{Percent: 50}, kept.Size{Files: 11}, kept.Size{Bytes: gib, Files: 10}, true},
		"a few files":             {Bound{Percent: 50}, kept.Size{Files: littleKept / fileBytes}, kept.Size{Bytes: gib, Files: enoughFree / fileBytes}, false},
		"files are made at will":  {Bound{Percent: 50}, kept.Size{Files: 11}, kept.Size{Bytes: gib}, false},
		"nothing on a full disk":  {Bound{Percent: 50}, kept.Size{}, kept.Size{}, false},
		"anything on a full disk": {Bound{Percent: 50}, kept.Size{Bytes: 1}, kept.Size{}, true},
	} {
		if got := c.bound.exceeded(c.used, c.free); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// TestRefusal is what clients are told, one that asks whether the engine is there before anything else among them.
func TestRefusal(t *testing.T) {
	t.Parallel()
	ask := func(path string) *httptest.ResponseRecorder {
		r := httptest.NewRecorder()
		refusal("it kept too much")(r, httptest.NewRequestWithContext(t.Context(), "GET", path, nil))
		return r
	}
	if r := ask("/v4.9.3/libpod/_ping"); r.Code != 200 || r.Header().Get(HeaderEnded) != "it kept too much" || r.Header().Get("Libpod-API-Version") == "" || r.Header().Get("API-Version") == "" {
		t.Errorf("asked whether it is there it answers %d %v", r.Code, r.Header())
	}
	if r := ask("/v1.41/containers/json"); r.Code != 500 || !strings.Contains(r.Body.String(), `"message":"it kept too much"`) || !strings.Contains(r.Body.String(), `"response":500`) {
		t.Errorf("asked for something it answers %d %s", r.Code, r.Body)
	}
}
