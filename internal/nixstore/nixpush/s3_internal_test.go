package nixpush

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gitlab.com/skerry/skerry/internal/nixopt"
)

// TestBucketStalls has a server of S3 stop in the middle of an object, or of one of its parts, or answer nothing.
func TestBucketStalls(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "KEYID")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
	over := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch _, begins := r.URL.Query()["uploads"]; {
		case begins:
			_, _ = io.WriteString(w, `<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>name</Key><UploadId>u</UploadId></InitiateMultipartUploadResult>`)
		case r.Method == http.MethodDelete:
			w.WriteHeader(http.StatusNoContent)
		default:
			_, _ = io.CopyN(io.Discard, r.Body, 1<<20)
			<-over
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(over) })
	address, err := nixopt.ParsePush("s3://bucket?endpoint=" + server.URL)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openBucket(address)
	if err != nil {
		t.Fatal(err)
	}
	b, ok := c.(*bucket)
	if !ok {
		t.Fatalf("%T", c)
	}
	b.patience = 100 * time.Millisecond
	for _, size := range []int{1, 15 << 20, 40 << 20} { // what is larger than 16 MiB is sent in parts
		if err := b.Put(t.Context(), "name", Object{Type: "text/plain", Size: int64(size), Content: strings.NewReader(strings.Repeat("x", size))}); !errors.Is(err, errStalled) {
			t.Error(size, err)
		}
	}
	if _, err := b.Has(t.Context(), "name"); !errors.Is(err, errStalled) {
		t.Error(err)
	}
}
