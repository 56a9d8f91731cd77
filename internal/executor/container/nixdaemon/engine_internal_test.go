package nixdaemon

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"

	"gitlab.com/skerry/skerry/internal/executor/container/engineapi"
	"gitlab.com/skerry/skerry/internal/executor/container/nixspec"
	"gitlab.com/skerry/skerry/internal/nixstore/nixd"
)

// script is an engine whose containers are words: what runs in them answers by answer.
type script struct {
	t      *testing.T
	mount  string   // where all volumes are said to be
	env    []string // of all images
	hidden bool     // the volumes hide the image's Nix until somebody has filled them
	answer func(container, command string, args []string) (any, error)
	stop   func() // called while a container is being stopped; may be nil

	mu         sync.Mutex
	containers map[string]*words
	volumes    map[string]map[string]string // labels by name
	log        []string                     // what was done
}

type words struct {
	labels  map[string]string
	running bool
	started bool

	exit     int
	ended    time.Time
	removing bool // is said of it
	looks    int  // after so many more looks at it somebody has removed it; 0: nobody does
}

var version = regexp.MustCompile(`^/v[0-9.]+`)

// keeper returns a keeper of the daemons of a scripted engine, with what the keeper logs.
func (s *script) keeper(t *testing.T, o Options) *Keeper {
	t.Helper()
	s.t = t
	if s.containers == nil {
		s.containers, s.volumes = map[string]*words{}, map[string]map[string]string{}
	}
	dir, err := os.MkdirTemp("", "nixdaemon") // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	e, err := engineapi.Connect(t.Context(), engineapi.Address{Host: "unix://" + l.Addr().String()}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	o.Engine = func(context.Context) (*engineapi.Engine, error) { return e, nil }
	if o.Live == nil {
		o.Live = func(string) ([]string, error) { return nil, nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	k := New(o)
	k.run = func(_ context.Context, spec Spec, command ...string) ([]byte, error) {
		s.note("%s %s", command[0], spec.Name())
		s.mu.Lock()
		c := s.containers[spec.Name()]
		runs := c != nil && c.running
		s.mu.Unlock()
		if !runs {
			return nil, fmt.Errorf("container %s does not run", spec.Name())
		}
		if command[0] == nixd.CommandSeeded {
			return json.Marshal(nixd.Seeded{Tools: tools})
		}
		a, err := s.answer(spec.Name(), command[0], command[1:])
		if err != nil {
			return nil, err
		}
		return json.Marshal(a)
	}
	t.Cleanup(k.Close)
	return k
}

func (s *script) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, fmt.Sprintf(format, args...))
}

// did waits until something was done, and forgets what was done up to it.
func (s *script) did(what string) {
	s.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	end := time.After(3 * time.Minute)
	for {
		s.mu.Lock()
		at := slices.Index(s.log, what)
		all := slices.Clone(s.log)
		if at >= 0 {
			s.log = s.log[at+1:]
		}
		s.mu.Unlock()
		if at >= 0 {
			return
		}
		select {
		case <-tick.C:
		case <-end:
			s.t.Fatalf("it does not come to %q, but to %q", what, all)
		}
	}
}

// done returns what was done and begins with one of the words, and forgets everything.
func (s *script) done(words ...string) (did []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.log {
		if slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(l, w) }) {
			did = append(did, l)
		}
	}
	s.log = nil
	return did
}

// ServeHTTP answers as an engine does.
func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(version.ReplaceAllString(r.URL.Path, ""), "/"), "/")
	w.Header().Set("Api-Version", "1.41")
	answer := func(code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	switch parts[0] {
	case "_ping":
	case "version":
		answer(http.StatusOK, map[string]any{"Version": "20.10", "ApiVersion": "1.41", "Arch": "amd64", "Os": "linux"})
	case "info":
		answer(http.StatusOK, map[string]any{})
	case "images":
		answer(http.StatusOK, map[string]any{"Id": "id", "Config": map[string]any{"Env": s.env}})
	case "volumes":
		s.serveVolumes(answer, r, parts)
	case "containers":
		s.serveContainers(w, answer, r, parts)
	default:
		answer(http.StatusNotFound, map[string]string{"message": "no " + r.URL.Path})
	}
}

