package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// report is what a run came to. It is the JSON that -json writes.
type report struct {
	Seed             uint64     `json:"seed"`
	Kills            int        `json:"kills"`
	KillsBeforeServe int        `json:"kills_before_serve"`   // of a process that had answered no call yet
	Restarts         int        `json:"restarts"`             // by SIGTERM
	SlowestStop      float64    `json:"slowest_stop_seconds"` // from SIGTERM to the end of the process
	Calls            int        `json:"calls"`
	Acknowledged     int        `json:"acknowledged"`
	Unanswered       int        `json:"unanswered"`
	Refused          int        `json:"refused"`
	Repeated         int        `json:"repeated"`
	Large            int        `json:"large"` // results fetched by their link and compared
	Delivered        int        `json:"delivered"`
	Lost             int        `json:"lost"`
	Unasked          int        `json:"unacknowledged_delivered"`
	Retried          int        `json:"retried"` // receipts after one that was refused
	Duplicates       duplicates `json:"duplicates"`
	Once             onceRuns   `json:"at_most_once"`
	BodyFiles        int        `json:"body_files"`
	Seconds          float64    `json:"seconds"`
	// Of a run with faults.
	Ordered    int          `json:"ordered,omitempty"` // messages of the ordered endpoint
	PeakRSS    int64        `json:"peak_rss_bytes,omitempty"`
	Faults     *faultCounts `json:"faults,omitempty"`
	Violations []string     `json:"violations"`
}

// duplicates are receipts of a message that had been taken before.
type duplicates struct {
	InFlight    int `json:"in_flight"`   // the kill came before the answer was out
	Uncommitted int `json:"uncommitted"` // the kill came after it, before the commit that would have noted it
	// LongestMilliseconds is the longest time from an answer to a kill among
	// the uncommitted. Above the bound of the run a duplicate is unexplained.
	LongestMilliseconds float64 `json:"longest_uncommitted_ms"`
	Unexplained         int     `json:"unexplained"`
}

// onceRuns is what became of the jobs that run at most once.
type onceRuns struct {
	Jobs        int `json:"jobs"`
	Runs        int `json:"runs"`
	Interrupted int `json:"interrupted"`
	Twice       int `json:"twice"`
}

// moment is when a process was killed: between the signal and its end.
type moment struct{ from, to time.Time }

// evidence is what a verdict is made of.
type evidence struct {
	seed         uint64
	acknowledged map[int]string      // the job by call
	messages     map[string]*message // by webhook-id
	kills        []moment
	commit       time.Duration // how long after an answer its commit may take
}

func (r *report) violate(format string, args ...any) {
	r.Violations = append(r.Violations, fmt.Sprintf(format, args...))
}

// judge compares what was acknowledged with what was received.
func (r *report) judge(e evidence) {
	r.Acknowledged = len(e.acknowledged)
	jobs := map[string]string{} // the webhook-id by job
	calls := map[int]string{}   // the job by call
	delivered := map[string]bool{}
	for id, m := range e.messages {
		if other, known := jobs[m.job]; known {
			r.violate("job %s owed two callbacks: %s and %s", m.job, id, other)
		}
		jobs[m.job] = id
		if other, known := calls[m.number]; known && other != m.job {
			r.violate("call %d became two jobs: %s and %s", m.number, m.job, other)
		}
		calls[m.number] = m.job
		if m.delivered() {
			delivered[m.job] = true
			if e.acknowledged[m.number] == "" {
				r.Unasked++
			}
		}
		c := callOf(e.seed, m.number)
		if m.errorCode != "" && (c.path != pathOnce || m.errorCode != "interrupted") {
			r.violate("job %s of %s failed: %s", m.job, c.path, m.errorCode)
		}
		r.explain(id, m.receipts, e)
	}
	for number, job := range e.acknowledged {
		if delivered[job] {
			r.Delivered++
			continue
		}
		r.Lost++
		r.violate("job %s of call %d was acknowledged and is lost", job, number)
	}
}

