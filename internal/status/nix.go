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
	r.MustRegister(m.paths, m.bytes, m.refused, m.sandbox)
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
func (b *Board) NixGone(store string) { b.metrics.nix.sandbox.DeleteLabelValues(store) }
