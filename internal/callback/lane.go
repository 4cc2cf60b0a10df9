package callback

import (
	"context"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// lanes are the flow control of destinations, each app's apart: how many callbacks may
// be under way, how many begin in a second, and whether any may.
//
// Concurrency is additive increase, multiplicative decrease, as in TCP: what a receiver
// bears is not known, changes, and shows only in how it fails. It grows by one for as many
// successes as it is large, while the lane is full and the receiver gets no slower;
// it is halved by overload. Schemes that read the load out of the latency alone (gradient,
// Vegas) take an honest slow answer for a queue; here latency may end growth only.
//
// A lane with nothing to tell has no state. What has some is kept for keepLane after its
// last attempt, for up to maxLanes; those that rest or have callbacks under way longer.
type lanes struct {
	places places
	now    func() time.Time
	upper  int // of a lane whose endpoint does not say it

	mu      sync.Mutex
	young   map[window.Key]*lane
	old     map[window.Key]*lane // as it was when young began
	turned  time.Time            // when that was
	opened  int                  // how often a breaker opened, and closed
	closed  int
	logged  int // what was said in the log since loggedAt
	spared  int // what was not
	logTurn time.Time
}

// lane is what is known of a destination.
type lane struct {
	origin  string
	running int  // attempts under way
	proven  bool // the last attempt that told something of the receiver was answered
	tried   bool // there was one

	limit   float64       // of concurrency; 0: as at the start
	shrunk  time.Time     // the last time: what began before says nothing new
	usual   time.Duration // how long answers take when all is well
	nextBy  time.Time     // when the rate allows the next attempt, were there no burst
	held    time.Time     // until when the receiver wants to be left alone
	run     int           // failures, one after the other, as breakerRun counts them
	recent  [2]tally      // of this and the last breakerSpan
	turned  time.Time     // when this one began
	rests   int           // one after the other; 0: the breaker is closed
	resting time.Time     // the end of its rest
}

// tally counts attempts.
type tally struct{ all, failed int }

const (
	startConcurrency = 32
	maxLanes         = 65536
	keepLane         = 5 * time.Minute

	// breakerRun is how many failures in a row open a breaker, where each without an answer
	// counts as two: ten of these are more than one lost connection costs, and less than
	// the attempts that a lane has in flight at once.
	breakerRun = 20
	// breakerSpan is how long, twice, failures are counted: of breakerLeast attempts three
	// quarters open a breaker, however they are spread.
	breakerSpan  = 10 * time.Second
	breakerLeast = 40
	firstRest    = time.Second
	longestRest  = time.Minute
	// afterRest is the concurrency of a lane whose breaker has closed.
	afterRest = 4

	// longestHold bounds how long a receiver can hold its lane at a time.
	longestHold = time.Hour
	// shortHold is how long callbacks wait in memory for their lane.
	shortHold = 5 * time.Second

	// classNew and classFailing are caps of lanes of which no success is known, or whose
	// last attempt failed: so that these never have all slots, however many there are.
	classNew     = "new"
	classFailing = "failing"
)

func newLanes(p places, opt *Options) *lanes {
	return &lanes{places: p, now: opt.Now, upper: opt.MaxConcurrency, young: map[window.Key]*lane{}}
}

// get returns what is known of a lane, nil for nothing; mu is held.
func (ls *lanes) get(k window.Key) *lane {
	if l := ls.young[k]; l != nil {
		return l
	}
	l := ls.old[k]
	if l != nil {
		ls.young[k] = l
		delete(ls.old, k)
	}
	return l
}

// of is get for a lane of which the settings are known: one that leads to another
// origin than it did has another receiver, and begins anew.
func (ls *lanes) of(k window.Key, set *laneSettings) *lane {
	l := ls.get(k)
	if l == nil || l.origin == set.origin || set.origin == "" {
		return l
	}
	if l.origin != "" {
		*l = lane{running: l.running}
	}
	l.origin = set.origin
	return l
}

// make returns what is known of a lane, of which something will be; mu is held.
func (ls *lanes) make(k window.Key, now time.Time) *lane {
	if l := ls.get(k); l != nil {
		return l
	}
	if len(ls.young) >= maxLanes/2 || now.Sub(ls.turned) > keepLane {
		young := make(map[window.Key]*lane)
		for k, l := range ls.old {
			// Even so no more than there may be.
			if len(young) < maxLanes/4 && (l.running > 0 || l.until(now).After(now) || l.nextBy.After(now)) {
				young[k] = l
			}
		}
		ls.old, ls.young, ls.turned = ls.young, young, now
	}
	l := &lane{}
	ls.young[k] = l
	return l
}

// until is when a lane ends to rest; in the past: it does not. One that would rest longer
// than there is was put to rest by a clock that has been set back since.
func (l *lane) until(now time.Time) time.Time {
	if l.resting.Sub(now) > longestRest {
		l.resting = now
	}
	if l.held.Sub(now) > longestHold {
		l.held = now
	}
	if l.held.After(l.resting) {
		return l.held
	}
	return l.resting
}

// flow is what a lane may do now.
func (ls *lanes) flow(k window.Key) window.Flow {
	set := ls.places.lane(k)
	f := window.Flow{Limit: ls.most(&set), Rated: set.interval > 0, Caps: [2]string{set.origin, classNew}}
	f.Limit = min(f.Limit, startConcurrency)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.of(k, &set); l != nil {
		f.Limit = l.concurrency(f.Limit, ls.most(&set))
		f.Rated = f.Rated || !l.held.IsZero()
		switch {
		case l.proven:
			f.Caps[1] = ""
		case l.tried:
			f.Caps[1] = classFailing
		}
		if l.rests > 0 {
			f.Limit, f.Places = 1, 1
			return f
		}
	}
	f.Places = placesPerSlot * f.Limit
	if set.interval > 0 {
		f.Places = min(f.Places, max(1, int(ratedAhead/set.interval)))
	}
	return f
}

const (
	// placesPerSlot is how many callbacks of a lane may be in memory for each that may be
	// under way: a lane that is slow holds little.
	placesPerSlot = 16
	// ratedAhead is for how long a rate's callbacks may be in memory.
	ratedAhead = 10 * time.Second
)

// most is how far the concurrency of a lane may grow.
func (ls *lanes) most(set *laneSettings) int {
	if set.concurrency > 0 {
		return set.concurrency
	}
	return ls.upper
}

func (l *lane) concurrency(start, most int) int {
	if l.limit == 0 {
		return start
	}
	return max(1, min(int(l.limit), most))
}

// rest tells until when nothing of a lane is sent; not after now: it may be.
func (ls *lanes) rest(k window.Key) time.Time {
	set := ls.places.lane(k)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if l := ls.of(k, &set); l != nil {
		return l.until(ls.now())
	}
	return time.Time{}
}

// waits tells what a lane waits for, and until when; empty: for nothing.
func (ls *lanes) waits(k window.Key, now time.Time) (waiting string, until time.Time) {
	set := ls.places.lane(k)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.get(k)
	switch {
	case l == nil:
		return "", time.Time{}
	case l.resting.After(now) && !l.held.After(l.resting):
		return job.WaitingBreaker, l.resting
	case l.held.After(now):
		return job.WaitingRate, l.held
	case l.rests > 0: // one is being tried
		return job.WaitingBreaker, time.Time{}
	case set.interval > 0 && l.nextBy.After(now.Add(burst(set.interval))):
		return job.WaitingRate, l.nextBy.Add(-burst(set.interval))
	}
	return "", time.Time{}
}

// burst is how far ahead of its rate a lane may be: a tenth of a second, or one.
func burst(interval time.Duration) time.Duration {
	return max(100*time.Millisecond-interval, 0)
}

// begin lets an attempt of a lane with a rate begin, or says when to ask again.
func (ls *lanes) begin(k window.Key) time.Time {
	set, now := ls.places.lane(k), ls.now()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.make(k, now)
	// What waits long does so on disk: deliver puts it back.
	if until := l.until(now); until.After(now) {
		if until.Sub(now) <= shortHold {
			return until
		}
		return time.Time{}
	}
	l.held = time.Time{}
	if set.interval == 0 {
		return time.Time{}
	}
	if at := l.nextBy.Add(-burst(set.interval)); at.After(now) {
		return at
	}
	if l.nextBy.Before(now) {
		l.nextBy = now
	}
	l.nextBy = l.nextBy.Add(set.interval)
	return time.Time{}
}

// enter notes that an attempt begins. Where the lane rests it does not, and waits.
func (ls *lanes) enter(k window.Key, now time.Time) (waiting string, until time.Time) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.make(k, now)
	switch until := l.until(now); {
	case !until.After(now):
	case until.Equal(l.resting):
		return job.WaitingBreaker, until
	default:
		return job.WaitingRate, until
	}
	l.running++
	return "", time.Time{}
}

