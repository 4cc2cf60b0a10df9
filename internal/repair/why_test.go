package repair

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// facts are what a store knows of one callback or job.
type facts struct {
	Store
	cb       *job.Callback
	job      *job.Job
	attempts []job.Attempt
	before   job.ID
	endpoint job.Endpoint
	pauses   []job.Pause
}

func (f *facts) Callback(context.Context, string, job.ID) (*job.Callback, error) {
	if f.cb == nil {
		return nil, job.ErrNotFound
	}
	return f.cb, nil
}

func (f *facts) Callbacks(context.Context, job.CallbackFilter) (all []*job.Callback, err error) {
	if f.cb != nil {
		all = append(all, f.cb)
	}
	return all, nil
}

func (f *facts) Job(context.Context, string, job.ID) (*job.Job, error) { return f.job, nil }

func (f *facts) Attempts(context.Context, job.ID) ([]job.Attempt, error) { return f.attempts, nil }

func (f *facts) WaitsFor(context.Context, []*job.Callback) ([]job.ID, error) {
	return []job.ID{f.before}, nil
}

func (f *facts) Endpoint(context.Context, string, string) (job.Endpoint, error) {
	return f.endpoint, nil
}

func (f *facts) ListPauses(context.Context) ([]job.Pause, error) { return f.pauses, nil }

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// explain is the answer where a callback waits for reason until then.
func explain(t *testing.T, f *facts, reason string, until time.Time) client.Why {
	t.Helper()
	r := New(Options{Store: f, Contract: func(string) job.Contract { return job.Operation{}.WithDefaults().Callback }, Now: func() time.Time { return now },
		Waits:    func(*job.Callback) (string, time.Time) { return reason, until },
		GiveUpAt: func(cb *job.Callback) time.Time { return cb.GiveUpAt }})
	w, err := r.Why(t.Context(), "shop", job.ID{})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func pendingCallback() *job.Callback {
	return &job.Callback{App: "shop", Endpoint: "main", URL: "https://my.server/bar", Event: job.EventSucceeded, State: job.Pending, GiveUpAt: now.Add(72 * time.Hour)}
}

func TestEveryReasonToWaitIsExplained(t *testing.T) {
	t.Parallel()
	var ids job.IDs
	before := ids.New(now)
	f := &facts{cb: pendingCallback(), before: before,
		endpoint: job.Endpoint{DisabledReason: job.DisabledGone, DisabledAt: now.Add(-time.Hour)},
		pauses: []job.Pause{{App: "shop", Endpoint: "other", Who: "nobody"}, {App: "shop", Endpoint: "main", From: now.Add(-time.Minute), Who: "admin"},
			{Operation: "scan", Who: "nobody"}, {App: "shop", Endpoint: "main", To: now, Who: "earlier"}}}
	for _, reason := range append([]string{""}, job.WaitingReasons...) {
		w := explain(t, f, reason, now.Add(time.Hour))
		if w.Waiting == nil || w.Waiting.Means == "" || !strings.Contains(w.Summary, w.Waiting.Means) || w.Next == "" || w.EndsAt.IsZero() || w.Error != nil {
			t.Errorf("%q is explained by %+v %+v", reason, w, w.Waiting)
			continue
		}
		switch reason {
		case "":
			if w.Waiting.For != waitingTurn || !w.Waiting.Until.IsZero() {
				t.Errorf("its turn: %+v", w.Waiting)
			}
		case job.WaitingOrder:
			if w.Waiting.Behind != before.Callback() {
				t.Errorf("order: %+v", w.Waiting)
			}
		case job.WaitingDisabled:
			if w.Waiting.By != job.DisabledGone || !w.Waiting.Since.Equal(now.Add(-time.Hour)) {
				t.Errorf("disabled: %+v", w.Waiting)
			}
		case job.WaitingPaused:
			if w.Waiting.By != "admin" || !w.Waiting.Since.Equal(now.Add(-time.Minute)) {
				t.Errorf("paused: %+v", w.Waiting)
			}
		}
	}
}

func TestEveryClassIsExplained(t *testing.T) {
	t.Parallel()
	for _, info := range job.Classes {
		f := &facts{cb: pendingCallback(), attempts: []job.Attempt{{N: 1, StartedAt: now, Error: info.Class, Total: time.Millisecond}}}
		f.cb.Attempts, f.cb.LastError = 1, info.Class
		w := explain(t, f, job.WaitingBackoff, now.Add(time.Hour))
		if w.Error == nil || w.Error.Means != info.Means || w.Do != info.Do || w.Error.Side != string(info.Side) || !w.NextAt.Equal(now.Add(time.Hour)) ||
			!strings.Contains(w.Summary, string(info.Class)) || !strings.Contains(w.Next, "9 more attempts") {
			t.Errorf("%s: %+v", info.Class, w)
		}
		f.cb.State, f.cb.SettledAt = job.Dead, now
		w = explain(t, f, "", time.Time{})
		if !strings.Contains(w.Summary, info.Means) || !strings.Contains(w.Do, info.Do) || !strings.Contains(w.Do, "ringback callback resend") || w.Waiting != nil ||
			len(w.Attempts) != 1 || w.Attempts[0].Outcome != string(info.Class) {
			t.Errorf("dead by %s: %+v", info.Class, w)
		}
	}
}

func TestTheEndIsExplainedToo(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{"": "pointless", job.ReasonExpired: "expired", job.ReasonSkipped: "somebody"} {
		f := &facts{cb: pendingCallback()}
		f.cb.State, f.cb.Reason, f.cb.SettledAt = job.Discarded, reason, now
		if w := explain(t, f, "", time.Time{}); !strings.Contains(w.Summary, want) {
			t.Errorf("discarded, %q: %s", reason, w.Summary)
		}
	}
	f := &facts{cb: pendingCallback(), attempts: make([]job.Attempt, 30)}
	f.cb.State, f.cb.SettledAt, f.cb.Attempts = job.Delivered, now, 30
	if w := explain(t, f, "", time.Time{}); !strings.Contains(w.Summary, "2026-03-01 12:00:00 UTC, in attempt 30") || len(w.Attempts) != whyAttempts {
		t.Errorf("delivered: %+v", w)
	}
	f = &facts{cb: pendingCallback()}
	f.cb.ExpiresAt = now.Add(time.Hour)
	if w := explain(t, f, job.WaitingRate, time.Time{}); !w.EndsAt.Equal(now.Add(time.Hour)) {
		t.Errorf("one that expires: %+v", w)
	}
}

func TestAJobWithoutCallbacksIsExplained(t *testing.T) {
	t.Parallel()
	targets := []job.Target{{URL: "https://my.server"}}
	for name, tt := range map[string]struct {
		job    job.Job
		pauses []job.Pause
		want   string
	}{
		"no URL":          {job.Job{State: job.Succeeded}, nil, "no callback URL"},
		"waits upstream":  {job.Job{State: job.Waiting, Targets: targets}, nil, "upstream"},
		"runs":            {job.Job{State: job.Running, Targets: targets, StartedAt: now}, nil, "running, since 2026-03-01 12:00:00 UTC"},
		"failed once":     {job.Job{State: job.Accepted, Targets: targets, Error: &job.Error{Code: job.CodeTimeout}, DueAt: now}, nil, "timeout"},
		"scheduled":       {job.Job{State: job.Accepted, Targets: targets, ScheduledAt: now.Add(time.Hour)}, nil, "to run at 2026-03-01 13:00:00 UTC"},
		"operation rests": {job.Job{State: job.Accepted, Operation: "scan", Targets: targets}, []job.Pause{{Operation: "scan"}}, "paused the operation scan"},
		"all rests":       {job.Job{State: job.Accepted, Operation: "scan", Targets: targets}, []job.Pause{{}}, "paused"},
		"another rests":   {job.Job{State: job.Accepted, Operation: "scan", Targets: targets}, []job.Pause{{Operation: "other"}, {App: "shop", Endpoint: "main"}}, "a place to run"},
		"not wanted":      {job.Job{State: job.Failed, Targets: targets}, nil, "has failed, and none of its destinations"},
	} {
		f := &facts{job: &tt.job, pauses: tt.pauses}
		w, err := New(Options{Store: f, Now: func() time.Time { return now }}).WhyJob(t.Context(), "shop", job.ID{})
		if err != nil || !strings.Contains(w.Summary, tt.want) || w.Callbacks == nil {
			t.Errorf("%s: %+v, %v", name, w, err)
		}
	}
}
