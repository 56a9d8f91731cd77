package runnertoken_test

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/gitlab/runnertoken"
)

func TestShort(t *testing.T) {
	t.Parallel()
	for token, want := range map[string]string{
		"":                        "",
		"short":                   "short",
		"glrt-AbCdEfGhIjKl":       "AbCdEfGhI",
		"glrtr-AbCdEfGhIjKl":      "AbCdEfGhI",
		"glrt-t1_AbCdEfGhIjKl":    "AbCdEfGhI",
		"glrtr-t1_AbCdEfGhIjKl":   "t1_AbCdEf",
		"glrt-t4_AbCdEfGhIjKl":    "t4_AbCdEf",
		"t3_AbCdEfGhIjKl":         "AbCdEfGhI",
		"glcbt-64_AbCdEfGhIjKl":   "64_AbCdEf",
		"GR1348941AbCdEfGhIjKlMn": "AbCdEfGhI",
		"GR1348941":               "",
		"GRunhexxxAbCdEf":         "GRunhexxx",
	} {
		if got := runnertoken.Short(token); got != want {
			t.Errorf("Short(%q) = %q, want %q", token, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for token, want := range map[string][2]bool{
		"glrt-AbC": {true, true}, "glrtr-AbC": {true, false}, "GR1348941AbC": {}, "glcbt-AbC": {}, "": {},
	} {
		if got := [2]bool{runnertoken.IsRunner(token), runnertoken.IsCreated(token)}; got != want {
			t.Errorf("%q: %v, want %v", token, got, want)
		}
	}
}
