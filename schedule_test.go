package ringback_test

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// scheduling lets calls choose all that there is about time.
func scheduling(op *job.Operation) {
	op.Callback.CallerMay = []string{"url", "events", "delay", "expires"}
}

func (g *gateway) read(t *testing.T, id string) *client.Job {
	t.Helper()
	j, err := g.app.Job(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestScheduledJobBeginsWhenItIsDue(t *testing.T) {
	t.Parallel()
	const deadline = time.Hour
	g := setup(t, operation("report", "POST /report", ringback.Relay(), scheduling, func(op *job.Operation) { op.Deadline = deadline }))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	soon := g.call(t, client.Call{Path: "/report", CallbackURL: url, Schedule: client.Schedule{RunDelay: 300 * time.Millisecond}})
	later := g.call(t, client.Call{Path: "/report", CallbackURL: url, Schedule: client.Schedule{RunAt: time.Now().Add(48 * time.Hour)}})
	next(t, messages)
	j := g.done(t, soon.ID)
	if j.ScheduledFor.IsZero() || j.StartedAt.Before(j.ScheduledFor.Time) || soon.ScheduledFor != j.ScheduledFor {
		t.Errorf("scheduled for %v, told %v, begun at %v", j.ScheduledFor, soon.ScheduledFor, j.StartedAt)
	}
	j = g.read(t, later.ID)
	if j.Status != client.StatusAccepted || j.Waiting != "scheduled" || time.Until(j.ScheduledFor.Time) < 47*time.Hour {
		t.Errorf("the later one is %+v", j)
	}
	id, _ := job.ParseJob(later.ID)
	stored, err := g.store.Job(t.Context(), "shop", id)
	if err != nil || !stored.Deadline.Equal(stored.ScheduledAt.Add(deadline)) {
		t.Errorf("its deadline is %v, scheduled for %v: %v", stored.Deadline, stored.ScheduledAt, err)
	}
	if err := g.app.Cancel(t.Context(), later.ID); err != nil {
		t.Fatal(err)
	}
	if j := g.read(t, later.ID); j.Status != client.StatusCanceled || j.Waiting != "" {
		t.Errorf("canceled: %+v", j)
	}
	next(t, messages)
}

func TestScheduledJobSurvivesARestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	with := func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("report", "POST /report", ringback.Relay(), scheduling)}
	}
	g := start(t, dir, with)
	g.join(t)
	accepted := g.call(t, client.Call{Path: "/report", Schedule: client.Schedule{RunDelay: 500 * time.Millisecond}})
	key := g.key
	g.stop()
	g = start(t, dir, with)
	g.app = g.client(t, key)
	if j := g.done(t, accepted.ID); j.Status != client.StatusSucceeded || j.StartedAt.Before(j.ScheduledFor.Time) {
		t.Errorf("the job is %+v", j)
	}
}

func TestJobThatNobodyWantsAnyMoreDoesNotBegin(t *testing.T) {
	t.Parallel()
	runs := make(chan string, 10)
	held := make(chan struct{})
	busy := ringback.Func(func(ctx context.Context, call *ringback.Call, _ *ringback.Result) error {
		runs <- call.JobID
		select {
		case <-held:
		case <-ctx.Done():
		}
		return nil
	})
	g := setup(t, operation("report", "POST /report", busy, scheduling, func(op *job.Operation) { op.Concurrency = 1 }))
	first := g.call(t, client.Call{Path: "/report"})
	<-runs
	// It waits in memory for its turn, and until nobody wants it any more.
	second := g.call(t, client.Call{Path: "/report", Schedule: client.Schedule{RunExpiresIn: time.Second}})
	end := g.read(t, second.ID).ExpiresAt
	eventually(t, "its time is over", func() bool { return time.Now().After(end.Time) })
	close(held)
	if j := g.done(t, second.ID); j.Status != client.StatusExpired || j.Error == nil || j.Error.Code != "expired" || j.Attempts != 0 {
		t.Errorf("the job is %+v, %+v", j, j.Error)
	}
	if j := g.done(t, first.ID); j.Status != client.StatusSucceeded {
		t.Errorf("the first is %s", j.Status)
	}
	if len(runs) > 0 {
		t.Error("it has run")
	}
}

func TestJobExpiresBetweenItsRuns(t *testing.T) {
	t.Parallel()
	broken := ringback.Func(func(context.Context, *ringback.Call, *ringback.Result) error { return io.ErrUnexpectedEOF })
	g := setup(t, operation("report", "POST /report", broken, scheduling, func(op *job.Operation) {
		op.ExpiresIn, op.Retry = time.Second, job.Retry{Attempts: 3, Backoff: time.Hour, MaxBackoff: time.Hour}
	}))
	j := g.done(t, g.call(t, client.Call{Path: "/report"}).ID)
	if j.Status != client.StatusExpired || j.Attempts != 1 || j.FinishedAt.Before(j.ExpiresAt.Time) {
		t.Errorf("the job is %+v", j)
	}
}

