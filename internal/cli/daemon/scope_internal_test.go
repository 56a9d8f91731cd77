package daemon

import (
	"testing"

	"gitlab.com/skerry/skerry/internal/config"
)

func TestScope(t *testing.T) {
	t.Parallel()
	entry := func(url string, id int64, token string) string {
		return scope(&config.Runner{URL: url, ID: id, Token: token})
	}
	if entry("https://a", 7, "old") != entry("https://a", 7, "rotated") {
		t.Error("a rotated token makes another runner of the entry: its volumes would be lost")
	}
	for name, other := range map[string]string{
		"instance": entry("https://b", 7, "old"), "runner": entry("https://a", 8, "old"), "entry without a number": entry("https://a", 0, "old"),
	} {
		if other == entry("https://a", 7, "old") {
			t.Errorf("another %s has the same volumes", name)
		}
	}
	if entry("https://a", 0, "x") == entry("https://a", 0, "y") {
		t.Error("entries without a number are told apart by their tokens")
	}
}