// outcome is what an attempt tells of a lane's receiver.
type outcome struct {
	began    time.Time
	took     time.Duration
	answered bool // by a status below 500
	failed   bool // no answer, or a status of 500 or more; neither: nothing is told
	mute     bool // no answer
	overload bool // a time-out, a failed connection, 429, 503
	after    time.Duration
}

// told is what there is to do and say after an attempt.
type told struct {
	opened, closed bool
	until          time.Time // the end of the rest that begins
	spared         int       // lines that were not logged before this one
	silent         bool      // so is this
}

// leave notes how an attempt ended.
func (ls *lanes) leave(k window.Key, o outcome) (t told) {
	set, now := ls.places.lane(k), ls.now()
	most := ls.most(&set)
	ls.mu.Lock()
	defer ls.mu.Unlock()
	l := ls.make(k, now)
	ls.of(k, &set)
	full := l.running >= l.concurrency(min(startConcurrency, most), most)
	l.running = max(l.running-1, 0)
	if !o.answered && !o.failed {
		return told{}
	}
	l.tried, l.proven = true, o.answered
	l.adapt(&o, full, min(startConcurrency, most), most, now)
	if o.after > 0 {
		l.held = now.Add(min(o.after, longestHold))
	}
	switch was := l.rests; {
	case o.answered && was > 0 && !o.began.Before(l.resting):
		l.rests, l.run, l.recent, l.limit = 0, 0, [2]tally{}, afterRest
		t.closed = true
		ls.closed++
	case l.failure(&o, now):
		t.opened, t.until = was == 0, l.resting
		if t.opened {
			ls.opened++
		}
	}
	if t.opened || t.closed {
		t.spared, t.silent = ls.mayLog(now)
	}
	return t
}