func TestScheduledCallbackIsSentWhenItIsDue(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("report", "POST /report", ringback.Relay(), scheduling))
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	soon := g.call(t, client.Call{Path: "/report", CallbackURL: url, Schedule: client.Schedule{CallbackDelay: 300 * time.Millisecond}})
	next(t, messages)
	if sent := time.Now(); sent.Before(g.only(t, soon.ID).CreatedAt.Add(300 * time.Millisecond)) {
		t.Error("it was sent too early")
	}
	later := g.call(t, client.Call{Path: "/report", CallbackURL: url, Schedule: client.Schedule{CallbackDeliverAt: time.Now().Add(time.Hour)}})
	g.done(t, later.ID)
	cb := g.only(t, later.ID)
	if cb.Waiting != "scheduled" || time.Until(cb.NextAttemptAt.Time) < 59*time.Minute || cb.GiveUpAt.Sub(cb.NextAttemptAt.Time) != 72*time.Hour {
		t.Errorf("the callback is %+v", cb)
	}
	if _, err := g.app.Resend(t.Context(), cb.ID); err != nil {
		t.Fatal(err)
	}
	next(t, messages)
	eventually(t, "it is delivered", func() bool { return g.only(t, later.ID).Status == client.CallbackDelivered })
}

func TestAnswerThatNobodyWantsAnyMoreIsNotSent(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("report", "POST /report", ringback.Relay(), scheduling))
	url, messages := listen(t, func() sign.Secret { return g.secret }, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	// The attempt that would follow comes after the end of its time.
	id := g.call(t, client.Call{Path: "/report", CallbackURL: url, Schedule: client.Schedule{CallbackExpiresIn: time.Second}}).ID
	next(t, messages)
	eventually(t, "it is discarded", func() bool { return g.only(t, id).Status == client.CallbackDiscarded })
	if cb := g.only(t, id); cb.Reason != "expired" || cb.Attempts != 1 || cb.SettledAt.Before(cb.ExpiresAt.Time) {
		t.Errorf("the callback is %+v", cb)
	}
	none(t, messages)
}

func TestWrongTimesAreRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("report", "POST /report", ringback.Relay(), scheduling), operation("plain", "POST /plain", ringback.Relay()))
	past, far := time.Now().Add(-time.Hour).Format(time.RFC3339), time.Now().Add(31*24*time.Hour).Format(time.RFC3339)
	for _, tt := range []struct{ path, query, code, says string }{
		{"/report", "runDelay=PT10M", "invalid_parameter", "ISO 8601"},
		{"/report", "runDelay=10", "invalid_parameter", "a unit"},
		{"/report", "runDelay=-1s", "invalid_parameter", "less than 0s"},
		{"/report", "runDelay=31d", "invalid_parameter", "more than 30 days"},
		{"/report", "runDelay=9223372036854775807h", "invalid_parameter", "no duration"},
		{"/report", "runDelay=", "invalid_parameter", "no duration"},
		{"/report", "runDelay=1h&runDelay=2h", "parameter_repeated", "more than once"},
		{"/report", "runDelay=1h&runAt=" + url.QueryEscape(far), "invalid_parameter", "one of the two"},
		{"/report", "runAt=tomorrow", "invalid_parameter", "no time"},
		{"/report", "runAt=" + url.QueryEscape(past), "invalid_parameter", "in the past"},
		{"/report", "runAt=" + url.QueryEscape(far), "invalid_parameter", "30 days ahead"},
		{"/report", "runAt=1790000000000", "invalid_parameter", "seconds since 1970"},
		{"/report", "runExpiresIn=10ms", "invalid_parameter", "less than 1s"},
		{"/report", "callbackDelay=1y", "invalid_parameter", "no duration"},
		{"/report", "callbackDeliverAt=-5", "invalid_parameter", "no time"},
		{"/report", "callbackDelay=1h&callbackDeliverAt=2030-01-01T00:00:00Z", "invalid_parameter", "one of the two"},
		{"/report", "callbackExpiresIn=0s", "invalid_parameter", "less than 1s"},
		{"/plain", "runDelay=1h", "callback_choice_not_allowed", "url, state, events"},
		{"/plain", "callbackExpiresIn=1h", "callback_choice_not_allowed", "url, state, events"},
	} {
		_, err := g.app.Call(t.Context(), client.Call{Path: tt.path + "?" + tt.query})
		if !hasCode(err, tt.code) || !strings.Contains(problemText(err), tt.says) {
			t.Errorf("%s: %v", tt.query, problemText(err))
		}
	}
	// What has just been is now, and a header says the same.
	for _, header := range []http.Header{
		{"X-Run-At": {time.Now().Add(-time.Minute).Format(time.RFC3339)}},
		{"X-Callback-Delay": {"0s"}}, {"X-Run-Delay": {"0s"}, "X-Run-Expires-In": {"1d12h"}, "X-Callback-Expires-In": {"1m"}},
	} {
		if j := g.done(t, g.call(t, client.Call{Path: "/report", Header: header}).ID); j.Status != client.StatusSucceeded || !j.ScheduledFor.IsZero() {
			t.Errorf("%v: %+v", header, j)
		}
	}
}

func problemText(err error) string {
	var text strings.Builder
	if p, ok := err.(*client.Problem); ok { //nolint:errorlint // a call returns it as it is
		text.WriteString(p.Detail + " " + p.Hint)
		for _, e := range p.Errors {
			text.WriteString(" " + e.Detail)
		}
	}
	return text.String()
}
