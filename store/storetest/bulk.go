package storetest

import (
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

var bulkTests = []test{
	{"BulkIsReadBackWhole", bulkIsReadBack},
	{"BulkBelongsToItsApp", bulkBelongsToItsApp},
	{"BulksOfAnAppAreLimited", bulksAreLimited},
	{"LookFindsWhatTheFilterWants", lookFindsWhatIsWanted},
	{"LookIsBounded", lookIsBounded},
	{"LookFindsJobs", lookFindsJobs},
	{"StepResends", stepResends},
	{"StepSkipsWhatHasChanged", stepSkips},
	{"StepDiscards", stepDiscards},
	{"StepCancels", stepCancels},
	{"StepIsDoneOnce", stepIsDoneOnce},
	{"TwoBulksDoNothingTwice", twoBulks},
	{"StoppedBulkGoesNoFurther", stoppedBulk},
	{"CrashBetweenStepsLeavesNothingOut", crashBetweenSteps},
	{"LaneBacklogIsCounted", laneBacklog},
	{"DeadLettersAreGrouped", deadLetters},
	{"DeadWithoutAnAttemptHasGivenUp", gaveUp},
}

// bulk stores a bulk of the app shop.
func (w *world) bulk(action job.BulkAction, f job.BulkFilter) *job.Bulk {
	w.t.Helper()
	now := w.now()
	b := &job.Bulk{ID: w.NewID(now), App: "shop", Action: action, Filter: f, State: job.BulkRunning, CreatedAt: now}
	w.no(w.CreateBulk(w.ctx, b))
	return b
}

// look finds up to limit of what a bulk is about, behind its cursor.
func (w *world) look(b *job.Bulk, limit int) job.BulkFound {
	w.t.Helper()
	found, err := w.FindBulk(w.ctx, job.BulkLook{Bulk: b, After: b.Cursor, Look: 1000, Limit: limit})
	w.no(err)
	return found
}

// step does the next batch of a bulk about callbacks.
func (w *world) step(b *job.Bulk, limit int) *job.Bulk {
	w.t.Helper()
	found := w.look(b, limit)
	st := job.BulkStep{Bulk: b, At: w.now(), Cursor: found.Next, End: found.End}
	for _, cb := range found.Callbacks {
		st.Callbacks = append(st.Callbacks, job.BulkItem{ID: cb.ID, GiveUp: w.now().Add(time.Hour)})
	}
	after, err := w.StepBulk(w.ctx, st)
	w.no(err)
	return after
}

// dead is a callback of the app shop that was given up after one attempt.
func (w *world) dead(url string, class job.Class) *job.Callback {
	w.t.Helper()
	_, cb := w.owed("shop", url)
	due := w.claimCallbacks(cb.Lane())
	st := w.attempt(due[len(due)-1].Callback, 1, 0, job.Dead, 0)
	st.Attempt.Error = class
	w.no(w.SettleAttempt(w.ctx, st))
	return cb
}

func keysOf(callbacks []*job.Callback) (ids []job.ID) {
	for _, cb := range callbacks {
		ids = append(ids, cb.ID)
	}
	return ids
}

func bulkIsReadBack(w *world) {
	who := job.Actor{Kind: job.ActorApp, App: "shop", Key: "rb_abc", Remote: "192.0.2.1"}
	now := w.now()
	b := &job.Bulk{ID: w.NewID(now), App: "shop", Action: job.BulkResend, State: job.BulkRunning, CreatedAt: now,
		Filter: job.BulkFilter{Endpoint: "main", Operation: "scan", Event: job.EventFailed, Error: job.ClassReset,
			States: []job.CallbackState{job.Dead, job.Delivered}, Since: now.Add(-time.Hour), Until: now}}
	w.no(w.CreateBulk(job.WithActor(w.ctx, who), b))
	w.equal("announced", []any{w.announced()[0].Kind}, []any{job.BulkChanged})
	w.equal("who", b.Who, who)
	got, err := w.Bulk(w.ctx, "shop", b.ID)
	w.no(err)
	w.equal("bulk", got, b)
	st := job.BulkStep{Bulk: got, At: w.now(), Counted: true, Total: 7, Skipped: 2, Cursor: 5, Behind: []job.BulkLane{{Lane: "shop main", Cursor: 3}}}
	after, err := w.StepBulk(w.ctx, st)
	w.no(err)
	got, err = w.Bulk(w.ctx, "shop", b.ID)
	w.no(err)
	w.equal("bulk", got, after)
	w.equal("after the step", []any{got.Counted, got.Total, got.Skipped, got.Cursor, got.Behind, got.Steps}, []any{true, int64(7), int64(2), uint64(5), st.Behind, int64(1)})
	w.crash()
	got, err = w.Bulk(w.ctx, "shop", b.ID)
	w.no(err)
	w.equal("after a crash", got, after)
	entries, err := w.AuditLog(w.ctx, job.AuditFilter{Action: job.BulkStart})
	w.no(err)
	w.equal("audit", []any{len(entries), entries[0].Actor, entries[0].Subject}, []any{1, who, b.ID.Bulk()})
}

func bulkBelongsToItsApp(w *world) {
	b := w.bulk(job.BulkResend, job.BulkFilter{})
	_, err := w.Bulk(w.ctx, "bank", b.ID)
	w.is(err, job.ErrNotFound)
	_, err = w.StopBulk(w.ctx, "bank", b.ID, w.now())
	w.is(err, job.ErrNotFound)
	for app, want := range map[string]int{"shop": 1, "bank": 0, "": 1} {
		for _, open := range []bool{true, false} {
			all, err := w.ListBulks(w.ctx, job.BulksFilter{App: app, Open: open})
			w.no(err)
			w.equal("bulks of "+app, len(all), want)
		}
	}
}

func bulksAreLimited(w *world) {
	var last *job.Bulk
	for range job.MaxOpenBulks {
		last = w.bulk(job.BulkResend, job.BulkFilter{})
	}
	now := w.now()
	more := &job.Bulk{ID: w.NewID(now), App: "shop", Action: job.BulkResend, CreatedAt: now}
	w.is(w.CreateBulk(w.ctx, more), job.ErrTooMany)
	_, err := w.Bulk(w.ctx, "shop", more.ID)
	w.is(err, job.ErrNotFound)
	w.step(last, 1)
	w.bulk(job.BulkResend, job.BulkFilter{})
	all, err := w.ListBulks(w.ctx, job.BulksFilter{App: "shop", Limit: 3})
	w.no(err)
	w.equal("page", []any{len(all), all[1].ID}, []any{3, last.ID})
	rest, err := w.ListBulks(w.ctx, job.BulksFilter{App: "shop", Before: all[2].ID})
	w.no(err)
	w.equal("the other page", len(rest), job.MaxOpenBulks-2)
}

func lookFindsWhatIsWanted(w *world) {
	a := w.dead("https://a.example/1", job.ClassRefused)
	since := w.pass(time.Minute)
	b := w.dead("https://b.example/1", job.ClassRefused)
	c := w.dead("https://a.example/2", job.ClassReset)
	until := w.pass(time.Minute)
	_, pending := w.owed("shop", "https://a.example/3")
	_, delivered := w.owed("shop", "https://a.example/4")
	due := w.claimCallbacks(delivered.Lane())
	w.no(w.SettleAttempt(w.ctx, w.attempt(due[1].Callback, 1, 200, job.Delivered, 0)))
	w.owed("bank", "https://a.example/5")
	w.pass(time.Minute)
	for name, tt := range map[string]struct {
		action job.BulkAction
		filter job.BulkFilter
		want   []job.ID
	}{
		"dead":       {job.BulkResend, job.BulkFilter{}, []job.ID{a.ID, b.ID, c.ID}},
		"origin":     {job.BulkResend, job.BulkFilter{Origin: "https://a.example"}, []job.ID{a.ID, c.ID}},
		"endpoint":   {job.BulkResend, job.BulkFilter{Endpoint: "main"}, nil},
		"class":      {job.BulkResend, job.BulkFilter{Error: job.ClassRefused}, []job.ID{a.ID, b.ID}},
		"time":       {job.BulkResend, job.BulkFilter{Since: since, Until: until}, []job.ID{b.ID, c.ID}},
		"event":      {job.BulkResend, job.BulkFilter{Event: job.EventFailed}, nil},
		"operation":  {job.BulkResend, job.BulkFilter{Operation: "other"}, nil},
		"delivered":  {job.BulkResend, job.BulkFilter{States: []job.CallbackState{job.Delivered}}, []job.ID{delivered.ID}},
		"both":       {job.BulkResend, job.BulkFilter{States: []job.CallbackState{job.Dead, job.Delivered}}, []job.ID{a.ID, b.ID, c.ID, delivered.ID}},
		"pending":    {job.BulkDiscard, job.BulkFilter{}, []job.ID{pending.ID}},
		"dead, too":  {job.BulkDiscard, job.BulkFilter{States: []job.CallbackState{job.Pending, job.Dead}}, []job.ID{a.ID, b.ID, c.ID, pending.ID}},
		"not resent": {job.BulkResend, job.BulkFilter{States: []job.CallbackState{job.Pending}}, nil},
		"not sent":   {job.BulkDiscard, job.BulkFilter{States: []job.CallbackState{job.Delivered}}, nil},
	} {
		bulk := w.bulk(tt.action, tt.filter)
		found := w.look(bulk, 100)
		w.equal(name, []any{keysOf(found.Callbacks), found.End, len(found.Jobs)}, []any{tt.want, true, 0})
		_, err := w.StopBulk(w.ctx, "shop", bulk.ID, w.now())
		w.no(err)
	}
	bulk := w.bulk(job.BulkResend, job.BulkFilter{})
	w.dead("https://a.example/6", job.ClassRefused)
	found, err := w.FindBulk(w.ctx, job.BulkLook{Bulk: bulk, Lane: "shop https://a.example", Look: 100, Limit: 100})
	w.no(err)
	w.equal("of a lane, and nothing younger", keysOf(found.Callbacks), []job.ID{a.ID, c.ID})
}

func lookIsBounded(w *world) {
	var want []job.ID
	for i := range 7 {
		want = append(want, w.dead(fmt.Sprintf("https://%d.example/", i%2), job.ClassRefused).ID)
	}
	b := w.bulk(job.BulkResend, job.BulkFilter{Origin: "https://1.example"})
	var got []job.ID
	looks := 0
	for l := (job.BulkLook{Bulk: b, Look: 2, Limit: 100}); ; looks++ {
		found, err := w.FindBulk(w.ctx, l)
		w.no(err)
		w.equal("at most one of two is found", len(found.Callbacks) <= 1, true)
		got = append(got, keysOf(found.Callbacks)...)
		if l.After = found.Next; found.End {
			break
		}
	}
	w.equal("found", got, []job.ID{want[1], want[3], want[5]})
	w.equal("looks", looks, 3)
	found := w.look(b, 2)
	w.equal("limited", []any{keysOf(found.Callbacks), found.Next, found.End}, []any{[]job.ID{want[1], want[3]}, want[3].Key(), false})
}

func lookFindsJobs(w *world) {
	waiting := w.accept(w.newJob("shop", "scan"), false)
	w.owed("shop", "https://my.server/")
	running := w.accept(w.newJob("shop", "scan"), true)
	w.no(w.StartRun(w.ctx, job.Start{Job: running, N: 1, At: w.now(), Await: true}))
	other := w.accept(w.newJob("shop", "other"), false)
	w.accept(w.newJob("bank", "scan"), false)
	for _, tt := range []struct {
		filter job.BulkFilter
		want   []job.ID
	}{
		{job.BulkFilter{}, []job.ID{waiting.ID, running.ID, other.ID}},
		{job.BulkFilter{Operation: "scan"}, []job.ID{waiting.ID, running.ID}},
		{job.BulkFilter{JobStates: []job.State{job.Running}}, []job.ID{running.ID}},
		{job.BulkFilter{Since: w.now().Add(time.Second)}, nil},
	} {
		found := w.look(w.bulk(job.BulkCancel, tt.filter), 100)
		w.equal("jobs", []any{jobIDs(found.Jobs), found.End, len(found.Callbacks)}, []any{tt.want, true, 0})
	}
}

func stepResends(w *world) {
	cb := w.dead("https://my.server/", job.ClassRefused)
	w.pass(time.Minute)
	b := w.bulk(job.BulkResend, job.BulkFilter{})
	w.announced()
	after := w.step(b, 10)
	w.equal("bulk", []any{after.State, after.Done, after.Skipped, after.EndedAt, after.Cursor}, []any{job.BulkDone, int64(1), int64(0), w.now(), cb.ID.Key()})
	w.equal("announced", kinds(w.announced()), []job.ChangeKind{job.CallbackOwed, job.BulkChanged})
	got := w.readCallback(cb)
	w.equal("callback", []any{got.State, got.DueAt, got.GiveUpAt, got.Round, got.SettledAt}, []any{job.Pending, w.now(), w.now().Add(time.Hour), 1, time.Time{}})
	w.equal("due", callbackIDs(w.claimCallbacks(lane)), []job.ID{cb.ID})
}

func stepSkips(w *world) {
	resent, dead := w.dead("https://my.server/1", job.ClassRefused), w.dead("https://my.server/2", job.ClassRefused)
	b := w.bulk(job.BulkResend, job.BulkFilter{})
	found := w.look(b, 10)
	w.equal("found", keysOf(found.Callbacks), []job.ID{resent.ID, dead.ID})
	_, err := w.Resend(w.ctx, "shop", resent.ID, w.now(), w.now().Add(2*time.Hour))
	w.no(err)
	st := job.BulkStep{Bulk: b, At: w.now(), Cursor: found.Next, End: true, Callbacks: []job.BulkItem{{ID: resent.ID}, {ID: dead.ID}, {ID: w.NewID(w.now())}}}
	after, err := w.StepBulk(w.ctx, st)
	w.no(err)
	w.equal("counts", []int64{after.Done, after.Skipped}, []int64{1, 2})
	w.equal("resent by another", w.readCallback(resent).GiveUpAt, w.now().Add(2*time.Hour))
}

func stepDiscards(w *world) {
	dead := w.dead("https://my.server/1", job.ClassRefused)
	_, pending := w.owed("shop", "https://my.server/2")
	b := w.bulk(job.BulkDiscard, job.BulkFilter{States: []job.CallbackState{job.Pending, job.Dead}})
	w.announced()
	after := w.step(b, 10)
	w.equal("counts", []any{after.Done, after.Skipped, after.State}, []any{int64(2), int64(0), job.BulkDone})
	w.equal("announced", kinds(w.announced()), []job.ChangeKind{job.CallbackSettled, job.CallbackSettled, job.BulkChanged})
	w.equal("states", []job.CallbackState{w.readCallback(dead).State, w.readCallback(pending).State}, []job.CallbackState{job.Discarded, job.Discarded})
	w.equal("due", len(w.claimCallbacks(lane)), 0)
	groups, err := w.DeadLetters(w.ctx, job.DeadFilter{App: "shop"})
	w.no(err)
	w.equal("dead letters", len(groups), 0)
}

func stepCancels(w *world) {
	a, ended := w.accept(w.newJob("shop", "scan"), false), w.accept(w.newJob("shop", "scan"), true)
	b := w.bulk(job.BulkCancel, job.BulkFilter{})
	found := w.look(b, 10)
	w.equal("found", jobIDs(found.Jobs), []job.ID{a.ID, ended.ID})
	w.no(w.FinishRun(w.ctx, w.success(ended, 1)))
	w.announced()
	st := job.BulkStep{Bulk: b, At: w.now(), Cursor: found.Next, End: true}
	cb := w.owe(a, "https://my.server/")
	for _, j := range []*job.Job{ended, a} {
		st.Finishes = append(st.Finishes, job.Finish{Job: j, State: job.Canceled, At: w.now()})
	}
	st.Finishes[1].Callbacks = []job.OwedCallback{{Callback: cb}}
	after, err := w.StepBulk(w.ctx, st)
	w.no(err)
	w.equal("counts", []int64{after.Done, after.Skipped}, []int64{1, 1})
	w.equal("announced", kinds(w.announced()), []job.ChangeKind{job.JobFinished, job.CallbackOwed, job.BulkChanged})
	w.equal("states", []job.State{w.read(a.ID).State, w.read(ended.ID).State}, []job.State{job.Canceled, job.Succeeded})
	w.equal("owed", w.readCallback(cb).State, job.Pending)
}

func stepIsDoneOnce(w *world) {
	w.dead("https://my.server/", job.ClassRefused)
	b := w.bulk(job.BulkResend, job.BulkFilter{})
	after := w.step(b, 1)
	_, err := w.StepBulk(w.ctx, job.BulkStep{Bulk: b, At: w.now(), Skipped: 5})
	w.is(err, job.ErrGone)
	got, err := w.Bulk(w.ctx, "shop", b.ID)
	w.no(err)
	w.equal("bulk", got, after)
}

func twoBulks(w *world) {
	cb := w.dead("https://my.server/", job.ClassRefused)
	w.pass(time.Minute)
	both := job.BulkFilter{States: []job.CallbackState{job.Dead, job.Delivered}}
	a, b := w.bulk(job.BulkResend, both), w.bulk(job.BulkResend, both)
	w.pass(time.Minute)
	w.equal("the first does it", w.step(a, 10).Done, int64(1))
	w.equal("the second leaves it pending", w.look(b, 10).Callbacks, []*job.Callback(nil))
	due := w.claimCallbacks(lane)
	w.no(w.SettleAttempt(w.ctx, w.attempt(due[0].Callback, 2, 200, job.Delivered, 0)))
	w.equal("and delivered", w.step(b, 10).Done, int64(0))
	w.equal("callback", w.readCallback(cb).State, job.Delivered)
}

func stoppedBulk(w *world) {
	cb := w.dead("https://my.server/", job.ClassRefused)
	b := w.bulk(job.BulkResend, job.BulkFilter{})
	w.announced()
	stopped, err := w.StopBulk(w.ctx, "shop", b.ID, w.now())
	w.no(err)
	w.equal("bulk", []any{stopped.State, stopped.EndedAt}, []any{job.BulkStopped, w.now()})
	w.equal("announced", w.announced()[0].Bulk, stopped)
	_, err = w.StopBulk(w.ctx, "shop", b.ID, w.now())
	w.is(err, job.ErrTerminal)
	_, err = w.StepBulk(w.ctx, job.BulkStep{Bulk: b, At: w.now(), Callbacks: []job.BulkItem{{ID: cb.ID}}})
	w.is(err, job.ErrTerminal)
	w.equal("callback", w.readCallback(cb).State, job.Dead)
	open, err := w.ListBulks(w.ctx, job.BulksFilter{Open: true})
	w.no(err)
	w.equal("open", len(open), 0)
	entries, err := w.AuditLog(w.ctx, job.AuditFilter{Action: job.BulkStop})
	w.no(err)
	w.equal("audit", len(entries), 1)
}

func crashBetweenSteps(w *world) {
	var all []*job.Callback
	for range 5 {
		all = append(all, w.dead("https://my.server/", job.ClassRefused))
	}
	id := w.bulk(job.BulkResend, job.BulkFilter{}).ID
	for n := int64(1); ; n++ {
		w.crash()
		open, err := w.ListBulks(w.ctx, job.BulksFilter{Open: true})
		w.no(err)
		if len(open) == 0 {
			break
		}
		w.equal("resumed", []any{open[0].ID, open[0].Done}, []any{id, min(2*(n-1), 5)})
		w.step(open[0], 2)
	}
	b, err := w.Bulk(w.ctx, "shop", id)
	w.no(err)
	w.equal("bulk", []any{b.State, b.Done, b.Skipped}, []any{job.BulkDone, int64(5), int64(0)})
	for _, cb := range all {
		got := w.readCallback(cb)
		w.equal("callback", []any{got.State, got.Round}, []any{job.Pending, 1})
	}
}

func laneBacklog(w *world) {
	for range 3 {
		w.owed("shop", "https://my.server/")
	}
	w.owed("bank", "https://my.server/")
	for limit, want := range map[int]int{10: 3, 2: 2} {
		n, err := w.LaneBacklog(w.ctx, lane, w.now(), limit)
		w.no(err)
		w.equal("backlog", n, want)
	}
	w.claimCallbacks(lane)
	n, err := w.LaneBacklog(w.ctx, lane, w.now(), 10)
	w.no(err)
	w.equal("backlog of what is claimed", n, 0)
}

func deadLetters(w *world) {
	first := w.now()
	w.dead("https://a.example/", job.ClassReset)
	w.dead("https://a.example/", job.ClassRefused)
	last := w.pass(time.Hour)
	w.dead("https://a.example/", job.ClassRefused)
	w.dead("https://b.example/", job.ClassRefused)
	w.owed("shop", "https://a.example/")
	a, b := "shop https://a.example", "shop https://b.example"
	all := []job.DeadGroup{{Lane: a, Error: job.ClassRefused, Count: 2, Oldest: first, Newest: last},
		{Lane: a, Error: job.ClassReset, Count: 1, Oldest: first, Newest: first}, {Lane: b, Error: job.ClassRefused, Count: 1, Oldest: last, Newest: last}}
	for name, tt := range map[string]struct {
		filter job.DeadFilter
		want   []job.DeadGroup
	}{
		"all":       {job.DeadFilter{App: "shop"}, all},
		"origin":    {job.DeadFilter{App: "shop", Origin: "https://b.example"}, all[2:]},
		"endpoint":  {job.DeadFilter{App: "shop", Endpoint: "main"}, nil},
		"class":     {job.DeadFilter{App: "shop", Error: job.ClassReset}, all[1:2]},
		"operation": {job.DeadFilter{App: "shop", Operation: "other"}, nil},
		"page":      {job.DeadFilter{App: "shop", Limit: 2}, all[:2]},
		"next page": {job.DeadFilter{App: "shop", Limit: 2, AfterLane: a, AfterError: job.ClassReset}, all[2:]},
		"stranger":  {job.DeadFilter{App: "bank"}, nil},
	} {
		got, err := w.DeadLetters(w.ctx, tt.filter)
		w.no(err)
		w.equal(name, got, tt.want)
	}
}

func gaveUp(w *world) {
	_, cb := w.owed("shop", "https://my.server/")
	st := w.attempt(w.claimCallbacks(lane)[0].Callback, 1, 0, job.Dead, 0)
	st.Attempt = nil
	w.announced()
	w.no(w.SettleAttempt(w.ctx, st))
	w.equal("announced", w.announced()[0].Callback.LastError, job.ClassGaveUp)
	w.equal("class", w.readCallback(cb).LastError, job.ClassGaveUp)
}
