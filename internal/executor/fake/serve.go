package fake

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"gitlab.com/skerry/skerry/internal/agent/wire"
	"gitlab.com/skerry/skerry/internal/stage"
)

func (a *agent) routes() http.Handler {
	m := http.NewServeMux()
	m.HandleFunc("GET /v1/hello", a.serveHello)
	m.HandleFunc("PUT /v1/job", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	m.HandleFunc("PUT /v1/stages/{id}", a.serveStart)
	m.HandleFunc("GET /v1/stages/{id}", a.serveStatus)
	m.HandleFunc("GET /v1/stages/{id}/spool", a.serveSpool)
	m.HandleFunc("POST /v1/stages/{id}/ack", a.serveAck)
	m.HandleFunc("POST /v1/stages/{id}/cancel", a.serveCancel)
	m.HandleFunc("GET /v1/archives/{name}", a.serveArchive)
	m.HandleFunc("PUT /v1/archives/{name}", a.storeArchive)
	m.HandleFunc("DELETE /v1/archives/{name}", a.deleteArchive)
	m.HandleFunc("POST /v1/lease", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.script.Intercept != nil && a.script.Intercept(a.place, w, r) {
			return
		}
		epoch, err := strconv.ParseInt(r.Header.Get(wire.HeaderEpoch), 10, 64)
		if err != nil || r.Header.Get(wire.HeaderProtocol) != strconv.Itoa(wire.Protocol) {
			refuse(w, http.StatusBadRequest, "a header is missing or wrong")
			return
		}
		if !a.enter(epoch) {
			refuse(w, http.StatusGone, "a newer runner process has taken over")
			return
		}
		m.ServeHTTP(w, r)
	})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // the peer is gone
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(wire.Error{Message: message}) // the peer is gone
}

func (a *agent) serveHello(w http.ResponseWriter, _ *http.Request) {
	h := wire.Hello{Protocol: wire.Protocol, Version: "fake", PID: a.pid, OS: "linux", Arch: "amd64", Host: "fake-" + string(a.place)}
	if a.script.Hello != nil {
		a.script.Hello(a.place, &h)
	}
	answer(w, h)
}

func (a *agent) serveStart(w http.ResponseWriter, r *http.Request) {
	var spec stage.Spec
	if err := json.NewDecoder(r.Body).Decode(&spec); err != nil || spec.ID != r.PathValue("id") || !wire.ValidID(spec.ID) {
		refuse(w, http.StatusBadRequest, "this is no stage")
		return
	}
	run, err := a.start(spec)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	if a.script.Started != nil {
		a.script.Started(spec.ID)
	}
	answer(w, wire.Started{At: run.at})
}

func (a *agent) serveStatus(w http.ResponseWriter, r *http.Request) {
	run := a.find(r.PathValue("id"))
	if run == nil {
		answer(w, wire.Status{})
		return
	}
	if seconds, err := strconv.Atoi(r.URL.Query().Get("wait")); err == nil && seconds > 0 {
		t := time.NewTimer(time.Duration(seconds) * time.Second)
		defer t.Stop()
		select {
		case <-run.done:
		case <-t.C:
		case <-r.Context().Done():
			return
		}
	}
	st := wire.Status{Known: true, At: run.at}
	select {
	case <-run.done:
		st.Over, st.Result = true, &run.result
	default:
	}
	answer(w, st)
}

func (a *agent) serveSpool(w http.ResponseWriter, r *http.Request) {
	run := a.find(r.PathValue("id"))
	from, err := strconv.ParseInt(r.URL.Query().Get("from"), 10, 64)
	if run == nil || err != nil {
		refuse(w, http.StatusNotFound, "there is no such stage")
		return
	}
	if _, _, _, ok := run.next(from); !ok {
		refuse(w, http.StatusRequestedRangeNotSatisfiable, "the spool does not have this offset")
		return
	}
	flusher := http.NewResponseController(w)
	w.WriteHeader(http.StatusOK)
	for {
		b, over, more, ok := run.next(from)
		_, werr := w.Write(b)
		if !ok || werr != nil || flusher.Flush() != nil {
			panic(http.ErrAbortHandler) //nolint:forbidigo // net/http's way to reset a stream
		}
		from += int64(len(b))
		if over {
			return
		}
		select {
		case <-more:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler) //nolint:forbidigo // see above
		}
	}
}

func (a *agent) serveAck(w http.ResponseWriter, r *http.Request) {
	run := a.find(r.PathValue("id"))
	to, err := strconv.ParseInt(r.URL.Query().Get("to"), 10, 64)
	if run == nil || err != nil {
		refuse(w, http.StatusNotFound, "there is no such stage")
		return
	}
	run.ack(to)
	w.WriteHeader(http.StatusNoContent)
}

func (a *agent) serveCancel(w http.ResponseWriter, r *http.Request) {
	var c wire.Cancel
	if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	if run := a.find(r.PathValue("id")); run != nil {
		run.end(c)
	}
	w.WriteHeader(http.StatusNoContent)
}

func (a *agent) serveArchive(w http.ResponseWriter, r *http.Request) {
	content, ok := a.stored(r.PathValue("name"))
	if !ok {
		refuse(w, http.StatusNotFound, "there is no such archive")
		return
	}
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(content))
}

func (a *agent) storeArchive(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil || !wire.ValidID(r.PathValue("name")) {
		refuse(w, http.StatusBadRequest, "this is no archive")
		return
	}
	a.store(r.PathValue("name"), string(b))
	w.WriteHeader(http.StatusNoContent)
}

func (a *agent) deleteArchive(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	delete(a.archives, r.PathValue("name"))
	a.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
}
