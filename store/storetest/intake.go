package storetest

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var intakeTests = []test{
	{"AcceptedJobIsReadBackWhole", acceptedJobIsReadBackWhole},
	{"JobWithoutExtrasIsReadBackWhole", jobWithoutExtrasIsReadBackWhole},
	{"OddOctetsStayWhatTheyAre", oddOctetsStayWhatTheyAre},
	{"LargeBodyIsKeptByReference", largeBodyIsKeptByReference},
	{"TimesAreRoundedToMillisecondsInUTC", timesAreRounded},
	{"HeadWithoutBodies", headWithoutBodies},
	{"SameKeyFindsTheFirstJob", sameKeyFindsTheFirstJob},
	{"KeyIsOfOneAppAndOperation", keyIsOfOneAppAndOperation},
	{"ManyAtOnceWithOneKeyMakeOneJob", manyAtOnceWithOneKeyMakeOneJob},
	{"EndedContextStoresNothing", endedContextStoresNothing},
	{"AcceptanceIsAnnouncedAfterItsCommit", acceptanceIsAnnounced},
	{"AcceptanceWithItsEndIsOneWrite", acceptanceWithItsEndIsOneWrite},
	{"RepeatedAcceptanceWithAnEndStoresNothing", repeatedAcceptanceWithAnEndStoresNothing},
	{"FailedAcceptanceStoresNothing", failedAcceptanceStoresNothing},
	{"ClosedStoreTakesNothing", closedStoreTakesNothing},
	{"ReadyWhileOpen", func(w *world) { w.no(w.Ready(w.ctx)) }},
}

func acceptedJobIsReadBackWhole(w *world) {
	j := w.newJob("shop", "scan")
	j.Deadline = w.now().Add(time.Hour)
	j.DueAt = w.now().Add(time.Minute)
	j.Request.RawQuery = "a=1&b=%20"
	j.Request.Header = map[string][]string{"Accept": {"a/b", "c/d"}, "X-Empty": {""}, "X-Colon": {"a: b: c"}}
	j.Request.Params = map[string]string{"region": "eu west", "id": "7"}
	j.Request.Authorization = []byte{1, 0, 2}
	j.Request.Trace = job.Trace{Parent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", State: "a=b"}
	j.Targets = []job.Target{
		{Endpoint: "main", EndpointURL: "https://my.server/then", Source: job.SourceEndpoint,
			Events: []job.Event{job.EventSucceeded, job.EventFailed}, Method: "PUT", Format: "raw"},
		{URL: "https://my.server/bar", Source: job.SourceRequest, Header: map[string][]string{"X-Order": {"7: 8", ""}, "X-Line": {"9"}}},
		{URL: "https://my.server/baz", Source: job.SourceOperation},
	}
	j.Echo = "mine"
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: j})
	w.no(err)
	w.equal("receipt", receipt, job.Receipt{ID: j.ID})
	w.equal("job", w.read(j.ID), j)
}

func jobWithoutExtrasIsReadBackWhole(w *world) {
	j := w.newJob("shop", "scan")
	j.Targets = nil
	j.Request.Header = map[string][]string{}
	j.Request.Body = job.Body{}
	w.accept(j, false)
	w.equal("job", w.read(j.ID), j)
}

func oddOctetsStayWhatTheyAre(w *world) {
	odd := "a\x00b\xff\xfe\u2028%00+&;=\"'\\ \r"
	j := w.newJob("shop", "scan")
	j.Request.Path = "/%00/%ff/" + odd
	j.Request.RawQuery = odd
	j.Request.Header = map[string][]string{"X-Odd": {odd, "\xe9", " spaced "}}
	j.Request.Params = map[string]string{"p": odd + "\n", "empty": ""}
	j.Request.Body = job.Body{Inline: []byte(odd), Size: int64(len(odd))}
	j.Targets = []job.Target{
		{URL: "https://my.server/" + odd + "\n", Source: job.SourceRequest, Method: odd, Format: odd, Header: map[string][]string{"X-Odd": {odd}}},
		{URL: "https://my.server/" + odd, Source: job.SourceRequest},
	}
	j.Echo = odd + "\n"
	w.accept(j, false)
	w.equal("job", w.read(j.ID), j)

	cb := w.owe(j, "https://my.server/"+odd)
	f := w.success(j, 1, cb)
	f.Result.ContentType = "text/\xff"
	f.Result.Header = map[string][]string{"X-Odd": {odd}}
	w.no(w.FinishRun(w.ctx, f))
	w.equal("result", w.read(j.ID).Result, f.Result)
	w.equal("callback", w.readCallback(cb), cb)
	w.equal("claimed", callbackIDs(w.claimCallbacks(cb.Lane())), []job.ID{cb.ID})

	_, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan"), Key: odd})
	w.no(err)
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan"), Key: odd + "x"})
	w.no(err)
	if receipt.Repeated {
		w.t.Fatalf("a key is cut at an odd octet")
	}
}

