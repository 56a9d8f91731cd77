package container

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/moby/api/types/mount"

	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
)

// aDistant answers as an engine does that has what it is asked for, and keeps what is copied into containers.
type aDistant struct {
	podman bool
	ids    int // of a rootless one's containers; 0: it has all
	mu     sync.Mutex
	copied []string // "DIRECTORY NAME MODE CONTENT"
}

func (a *aDistant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Api-Version", "1.41")
	w.Header().Set("Content-Type", "application/json")
	code, answer := http.StatusOK, map[string]any{"ApiVersion": "1.41", "Version": "5.0.0"} // _ping, version
	path := r.URL.Path
	switch {
	case strings.HasSuffix(path, "/version") && a.podman:
		answer["Components"] = []map[string]string{{"Name": "Podman Engine", "Version": "5.0.0"}}
	case strings.HasSuffix(path, "/libpod/info"):
		m := []map[string]int{{"container_id": 0, "host_id": 1000, "size": 1}, {"container_id": 1, "host_id": 1, "size": a.ids - 1}}
		answer = map[string]any{"host": map[string]any{"idMappings": map[string]any{"uidmap": m, "gidmap": m}}}
	case strings.HasSuffix(path, "/info"):
		answer["Rootless"] = a.podman && a.ids > 0
	case strings.HasSuffix(path, "/archive"):
		a.keep(r.URL.Query().Get("path"), r.Body)
	case strings.Contains(path, "/volumes/"):
		answer = map[string]any{"Name": "agents", "Mountpoint": "/volumes/agents/_data"}
	case strings.HasSuffix(path, "/containers/create"):
		code, answer = http.StatusCreated, map[string]any{"Id": "it"}
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(answer)
}

func (a *aDistant) keep(dir string, archive io.Reader) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for t := tar.NewReader(archive); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		text := "cannot be read"
		if err == nil {
			raw, _ := io.ReadAll(t)
			text = string(raw)
		}
		mode, _ := json.Marshal(h.FileInfo().Mode().Perm())
		a.copied = append(a.copied, strings.TrimSpace(strings.Join([]string{dir, h.Name, string(mode), text}, " ")))
		if h.Uid != 0 || h.Gid != 0 {
			a.copied = append(a.copied, "which is not root's")
		}
	}
}

// TestNestedWithoutDirectories has the job's own engine made where no directory is shared: the socket is in a volume that the job only
// reads, Podman finds the profile in that of the agent, and no more ids are mapped than there are.
func TestNestedWithoutDirectories(t *testing.T) {
	t.Parallel()
	door := "/.skerry/nested ./ 511"
	for name, c := range map[string]struct {
		engine  *aDistant
		copied  []string
		seccomp string
	}{
		"Docker":               {&aDistant{}, []string{"/.skerry/ nested/ 511"}, "seccomp={"},
		"Podman as root":       {&aDistant{podman: true}, []string{door}, "seccomp=/volumes/agents/_data/seccomp-"},
		"rootless":             {&aDistant{podman: true, ids: 65537}, []string{door}, "seccomp=/volumes/agents/_data/seccomp-"},
		"rootless, three less": {&aDistant{podman: true, ids: 65533}, []string{door, "/etc 65533"}, "seccomp=/volumes/agents/_data/seccomp-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := plainOptions()
			o.Nested = &Nested{Image: "podman"}
			v, err := planned(t, o, testJob(), engineapi.Docker)
			if err != nil {
				t.Fatal(err)
			}
			v.b.Agent, v.b.fresh = &carrier.Way{Volume: "agents"}, true
			server := httptest.NewServer(c.engine)
			t.Cleanup(server.Close)
			v.engine, err = engineapi.Connect(t.Context(), engineapi.Address{Host: "tcp://" + server.Listener.Addr().String()}, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = v.engine.Close() })
			if err := v.createNested(t.Context(), &engineapi.Image{ID: "sha256:1"}); err != nil {
				t.Fatal(err)
			}
			want := c.copied[:1:1]
			if len(c.copied) > 1 {
				ranges := strings.TrimSpace("podman:1:999\npodman:1001:64532\n")
				want = append(want, "/etc subgid 420 "+ranges, "/etc subuid 420 "+ranges)
			}
			if diff := cmp.Diff(want, c.engine.copied); diff != "" {
				t.Errorf("copied into the container (-want +got):\n%s", diff)
			}
			own, err := v.nestedContainer(&engineapi.Image{ID: "sha256:1"})
			if err != nil {
				t.Fatal(err)
			}
			files, err := v.profiles()
			if err != nil || (len(files) > 0) != c.engine.podman {
				t.Errorf("beside the agent: %d files, %v", len(files), err)
			}
			if all := strings.Join(own.HostConfig.SecurityOpt, "\n"); !strings.Contains(all, c.seccomp) {
				t.Errorf("no %s among %s", c.seccomp, all)
			} else if c.engine.podman && !slices.ContainsFunc(files, func(f carrier.Entry) bool { return strings.HasSuffix(all, "/"+f.Name) }) {
				t.Errorf("the profile of %s is not among those beside the agent", all)
			}
			build, err := v.container("build", &v.b.Build, &engineapi.Image{ID: "sha256:1"})
			if err != nil {
				t.Fatal(err)
			}
			for readOnly, mounts := range map[bool][]mount.Mount{false: own.HostConfig.Mounts, true: build.HostConfig.Mounts} {
				for _, m := range mounts {
					if m.Type == mount.TypeBind {
						t.Errorf("%s is a directory of the runner's machine", m.Source)
					}
					if m.Target == "/.skerry/nested" && (m.ReadOnly != readOnly || m.Source != v.nestedDoor()) {
						t.Errorf("the socket's directory is %+v", m)
					}
				}
			}
		})
	}
}