// adapt changes the concurrency.
func (l *lane) adapt(o *outcome, full bool, start, most int, now time.Time) {
	limit := float64(l.concurrency(start, most))
	if l.limit > limit {
		limit = min(l.limit, float64(most))
	} else if l.limit > 0 {
		limit = l.limit
	}
	switch {
	case o.overload:
		if !o.began.Before(l.shrunk) {
			l.limit, l.shrunk = max(limit/2, 1), now
		}
	case o.answered:
		slower := l.usual > 0 && o.took > 2*l.usual+10*time.Millisecond
		if l.usual == 0 || o.took < l.usual {
			l.usual = max(o.took, 1)
		} else {
			l.usual += (o.took - l.usual) / 128
		}
		if full && !slower {
			l.limit = min(limit+1/limit, float64(most))
		}
	}
}

// failure counts an attempt, and is true where the lane is to rest now.
func (l *lane) failure(o *outcome, now time.Time) bool {
	if since := now.Sub(l.turned); since >= breakerSpan {
		l.recent[1] = l.recent[0]
		if since >= 2*breakerSpan {
			l.recent[1] = tally{}
		}
		l.recent[0], l.turned = tally{}, now
	}
	l.recent[0].all++
	if o.answered {
		l.run = 0
		return false
	}
	l.run++
	if o.mute {
		l.run++
	}
	l.recent[0].failed++
	// Those that were in flight when the rest began say nothing new.
	if l.rests > 0 && o.began.Before(l.resting) {
		return false
	}
	all, failed := l.recent[0].all+l.recent[1].all, l.recent[0].failed+l.recent[1].failed
	if l.rests == 0 && l.run < breakerRun && (all < breakerLeast || 4*failed < 3*all) {
		return false
	}
	l.resting = now.Add(min(firstRest<<min(l.rests, 10), longestRest))
	l.rests++
	return true
}

