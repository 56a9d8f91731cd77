package status

import "github.com/prometheus/client_golang/prometheus"

// diskMetrics are Skerry's own: what jobs leave on the disks of container engines.
type diskMetrics struct {
	evictions, evicted *prometheus.CounterVec
	used               prometheus.Gauge
}

func newDiskMetrics(r *prometheus.Registry) *diskMetrics {
	m := &diskMetrics{
		evictions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_disk_evictions_total", Help: "Images, volumes and caches that were removed to make space, by kind."}, []string{"kind"}),
		evicted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "skerry_disk_evicted_bytes_total", Help: "Bytes that the removal of images, volumes and caches has freed, by kind."}, []string{"kind"}),
		used: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "skerry_disk_used_bytes", Help: "Bytes that this runner's images, volumes and caches had on the engine that was looked at last."}),
	}
	r.MustRegister(m.evictions, m.evicted, m.used)
	return m
}

// DiskEvicted counts an "image", a "volume" or a "cache" that was removed from an engine's disk to make space.
func (b *Board) DiskEvicted(kind string, bytes int64) {
	b.metrics.disk.evictions.WithLabelValues(kind).Inc()
	b.metrics.disk.evicted.WithLabelValues(kind).Add(float64(max(bytes, 0)))
}

// DiskUsed tells what the runner's things occupy on an engine's disk.
func (b *Board) DiskUsed(bytes int64) { b.metrics.disk.used.Set(float64(bytes)) }
