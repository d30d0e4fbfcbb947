package server

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/sallyport/sallyport/gate"
	"github.com/sallyport/sallyport/gate/github"
	"github.com/sallyport/sallyport/gate/jobs"
	"github.com/sallyport/sallyport/rules"
)

// webhookPath is where GitHub delivers.
const webhookPath = "/webhooks/github"

// metricsPath is where Prometheus reads. Whoever reaches the server may read it too:
// no label may be a secret, nor name a repository, an account, an environment or a
// target, and each has few values whatever comes in.
const metricsPath = "/metrics"

// maxScrapes is how many may be answered at once; the next ones are told to come back.
const maxScrapes = 4

// metrics are what the server counts itself. What is counted in the store is in
// [storeMetrics]. docs/observability.md names all of them.
type metrics struct {
	registry *prometheus.Registry

	requests *prometheus.CounterVec   // surface, method, code
	seconds  *prometheus.HistogramVec // surface
	inFlight *prometheus.GaugeVec     // surface

	deliveries *prometheus.CounterVec // outcome

	github        *prometheus.CounterVec   // method, kind, outcome
	githubSeconds *prometheus.HistogramVec // kind

	looks       *prometheus.CounterVec   // kind, outcome
	lookSeconds *prometheus.HistogramVec // kind

	sweeps       *prometheus.CounterVec // outcome
	sweepSeconds prometheus.Histogram
	swept        prometheus.Gauge

	build prometheus.Collector
}

// The outcomes of a delivery. They are shown to machines: they may be added to and
// never changed.
const (
	deliveryAccepted = "accepted"
	deliveryKnown    = "known"   // it was accepted before
	deliveryRefused  = "refused" // 4xx: not GitHub's, or not sound
	deliveryFailed   = "failed"  // the store was away
)

func newMetrics(version string) *metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) prometheus.HistogramOpts {
		return prometheus.HistogramOpts{Name: "sallyport_" + name, Help: help, Buckets: buckets}
	}
	// A delivery takes milliseconds, GitHub's answers tenths, a hold's wait a minute.
	fast := []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	slow := []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30, 60, 120}
	m := &metrics{
		registry: prometheus.NewRegistry(),
		requests: counter("http_requests_total", "Requests that were answered.", "surface", "method", "code"),
		seconds:  prometheus.NewHistogramVec(histogram("http_request_duration_seconds", "How long answers took.", fast), []string{"surface"}),
		inFlight: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "sallyport_http_requests_in_flight", Help: "Requests that are being answered."}, []string{"surface"}),

		deliveries: counter("deliveries_total", "Webhook deliveries by what became of them. What is of no concern is not among them.", "outcome"),

		github:        counter("github_requests_total", "Requests to GitHub as the App, and those that were kept back.", "method", "kind", "outcome"),
		githubSeconds: prometheus.NewHistogramVec(histogram("github_request_duration_seconds", "How long GitHub took to answer.", slow), []string{"kind"}),

		looks:       counter("work_looks_total", "Looks at a key, by how they ended.", "kind", "outcome"),
		lookSeconds: prometheus.NewHistogramVec(histogram("work_look_duration_seconds", "How long looks took.", slow), []string{"kind"}),

		sweeps:       counter("sweeps_total", "Sweeps for what no event told of.", "outcome"),
		sweepSeconds: prometheus.NewHistogram(histogram("sweep_duration_seconds", "How long sweeps took.", slow)),
		swept: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "sallyport_sweep_last_success_timestamp_seconds", Help: "When this process last ended a sweep without an error; 0 if it did not yet.",
		}),

		build: buildInfo(version),
	}
	m.registry.MustRegister(m.own()...)
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	// What is counted from 0 has a rate from the first time on.
	for _, o := range []string{deliveryAccepted, deliveryKnown, deliveryRefused, deliveryFailed} {
		m.deliveries.WithLabelValues(o)
	}
	for _, o := range []string{"ok", "failed"} {
		m.sweeps.WithLabelValues(o)
	}
	return m
}

// own are our own, beside those of Go and the process.
func (m *metrics) own() []prometheus.Collector {
	return []prometheus.Collector{
		m.requests, m.seconds, m.inFlight, m.deliveries, m.github, m.githubSeconds, m.looks, m.lookSeconds, m.sweeps, m.sweepSeconds, m.swept, m.build,
	}
}

// buildInfo says which program it is; a release's version comes from its build.
func buildInfo(version string) prometheus.Collector {
	revision := "unknown"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = cmp.Or(version, info.Main.Version, "unknown")
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "sallyport_build_info", Help: "Which program it is; always 1.", ConstLabels: prometheus.Labels{"version": version, "revision": revision},
	}, func() float64 { return 1 })
}

