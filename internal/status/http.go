package status

import (
	"fmt"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Handler returns what listen_address serves, all of it read-only: /metrics, /debug/jobs/list in GitLab
// Runner's format, /debug/process/state, /health/ready (503 until SetReady) and /debug/pprof/. It registers the
// collectors of the Go runtime and the process, so it is for processes that serve; call it once.
func (b *Board) Handler() http.Handler {
	b.metrics.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /debug/jobs/list", b.serveJobs)
	mux.HandleFunc("GET /debug/process/state", b.serveState)
	mux.HandleFunc("GET /health/ready", b.serveReady)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// serveJobs lists the jobs one a line. Source: ListJobsHandler in commands/builds_helper.go, version 2.
func (b *Board) serveJobs(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("X-List-Version", "2")
	w.Header().Set("Content-Type", "text/plain")
	now := b.clock()
	for _, j := range b.Snapshot().Jobs {
		_, _ = fmt.Fprintf(w, "url=%s state=%s stage=%s executor_stage=%s duration=%s\n",
			oneWord(j.URL), j.State, j.Stage, executorStage(j), now.Sub(j.Started).Round(time.Millisecond))
	}
}

func (b *Board) serveState(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	if b.ready.Load() {
		_, _ = fmt.Fprintln(w, "running")
		return
	}
	_, _ = fmt.Fprintln(w, "not ready")
}

func (b *Board) serveReady(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain")
	if !b.ready.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = fmt.Fprintln(w, "not ready")
		return
	}
	_, _ = fmt.Fprintln(w, "ready")
}

// oneWord keeps what a coordinator sent from looking like other fields of the line.
func oneWord(s string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r == 0x7f {
			return '_'
		}
		return r
	}, s)
}
