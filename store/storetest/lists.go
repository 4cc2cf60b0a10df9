package storetest

import (
	"slices"
	"time"

	"github.com/ringback/ringback/job"
)

var listTests = []test{
	{"JobsByEveryFilterNewestFirst", jobsByEveryFilter},
	{"CallbacksByEveryFilterNewestFirst", callbacksByEveryFilter},
	{"PagesMissNothing", pagesMissNothing},
	{"StrangersThingsAreNotFound", strangersThingsAreNotFound},
	{"ListsSayWhatSinglesSay", listsSayWhatSinglesSay},
	{"BacklogCountsWhatIsUnfinished", backlogCounts},
}

// jobsInAllStates makes two jobs of each app, operation and state.
func (w *world) jobsInAllStates() (all []*job.Job) {
	for range 2 {
		for _, app := range []string{"bank", "shop"} {
			for _, operation := range []string{"report", "scan"} {
				for state := job.Accepted; state <= job.Expired; state++ {
					if state == job.Waiting {
						continue
					}
					w.pass(time.Millisecond)
					j := w.accept(w.newJob(app, operation), state != job.Accepted)
					switch {
					case state == job.Running:
						w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true}))
					case state.Terminal():
						w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: state, At: w.now()}))
					}
					j.State = state
					all = append(all, j)
				}
			}
		}
	}
	slices.Reverse(all)
	return all
}

func jobsByEveryFilter(w *world) {
	all := w.jobsInAllStates()
	for _, app := range []string{"", "shop", "nobody"} {
		for _, operation := range []string{"", "scan"} {
			for state := job.State(0); state <= job.Expired; state++ {
				for _, before := range []job.ID{{}, all[len(all)/2].ID} {
					for _, limit := range []int{0, 3} {
						f := job.JobFilter{App: app, Operation: operation, State: state, Before: before, Limit: limit}
						var want []job.ID
						for _, j := range all {
							if (app == "" || j.App == app) && (operation == "" || j.Operation == operation) && (state == 0 || j.State == state) &&
								(before.IsZero() || j.ID.Compare(before) < 0) && (limit == 0 || len(want) < limit) {
								want = append(want, j.ID)
							}
						}
						got, err := w.Jobs(w.ctx, f)
						w.no(err)
						if !slices.Equal(jobIDs(got), want) {
							w.t.Fatalf("%+v lists %d jobs, want %d", f, len(got), len(want))
						}
					}
				}
			}
		}
	}
}

// callbacksInAllStates makes one of each app, destination and state for each of
// the jobs.
func (w *world) callbacksInAllStates() (all []*job.Callback) {
	for range 2 {
		for _, app := range []string{"bank", "shop"} {
			j := w.accept(w.newJob(app, "scan"), true)
			var owed []*job.Callback
			for _, endpoint := range []string{"", "main"} {
				for state := job.Pending; state <= job.Discarded; state++ {
					cb := w.owe(j, "https://my.server/")
					cb.Endpoint, cb.State = endpoint, state
					owed = append(owed, cb)
				}
			}
			w.no(w.FinishRun(w.ctx, w.success(j, 1, owed...)))
			for _, cb := range owed {
				if cb.State != job.Pending {
					w.no(w.SettleAttempt(w.ctx, w.attempt(cb, 1, 200, cb.State, 0)))
				}
			}
			all = append(all, owed...)
		}
	}
	slices.Reverse(all)
	return all
}

func callbacksByEveryFilter(w *world) {
	all := w.callbacksInAllStates()
	for _, app := range []string{"", "shop", "nobody"} {
		for _, jobID := range []job.ID{{}, all[0].JobID, all[len(all)-1].JobID} {
			for _, endpoint := range []string{"", "main"} {
				for state := job.CallbackState(0); state <= job.Discarded; state++ {
					for _, before := range []job.ID{{}, all[len(all)/2].ID} {
						for _, limit := range []int{0, 2} {
							f := job.CallbackFilter{App: app, JobID: jobID, Endpoint: endpoint, State: state, Before: before, Limit: limit}
							var want, got []job.ID
							for _, cb := range all {
								if (app == "" || cb.App == app) && (jobID.IsZero() || cb.JobID == jobID) && (endpoint == "" || cb.Endpoint == endpoint) &&
									(state == 0 || cb.State == state) && (before.IsZero() || cb.ID.Compare(before) < 0) && (limit == 0 || len(want) < limit) {
									want = append(want, cb.ID)
								}
							}
							list, err := w.Callbacks(w.ctx, f)
							w.no(err)
							for _, cb := range list {
								got = append(got, cb.ID)
							}
							if !slices.Equal(got, want) {
								w.t.Fatalf("%+v lists %d callbacks, want %d", f, len(got), len(want))
							}
						}
					}
				}
			}
		}
	}
}

