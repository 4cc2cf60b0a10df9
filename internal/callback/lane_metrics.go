package callback

import "github.com/prometheus/client_golang/prometheus"

// laneCollector counts lanes; which they are is not a label, for there may be millions.
type laneCollector struct{ lanes *lanes }

var (
	lanesDesc = prometheus.NewDesc("ringback_lanes",
		"Lanes of callbacks with an attempt in the last minutes, and of these the ones whose breaker is open, and that their receiver holds.", []string{"state"}, nil)
	breakersDesc = prometheus.NewDesc("ringback_breakers_total", "How often a lane's breaker opened, and closed again.", []string{"to"}, nil)
)

// Describe implements prometheus.Collector.
func (c *laneCollector) Describe(to chan<- *prometheus.Desc) {
	to <- lanesDesc
	to <- breakersDesc
}

// Collect implements prometheus.Collector.
func (c *laneCollector) Collect(to chan<- prometheus.Metric) {
	known, open, held, opened, closed := c.lanes.count()
	for state, n := range map[string]int{"known": known, "breaker": open, "held": held} {
		to <- prometheus.MustNewConstMetric(lanesDesc, prometheus.GaugeValue, float64(n), state)
	}
	for state, n := range map[string]int{"open": opened, "closed": closed} {
		to <- prometheus.MustNewConstMetric(breakersDesc, prometheus.CounterValue, float64(n), state)
	}
}
