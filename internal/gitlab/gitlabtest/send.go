package gitlabtest

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
	c *Coordinator
	k *call
}

func (b *slowBody) Read(p []byte) (int, error) {
	if !b.c.hold(b.k.r.Context(), time.Second/pieces) {
		return 0, context.Canceled
	}
	return b.ReadCloser.Read(p[:min(len(p), max(1, b.k.fault.Slow/pieces))])
}

// send writes the answer.
func (c *Coordinator) send(w http.ResponseWriter, k *call) {
	for name, v := range k.header {
		w.Header()[name] = v
	}
	var body io.Reader = bytes.NewReader(k.answer)
	size := int64(len(k.answer))
	if k.file != "" {
		f, err := os.Open(k.file)
		if err != nil {
			http.Error(w, "500 Internal Server Error", http.StatusInternalServerError)
			return
		}
		defer f.Close()
		if k.fault == nil || (k.fault.Slow == 0 && k.fault.Partial == 0) {
			http.ServeContent(w, k.r, "", time.Time{}, f)
			return
		}
		if st, err := f.Stat(); err == nil {
			body, size = f, st.Size()
		}
	}
	if k.status != http.StatusNoContent {
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	}
	w.WriteHeader(k.status)
	if k.status == http.StatusNoContent {
		return
	}
	if k.fault != nil && k.fault.Partial > 0 {
		_, _ = io.CopyN(w, body, k.fault.Partial) // the rest is lost on purpose
		panic(http.ErrAbortHandler)               // the documented way to cut a connection
	}
	if err := c.copySlowly(w, k, body); err != nil && !errors.Is(err, context.Canceled) {
		c.opts.Logger.Debug("answer not delivered", "endpoint", k.endpoint, "error", err)
	}
}

func (c *Coordinator) copySlowly(w http.ResponseWriter, k *call, body io.Reader) error {
	if k.fault == nil || k.fault.Slow == 0 {
		_, err := io.Copy(w, body)
		return err
	}
	for {
		n, err := io.CopyN(w, body, int64(max(1, k.fault.Slow/pieces)))
		if n > 0 {
			_ = http.NewResponseController(w).Flush() // an error comes back with the next write
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if !c.hold(k.r.Context(), time.Second/pieces) {
			return context.Canceled
		}
	}
}
