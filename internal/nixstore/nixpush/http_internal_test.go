package nixpush

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestServerStalls has a server take what it is sent, or not even that, and say nothing: it is not waited for for ever.
func TestServerStalls(t *testing.T) {
	t.Parallel()
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	c, err := openSite(server.URL, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	s, ok := c.(*site)
	if !ok {
		t.Fatalf("%T", c)
	}
	s.patience = 20 * time.Millisecond
	large := strings.Repeat("x", 32<<20) // more than sockets hold
	if err := s.Put(t.Context(), "name", Object{Type: "text/plain", Size: int64(len(large)), Content: strings.NewReader(large)}); !errors.Is(err, errStalled) {
		t.Error(err)
	}
	if _, err := s.Has(t.Context(), "name"); !errors.Is(err, errStalled) {
		t.Error(err)
	}
}
