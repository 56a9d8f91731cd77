package call

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// pieces is how many times a second (unscaled) a slow body moves.
const pieces = 20

// slowBody is a request's body that arrives slowly.
type slowBody struct {
	io.ReadCloser
	s *Server
	k *Call
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.s.hold(b.k, time.Second/pieces) {
		return 0, context.Canceled
	}
	return b.ReadCloser.Read(p[:min(len(p), max(1, b.k.Fault.Slow/pieces))])
}

// Send writes the answer.
func (s *Server) Send(w http.ResponseWriter, k *Call) {
	for name, v := range k.Header {
		w.Header()[name] = v
	}
	var body io.Reader = bytes.NewReader(k.Answer)
	size := int64(len(k.Answer))
	if k.File != "" {
		f, err := os.Open(k.File)
		if err != nil {
			http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		if k.Fault == nil || (k.Fault.Slow == 0 && k.Fault.Partial == 0) {
			http.ServeContent(w, k.Request, "", time.Time{}, f)
			return
		}
		if st, err := f.Stat(); err == nil {
			body, size = f, st.Size()
		}
	}
	if k.Status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(k.Status)
	if k.Status == http.StatusNoContent {
		return
	}
	if k.Fault != nil && k.Fault.Partial > 0 {
		_, _ = io.CopyN(w, body, k.Fault.Partial) // the rest is lost on purpose
		_ = http.NewResponseController(w).Flush()
		Cut(w)
		return
	}
	_ = s.copySlowly(w, k, body) // a client that has gone away has nobody to be told
}

func (s *Server) copySlowly(w http.ResponseWriter, k *Call, body io.Reader) error {
	if k.Fault == nil || k.Fault.Slow == 0 {
		_, err := io.Copy(w, body)
		return err
	}
	for {
		n, err := io.CopyN(w, body, int64(max(1, k.Fault.Slow/pieces)))
		if n > 0 {
			_ = http.NewResponseController(w).Flush() // an error comes back with the next write
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !s.hold(k, time.Second/pieces) {
			return context.Canceled
		}
	}
}
