package container

import (
	"net/http"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested"
)

// TestWhyAnEngineWasEnded is what the agent says, and nothing that does something to a log.
func TestWhyAnEngineWasEnded(t *testing.T) {
	t.Parallel()
	v, l := answering(t)
	said := make(chan string, 1)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(nested.HeaderEnded, <-said)
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	for text, want := range map[string]string{
		"":                               "",
		"anything else":                  "",
		"anything " + nested.Ended:       "",
		nested.Ended + "it kept":         nested.Ended + "it kept",
		nested.Ended + "a\tb\u009b31m ü": nested.Ended + "ab31m ü",
	} {
		said <- text
		if got := v.nestedRefuses(t.Context(), v.engine); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
