package gateway

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestFewLines(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := newFew(slog.New(slog.NewTextHandler(&out, nil)), 3)
	for range 10 {
		log.With("a", "b").WithGroup("c").Warn("said")
	}
	if n := strings.Count(out.String(), "\n"); n != 3 || !strings.Contains(out.String(), "says no more") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}
