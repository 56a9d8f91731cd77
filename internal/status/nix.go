package status

import "github.com/prometheus/client_golang/prometheus"

// NixUse is what a job has had of its Nix store.
type NixUse struct {
	Built, Substituted, Reused, Added NixPaths

	Refused int // requests that no job may make
}

// NixPaths are some store paths.
type NixPaths struct {
	Paths int
	Bytes int64
}

// nixMetrics are Skerry's own: what jobs have of their Nix stores.
type nixMetrics struct {
	paths, bytes, refused *prometheus.CounterVec
	sandbox               *prometheus.GaugeVec

	pushed, sent, pushes *prometheus.CounterVec
	left                 *prometheus.GaugeVec
}

func newNixMetrics(r *prometheus.Registry) *nixMetrics {
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, append([]string{"runner", "runner_name", "system_id"}, labels...))
	}
	m := &nixMetrics{
		paths:   counters("skerry_nix_paths_total", "Store paths that jobs came by: built and substituted for them, reused because they were there, or added by them.", "kind"),
		bytes:   counters("skerry_nix_bytes_total", "Bytes of those paths as archives, as far as they are known.", "kind"),
		refused: counters("skerry_nix_refused_total", "Requests of jobs to their Nix stores that no job may make."),
		sandbox: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "skerry_nix_sandbox", Help: "Whether the daemon of a Nix store builds in Nix's sandbox: 1, or 0."}, []string{"store"}),
	}
	of := []string{"store"}
	m.pushed = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_nix_pushed_paths_total", Help: "Paths of a Nix store that were sent to its binary cache."}, of)
	m.sent = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_nix_pushed_bytes_total", Help: "Bytes of the compressed archives that were sent."}, of)
	m.pushes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "skerry_nix_push_failures_total", Help: "Pushes of a Nix store that have failed and are tried again."}, of)
	m.left = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "skerry_nix_push_queue", Help: "Paths that jobs have built and that are still to be pushed."}, of)
	r.MustRegister(m.paths, m.bytes, m.refused, m.sandbox, m.pushed, m.sent, m.pushes, m.left)
	return m
}

// NixUsed counts what the job ref has had of its Nix store, when its work is over. A ref that is not there is ignored.
func (b *Board) NixUsed(ref string, n NixUse) {
	b.mu.Lock()
	j := b.jobs[ref]
	if j == nil {
		b.mu.Unlock()
		return
	}
	runner := j.Runner
	b.mu.Unlock()
	labels := b.labels(runner)
	for kind, p := range map[string]NixPaths{"built": n.Built, "substituted": n.Substituted, "reused": n.Reused, "added": n.Added} {
		b.metrics.nix.paths.WithLabelValues(append(labels, kind)...).Add(float64(max(p.Paths, 0)))
		b.metrics.nix.bytes.WithLabelValues(append(labels, kind)...).Add(float64(max(p.Bytes, 0)))
	}
	b.metrics.nix.refused.WithLabelValues(labels...).Add(float64(max(n.Refused, 0)))
}

// NixSandbox tells whether the daemon of a store builds in Nix's sandbox, and NixGone that there is no such store any more.
func (b *Board) NixSandbox(store string, on bool) {
	value := 0.0
	if on {
		value = 1
	}
	b.metrics.nix.sandbox.WithLabelValues(store).Set(value)
}

// NixGone forgets a store.
func (b *Board) NixGone(store string) {
	m := b.metrics.nix
	m.sandbox.DeleteLabelValues(store)
	for _, c := range []*prometheus.CounterVec{m.pushed, m.sent, m.pushes} {
		c.DeleteLabelValues(store)
	}
	m.left.DeleteLabelValues(store)
}

// NixPush is what a push to a binary cache has come to.
type NixPush struct {
	Paths  int   // that were sent
	Bytes  int64 // of their archives
	Failed bool
	Left   int // paths that jobs have built and that are still to be pushed
}

// NixPushed counts a push from a store.
func (b *Board) NixPushed(store string, p NixPush) {
	m := b.metrics.nix
	m.pushed.WithLabelValues(store).Add(float64(p.Paths))
	m.sent.WithLabelValues(store).Add(float64(p.Bytes))
	failures := m.pushes.WithLabelValues(store)
	if p.Failed {
		failures.Inc()
	}
	m.left.WithLabelValues(store).Set(float64(p.Left))
}
