package nested

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/nested/kept"
)

// HeaderEnded is in every answer at the socket of an engine that was ended, and says why.
const HeaderEnded = "Skerry-Engine-Ended"

// Ended begins the reason; the line of the container's log with it, too, behind the program's name.
const Ended = "the job's own container engine was ended: "

// advice is what the job's author can do.
const advice = "remove images, containers and volumes as the job goes (podman system prune), build smaller ones, or ask the runner's administrator for a larger nested_disk"

// disk is the watch over what the engine keeps in places.
func (o *options) disk(places []kept.Place) *disk {
	return &disk{
		bound: o.bound, now: time.Now,
		free: func() ([]kept.Size, error) { return freeOf(places) },
		count: func(ctx context.Context) (kept.Size, error) {
			used, err := kept.Measure(ctx, places)
			if err != nil {
				return used, err
			}
			unlinked, err := kept.Unlinked(ctx)
			return used.Add(unlinked), err
		},
	}
}

// places are where the engine keeps what is bounded: its storage, the directory of the socket, and whatever else it may write to in its
// container since that was started. It opens them before the engine can move them away.
func (o *options) places(started time.Time) (places []kept.Place, err error) {
	if o.bound == (Bound{}) {
		return nil, nil
	}
	for _, at := range []struct {
		path  string
		since time.Time
	}{{o.store, time.Time{}}, {filepath.Dir(o.socket), time.Time{}}, {"/", started}} {
		p, err := kept.Open(at.path, at.since)
		if err != nil {
			return nil, fmt.Errorf("bound what the engine keeps: %w", err)
		}
		places = append(places, p)
	}
	return places, nil
}

// killAll ends the engine with all of its containers.
func killAll(engine *os.Process) {
	if os.Getpid() != 1 { // it is not the first process of a container, and others may be anybody's
		_ = engine.Kill()
		return
	}
	_ = syscall.Kill(-1, syscall.SIGKILL) // an error says that there are none
}

// reapAll waits for the processes that killAll has ended, which count as long as nobody does.
func reapAll() {
	for {
		if _, err := syscall.Wait4(-1, nil, 0, nil); err != nil && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

const (
	removeTime = time.Minute      // that the removal of what the engine has kept may take
	askTime    = 10 * time.Second // that somebody may take to ask
)

// refuse removes what an engine has kept that was ended, and tells everybody who wants it why it is not there, until ctx ends.
func (o *options) refuse(ctx context.Context, l net.Listener, places []kept.Place, why string) error {
	why = Ended + why + "; " + advice
	fmt.Fprintln(os.Stderr, "skerry-agent:", why)
	reapAll()
	var removing sync.WaitGroup
	removing.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, removeTime)
		defer cancel()
		if err := kept.Remove(ctx, places); err != nil {
			fmt.Fprintln(os.Stderr, "skerry-agent: what the engine has kept goes with the job:", err)
		}
	})
	defer removing.Wait()
	s := &http.Server{Handler: refusal(why), ReadTimeout: askTime, WriteTimeout: askTime, MaxHeaderBytes: 64 << 10}
	s.SetKeepAlivesEnabled(false)
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	if err := s.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("say why the engine was ended: %w", err)
	}
	return nil
}

// refusal answers as an engine does that fails at whatever it is asked. Clients first ask whether it is there and which version of the API it
// has. Source: docs.podman.io/en/latest/_static/api.html, docs.docker.com/reference/api/engine.
func refusal(why string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set(HeaderEnded, why)
		h.Set("Api-Version", "1.41")
		h.Set("Libpod-Api-Version", "5.0.0")
		if strings.HasSuffix(r.URL.Path, "/_ping") {
			fmt.Fprint(w, "OK")
			return
		}
		h.Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusInternalServerError)
		_ = json.NewEncoder(w).Encode(map[string]any{"message": why, "cause": why, "response": http.StatusInternalServerError})
	}
}