const (
	// logLines is how many lines about breakers the log gets in logSpan.
	logLines = 20
	logSpan  = time.Minute
)

// mayLog tells whether a line is too many, and how many were so before it.
func (ls *lanes) mayLog(now time.Time) (spared int, silent bool) {
	if now.Sub(ls.logTurn) >= logSpan {
		spared, ls.spared, ls.logged, ls.logTurn = ls.spared, 0, 0, now
	}
	if ls.logged++; ls.logged > logLines {
		ls.spared++
		return 0, true
	}
	return spared, false
}

// count tells how many lanes are known, rest for their breaker, are held by their
// receiver, and how often breakers opened and closed.
func (ls *lanes) count() (known, open, held, opened, closed int) {
	now := ls.now()
	ls.mu.Lock()
	defer ls.mu.Unlock()
	for _, of := range []map[window.Key]*lane{ls.young, ls.old} {
		known += len(of)
		for _, l := range of {
			if l.rests > 0 {
				open++
			}
			if l.held.After(now) {
				held++
			}
		}
	}
	return known, open, held, ls.opened, ls.closed
}

// laneOf is the lane of a callback: its flow control, within its app.
func laneOf(cb *job.Callback) window.Key {
	if cb.Endpoint != "" {
		return window.Key{Share: cb.App, Name: cb.Endpoint}
	}
	return window.Key{Share: cb.App, Name: job.Origin(cb.URL)}
}

// due lists lanes that have something due on disk, but for those that rest by order.
func (s *Sender) due(ctx context.Context, after window.Key, limit int) (due []window.Due, err error) {
	for more := true; more && len(due) == 0; {
		found, err := s.opt.Store.DueCallbacks(ctx, job.Due{App: after.Share, Name: after.Name}, limit)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			after = window.Key{Share: d.App, Name: d.Name}
			if s.rests(after) == "" {
				due = append(due, window.Due{Key: after, At: d.At})
			}
		}
		more = len(found) > 0
	}
	return due, nil
}

// note tells a callback's lane how an attempt went, and what follows.
func (s *Sender) note(k window.Key, a *job.Attempt, v verdict) {
	o := outcome{began: a.StartedAt, took: s.opt.Now().Sub(a.StartedAt), after: v.after}
	switch {
	case a.Status >= 500:
		o.failed, o.overload = true, a.Status == 503
	case a.Status != 0:
		o.answered, o.overload = true, a.Status == 429
	case v.kind == retry:
		info, _ := a.Error.Info()
		o.failed = info.Side != job.SideGateway
		o.mute, o.overload = o.failed, o.failed
	}
	if !o.failed && !o.answered {
		o.after = 0
	}
	t := s.lanes.leave(k, o)
	switch {
	case t.silent:
	case t.opened:
		s.opt.Log.Warn("breaker open: the receiver fails", "app", k.Share, "lane", k.Name, "until", t.until, "error", a.Error, "status", a.Status, "not_logged", t.spared)
	case t.closed:
		s.opt.Log.Info("breaker closed: the receiver answers", "app", k.Share, "lane", k.Name, "not_logged", t.spared)
	}
}

// Waits tells what a pending callback waits for now, by its row and its lane, in the
// words of job.WaitingReasons, and until when at least; zero: that is not known. Both
// are empty for one that is settled; the first for one that waits for nothing but its turn.
func (s *Sender) Waits(cb *job.Callback) (waiting string, until time.Time) {
	if cb.State != job.Pending {
		return "", time.Time{}
	}
	if waiting = s.rests(laneOf(cb)); waiting != "" {
		return waiting, time.Time{}
	}
	waiting, until = cb.Waiting, cb.DueAt
	switch waiting {
	case job.WaitingPaused, job.WaitingDisabled:
		return "", until // that is over
	case job.WaitingOrder:
		return waiting, time.Time{}
	case job.WaitingBreaker, job.WaitingRate:
		waiting = "" // it was so
	}
	if why, end := s.lanes.waits(laneOf(cb), s.opt.Now()); why != "" && (end.IsZero() && !until.After(s.opt.Now()) || end.After(until)) {
		return why, end
	}
	return waiting, until
}