func (s *script) serveVolumes(answer func(int, any), r *http.Request, parts []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodPost:
		var o struct {
			Name   string
			Labels map[string]string
		}
		_ = json.NewDecoder(r.Body).Decode(&o)
		s.volumes[o.Name] = o.Labels
		answer(http.StatusCreated, o)
	case http.MethodDelete:
		delete(s.volumes, parts[1])
		answer(http.StatusNoContent, nil)
	default:
		var list []map[string]any
		for name, labels := range s.volumes {
			if d := labels[nixspec.LabelDomain]; d != "" && strings.Contains(r.URL.Query().Get("filters"), nixspec.LabelDomain+"="+d+`"`) {
				list = append(list, map[string]any{"Name": name, "Labels": labels, "Mountpoint": s.mount})
			}
		}
		answer(http.StatusOK, map[string]any{"Volumes": list})
	}
}

func (s *script) serveContainers(w http.ResponseWriter, answer func(int, any), r *http.Request, parts []string) {
	if s.stop != nil && len(parts) > 2 && parts[2] == "stop" {
		s.stop()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if parts[1] == "create" {
		var o struct{ Labels map[string]string }
		_ = json.NewDecoder(r.Body).Decode(&o)
		name := r.URL.Query().Get("name")
		s.containers[name] = &words{labels: o.Labels}
		s.log = append(s.log, "create "+name)
		answer(http.StatusCreated, map[string]string{"Id": name})
		return
	}
	name := parts[1]
	c := s.containers[name]
	seed := strings.HasSuffix(name, "-seed")
	switch {
	case c == nil:
		answer(http.StatusNotFound, map[string]string{"message": "no such container"})
	case r.Method == http.MethodDelete:
		delete(s.containers, name)
		s.log = append(s.log, "remove "+name)
		answer(http.StatusNoContent, nil)
	case parts[2] == "json":
		if c.looks--; c.looks == 0 {
			delete(s.containers, name)
		}
		status := "exited"
		if c.removing {
			status = "removing"
		}
		if !c.started {
			status = "created"
		}
		if c.running {
			status = "running"
		}
		answer(http.StatusOK, map[string]any{
			"Id": name, "State": map[string]any{"Running": c.running, "Status": status, "FinishedAt": c.ended, "ExitCode": c.exit}, "Config": map[string]any{"Labels": c.labels},
		})
	case parts[2] == "start":
		c.started, c.running, c.exit = true, !seed, 0
		if !seed && s.hidden {
			c.running, c.exit = false, nixd.ExitUnseeded
		}
		if seed {
			s.hidden = false
		}
		s.log = append(s.log, "start "+name)
		answer(http.StatusNoContent, nil)
	case parts[2] == "stop":
		c.running = false
		s.log = append(s.log, "stop "+name)
		answer(http.StatusNoContent, nil)
	case parts[2] == "logs":
		said, _ := json.Marshal(map[string]string{"tools": tools})
		_, _ = stdcopyFrame(w, said)
	}
}

const tools = "/nix/store/nix/bin"

// stdcopyFrame writes standard output as engines do.
func stdcopyFrame(w http.ResponseWriter, said []byte) (int, error) {
	head := []byte{byte(stdcopy.Stdout), 0, 0, 0, byte(len(said) >> 24), byte(len(said) >> 16), byte(len(said) >> 8), byte(len(said))} //nolint:gosec // bytes of a number
	return w.Write(append(head, said...))
}

// spec is a domain's daemon.
func spec(name string, p Policy) Spec {
	return Spec{Owner: "o", Domain: name, For: "the runner", Scope: "s", Image: "img", Settings: nixd.Config{Substituters: []string{}}, Collect: p}
}
