package executor

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics count what the executor does.
type metrics struct {
	jobs    *prometheus.CounterVec
	runs    *prometheus.CounterVec
	seconds *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		jobs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_jobs_finished_total",
			Help: "Jobs that came to their end, by operation and state."}, []string{"operation", "state"}),
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_runs_total",
			Help: "Attempts of backends, by operation and outcome: succeeded, canceled or an error code."}, []string{"operation", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "ringback_run_seconds",
			Help: "Duration of backend attempts.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 10)}, []string{"operation"}),
	}
	r.MustRegister(m.jobs, m.runs, m.seconds)
	return m
}

func (m metrics) ran(operation, outcome string, took time.Duration) {
	m.runs.WithLabelValues(operation, outcome).Inc()
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
}
