package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var limitTests = []test{
	{"LimitsAreReplaced", limitsAreReplaced},
	{"ManyAtOnceAcceptNoMoreJobsThanThereMayBe", jobsAreLimited},
	{"JobThatEndsMakesRoomAlsoAfterACrash", endedJobMakesRoom},
	{"ManyAtOnceStoreNoMoreBytesThanThereMayBe", bytesAreLimited},
	{"ResultsCountAndWhatIsDeletedDoesNot", resultsCount},
	{"RepeatedCallIsNoneTooMany", repeatedCallIsFree},
}

func limitsAreReplaced(w *world) {
	want := w.app("shop")
	w.announced()
	for _, l := range []job.Limits{{Calls: 100, Per: time.Second, Jobs: 5, Bytes: 1 << 40, Endpoints: 7}, {Jobs: job.Unlimited}, {}} {
		w.no(w.SetAppLimits(w.ctx, "shop", l))
		want.Limits = l
		got, err := w.App(w.ctx, "shop")
		w.no(err)
		w.equal("app", got, want)
		c := w.announced()
		w.equal("changes", []any{len(c), c[0].Kind, c[0].App}, []any{1, job.AppChanged, "shop"})
	}
	w.is(w.SetAppLimits(w.ctx, "nobody", job.Limits{}), job.ErrNotFound)
}

// limited accepts a job of so many bytes within limits.
func (w *world) limited(app string, bytes int, l job.Limits, key string) (*job.Job, error) {
	j := w.newJob(app, "scan")
	j.Request.Body = job.Body{Inline: make([]byte, bytes), Size: int64(bytes)}
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Limits: l, Key: key})
	return j, err
}

// atOnce accepts n jobs at once and returns how many were accepted; the others are
// over a limit.
func (w *world) atOnce(n, bytes int, l job.Limits) (accepted int) {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = w.limited("shop", bytes, l, "") })
	}
	wg.Wait()
	for _, err := range errs {
		if err == nil {
			accepted++
			continue
		}
		if over, ok := errors.AsType[*job.LimitError](err); !ok || over.Bytes != (l.Bytes > 0) || !errors.Is(err, job.ErrTooMany) {
			w.t.Fatalf("%v, want a LimitError", err)
		}
	}
	return accepted
}

func jobsAreLimited(w *world) {
	w.app("shop")
	w.equal("accepted", w.atOnce(30, 10, job.Limits{Jobs: 7}), 7)
	_, err := w.limited("bank", 1, job.Limits{Jobs: 1}, "")
	w.no(err)
	_, err = w.limited("shop", 1, job.Limits{}, "")
	w.no(err)
	u, err := w.Usage(w.ctx, "shop")
	w.no(err)
	w.equal("usage", u, job.Usage{Jobs: 8, Bytes: 71})
}

func endedJobMakesRoom(w *world) {
	l := job.Limits{Jobs: 1}
	j, err := w.limited("shop", 1, l, "")
	w.no(err)
	w.crash()
	_, err = w.limited("shop", 1, l, "")
	w.is(err, job.ErrTooMany)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	_, err = w.limited("shop", 1, l, "")
	w.no(err)
}

func bytesAreLimited(w *world) {
	w.equal("accepted", w.atOnce(30, 100, job.Limits{Bytes: 799}), 7)
	w.crash()
	w.equal("accepted after a crash", w.atOnce(5, 100, job.Limits{Bytes: 901}), 2)
	_, err := w.limited("shop", 1, job.Limits{Bytes: 901}, "")
	w.no(err)
	_, err = w.limited("shop", 1, job.Limits{Bytes: 901}, "")
	w.is(err, job.ErrTooMany)
}

func resultsCount(w *world) {
	l := job.Limits{Bytes: 100}
	j, err := w.limited("shop", 10, l, "")
	w.no(err)
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Succeeded, At: w.now(), Run: &job.Run{N: 1, StartedAt: w.now(), FinishedAt: w.now()},
		Result: &job.Result{Status: 200, Body: job.Body{Inline: make([]byte, 60), Size: 60}}}))
	u, err := w.Usage(w.ctx, "shop")
	w.no(err)
	w.equal("usage", u, job.Usage{Bytes: 70})
	_, err = w.limited("shop", 31, l, "")
	w.is(err, job.ErrTooMany)
	later := w.pass(time.Hour)
	n, _, err := w.Purge(w.ctx, later, later, 10)
	w.no(err)
	w.equal("purged", n, 1)
	_, err = w.limited("shop", 100, l, "")
	w.no(err)
	_, err = w.limited("shop", 1, l, "")
	w.is(err, job.ErrTooMany)
}

func repeatedCallIsFree(w *world) {
	l := job.Limits{Jobs: 1, Bytes: 10}
	_, err := w.limited("shop", 10, l, "k")
	w.no(err)
	_, err = w.limited("shop", 10, l, "k")
	w.no(err)
	_, err = w.limited("shop", 10, l, "other")
	w.is(err, job.ErrTooMany)
	// A key that was refused is free.
	_, err = w.limited("shop", 10, job.Limits{}, "other")
	w.no(err)
	u, err := w.Usage(w.ctx, "shop")
	w.no(err)
	w.equal("usage", u, job.Usage{Jobs: 2, Bytes: 20})
}