func largeBodyIsKeptByReference(w *world) {
	j := w.newJob("shop", "scan")
	j.Request.Body = job.Body{Ref: "2030/abc", Size: 1 << 40}
	w.accept(j, false)
	f := w.success(j, 1)
	f.Result.Body = job.Body{Ref: "2030/def", Size: 1 << 41}
	w.no(w.FinishRun(w.ctx, f))
	got := w.read(j.ID)
	w.equal("request body", got.Request.Body, j.Request.Body)
	w.equal("result body", got.ResultBody(), f.Result.Body)
}

func timesAreRounded(w *world) {
	j := w.newJob("shop", "scan")
	exact := time.Date(2030, 5, 6, 7, 8, 9, 123_999_999, time.FixedZone("east", 3600))
	j.CreatedAt, j.DueAt, j.Deadline = exact, exact, exact
	w.accept(j, false)
	want := time.Date(2030, 5, 6, 6, 8, 9, 123_000_000, time.UTC)
	got := w.read(j.ID)
	w.equal("times", []time.Time{got.CreatedAt, got.DueAt, got.Deadline}, []time.Time{want, want, want})
}

func headWithoutBodies(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	f := w.success(j, 1)
	f.Result.Header = map[string][]string{"X-Engine": {"7"}}
	w.no(w.FinishRun(w.ctx, f))
	got, err := w.Job(w.ctx, "shop", j.ID)
	w.no(err)
	w.equal("request", got.Request, job.Request{Method: "POST", Path: "/scan", Header: j.Request.Header, Body: job.Body{Size: 10}})
	w.equal("result", got.Result, &job.Result{Status: 200, ContentType: "text/plain", Header: f.Result.Header, Body: job.Body{Size: 5}})
}

func sameKeyFindsTheFirstJob(w *world) {
	first := w.newJob("shop", "scan")
	_, err := w.Accept(w.ctx, job.Acceptance{Job: first, Key: "k", Fingerprint: [32]byte{1}})
	w.no(err)
	w.announced()
	second := w.newJob("shop", "scan")
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: second, Claimed: true, Key: "k", Fingerprint: [32]byte{2}})
	w.no(err)
	w.equal("receipt", receipt, job.Receipt{ID: first.ID, Repeated: true, Fingerprint: [32]byte{1}})
	again, err := w.Repeated(w.ctx, "shop", "scan", "k")
	w.no(err)
	w.equal("receipt that is read", again, receipt)
	for _, of := range [][3]string{{"shop", "scan", "other"}, {"shop", "report", "k"}, {"bank", "scan", "k"}} {
		_, err := w.Repeated(w.ctx, of[0], of[1], of[2])
		w.is(err, job.ErrNotFound)
	}
	_, err = w.WholeJob(w.ctx, "", second.ID)
	w.is(err, job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
}

func keyIsOfOneAppAndOperation(w *world) {
	for _, of := range [][2]string{{"shop", "scan"}, {"shop", "report"}, {"bank", "scan"}} {
		receipt, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob(of[0], of[1]), Key: "k"})
		w.no(err)
		w.equal("repeated", receipt.Repeated, false)
	}
}

func manyAtOnceWithOneKeyMakeOneJob(w *world) {
	const n = 50
	var wg sync.WaitGroup
	receipts, errs := make([]job.Receipt, n), make([]error, n)
	for i := range n {
		wg.Go(func() {
			receipts[i], errs[i] = w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan"), Key: "k", Fingerprint: [32]byte{byte(i)}})
		})
	}
	wg.Wait()
	first := 0
	for i, r := range receipts {
		w.no(errs[i])
		w.equal("id", r.ID, receipts[0].ID)
		if !r.Repeated {
			first++
		}
	}
	jobs, err := w.Jobs(w.ctx, job.JobFilter{App: "shop"})
	w.no(err)
	w.equal("jobs", []int{len(jobs), first, len(w.announced())}, []int{1, 1, 1})
}

func endedContextStoresNothing(w *world) {
	ctx, cancel := context.WithCancel(w.ctx)
	cancel()
	// The write may win against the ended context; what it answers must be true.
	for range 20 {
		j := w.newJob("shop", "scan")
		_, err := w.Accept(ctx, job.Acceptance{Job: j})
		_, missing := w.WholeJob(w.ctx, "", j.ID)
		if (err == nil) != (missing == nil) {
			w.t.Fatalf("accept says %v, read says %v", err, missing)
		}
	}
}