func pagesMissNothing(w *world) {
	var want []job.ID
	for range 25 {
		want = append(want, w.accept(w.newJob("shop", "scan"), false).ID)
		w.accept(w.newJob("bank", "scan"), false)
	}
	var got []job.ID
	for f := (job.JobFilter{App: "shop", Limit: 7}); ; f.Before = got[len(got)-1] {
		page, err := w.Jobs(w.ctx, f)
		w.no(err)
		got = append(got, jobIDs(page)...)
		if len(page) < f.Limit {
			break
		}
		// What comes in meanwhile belongs to no later page.
		w.accept(w.newJob("shop", "scan"), false)
	}
	w.equal("all pages", got, reversed(want))
}

func strangersThingsAreNotFound(w *world) {
	j, cb := w.owed("shop", "https://my.server/")
	unknown := w.NewID(w.now())
	twin := j.ID
	twin[15] ^= 1 // the same time and counter, another id
	for _, id := range []job.ID{unknown, twin} {
		_, err := w.Job(w.ctx, "shop", id)
		w.is(err, job.ErrNotFound)
		_, err = w.WholeJob(w.ctx, "", id)
		w.is(err, job.ErrNotFound)
		_, err = w.Callback(w.ctx, "shop", id)
		w.is(err, job.ErrNotFound)
	}
	_, err := w.Job(w.ctx, "bank", j.ID)
	w.is(err, job.ErrNotFound)
	_, err = w.WholeJob(w.ctx, "bank", j.ID)
	w.is(err, job.ErrNotFound)
	_, err = w.Callback(w.ctx, "bank", cb.ID)
	w.is(err, job.ErrNotFound)
	strangers, err := w.Callbacks(w.ctx, job.CallbackFilter{App: "bank", JobID: j.ID})
	w.no(err)
	w.equal("callbacks", len(strangers), 0)
}

func listsSayWhatSinglesSay(w *world) {
	w.jobsInAllStates()
	jobs, err := w.Jobs(w.ctx, job.JobFilter{App: "shop"})
	w.no(err)
	for _, j := range jobs {
		single, err := w.Job(w.ctx, "shop", j.ID)
		w.no(err)
		// A list says nothing of the request.
		single.Request = job.Request{}
		w.equal("job", j, single)
	}
	w.owed("shop", "https://my.server/")
	callbacks, err := w.Callbacks(w.ctx, job.CallbackFilter{App: "shop"})
	w.no(err)
	w.equal("callback", callbacks[0], w.readCallback(callbacks[0]))
}

func backlogCounts(w *world) {
	b, err := w.Backlog(w.ctx)
	w.no(err)
	w.equal("of an empty store", b, job.Backlog{})
	w.owed("shop", "https://done.server/")
	first := w.claimCallbacks("shop https://done.server")[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(first, 1, 200, job.Delivered, 0)))
	t1 := w.pass(time.Second)
	w.accept(w.newJob("shop", "scan"), false)
	t2 := w.pass(time.Second)
	w.owed("bank", "https://my.server/")
	w.accept(w.newJob("bank", "report"), true)
	w.pass(time.Second)
	w.owed("shop", "https://my.server/")
	w.equal("claimed", len(w.claimCallbacks(lane)), 1)
	b, err = w.Backlog(w.ctx)
	w.no(err)
	w.equal("backlog", b, job.Backlog{Jobs: 2, Callbacks: 2, OldestJob: t1, OldestCallback: t2})
}
