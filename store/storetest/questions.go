package storetest

import (
	"fmt"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var questionTests = []test{
	{"QuestionIsReadBackWholeAndTheJobWaits", questionIsReadBackWhole},
	{"AnswerLetsTheJobRunOn", answerLetsTheJobRunOn},
	{"AnswerOfAnAttemptIsStoredWithIt", answerOfAnAttempt},
	{"QuestionIsAskedOnce", questionIsAskedOnce},
	{"FirstAnswerWins", firstAnswerWins},
	{"QuestionsEndWithTheRun", questionsEndWithTheRun},
	{"LaterRunAsksForItself", laterRunAsksForItself},
	{"QuestionOfARunThatIsOverIsRefused", questionOfARunThatIsOver},
	{"QuestionsAreBounded", questionsAreBounded},
	{"QuestionAndAnswerSurviveACrash", questionAndAnswerSurviveACrash},
	{"JobThatItsUpstreamHasGoesOnToWait", jobThatItsUpstreamHas},
}

// asked is a job in memory whose first run asks something, and the callback for that.
func (w *world) asked() (*job.Job, *job.Callback) {
	w.t.Helper()
	j := w.accept(w.newJob("shop", "scan"), true)
	return j, w.ask(j, 1, "color")
}

// asking is what run n of j asks.
func (w *world) asking(j *job.Job, n int, key string) job.Asking {
	cb := w.owe(j, "https://my.server/bar")
	cb.Event, cb.Data = job.EventAsk, []byte(`{"key":"color"}`)
	return job.Asking{Job: j, Run: n, StartedAt: w.now().Add(-time.Second), Key: key, Body: []byte(`"which one?"`), At: w.now(), Callback: cb}
}

func (w *world) ask(j *job.Job, n int, key string) *job.Callback {
	w.t.Helper()
	a := w.asking(j, n, key)
	q, err := w.Ask(w.ctx, a)
	w.no(err)
	w.equal("state", q.State, job.Open)
	return a.Callback
}

func (w *world) question(j *job.Job, key string) *job.Question {
	w.t.Helper()
	q, err := w.Question(w.ctx, j.ID, key)
	w.no(err)
	return q
}

var blue = job.QuestionEnd{Answer: &job.Answer{ContentType: "text/plain", Body: []byte("blue\x00\xff")}}

func questionIsReadBackWhole(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	w.announced()
	a := w.asking(j, 1, "color")
	q, err := w.Ask(w.ctx, a)
	w.no(err)
	w.equal("question", q, &job.Question{JobID: j.ID, Key: "color", Run: 1, Body: a.Body, Callback: a.Callback.ID, State: job.Open, AskedAt: w.now()})
	w.equal("read", w.question(j, "color"), q)
	got := w.read(j.ID)
	w.equal("job", []any{got.State, got.Runs, got.StartedAt, got.DueAt, got.Wait == nil, got.Early}, []any{job.Waiting, 1, a.StartedAt, time.Time{}, true, true})
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.QuestionAsked, job.CallbackOwed})
	due := w.claimCallbacks(lane)
	w.equal("claimed", callbackIDs(due), []job.ID{a.Callback.ID})
	w.equal("data", due[0].Callback.Data, a.Callback.Data)
	_, err = w.Question(w.ctx, j.ID, "size")
	w.is(err, job.ErrNotFound)
	w.equal("jobs to run", len(w.claim("scan")), 0)
	w.no(w.StartRun(w.ctx, job.Start{Job: j, N: 1, At: w.now(), Await: true})) // one that was held back
	w.equal("state", w.read(j.ID).State, job.Waiting)
}

func answerLetsTheJobRunOn(w *world) {
	j, cb := w.asked()
	other := w.ask(j, 1, "size")
	w.announced()
	w.no(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()))
	q := w.question(j, "color")
	w.equal("question", []any{q.State, q.Answer, q.ClosedAt}, []any{job.Answered, *blue.Answer, w.now()})
	w.equal("state with another one open", w.read(j.ID).State, job.Waiting)
	w.equal("callback", w.readCallback(cb).State, job.Discarded)
	changes := w.announced()
	w.equal("change", []any{changes[0].Kind, changes[0].Job.ID, changes[0].Name}, []any{job.QuestionClosed, j.ID, "color"})
	failure := &job.Error{Code: job.CodeUnanswered, Message: "nobody is there"}
	w.no(w.Answer(w.ctx, j.ID, other.ID, job.QuestionEnd{Error: failure}, w.now()))
	w.equal("the other one", []any{w.question(j, "size").State, w.question(j, "size").Error}, []any{job.Closed, failure})
	w.equal("state", w.read(j.ID).State, job.Running)
	w.no(w.FinishRun(w.ctx, w.success(w.read(j.ID), 1)))
}

