package status

import (
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"gitlab.com/skerry/skerry/internal/job"
)

// mode is the label that tells GitLab Runner's script jobs from its jobs of steps; ours are all of the first kind.
const mode = "traditional"

// metrics are the counters and histograms, and the registry that holds them and the Board's gauges.
// Names, labels and buckets: commands/{builds_helper,multi,health_helper}.go,
// commands/internal/configfile/metrics.go, network/api_requests_collector.go,
// helpers/prometheus/*.go and common/version.go of GitLab Runner.
type metrics struct {
	registry *prometheus.Registry

	jobs, failedJobs, modes                         *prometheus.CounterVec
	jobDuration, queueDuration, stageDuration       *prometheus.HistogramVec
	feeds, feedFailures, slotOperations, processing *prometheus.CounterVec
	unhealthy, statuses, errors                     *prometheus.CounterVec
	requestDuration                                 *prometheus.HistogramVec
	queueSize, queueDepth                           *prometheus.GaugeVec
	loaded, loadErrors, saved, saveErrors           prometheus.Counter
	disk                                            *diskMetrics
	nix                                             *nixMetrics
}

func newMetrics(b *Board, opts Options) *metrics {
	runner := []string{"runner", "runner_name", "system_id"}
	short := []float64{1, 3, 10, 30, 60, 120, 300, 900, 1800, 3600}
	long := []float64{30, 60, 300, 600, 1800, 3600, 7200, 10800, 18000, 36000}
	request := []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
	m := &metrics{
		registry: prometheus.NewRegistry(),

		jobs:       counters("jobs_total", "Jobs that were received.", runner...),
		failedJobs: counters("failed_jobs_total", "Jobs that failed, by reason.", "runner", "runner_name", "failure_reason", "mode"),
		modes:      counters("job_execution_mode_total", "Jobs that were received, by executor.", "mode", "executor"),

		jobDuration:   histograms("job_duration_seconds", "Time from the receipt of a job to its result.", long, append(runner, "mode")...),
		queueDuration: histograms("job_queue_duration_seconds", "Time that jobs waited in the coordinator's queue.", short, append(runner, "project_jobs_running")...),
		stageDuration: histograms("job_stage_duration_seconds", "Time that jobs spent in each stage.", short, append(runner, "stage")...),

		feeds:          counters("worker_feeds_total", "Requests for a job that were sent.", runner...),
		feedFailures:   counters("worker_feed_failures_total", "Requests for a job that brought neither a job nor the word that there is none.", runner...),
		slotOperations: counters("worker_slot_operations_total", "Slots that jobs took (started) and left (stopped).", "operation"),
		processing:     counters("worker_processing_failures_total", "Jobs that failed: by their own script (job_failure) or otherwise (other).", append([]string{"failure_type"}, runner...)...),
		unhealthy:      counters("worker_health_check_failures_total", "Requests for a job that the coordinator refused.", runner...),

		statuses:        counters("api_request_statuses_total", "Requests to the coordinator, by status.", "runner", "system_id", "endpoint", "status", "method"),
		requestDuration: histograms("api_request_duration_seconds", "Time that requests to the coordinator took.", request, "runner", "system_id", "endpoint", "status_class", "method"),

		queueSize:  gaugeVec("job_queue_size", "Jobs in the runner's queue when the last job left it.", runner...),
		queueDepth: gaugeVec("job_queue_depth", "Jobs that the coordinator looked at for the last job.", runner...),

		errors:     counters("errors_total", "Warnings and errors in the operator's log.", "level"),
		loaded:     counter("configuration_loaded_total", "Times that the configuration file was read."),
		loadErrors: counter("configuration_loading_error_total", "Times that the configuration file could not be used."),
		saved:      counter("configuration_saved_total", "Times that the configuration file was written."),
		saveErrors: counter("configuration_saving_error_total", "Times that the configuration file could not be written."),
	}
	m.disk = newDiskMetrics(m.registry)
	m.nix = newNixMetrics(m.registry)
	for _, level := range []string{"panic", "fatal", levelError, levelWarning} {
		m.errors.WithLabelValues(level)
	}
	m.slotOperations.WithLabelValues("started")
	m.slotOperations.WithLabelValues("stopped")
	m.registry.MustRegister(newGauges(b), versionInfo(opts.Build),
		m.jobs, m.failedJobs, m.modes, m.jobDuration, m.queueDuration, m.stageDuration,
		m.feeds, m.feedFailures, m.slotOperations, m.processing, m.unhealthy,
		m.statuses, m.requestDuration, m.queueSize, m.queueDepth, m.errors, m.loaded, m.loadErrors, m.saved, m.saveErrors)
	return m
}

// begin makes the counters of a configured runner visible before there is anything to count, so
// that rates are right from the first event on.
func (m *metrics) begin(runner []string) {
	for _, c := range []*prometheus.CounterVec{m.jobs, m.feeds, m.feedFailures, m.unhealthy} {
		c.WithLabelValues(runner...)
	}
	for _, kind := range []string{"job_failure", "no_free_executor", "other"} {
		m.processing.WithLabelValues(append([]string{kind}, runner...)...)
	}
}

func (m *metrics) jobStarted(runner []string, j Job) {
	m.jobs.WithLabelValues(runner...).Inc()
	m.modes.WithLabelValues(mode, strings.ToValidUTF8(j.Runner.Executor, "?")).Inc()
	m.queueSize.WithLabelValues(runner...).Set(float64(j.Queue.Size))
	m.queueDepth.WithLabelValues(runner...).Set(float64(j.Queue.Depth))
	if plausible(j.Queue.ProjectRunning) {
		m.queueDuration.WithLabelValues(append(runner, j.Queue.ProjectRunning)...).Observe(j.Queue.Waited.Seconds())
	}
}

