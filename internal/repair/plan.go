package repair

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

const (
	// planTime bounds how long a dry run counts.
	planTime = 8 * time.Second
	// planLanes is how many destinations a dry run names.
	planLanes = 20
	// maxPlanLanes bounds how many it counts apart; the others are one.
	maxPlanLanes = 10_000
	// recentRows is how many of an app's callbacks are looked at for what was delivered
	// lately, and recentAnswers how many of a lane's answers count.
	recentRows    = 2000
	recentAnswers = 20
	// ownRate is about how many a second a bulk does where nothing else holds it up.
	ownRate = 2000
	// defaultConcurrency is that of a lane whose endpoint says nothing.
	defaultConcurrency = 32
)

// Plan says what a bulk would be, without doing any of it.
func (r *Runner) Plan(ctx context.Context, b *job.Bulk) (client.BulkPlan, error) {
	counts, plan, err := r.countLanes(ctx, b)
	if err != nil {
		return plan, err
	}
	if b.Action != job.BulkResend {
		plan.Basis = fmt.Sprintf("about %d a second are done while nothing else is written", ownRate)
		plan.Seconds = float64(plan.Matched) / ownRate
	}
	if b.Action == job.BulkCancel {
		return plan, nil
	}
	lanes := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), strings.Compare(a, b))
	})
	plan.Others = max(len(lanes)-planLanes, 0)
	lanes = lanes[:min(len(lanes), planLanes)]
	rates, err := r.rates(ctx, b.App, lanes)
	if err != nil {
		return plan, err
	}
	known := plan.Others == 0 && !plan.More
	seconds := float64(plan.Matched) / ownRate
	for _, lane := range lanes {
		endpoint, origin := destination(lane)
		l := client.BulkPlanLane{Endpoint: endpoint, Origin: origin, Count: counts[lane], PerSecond: rates[lane]}
		cb := &job.Callback{App: b.App, Endpoint: endpoint, URL: origin, State: job.Pending, DueAt: r.opt.Now()}
		l.Waiting, _ = r.opt.Waits(cb)
		if known = known && l.PerSecond > 0 && l.Waiting == ""; known {
			seconds = max(seconds, float64(l.Count)/l.PerSecond)
		}
		plan.Lanes = append(plan.Lanes, l)
	}
	if b.Action == job.BulkDiscard {
		return plan, nil
	}
	plan.Basis = fmt.Sprintf("each destination's last %d answers among the app's last %d callbacks: how long they took, and how many callbacks may be under way there at once", recentAnswers, recentRows)
	if plan.Seconds = 0; known {
		plan.Seconds = seconds
	}
	return plan, nil
}

// countLanes counts what a bulk is about, by lane where it is about callbacks.
func (r *Runner) countLanes(ctx context.Context, b *job.Bulk) (map[string]int64, client.BulkPlan, error) {
	counts, plan := map[string]int64{}, client.BulkPlan{}
	until := time.Now().Add(planTime)
	for after, end := uint64(0), false; !end; {
		if plan.More = time.Now().After(until); plan.More {
			break
		}
		found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: b, After: after, Look: lookRows, Limit: lookRows})
		if err != nil {
			return nil, plan, err
		}
		for _, cb := range found.Callbacks {
			lane := cb.Lane()
			if _, ok := counts[lane]; ok || len(counts) < maxPlanLanes {
				counts[lane]++
			}
		}
		plan.Matched += int64(len(found.Callbacks) + len(found.Jobs))
		after, end = found.Next, found.End
	}
	return counts, plan, nil
}

// destination is what a lane's name says: an endpoint, or an origin.
func destination(lane string) (endpoint, origin string) {
	_, name, _ := strings.Cut(lane, " ")
	if strings.Contains(name, "://") {
		return "", name
	}
	return name, ""
}

// rates are how many a second the receivers of lanes have borne lately: as many at once
// as the lane may have under way, each for as long as an answer took.
func (r *Runner) rates(ctx context.Context, app string, lanes []string) (map[string]float64, error) {
	recent, err := r.opt.Store.Callbacks(ctx, job.CallbackFilter{App: app, Limit: recentRows})
	if err != nil {
		return nil, err
	}
	took, answers := map[string]time.Duration{}, map[string]int{}
	for _, cb := range recent {
		lane := cb.Lane()
		if cb.State != job.Delivered || answers[lane] >= recentAnswers || !slices.Contains(lanes, lane) {
			continue
		}
		attempts, err := r.opt.Store.Attempts(ctx, cb.ID)
		if err != nil {
			return nil, err
		}
		for _, a := range attempts {
			if a.Status/100 == 2 {
				took[lane] += max(a.Total, 100*time.Microsecond)
				answers[lane]++
			}
		}
	}
	rates := map[string]float64{}
	for lane, n := range answers {
		concurrency, most := defaultConcurrency, math.Inf(1)
		if endpoint, _ := destination(lane); endpoint != "" {
			e, err := r.opt.Store.Endpoint(ctx, app, endpoint)
			if err != nil {
				continue // it was deleted: nothing will be taken there
			}
			concurrency = cmp.Or(e.Concurrency, concurrency)
			if e.Rate.Count > 0 {
				most = float64(e.Rate.Count) / e.Rate.Per.Seconds()
			}
		}
		rates[lane] = min(float64(concurrency*n)/took[lane].Seconds(), most)
	}
	return rates, nil
}
