package container

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"

	"gitlab.com/skerry/skerry/internal/executor"
	"gitlab.com/skerry/skerry/internal/executor/container/carrier"
	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/image"
)

// fakeEngine is an engine outside whose containers are engines of jobs that answer at once. Real ones are not to be had at the moments
// that the tests with it are about.
type fakeEngine struct {
	http.Handler

	mu         sync.Mutex
	n          int
	containers map[string]*fakeContainer
	volumes    map[string]map[string]string // their labels, by name
	root       string                       // where it keeps everything; empty: nowhere
	nested     http.HandlerFunc             // what the engines in it answer; nil: nothing that matters
	silent     bool                         // it answers nothing about containers
	inUse      string                       // a volume that some container has
	removing   func(container string)       // called before a container goes
	ends       func(*fakeContainer) bool    // those that end as soon as they are started; nil: none
}

type fakeContainer struct {
	id       string
	running  bool
	ended    bool // without having run
	labels   map[string]string
	writable []string // paths of volumes
	made     container.HostConfig
	env      []string
	entry    []string
	exit     int    // its exit code, when it is stopped
	sockets  string // the directory of the socket
	answers  *http.Server
}

func (c *fakeContainer) start(answer http.HandlerFunc) error {
	l, err := net.Listen("unix", filepath.Join(c.sockets, nestedSocket))
	if err != nil {
		return err
	}
	if answer == nil {
		answer = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "OK") }
	}
	c.running = true
	c.answers = &http.Server{ReadHeaderTimeout: time.Minute, Handler: answer}
	go func() { _ = c.answers.Serve(l) }() // ends when the engine is closed
	return nil
}

// silence has the container run and not answer.
func (c *fakeContainer) silence() { _ = c.answers.Close() }

func (f *fakeEngine) get(name string) *fakeContainer {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.containers[name]
}

func (f *fakeEngine) create(w http.ResponseWriter, r *http.Request) {
	var o struct {
		Labels     map[string]string
		Env        []string
		Entrypoint []string
		HostConfig container.HostConfig
	}
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	c := &fakeContainer{id: "id-" + strconv.Itoa(f.n), labels: o.Labels, made: o.HostConfig, env: o.Env, entry: o.Entrypoint}
	for _, m := range o.HostConfig.Mounts {
		if m.Target == filepath.Dir(image.NestedSocket) {
			c.sockets = m.Source
		}
	}
	f.containers[r.URL.Query().Get("name")] = c
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(map[string]string{"Id": c.id})
}

// of calls do with a container that is there.
func (f *fakeEngine) of(do func(w http.ResponseWriter, name string, c *fakeContainer)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		name := r.PathValue("name")
		c := f.get(name)
		if c == nil {
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"message":"no such container"}`)
			return
		}
		do(w, name, c)
	}
}

func (f *fakeEngine) inspect(w http.ResponseWriter, _ string, c *fakeContainer) {
	if f.silent {
		http.Error(w, `{"message":"it has no time"}`, http.StatusInternalServerError)
		return
	}
	status := "created"
	switch {
	case c.running:
		status = "running"
	case c.ended || c.answers != nil:
		status = "exited"
	}
	var mounts []map[string]any
	for _, p := range c.writable {
		mounts = append(mounts, map[string]any{"Destination": p, "RW": true})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"Id": c.id, "State": map[string]any{"Running": c.running, "Status": status, "ExitCode": c.exit}, "Config": map[string]any{"Labels": c.labels}, "Mounts": mounts,
	})
}

func (f *fakeEngine) remove(w http.ResponseWriter, name string, c *fakeContainer) {
	if f.removing != nil {
		f.removing(name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if c.answers != nil {
		_ = c.answers.Close()
	}
	delete(f.containers, name)
	w.WriteHeader(http.StatusNoContent)
}

func (f *fakeEngine) createVolume(w http.ResponseWriter, r *http.Request) {
	var o struct {
		Name   string
		Labels map[string]string
	}
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.volumes[o.Name] = o.Labels
	w.WriteHeader(http.StatusCreated)
	_, _ = io.WriteString(w, `{}`)
}

func (f *fakeEngine) listVolumes(w http.ResponseWriter, _ *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := []map[string]any{}
	for name, labels := range f.volumes {
		all = append(all, map[string]any{"Name": name, "Labels": labels})
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Volumes": all})
}

func (f *fakeEngine) inspectVolume(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := r.PathValue("name")
	labels, there := f.volumes[name]
	if !there {
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message":"no such volume"}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"Name": name, "Labels": labels})
}

func (f *fakeEngine) removeVolume(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.PathValue("name") == f.inUse {
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"message":"volume is in use"}`)
		return
	}
	delete(f.volumes, r.PathValue("name"))
	w.WriteHeader(http.StatusNoContent)
}

