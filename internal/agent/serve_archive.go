package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strconv"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
)

// archiveName answers 400 when the name is none.
func archiveName(w http.ResponseWriter, r *http.Request) (string, bool) {
	name := r.PathValue("name")
	if !wire.ValidID(name) {
		refuse(w, http.StatusBadRequest, fmt.Errorf("archive name %q: want at most %d of a-z 0-9 _ . -", name, wire.MaxID))
		return "", false
	}
	return name, true
}

func (a *Agent) serveArchive(w http.ResponseWriter, r *http.Request) {
	name, ok := archiveName(w, r)
	if !ok {
		return
	}
	i, err := a.archives.Lstat(name)
	if err == nil && !i.Mode().IsRegular() {
		err = fmt.Errorf("archive %q is no file", name)
	}
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	f, err := a.archives.Open(name)
	if err != nil {
		refuse(w, http.StatusNotFound, err)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", time.Time{}, f)
}

// storeArchive writes beside the name and renames: an archive is there whole or not at all.
func (a *Agent) storeArchive(w http.ResponseWriter, r *http.Request) {
	name, ok := archiveName(w, r)
	if !ok {
		return
	}
	part := "~" + name + "." + strconv.FormatInt(time.Now().UnixNano(), 36) // "~" is in no archive's name
	if err := a.receive(part, r); err != nil {
		_ = a.archives.Remove(part) // takes space only
		refuse(w, http.StatusInsufficientStorage, fmt.Errorf("store archive %q: %w", name, err))
		return
	}
	if err := a.archives.Rename(part, name); err != nil {
		_ = a.archives.Remove(part)
		refuse(w, http.StatusInternalServerError, fmt.Errorf("store archive %q: %w", name, err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *Agent) receive(part string, r *http.Request) error {
	f, err := a.archives.Create(part)
	if err != nil {
		return err
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{f}, r.Body, make([]byte, 256<<10))
	return errors.Join(err, f.Close())
}

func (a *Agent) deleteArchive(w http.ResponseWriter, r *http.Request) {
	name, ok := archiveName(w, r)
	if !ok {
		return
	}
	if err := a.archives.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("remove archive %q: %w", name, err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