// explain says of each further receipt of a message why there was one.
func (r *report) explain(id string, receipts []receipt, e evidence) {
	slices.SortFunc(receipts, func(a, b receipt) int { return a.began.Compare(b.began) })
	for i := 1; i < len(receipts); i++ {
		before, again := receipts[i-1], receipts[i]
		if !before.taken {
			r.Retried++
			continue
		}
		// What the dead process had written may be read a little later.
		at := slices.IndexFunc(e.kills, func(k moment) bool {
			return !k.to.Before(before.began.Add(-e.commit)) && !k.from.After(before.ended.Add(e.commit)) && again.began.After(k.from)
		})
		switch {
		case at < 0:
			r.Duplicates.Unexplained++
			r.violate("callback %s came again %v after it was taken, and no kill explains it", id, again.began.Sub(before.ended))
		case e.kills[at].from.After(before.ended):
			r.Duplicates.Uncommitted++
			lag := float64(e.kills[at].from.Sub(before.ended).Microseconds()) / 1000
			r.Duplicates.LongestMilliseconds = max(r.Duplicates.LongestMilliseconds, lag)
		default:
			r.Duplicates.InFlight++
		}
	}
}

// judgeOnce compares the lines that the command wrote, one a run, with the outcome
// of each job.
func (r *report) judgeOnce(seed uint64, lines string, messages map[string]*message) {
	runs := map[string]int{}
	for _, job := range strings.Fields(lines) {
		r.Once.Runs++
		if runs[job]++; runs[job] == 2 {
			r.Once.Twice++
			r.violate("job %s runs at most once, and ran twice", job)
		}
	}
	for _, m := range messages {
		if callOf(seed, m.number).path != pathOnce {
			continue
		}
		r.Once.Jobs++
		switch {
		case m.errorCode != "":
			r.Once.Interrupted++
		case runs[m.job] == 0:
			r.violate("job %s succeeded, and never ran", m.job)
		}
	}
}

// String is the report as a table.
func (r *report) String() string {
	var b strings.Builder
	row := func(name string, value any) { fmt.Fprintf(&b, "  %-28s %v\n", name, value) }
	fmt.Fprintf(&b, "seed %d, %.0f s\n", r.Seed, r.Seconds)
	row("kills (SIGKILL)", fmt.Sprintf("%d, of them %d before the first answer", r.Kills, r.KillsBeforeServe))
	row("orderly restarts (SIGTERM)", fmt.Sprintf("%d, the slowest stop took %.2f s", r.Restarts, r.SlowestStop))
	row("calls", fmt.Sprintf("%d; %d got no answer, %d were refused, %d repetitions", r.Calls, r.Unanswered, r.Refused, r.Repeated))
	row("acknowledged (202)", r.Acknowledged)
	row("delivered", r.Delivered)
	row("lost", r.Lost)
	row("not acknowledged, delivered", r.Unasked)
	row("retries after a refusal", r.Retried)
	row("duplicates, in flight", r.Duplicates.InFlight)
	row("duplicates, uncommitted", fmt.Sprintf("%d, the longest %.1f ms before the kill", r.Duplicates.Uncommitted, r.Duplicates.LongestMilliseconds))
	row("duplicates, unexplained", r.Duplicates.Unexplained)
	row("at_most_once", fmt.Sprintf("%d jobs, %d runs, %d interrupted, %d twice", r.Once.Jobs, r.Once.Runs, r.Once.Interrupted, r.Once.Twice))
	row("large results compared", r.Large)
	row("body files, all named", r.BodyFiles)
	if f := r.Faults; f != nil {
		row("faults", fmt.Sprintf("%d resets, %d black holes, %d slow connections, %d answers lost, %d cut", f.Resets, f.BlackHoles, f.Slow, f.Lost, f.Partial))
		row("in order", r.Ordered)
		row("memory, at most", fmt.Sprintf("%.0f MiB", float64(r.PeakRSS)/(1<<20)))
	}
	const shown = 20
	for i, v := range r.Violations {
		if i == shown {
			fmt.Fprintf(&b, "  … and %d more\n", len(r.Violations)-shown)
			break
		}
		fmt.Fprintf(&b, "  VIOLATION %s\n", v)
	}
	if len(r.Violations) == 0 {
		b.WriteString("  no violation\n")
	}
	return b.String()
}
