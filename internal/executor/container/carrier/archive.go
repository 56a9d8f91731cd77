package carrier

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"path"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent"
)

// StateArchive is the directory of an agent's state as an archive, for a container that nothing is mounted in, with c.
func StateArchive(c agent.Config) ([]byte, error) {
	config, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	state := strings.TrimPrefix(State, "/")
	return Pack(
		Entry{Name: path.Dir(state), Dir: true, Mode: 0o755},
		Entry{Name: state, Dir: true, Mode: 0o1777},
		Entry{Name: state + "/sock", Dir: true, Mode: 0o1777},
		Entry{Name: state + "/" + agent.ConfigName, Mode: 0o644, Content: config},
	)
}

// Entry is a file or a directory that is copied into a container, where it is root's.
type Entry struct {
	Name    string // in the directory that it is copied to; "." is that itself
	Mode    int64
	Dir     bool
	Content []byte // of a file
}

// Pack makes an archive for engineapi.Engine.CopyInto.
func Pack(entries ...Entry) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := tar.Header{Typeflag: tar.TypeReg, Name: e.Name, Mode: e.Mode, Size: int64(len(e.Content)), ModTime: time.Unix(0, 0)}
		if e.Dir {
			h.Typeflag, h.Name = tar.TypeDir, e.Name+"/"
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(e.Content); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), errors.Join(w.Close())
}