func acceptanceIsAnnounced(w *world) {
	var missing []error
	seen := 0
	w.harness.Crash(w.tb, w.Store)
	w.Store = w.harness.Open(w.tb, w.now)
	w.Committed(func(c job.Change) {
		_, err := w.WholeJob(w.ctx, "", c.Job.ID)
		missing = append(missing, err)
		seen++
		if want := seen == 1; c.Kind != job.JobAccepted || c.Claimed != want || string(c.Job.Request.Body.Inline) != "a document" {
			missing = append(missing, fmt.Errorf("change %d is %+v", seen, c))
		}
	})
	w.accept(w.newJob("shop", "scan"), true)
	w.accept(w.newJob("shop", "scan"), false)
	w.equal("reads at the announcement", missing, []error{nil, nil})
}

func acceptanceWithItsEndIsOneWrite(w *world) {
	j := w.newJob("shop", "scan")
	j.Request.Authorization = []byte{1}
	cb, other := w.owe(j, "https://my.server/bar"), w.owe(j, "https://other.server/bar")
	f := w.success(j, 1, cb, other)
	f.Result.Header = map[string][]string{"X-Engine": {"7"}}
	f.Callbacks[0].Claimed = true
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Claimed: true, Finish: &f})
	w.no(err)
	got := w.read(j.ID)
	w.equal("state and times", []any{got.State, got.Runs, got.StartedAt, got.FinishedAt, got.DueAt.IsZero(), got.Request.Authorization},
		[]any{job.Succeeded, 1, f.Run.StartedAt, f.At, true, []byte(nil)})
	w.equal("request", got.Request.Body, j.Request.Body)
	w.equal("result", got.Result, f.Result)
	var kinds []job.ChangeKind
	for _, c := range w.announced() {
		kinds = append(kinds, c.Kind)
	}
	w.equal("announced", kinds, []job.ChangeKind{job.JobFinished, job.CallbackOwed, job.CallbackOwed})
	runs, err := w.RunsOf(w.ctx, j.ID)
	w.no(err)
	w.equal("runs", runs, []job.Run{*f.Run})
	w.equal("claimed jobs", len(w.claim("scan")), 0)
	w.equal("claimed callbacks", callbackIDs(append(w.claimCallbacks(cb.Lane()), w.claimCallbacks(other.Lane())...)), []job.ID{other.ID})
	w.crash()
	w.equal("claimed jobs after a crash", len(w.claim("scan")), 0)
	w.equal("callbacks after a crash", callbackIDs(w.claimCallbacks(cb.Lane())), []job.ID{cb.ID})
	w.is(w.FinishRun(w.ctx, w.success(j, 2)), job.ErrTerminal)
}

func repeatedAcceptanceWithAnEndStoresNothing(w *world) {
	j := w.newJob("shop", "scan")
	f := w.success(j, 1, w.owe(j, "https://my.server/bar"))
	_, err := w.Accept(w.ctx, job.Acceptance{Job: j, Key: "k", Finish: &f})
	w.no(err)
	again := w.newJob("shop", "scan")
	second := w.success(again, 1, w.owe(again, "https://my.server/bar"))
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: again, Key: "k", Finish: &second})
	w.no(err)
	w.equal("receipt", receipt, job.Receipt{ID: j.ID, Repeated: true})
	_, err = w.WholeJob(w.ctx, "", again.ID)
	w.is(err, job.ErrNotFound)
	owed, err := w.Callbacks(w.ctx, job.CallbackFilter{App: "shop"})
	w.no(err)
	w.equal("callbacks", len(owed), 1)
}

func failedAcceptanceStoresNothing(w *world) {
	j := w.accept(w.newJob("shop", "scan"), false)
	again := w.newJob("shop", "report")
	again.ID = j.ID
	if _, err := w.Accept(w.ctx, job.Acceptance{Job: again, Key: "k"}); err == nil {
		w.t.Fatalf("an id was stored twice")
	}
	receipt, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "report"), Key: "k"})
	w.no(err)
	w.equal("repeated", receipt.Repeated, false)
	w.equal("operation", w.read(j.ID).Operation, "scan")
}

func closedStoreTakesNothing(w *world) {
	j := w.accept(w.newJob("shop", "scan"), false)
	w.no(w.Close())
	_, err := w.Accept(w.ctx, job.Acceptance{Job: w.newJob("shop", "scan")})
	w.is(err, job.ErrUnavailable)
	_, err = w.WholeJob(w.ctx, "", j.ID)
	w.is(err, job.ErrUnavailable)
	w.is(w.Ready(w.ctx), job.ErrUnavailable)
	w.open()
	w.equal("job", w.read(j.ID), j)
}
