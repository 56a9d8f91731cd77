package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
)

// Upload is a received artifact upload: what its form held, on disk.
type Upload struct {
	File     *Part    // form field "file"
	Metadata *Part    // form field "metadata"
	Extra    []string // names of other fields
	Err      error    // of the body: no multipart, or it ends too early
}

// Part is one file of an upload.
type Part struct {
	Path     string // where it is; move it to keep it
	Name     string // the file name that the client gave
	Size     int64
	SHA256   string // hex
	TooLarge bool   // cut off at the limit
}

// Receive reads the multipart body of r into files in dir, each of at most limit bytes.
func Receive(r *http.Request, dir string, limit int64) *Upload {
	u := &Upload{}
	mr, err := r.MultipartReader()
	for err == nil {
		var p *multipart.Part
		if p, err = mr.NextPart(); err != nil {
			break
		}
		switch p.FormName() {
		case "file":
			u.File, err = receive(p, dir, limit)
		case "metadata":
			u.Metadata, err = receive(p, dir, limit)
		default:
			u.Extra = append(u.Extra, p.FormName())
		}
	}
	if !errors.Is(err, io.EOF) {
		u.Err = err
	}
	return u
}

func receive(p *multipart.Part, dir string, limit int64) (*Part, error) {
	f, err := os.CreateTemp(dir, "part-")
	if err != nil {
		return nil, fmt.Errorf("store upload: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(p, limit+1))
	out := &Part{Path: f.Name(), Name: p.FileName(), Size: n, SHA256: hex.EncodeToString(h.Sum(nil)), TooLarge: n > limit}
	if err == nil && out.TooLarge {
		_, err = io.Copy(io.Discard, p)
	}
	if err != nil {
		return out, fmt.Errorf("store upload: %w", err)
	}
	return out, nil
}

// Remove deletes what nobody moved away. It may be called on nil.
func (u *Upload) Remove() {
	if u == nil {
		return
	}
	for _, p := range []*Part{u.File, u.Metadata} {
		if p != nil {
			_ = os.Remove(p.Path) // gone when it was kept
		}
	}
}
