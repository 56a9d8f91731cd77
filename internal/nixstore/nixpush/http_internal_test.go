package nixpush

import (
	"errors"
	"io"
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

// TestServerRefusesAtOnce has a server refuse what is too large for it without a look at it, and break the connection.
func TestServerRefusesAtOnce(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		w.WriteHeader(http.StatusRequestEntityTooLarge)
	}))
	t.Cleanup(server.Close)
	c, err := openSite(server.URL, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	w, ok := c.(*site).client.Transport.(watched)
	if !ok {
		t.Fatalf("%T", c)
	}
	w.ExpectContinueTimeout = time.Minute // a busy machine may refuse it late
	sent := 0
	content := counted{strings.NewReader(strings.Repeat("x", 32<<20)), &sent}
	var refused *RefusedError
	if err := c.Put(t.Context(), "name", Object{Type: "text/plain", Size: 32 << 20, Content: content}); !errors.As(err, &refused) || sent > 0 {
		t.Errorf("%v, after %d bytes", err, sent)
	}
}

// counted counts what is read.
type counted struct {
	io.ReaderAt

	n *int
}

func (c counted) ReadAt(b []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(b, off)
	*c.n += n
	return n, err
}