func answerOfAnAttempt(w *world) {
	j, cb := w.asked()
	claimed := w.claimCallbacks(lane)[0].Callback
	w.no(w.SettleAttempt(w.ctx, w.attempt(claimed, 1, 202, job.Delivered, 0))) // later
	w.equal("state", w.question(j, "color").State, job.Open)
	other := w.ask(j, 1, "size")
	claimed = w.claimCallbacks(lane)[0].Callback
	w.equal("claimed", claimed.ID, other.ID)
	s := w.attempt(claimed, 1, 200, job.Delivered, 0)
	s.Question = &blue
	w.no(w.SettleAttempt(w.ctx, s))
	w.equal("answer", w.question(j, "size").Answer, *blue.Answer)
	w.no(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()))
	w.equal("callback", w.readCallback(cb).State, job.Delivered)
	w.equal("state", w.read(j.ID).State, job.Running)
}

func questionIsAskedOnce(w *world) {
	j, cb := w.asked()
	q, err := w.Ask(w.ctx, w.asking(j, 1, "color"))
	w.no(err)
	w.equal("callback", q.Callback, cb.ID)
	changed := w.asking(j, 1, "color")
	changed.Body = []byte(`"another one?"`)
	_, err = w.Ask(w.ctx, changed)
	w.is(err, job.ErrExists)
	w.no(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()))
	q, err = w.Ask(w.ctx, w.asking(j, 1, "color"))
	w.no(err)
	w.equal("answer", []any{q.State, q.Answer}, []any{job.Answered, *blue.Answer})
	w.equal("state", w.read(j.ID).State, job.Running)
	callbacks, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
	w.no(err)
	w.equal("callbacks", len(callbacks), 1)
}

func firstAnswerWins(w *world) {
	j, cb := w.asked()
	errs := make(chan error, 10)
	var all sync.WaitGroup
	for i := range cap(errs) {
		all.Go(func() {
			errs <- w.Answer(w.ctx, j.ID, cb.ID, job.QuestionEnd{Answer: &job.Answer{Body: fmt.Append(nil, i)}}, w.now())
		})
	}
	all.Wait()
	close(errs)
	won := 0
	for err := range errs {
		if err == nil {
			won++
			continue
		}
		w.is(err, job.ErrExists)
	}
	w.equal("won", won, 1)
	w.is(w.Answer(w.ctx, j.ID, w.NewID(w.now()), blue, w.now()), job.ErrNotFound)
}

func questionsEndWithTheRun(w *world) {
	for what, end := range map[string]func(*job.Job) job.Finish{
		"success":      func(j *job.Job) job.Finish { return w.success(j, 1) },
		"cancellation": func(j *job.Job) job.Finish { return job.Finish{Job: j, State: job.Canceled, At: w.now()} },
		"retry":        func(j *job.Job) job.Finish { return w.retry(j, 1, 0) },
	} {
		j, cb := w.asked()
		f := end(w.read(j.ID))
		w.no(w.FinishRun(w.ctx, f))
		w.equal(what+": question", []any{w.question(j, "color").State, w.question(j, "color").Error}, []any{job.Closed, f.Error})
		w.equal(what+": callback", w.readCallback(cb).State, job.Discarded)
		w.is(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()), job.ErrGone)
	}
	// A later run may ask anew.
	j := w.claim("scan")[0]
	again := w.ask(j, 2, "color")
	w.no(w.Answer(w.ctx, j.ID, again.ID, blue, w.now()))
	w.equal("answer", w.question(j, "color").Answer, *blue.Answer)
}

