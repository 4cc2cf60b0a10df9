package storetest

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/ringback/ringback/job"
)

// checkModel runs random operations on a store and on a model of it in memory,
// with crashes between any two, and compares all that can be read.
func checkModel(t *testing.T, fresh func(testing.TB) Harness) {
	t.Helper()
	// Opening stores is what takes the time, most of all with the race detector:
	// 40 checks take seconds where rapid's own 100 take most of a minute.
	if checks := flag.Lookup("rapid.checks"); checks.Value.String() == checks.DefValue {
		if err := checks.Value.Set("40"); err != nil {
			t.Fatal(err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := &model{rt: rt, world: newWorld(rt, t, fresh(t)), keys: map[string]job.ID{}, lines: map[modelLine]lastNumber{}, floors: map[string]int64{}}
		defer m.close()
		rt.Repeat(map[string]func(*rapid.T){
			"accept":  func(*rapid.T) { m.acceptOne() },
			"claim":   func(*rapid.T) { m.claimSome() },
			"start":   func(*rapid.T) { m.startOne() },
			"finish":  func(*rapid.T) { m.finishOne() },
			"cancel":  func(*rapid.T) { m.cancelOne() },
			"report":  func(*rapid.T) { m.reportOne() },
			"claimCB": func(*rapid.T) { m.claimSomeCallbacks() },
			"attempt": func(*rapid.T) { m.attemptOne() },
			"settle":  func(*rapid.T) { m.settleOne() },
			"resend":  func(*rapid.T) { m.resendOne() },
			"discard": func(*rapid.T) { m.discardOne() },
			"expire":  func(*rapid.T) { m.expireSome() },
			"pass":    func(*rapid.T) { m.pass(time.Duration(rapid.IntRange(1, 5).Draw(rt, "seconds")) * time.Second) },
			"purge":   func(*rapid.T) { m.purgeSome() },
			"end":     func(*rapid.T) { m.endOne() },
			"":        func(*rapid.T) { m.compare() },
		})
	})
}

var (
	modelApps       = []string{"bank", "shop"}
	modelOperations = []string{"report", "scan"}
	modelURLs       = []string{"https://a.server/", "https://b.server/"}
)

// model is what a store should say.
type model struct {
	*world
	rt        *rapid.T
	jobs      []*modelJob // oldest first
	callbacks []*modelCallback
	keys      map[string]job.ID
	lines     map[modelLine]lastNumber
	floors    map[string]int64 // by lane
}

type modelJob struct {
	*job.Job
	claimed bool
	begun   bool // the start of its run is written
	history []string
}

type modelCallback struct {
	*job.Callback
	claimed bool
	begun   bool
	tries   []string
	// unwanted: it was discarded while it was claimed.
	unwanted bool
}

// pick chooses one of those that match, nil where none does.
func pick[T any](m *model, what string, all []*T, match func(*T) bool) *T {
	var some []*T
	for _, v := range all {
		if match(v) {
			some = append(some, v)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(m.rt, what)]
}

func (m *model) yes(what string) bool { return rapid.Bool().Draw(m.rt, what) }

func (m *model) acceptOne() {
	j := m.newJob(rapid.SampledFrom(modelApps).Draw(m.rt, "app"), rapid.SampledFrom(modelOperations).Draw(m.rt, "operation"))
	j.DueAt = j.DueAt.Add(time.Duration(rapid.IntRange(0, 3).Draw(m.rt, "due")) * time.Second)
	a := job.Acceptance{Job: j, Claimed: m.yes("claimed"), Key: rapid.SampledFrom([]string{"", "k"}).Draw(m.rt, "key")}
	a.Callbacks = m.oweEarly(j, job.EventAccepted)
	j.Early = len(a.Callbacks) > 0
	receipt, err := m.Accept(m.ctx, a)
	m.no(err)
	key := j.App + " " + j.Operation
	if first, repeated := m.keys[key]; a.Key != "" && repeated {
		m.equal("receipt", receipt, job.Receipt{ID: first, Repeated: true})
		return
	}
	if a.Key != "" {
		m.keys[key] = j.ID
	}
	m.equal("receipt", receipt, job.Receipt{ID: j.ID})
	own := *j
	m.jobs = append(m.jobs, &modelJob{Job: &own, claimed: a.Claimed})
	m.addCallbacks(a.Callbacks)
}

func (m *model) claimSome() {
	app := rapid.SampledFrom(modelApps).Draw(m.rt, "app")
	operation, limit := rapid.SampledFrom(modelOperations).Draw(m.rt, "operation"), rapid.IntRange(1, 3).Draw(m.rt, "limit")
	var due []*modelJob
	for _, j := range m.jobs {
		if j.App == app && j.Operation == operation && !j.claimed && !j.State.Terminal() {
			due = append(due, j)
		}
	}
	slices.SortStableFunc(due, func(a, b *modelJob) int { return a.DueAt.Compare(b.DueAt) })
	var want []job.ID
	var wantNext time.Time
	for _, j := range due {
		if len(want) == limit || j.DueAt.After(m.now()) {
			wantNext = j.DueAt
			break
		}
		want, j.claimed = append(want, j.ID), true
	}
	jobs, next, err := m.ClaimRuns(m.ctx, app, operation, m.now(), limit)
	m.no(err)
	m.equal("claimed", jobIDs(jobs), want)
	m.equal("next", next, wantNext)
}

func (m *model) startOne() {
	j := pick(m, "job", m.jobs, func(j *modelJob) bool { return j.claimed && !j.begun && j.State == job.Accepted })
	if j == nil {
		return
	}
	st := job.Start{Job: j.Job, N: j.Runs + 1, At: m.now(), Await: m.yes("await"), Callbacks: m.oweEarly(j.Job, job.EventRunning)}
	m.announced()
	m.no(m.StartRun(m.ctx, st))
	if !st.Await && len(st.Callbacks) == 0 {
		m.await(job.JobStarted)
	}
	told := func(cb *modelCallback) bool { return cb.JobID == j.ID && cb.Event == job.EventRunning }
	if !slices.ContainsFunc(m.callbacks, told) {
		m.addCallbacks(st.Callbacks)
		j.Early = j.Early || len(st.Callbacks) > 0
	}
	j.Runs, j.State, j.begun = j.Runs+1, job.Running, true
	if j.StartedAt.IsZero() {
		j.StartedAt = m.now()
	}
}

// finishOne ends a claimed run in one of the ways there are.
func (m *model) finishOne() {
	j := pick(m, "job", m.jobs, func(j *modelJob) bool { return j.claimed || j.State == job.Waiting })
	if j == nil {
		return
	}
	n, names := j.Runs, &job.Job{ID: j.ID, App: j.App, Operation: j.Operation, Early: j.Early}
	waits := j.State == job.Waiting
	ways := []string{"succeed", "retry", "wait", "back"}
	if waits {
		ways = ways[:3]
	} else if !j.begun {
		n++
	}
	switch way := rapid.SampledFrom(ways).Draw(m.rt, "way"); way {
	case "wait":
		f := m.wait(names, n, time.Duration(rapid.IntRange(0, 3).Draw(m.rt, "after"))*time.Second)
		f.Waited = waits
		m.no(m.FinishRun(m.ctx, f))
		j.State, j.DueAt, j.Rescued, j.Runs, j.Wait, j.claimed, j.begun = job.Waiting, f.DueAt, false, n, f.Wait, false, false
		j.began(f.Run.StartedAt)
		return
	case "succeed":
		f := m.success(names, n)
		f.Waited = waits
		if m.yes("progress") {
			f.Progress = []byte(`100`)
		}
		for range rapid.IntRange(0, 2).Draw(m.rt, "callbacks") {
			m.oweOne(j.Job, &f)
		}
		m.no(m.FinishRun(m.ctx, f))
		m.discardEarly(j, f.At)
		m.release()
		m.addCallbacks(f.Callbacks)
		j.end(f.State, f.At)
		if f.Progress != nil {
			j.Progress = f.Progress
		}
		j.Result, j.Error, j.Rescued, j.Runs = f.Result, nil, false, n
		j.began(f.Run.StartedAt)
		j.history = append(j.history, fmt.Sprint(n, " "))
	case "retry":
		f := m.retry(names, n, time.Duration(rapid.IntRange(0, 3).Draw(m.rt, "after"))*time.Second)
		f.Waited = waits
		m.no(m.FinishRun(m.ctx, f))
		j.State, j.DueAt, j.Error, j.Rescued, j.Runs, j.claimed, j.begun = job.Accepted, f.DueAt, f.Error, false, n, false, false
		j.began(f.Run.StartedAt)
		j.history = append(j.history, fmt.Sprint(n, " ", f.Error.Code))
	case "back":
		m.no(m.FinishRun(m.ctx, job.Finish{Job: names, State: job.Accepted, At: m.now(), DueAt: m.now()}))
		if j.begun {
			j.Runs--
		}
		if j.Runs == 0 && !j.Early {
			j.StartedAt = time.Time{}
		}
		j.State, j.DueAt, j.claimed, j.begun = job.Accepted, m.now(), false, false
	}
	j.Wait = nil
}

func (j *modelJob) began(at time.Time) {
	if j.StartedAt.IsZero() {
		j.StartedAt = at
	}
}

func (j *modelJob) end(state job.State, at time.Time) {
	j.State, j.FinishedAt, j.claimed, j.begun = state, at, false, false
}

func (m *model) oweOne(j *job.Job, f *job.Finish) {
	cb := m.owe(j, rapid.SampledFrom(modelURLs).Draw(m.rt, "url"))
	m.schedule(cb)
	f.Callbacks = append(f.Callbacks, job.OwedCallback{Callback: cb, Claimed: !j.Early && !cb.Ordered && cb.DeliverAt.IsZero() && m.yes("claimed")})
}

func (m *model) cancelOne() {
	j := pick(m, "job", m.jobs, func(*modelJob) bool { return true })
	if j == nil {
		return
	}
	err := m.FinishRun(m.ctx, job.Finish{Job: &job.Job{ID: j.ID, App: j.App, Operation: j.Operation}, State: job.Canceled, At: m.now()})
	if j.State.Terminal() {
		m.is(err, job.ErrTerminal)
		return
	}
	m.no(err)
	m.discardEarly(j, m.now())
	m.release()
	j.end(job.Canceled, m.now())
	j.Error, j.Wait = nil, nil
}

func (m *model) claimSomeCallbacks() {
	lane := rapid.SampledFrom(modelApps).Draw(m.rt, "app") + " " + job.Origin(rapid.SampledFrom(modelURLs).Draw(m.rt, "url"))
	limit := rapid.IntRange(1, 3).Draw(m.rt, "limit")
	var due []*modelCallback
	for _, cb := range m.callbacks {
		if cb.Lane() == lane && !cb.claimed && cb.State == job.Pending && cb.Waiting != job.WaitingOrder {
			due = append(due, cb)
		}
	}
	slices.SortStableFunc(due, func(a, b *modelCallback) int { return a.DueAt.Compare(b.DueAt) })
	var want []job.ID
	var wantNext time.Time
	for _, cb := range due {
		if len(want) == limit || cb.DueAt.After(m.now()) {
			wantNext = cb.DueAt
			break
		}
		want, cb.claimed = append(want, cb.ID), true
	}
	got, next, err := m.ClaimCallbacks(m.ctx, lane, m.now(), limit)
	m.no(err)
	m.equal("claimed", callbackIDs(got), want)
	m.equal("next", next, wantNext)
}

func (m *model) attemptOne() {
	cb := pick(m, "callback", m.callbacks, func(cb *modelCallback) bool { return cb.claimed && !cb.begun })
	if cb == nil {
		return
	}
	err := m.StartAttempt(m.ctx, cb.ID, cb.Attempts+1, m.now(), true)
	if m.obsolete(cb) {
		m.is(err, job.ErrTerminal)
		return
	}
	m.no(err)
	cb.Attempts, cb.begun = cb.Attempts+1, true
}

func (m *model) settleOne() {
	cb := pick(m, "callback", m.callbacks, func(cb *modelCallback) bool { return cb.claimed })
	if cb == nil {
		return
	}
	asClaimed := *cb.Callback
	if cb.begun {
		asClaimed.Attempts--
	}
	state := rapid.SampledFrom([]job.CallbackState{job.Pending, job.Delivered, job.Dead, job.Discarded}).Draw(m.rt, "state")
	s := m.attempt(&asClaimed, asClaimed.Attempts+1, 500, state, time.Duration(rapid.IntRange(0, 3).Draw(m.rt, "after"))*time.Second)
	if m.yes("no attempt") {
		s.Attempt = nil
	}
	m.no(m.SettleAttempt(m.ctx, s))
	if state == job.Pending && (m.obsolete(cb) || cb.unwanted) {
		state, s.DueAt, s.Waiting = job.Discarded, time.Time{}, ""
		if cb.unwanted {
			cb.Reason = job.ReasonSkipped
		}
	}
	cb.State, cb.DueAt, cb.Waiting, cb.Attempts, cb.claimed, cb.begun = state, s.DueAt, s.Waiting, asClaimed.Attempts, false, false
	if state != job.Pending {
		cb.SettledAt = s.At
	}
	if s.Attempt != nil {
		cb.Attempts, cb.LastStatus, cb.LastError, cb.Rescued = s.Attempt.N, s.Attempt.Status, s.Attempt.Error, false
		cb.tries = append(cb.tries, fmt.Sprint(s.Attempt.N, " ", s.Attempt.Error))
	} else if state == job.Dead && cb.LastError == "" {
		cb.LastError = job.ClassGaveUp
	}
	m.release()
}

func (m *model) resendOne() {
	cb := pick(m, "callback", m.callbacks, func(cb *modelCallback) bool { return !cb.begun })
	if cb == nil {
		return
	}
	giveUp := m.now().Add(time.Hour)
	_, err := m.Resend(m.ctx, cb.App, cb.ID, m.now(), giveUp)
	m.no(err)
	again := cb.State != job.Pending
	cb.unwanted, cb.Reason = false, ""
	if again {
		cb.ExpiresAt = time.Time{}
		cb.Resent = m.obsolete(cb) || cb.Resent
		cb.Round, cb.GiveUpAt, cb.State, cb.SettledAt = cb.Attempts, giveUp, job.Pending, time.Time{}
	}
	if cb.Waiting != job.WaitingOrder {
		cb.DueAt, cb.Waiting = m.now(), ""
	}
	if again && m.behindInLine(cb) {
		cb.DueAt, cb.Waiting = time.Time{}, job.WaitingOrder
	}
}

func (m *model) purgeSome() {
	before := m.now().Add(-time.Duration(rapid.IntRange(0, 5).Draw(m.rt, "age")) * time.Second)
	over := func(j *modelJob) bool {
		owing := slices.ContainsFunc(m.callbacks, func(cb *modelCallback) bool {
			return cb.JobID == j.ID && (cb.State == job.Pending || !cb.SettledAt.Before(before))
		})
		return j.State.Terminal() && j.FinishedAt.Before(before) && !owing
	}
	gone := map[job.ID]bool{}
	m.jobs = slices.DeleteFunc(m.jobs, func(j *modelJob) bool {
		if over(j) {
			gone[j.ID] = true
		}
		return gone[j.ID]
	})
	m.callbacks = slices.DeleteFunc(m.callbacks, func(cb *modelCallback) bool { return gone[cb.JobID] })
	for key, id := range m.keys {
		if !slices.ContainsFunc(m.jobs, func(j *modelJob) bool { return j.ID == id }) {
			delete(m.keys, key)
		}
	}
	m.forgetLines(before)
	n, _, err := m.Purge(m.ctx, before, m.now().Add(time.Hour), forever)
	m.no(err)
	m.equal("purged", n, len(gone))
}

// endOne ends the store, mostly by a crash, and opens it again: what was claimed
// is rescued.
func (m *model) endOne() {
	if rapid.IntRange(0, 3).Draw(m.rt, "how") == 0 {
		m.close()
		m.open()
	} else {
		m.crash()
	}
	for _, j := range m.jobs {
		if !j.claimed {
			continue
		}
		if j.begun {
			j.Interrupted++
			j.Error = &job.Error{Code: job.CodeInterrupted}
			j.history = append(j.history, fmt.Sprint(j.Runs, " ", job.CodeInterrupted))
		}
		if j.State == job.Waiting {
			j.DueAt, j.claimed = m.now(), false
			continue
		}
		j.State, j.DueAt, j.Rescued, j.claimed, j.begun = job.Accepted, m.now(), true, false, false
	}
	for _, cb := range m.callbacks {
		if !cb.claimed {
			continue
		}
		if cb.begun {
			cb.Interrupted++
			cb.LastStatus, cb.LastError = 0, "interrupted"
			cb.tries = append(cb.tries, fmt.Sprint(cb.Attempts, " interrupted"))
		}
		if cb.unwanted {
			cb.Reason = job.ReasonSkipped
		}
		if cb.unwanted || m.obsolete(cb) {
			cb.discard(m.now())
			continue
		}
		cb.DueAt, cb.Rescued, cb.claimed, cb.begun = m.now(), true, false, false
	}
	m.release()
}

// compare reads everything and fails where the model says otherwise.
func (m *model) compare() {
	backlog := job.Backlog{}
	var ids []job.ID
	for _, j := range m.jobs {
		m.compareJob(j)
		ids = append(ids, j.ID)
		if !j.State.Terminal() {
			backlog.Jobs++
			if backlog.Jobs == 1 {
				backlog.OldestJob = j.CreatedAt
			}
		}
	}
	for _, cb := range m.callbacks {
		m.compareCallback(cb)
		if cb.State == job.Pending {
			backlog.Callbacks++
			if backlog.OldestCallback.IsZero() {
				backlog.OldestCallback = cb.CreatedAt
			}
		}
	}
	m.compareTurns()
	jobs, err := m.Jobs(m.ctx, job.JobFilter{})
	m.no(err)
	m.equal("jobs", jobIDs(jobs), reversed(ids))
	got, err := m.Backlog(m.ctx)
	m.no(err)
	m.equal("backlog", got, backlog)
}

func (m *model) compareJob(j *modelJob) {
	got := m.read(j.ID)
	want := *j.Job
	if j.claimed || j.State.Terminal() {
		want.DueAt = time.Time{}
	}
	if got.Error != nil && want.Error != nil && got.Error.Code == want.Error.Code {
		got.Error = want.Error // its text is the store's
	}
	m.equal("job", got, &want)
	runs, err := m.RunsOf(m.ctx, j.ID)
	m.no(err)
	var history []string
	for _, r := range runs {
		code := job.Code("")
		if r.Error != nil {
			code = r.Error.Code
		}
		history = append(history, fmt.Sprint(r.N, " ", code))
	}
	m.equal("runs", history, j.history)
}

func (m *model) compareCallback(cb *modelCallback) {
	want := *cb.Callback
	if cb.claimed || cb.State != job.Pending {
		want.DueAt = time.Time{}
	}
	m.equal("callback", m.readCallback(cb.Callback), &want)
	attempts, err := m.Attempts(m.ctx, cb.ID)
	m.no(err)
	var tries []string
	for _, a := range attempts {
		tries = append(tries, fmt.Sprint(a.N, " ", a.Error))
	}
	m.equal("attempts", tries, cb.tries)
}