// newFakeEngine serves one, and returns it with an executor that has it.
func newFakeEngine(t *testing.T, o Options) (*fakeEngine, *Executor) {
	t.Helper()
	dir, err := os.MkdirTemp("", "skf") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	f := &fakeEngine{containers: map[string]*fakeContainer{}, volumes: map[string]map[string]string{}}
	m := http.NewServeMux()
	const v = "/v1.41"
	m.HandleFunc("/_ping", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Api-Version", "1.41") })
	m.HandleFunc(v+"/version", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"Version":"20.10.0","ApiVersion":"1.41","Arch":"`+runtime.GOARCH+`"}`)
	})
	m.HandleFunc(v+"/info", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"DockerRootDir": f.root})
	})
	m.HandleFunc("POST "+v+"/containers/create", f.create)
	m.HandleFunc("GET "+v+"/containers/{name}/json", f.of(f.inspect))
	m.HandleFunc("GET "+v+"/containers/{name}/logs", f.of(func(http.ResponseWriter, string, *fakeContainer) {}))
	m.HandleFunc("POST "+v+"/containers/{name}/start", f.of(func(w http.ResponseWriter, _ string, c *fakeContainer) {
		if f.ends != nil && f.ends(c) {
			c.ended = true
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if err := c.start(f.nested); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	m.HandleFunc("POST "+v+"/containers/{name}/stop", f.of(func(w http.ResponseWriter, _ string, c *fakeContainer) {
		c.silence()
		c.running = false
		w.WriteHeader(http.StatusNoContent)
	}))
	m.HandleFunc("DELETE "+v+"/containers/{name}", f.of(f.remove))
	m.HandleFunc("GET "+v+"/images/{name}/json", func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]any{"Id": r.PathValue("name"), "Config": map[string]any{}})
	})
	m.HandleFunc("GET "+v+"/volumes", f.listVolumes)
	m.HandleFunc("POST "+v+"/volumes/create", f.createVolume)
	m.HandleFunc("GET "+v+"/volumes/{name}", f.inspectVolume)
	m.HandleFunc("DELETE "+v+"/volumes/{name}", f.removeVolume)
	f.Handler = m

	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: f, ReadHeaderTimeout: time.Minute}
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-served })
	t.Cleanup(func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, c := range f.containers {
			if c.answers != nil {
				_ = c.answers.Close()
			}
		}
	})
	o.Dir, o.Engine = filepath.Join(dir, "e"), engineapi.Address{Host: "unix://" + filepath.Join(dir, "s")}
	host := &Host{}
	t.Cleanup(func() { _ = host.Close(context.WithoutCancel(t.Context())) })
	return f, New(o, host, slog.New(slog.NewTextHandler(t.Output(), nil)))
}

// draws is an environment of a job that has been drawn.
func draws(t *testing.T, e *Executor) *environment {
	t.Helper()
	ref := executor.NewRef("0123456789abcdef")
	b, err := e.draw(t.Context(), ref, testJob())
	if err != nil {
		t.Fatal(err)
	}
	b.Agent = &carrier.Way{}
	engine, err := e.host.engine(t.Context(), e.o.Engine)
	if err != nil {
		t.Fatal(err)
	}
	v := &environment{e: e, b: b, engine: engine, dir: e.dir(ref), out: io.Discard, log: e.log}
	if err := os.MkdirAll(v.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := b.write(v.dir); err != nil {
		t.Fatal(err)
	}
	return v
}

// ended is as if the environment's job had gone with all that it had.
func ended(t *testing.T, v *environment) {
	t.Helper()
	if err := os.RemoveAll(v.dir); err != nil {
		t.Fatal(err)
	}
}