// A callback is owed for as long as the run that asked may last: where it dies, a later
// run asks for itself, be it by the same number.
func laterRunAsksForItself(w *world) {
	failure := job.QuestionEnd{Error: &job.Error{Code: job.CodeUnanswered, Message: "nobody is there"}}
	j, cb := w.asked()
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Accepted, At: w.now(), DueAt: w.now()})) // handed back
	w.pass(time.Minute)
	j = w.claim("scan")[0]
	again := w.asking(j, 1, "color")
	q, err := w.Ask(w.ctx, again)
	w.no(err)
	w.equal("open", []any{q.State, q.Callback}, []any{job.Open, cb.ID})
	w.no(w.Answer(w.ctx, j.ID, cb.ID, failure, w.now()))
	q, err = w.Ask(w.ctx, again)
	w.no(err)
	w.equal("asked anew", []any{q.State, q.Callback}, []any{job.Open, again.Callback.ID})
	w.no(w.Answer(w.ctx, j.ID, again.Callback.ID, failure, w.now()))
	q, err = w.Ask(w.ctx, w.asking(j, 1, "color"))
	w.no(err)
	w.equal("of this run", []any{q.State, q.Error}, []any{job.Closed, failure.Error})
}

func questionOfARunThatIsOver(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	for _, n := range []int{0, 2} {
		_, err := w.Ask(w.ctx, w.asking(j, n, "color"))
		w.is(err, job.ErrGone)
	}
	w.no(w.FinishRun(w.ctx, w.retry(j, 1, time.Hour)))
	for _, n := range []int{1, 2} {
		_, err := w.Ask(w.ctx, w.asking(j, n, "color"))
		w.is(err, job.ErrGone)
	}
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	_, err := w.Ask(w.ctx, w.asking(j, 1, "color"))
	w.is(err, job.ErrGone)
	callbacks, err := w.Callbacks(w.ctx, job.CallbackFilter{JobID: j.ID})
	w.no(err)
	w.equal("callbacks", len(callbacks), 0)
}

func questionsAreBounded(w *world) {
	j := w.accept(w.newJob("shop", "scan"), true)
	for i := range job.MaxQuestions {
		w.ask(j, 1, fmt.Sprint(i))
	}
	_, err := w.Ask(w.ctx, w.asking(j, 1, "one more"))
	w.is(err, job.ErrTooMany)
	w.ask(j, 1, "7")
	// They go with the job.
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	now := w.pass(time.Hour)
	n, _, err := w.Purge(w.ctx, now, now, 10)
	w.no(err)
	w.equal("purged", n, 1)
	_, err = w.Question(w.ctx, j.ID, "7")
	w.is(err, job.ErrNotFound)
}

func questionAndAnswerSurviveACrash(w *world) {
	j, cb := w.asked()
	answered := w.ask(j, 1, "size")
	w.no(w.Answer(w.ctx, j.ID, answered.ID, blue, w.now()))
	w.crash()
	got := w.claim("scan")[0]
	w.equal("job", []any{got.State, got.Runs, got.Interrupted, got.Rescued}, []any{job.Accepted, 1, 1, true})
	w.equal("due", callbackIDs(w.claimCallbacks(lane)), []job.ID{cb.ID})
	w.no(w.StartRun(w.ctx, job.Start{Job: got, N: 2, At: w.now(), Await: true}))
	q, err := w.Ask(w.ctx, w.asking(got, 2, "size"))
	w.no(err)
	w.equal("answer", q.Answer, *blue.Answer)
	w.equal("state", w.read(j.ID).State, job.Running)
	q, err = w.Ask(w.ctx, w.asking(got, 2, "color"))
	w.no(err)
	w.equal("open", []any{q.State, q.Callback, q.Run}, []any{job.Open, cb.ID, 1})
	w.equal("state", w.read(j.ID).State, job.Waiting)
	w.no(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()))
	w.equal("state", w.read(j.ID).State, job.Running)
}

func jobThatItsUpstreamHas(w *world) {
	j := w.waiting(time.Hour)
	cb := w.ask(j, 1, "color")
	w.no(w.Answer(w.ctx, j.ID, cb.ID, blue, w.now()))
	got := w.read(j.ID)
	w.equal("job", []any{got.State, got.Wait != nil, got.DueAt}, []any{job.Waiting, true, w.now().Add(time.Hour)})
	open := w.ask(j, 1, "size")
	w.crash()
	w.equal("after a crash", w.read(j.ID).State, job.Waiting)
	w.no(w.FinishRun(w.ctx, waited(w.retry(got, 1, time.Hour))))
	w.equal("question", w.question(j, "size").State, job.Closed)
	w.equal("callback", w.readCallback(open).State, job.Discarded)
}