// delivered counts a delivery that was to be stored, and has the log name it with what
// is looked at because of it.
func (a accept) delivered(ctx context.Context, d rules.Delivery, known bool, err error) {
	outcome := deliveryAccepted
	switch {
	case err != nil:
		outcome = deliveryFailed
	case known:
		outcome = deliveryKnown
	}
	a.metrics.deliveries.WithLabelValues(outcome).Inc()
	if !a.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	subjects := make([]string, 0, maxNamed)
	repository := ""
	for _, m := range d.Marks {
		repository = cmp.Or(repository, m.FullName)
		if len(subjects) < maxNamed {
			subjects = append(subjects, m.Key.String())
		}
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "delivery "+outcome, slog.String("delivery", d.ID), slog.String("event", d.Event), slog.String("action", d.Action),
		slog.String("repository", repository), slog.Int64("repository_id", int64(d.Repository)), slog.Any("subjects", subjects), slog.Int("facts", len(d.Facts)))
}

// maxNamed is how many subjects of a delivery its line in the log names.
const maxNamed = 5

// handler answers scrapes.
func (m *metrics) handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: maxScrapes,
	})
}

// surfaceOf is which surface a path belongs to: one of few, whatever the path.
func surfaceOf(path string) string {
	below := func(prefix string) bool { return strings.HasPrefix(path, prefix) }
	switch {
	case path == webhookPath:
		return "webhook"
	case path == jobs.Path:
		return "holds"
	case below(jobs.Path + "/"):
		return "hold_wait" // which takes as long as the job wants to wait
	case path == jobs.LeasesPath, below(jobs.LeasesPath + "/"):
		return "leases"
	case path == jobs.LoginPath:
		return "login"
	case below("/.well-known/"), below("/auto/.well-known/"):
		return "issuer"
	case below("/ledger/"):
		return "ledger"
	case path == "/healthz", path == "/readyz":
		return "health"
	case path == metricsPath:
		return "metrics"
	default:
		return "other"
	}
}

// methodOf is a request's method, or "other": a client may send any word.
func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	default:
		return "other"
	}
}

// wrap counts the requests that next answers.
func (m *metrics) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		surface := surfaceOf(r.URL.Path)
		inFlight := m.inFlight.WithLabelValues(surface)
		inFlight.Inc()
		begun := time.Now()
		a := &answered{ResponseWriter: w}
		status := http.StatusInternalServerError // of a handler that panics
		defer func() {
			inFlight.Dec()
			m.seconds.WithLabelValues(surface).Observe(time.Since(begun).Seconds())
			m.requests.WithLabelValues(surface, methodOf(r.Method), strconv.Itoa(status)).Inc()
			if surface == "webhook" && status >= 400 && status < 500 {
				m.deliveries.WithLabelValues(deliveryRefused).Inc()
			}
		}()
		next.ServeHTTP(a, r)
		status = cmp.Or(a.status, http.StatusOK)
	})
}

// answered remembers an answer's status.
type answered struct {
	http.ResponseWriter

	status int
}

// WriteHeader writes the head of an answer.
func (a *answered) WriteHeader(status int) {
	if a.status == 0 && status >= 200 {
		a.status = status
		if status == http.StatusRequestEntityTooLarge {
			// [http.MaxBytesReader] says so itself only to the server's own writer. The rest
			// of the body is not read.
			a.Header().Set("Connection", "close")
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a *answered) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// sawGitHub counts a request to GitHub.
func (m *metrics) sawGitHub(s github.Seen) {
	m.github.WithLabelValues(s.Method, s.Kind, string(s.Outcome)).Inc()
	switch s.Outcome {
	case github.OutcomeHeldBack, github.OutcomeNoToken, github.OutcomeCancelled: // GitHub did not answer, or was not asked
	default:
		m.githubSeconds.WithLabelValues(s.Kind).Observe(s.Took.Seconds())
	}
}

// worked counts a look.
func (m *metrics) worked(kind rules.WorkKind, ended gate.Ended, took time.Duration) {
	m.looks.WithLabelValues(string(kind), string(ended)).Inc()
	m.lookSeconds.WithLabelValues(string(kind)).Observe(took.Seconds())
}

// sweptOnce counts a sweep.
func (m *metrics) sweptOnce(err error, took time.Duration) {
	m.sweepSeconds.Observe(took.Seconds())
	if err != nil {
		m.sweeps.WithLabelValues("failed").Inc()
		return
	}
	m.sweeps.WithLabelValues("ok").Inc()
	m.swept.SetToCurrentTime()
}