// plausible says whether a coordinator's count of running jobs may become a label: "0" to "999", "5+", "+Inf", or none.
func plausible(running string) bool {
	number := strings.TrimSuffix(running, "+")
	return running == "" || running == "+Inf" || number != "" && len(number) <= 3 && strings.Trim(number, "0123456789") == ""
}

func (m *metrics) stageLeft(runner []string, stage job.StageName, took time.Duration) {
	m.stageDuration.WithLabelValues(append(runner, string(stage))...).Observe(took.Seconds())
}

func (m *metrics) jobEnded(runner []string, r job.Result, took time.Duration) {
	m.jobDuration.WithLabelValues(append(runner, mode)...).Observe(took.Seconds())
	if r.State != job.Failed {
		return
	}
	m.failedJobs.WithLabelValues(runner[0], runner[1], string(r.Reason), mode).Inc()
	kind := "other"
	if r.Reason == job.ReasonScript {
		kind = "job_failure"
	}
	m.processing.WithLabelValues(append([]string{kind}, runner...)...).Inc()
}

func (m *metrics) requestDone(runner, systemID, endpoint, method string, status int, took time.Duration) {
	method = strings.ToLower(method)
	m.statuses.WithLabelValues(runner, systemID, endpoint, strconv.Itoa(status), method).Inc()
	class := strconv.Itoa(status/100) + "xx"
	m.requestDuration.WithLabelValues(runner, systemID, endpoint, class, method).Observe(took.Seconds())
}

// endpointMethod is the method of the runner API's endpoints.
func endpointMethod(endpoint string) string {
	switch endpoint {
	case "patch_trace":
		return http.MethodPatch
	case "update_job":
		return http.MethodPut
	case "download_artifacts":
		return http.MethodGet
	case "unregister":
		return http.MethodDelete
	}
	return http.MethodPost
}

// gauges shows what the Board holds at the moment of a scrape.
type gauges struct {
	board                                               *Board
	jobs, concurrent, slots, limit, requests, hardLimit *prometheus.Desc
}

func newGauges(b *Board) *gauges {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(namespace+name, help, labels, nil)
	}
	return &gauges{
		board:      b,
		jobs:       desc("jobs", "Jobs that this process has in hand.", "runner", "runner_name", "system_id", "state", "stage", "executor_stage"),
		concurrent: desc("concurrent", "The setting concurrent."),
		slots:      desc("worker_slots_number", "Slots for jobs."),
		limit:      desc("limit", "The setting limit.", "runner", "runner_name", "system_id"),
		requests:   desc("request_concurrency", "Open requests for a job.", "runner", "system_id"),
		hardLimit:  desc("request_concurrency_hard_limit", "The setting request_concurrency.", "runner", "system_id"),
	}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(g, ch) }

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	s, open := g.board.Snapshot(), g.board.openRequests()
	send := func(desc *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(v), labels...)
	}
	send(g.concurrent, s.Concurrent)
	send(g.slots, s.Concurrent)
	type key [6]string
	jobs := map[key]int{}
	for _, j := range s.Jobs {
		l := g.board.labels(j.Runner)
		jobs[key{l[0], l[1], l[2], j.State, string(j.Stage), executorStage(j)}]++
	}
	for k, n := range jobs {
		send(g.jobs, n, k[:]...)
	}
	type pair [2]string
	seen := map[pair]bool{}
	for _, r := range s.Runners {
		l := g.board.labels(r)
		if seen[pair{l[0], l[1]}] {
			continue // two entries that cannot be told apart must not fail the scrape
		}
		seen[pair{l[0], l[1]}] = true
		send(g.limit, r.Limit, l...)
	}
	g.collectRequests(s.Runners, open, send)
}

// collectRequests sums over entries with one short token, since those metrics have no name.
func (g *gauges) collectRequests(runners []Runner, open map[string]int, send func(*prometheus.Desc, int, ...string)) {
	type sums struct{ open, limit int }
	byToken := map[string]sums{}
	for _, r := range runners {
		token := g.board.labels(r)[0]
		s := byToken[token]
		s.open += open[r.Key]
		s.limit += max(1, r.RequestConcurrency)
		byToken[token] = s
	}
	for token, s := range byToken {
		send(g.requests, s.open, token, g.board.systemID)
		send(g.hardLimit, s.limit, token, g.board.systemID)
	}
}

// executorStage is what GitLab Runner's executors say of themselves, as far as we have the same.
func executorStage(j JobStatus) string {
	switch {
	case j.Result != nil:
		return "finish"
	case j.Stage == "":
		return "created"
	case j.Stage == job.StagePrepareExecutor:
		return "prepare"
	}
	return "run"
}

const namespace = "gitlab_runner_"

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: namespace + name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: namespace + name, Help: help}, labels)
}

func histograms(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: namespace + name, Help: help, Buckets: buckets}, labels)
}

func gaugeVec(name, help string, labels ...string) *prometheus.GaugeVec {
	return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: namespace + name, Help: help}, labels)
}

func versionInfo(b Build) prometheus.Collector {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: namespace + "version_info", Help: "Always 1; the labels say what program this is."},
		[]string{"name", "version", "revision", "branch", "go_version", "built_at", "os", "architecture"})
	g.WithLabelValues(b.Name, b.Version, b.Revision, b.Branch, runtime.Version(), b.BuiltAt, runtime.GOOS, runtime.GOARCH).Set(1)
	return g
}

// count adds one to good, or to bad when err is not nil.
func count(err error, good, bad prometheus.Counter) {
	if err != nil {
		bad.Inc()
		return
	}
	good.Inc()
}
