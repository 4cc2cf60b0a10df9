package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"time"
)

// results are what a session measured. They are all that the documents are made of.
type results struct {
	Date       time.Time `json:"date"`
	Version    string    `json:"version"` // of Ringback
	Machine    machine   `json:"machine"`
	Quick      bool      `json:"quick,omitempty"` // too short to say anything
	Repeats    int       `json:"rounds"`
	During     float64   `json:"seconds"` // of a round
	Stored     int       `json:"stored_jobs"`
	Unfinished int       `json:"unfinished_jobs"`
	Due        int       `json:"due_callbacks"` // of one app, where fairness is measured
	// Syncs are the disk's own times, a pair for each round of the paced load.
	Syncs []syncTime `json:"syncs"`
	// Values are those of the table, one for each round, by the name of the target.
	Values      map[string][]float64 `json:"values"`
	Profile     []share              `json:"profile"`
	Backends    []point              `json:"backends"`
	Sizes       []point              `json:"sizes"`
	Connections []point              `json:"connections"`
	Curve       []point              `json:"curve"`
	Rounds      []round              `json:"raw"`
}

// syncTime is in milliseconds.
type syncTime struct {
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`
}

// round is one comparison: Base is the limit, or Ringback on an empty store.
type round struct {
	Name     string `json:"name"`
	Base     sample `json:"base"`
	Ringback sample `json:"ringback"`
}

// point is one of a series; nil is a system that was left out.
type point struct {
	Label    string  `json:"label"`
	X        float64 `json:"x"`
	Limit    *sample `json:"limit"`
	Ringback *sample `json:"ringback"`
}

func newResults(set settings) *results {
	r := &results{Date: time.Now().UTC().Truncate(time.Second), Quick: set.quick, Repeats: set.rounds, During: set.during.Seconds(),
		Stored: 1_000_000, Unfinished: 100_000, Due: 500_000, Values: map[string][]float64{}}
	if set.quick {
		r.Stored, r.Unfinished, r.Due = 20_000, 10_000, 60_000
	}
	return r
}

func (r *results) add(name string, value float64) { r.Values[name] = append(r.Values[name], value) }

func readResults(path string) (*results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &results{}
	return r, json.Unmarshal(text, r)
}

func (r *results) write(path string) error {
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// target is a line of the table: what is measured, and what it must and should be.
type target struct {
	name      string
	what      string
	unit      string
	atLeast   bool // more is better
	must, aim float64
	reported  bool // there is no must
}

// targets are the table, in order.
var targets = []target{
	{name: "relay_share", what: "delivered per second, as a share of the limit", atLeast: true, must: 0.5, aim: 0.75},
	{name: "http_share", what: "the same with an http backend that answers at once, which the limit calls, too", atLeast: true, must: 0.45, aim: 0.7},
	{name: "slow_share", what: "the same with receivers that take 5 ms", atLeast: true, must: 0.7, aim: 0.9},
	{name: "cpu_ratio", what: "CPU per message, over the limit's", unit: "×", must: 2.4, aim: 1.6},
	{name: "p50_over", what: "submit to callback at 200/s: p50 above the limit's", unit: "ms", must: 2, aim: 0.7},
	{name: "p99_over", what: "submit to callback at 200/s: p99 above the limit's", unit: "ms", must: 8, aim: 2},
	{name: "accept_p99", what: "accept latency (202) at 200/s, p99", unit: "ms", must: 10}, // the aim is 3 syncs
	{name: "rss", what: "memory (RSS) at full load", unit: "MiB", must: 120, aim: 64},
	{name: "backlog_refused", what: "1,000,000 callbacks due where connections are refused: others, against without", atLeast: true, must: 0.9, aim: 0.97},
	{name: "backlog_silent", what: "the same where nothing is ever answered", atLeast: true, must: 0.9, aim: 0.97},
	{name: "finished_share", what: "throughput with 1,000,000 finished jobs in the store, against an empty one", atLeast: true, must: 0.9, aim: 0.97},
	{name: "backlog_rss", what: "memory (RSS) with that backlog", unit: "MiB", must: 200, aim: 100},
	{name: "hostile_rss", what: "1,000 receivers at once that stall where it costs most: growth of the memory (RSS)", unit: "MiB", must: 64, aim: 48},
	{name: "isolation_p99", what: "20 receivers beside three in trouble with 30 % of the traffic: p99 from submission to callback, over that without", unit: "×", must: 1.5, aim: 1.1},
	{name: "isolation_share", what: "their throughput at full load, against that where all are well", atLeast: true, must: 0.9, aim: 0.97},
	{name: "destinations_p99", what: "the same with 10,000 destinations, half of them dead: p99 over that without", unit: "×", must: 1.5, aim: 1.1},
	{name: "destinations_share", what: "their throughput at full load, against that where all are well", atLeast: true, must: 0.9, aim: 0.97},
	{name: "fairness", what: "10 callbacks of an app beside 500,000 due ones of another: from due to the tenth's arrival, over alone", unit: "×", must: 2, aim: 1.2},
	{name: "upload_rss", what: "eight uploads of 100 MiB at once: growth of the memory (RSS)", unit: "MiB", must: 32, aim: 16},
	{name: "written_full", what: "written to disk per job of 500 bytes, at full load", unit: "B", reported: true},
	{name: "written_paced", what: "written to disk per job of 500 bytes, at 200/s", unit: "B", reported: true},
	{name: "start_empty", what: "start to the first 202, empty", unit: "ms", must: 200, aim: 50},
	{name: "start_unfinished", what: "start to the first 202, with 100,000 unfinished jobs", unit: "ms", must: 2000, aim: 1000},
	{name: "binary", what: "size of the binary", unit: "MiB", must: 40, aim: 25},
}

// verdict is how a value does.
type verdict string

const (
	aimReached  verdict = "aim"
	mustReached verdict = "must"
	missed      verdict = "missed"
	justSaid    verdict = "–"
)

// line is a target with what was measured.
type line struct {
	target
	median, min, max float64
	verdict          verdict
}

// lines are those targets that were measured.
func (r *results) lines() []line {
	var out []line
	for _, t := range targets {
		values := slices.Sorted(slices.Values(r.Values[t.name]))
		if len(values) == 0 {
			continue
		}
		if t.name == "accept_p99" {
			t.aim = 3 * r.sync().P50
		}
		l := line{target: t, median: median(values), min: values[0], max: values[len(values)-1]}
		l.verdict = t.judge(l.median)
		out = append(out, l)
	}
	return out
}

func (t target) judge(value float64) verdict {
	reaches := func(bound float64) bool { return t.atLeast && value >= bound || !t.atLeast && value <= bound }
	switch {
	case t.reported:
		return justSaid
	case reaches(t.aim):
		return aimReached
	case reaches(t.must):
		return mustReached
	}
	return missed
}

// sync is the disk's own time over all rounds.
func (r *results) sync() (s syncTime) {
	var p50, p99 []float64
	for _, t := range r.Syncs {
		p50, p99 = append(p50, t.P50), append(p99, t.P99)
	}
	slices.Sort(p50)
	slices.Sort(p99)
	return syncTime{P50: median(p50), P99: median(p99)}
}

// median of sorted values; 0 of none.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n == 0 {
		return 0
	}
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// digits writes a value with as many digits as mean something.
func digits(v float64) string {
	switch {
	case v < 0:
		return "−" + digits(-v)
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return thousands(v)
}

// measured writes the median with its unit.
func (l line) measured() string { return digits(l.median) + l.suffix() }

// spread writes the least and the most.
func (l line) spread() string { return digits(l.min) + " – " + digits(l.max) }

func (t target) suffix() string {
	if t.unit == "" || t.unit == "×" {
		return t.unit
	}
	return " " + t.unit
}

// bound writes a must or an aim.
func (t target) bound(v float64) string {
	if t.reported {
		return "reported"
	}
	sign := "≤ "
	if t.atLeast {
		sign = "≥ "
	}
	return fmt.Sprintf("%s%.4g%s", sign, v, t.suffix())
}

// aimText says what the aim is.
func (l line) aimText() string {
	if l.name == "accept_p99" {
		return fmt.Sprintf("≤ 3 syncs (%.2f ms)", l.aim)
	}
	return l.bound(l.aim)
}

// thousands writes a whole number with its groups apart.
func thousands(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// bytesText writes a size.
func bytesText(n int) string {
	switch {
	case n >= mib:
		return fmt.Sprintf("%d MiB", n/mib)
	case n >= 1<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d B", n)
}
