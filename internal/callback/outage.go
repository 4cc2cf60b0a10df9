package callback

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringback/ringback/job"
)

// OperationEvents is the built-in operation whose finished jobs are the operational
// events: what happens to an app's endpoints, told to the one that it has for that.
const OperationEvents = "ringback"

// The operational events. docs/endpoints.md shows what each says.
const (
	EventFailing   = "endpoint.failing"
	EventRecovered = "endpoint.recovered"
	EventDisabled  = "endpoint.disabled"
)

// outages follow the endpoints that bring nothing but failures. How long one has done so
// is stored from time to time; what is here is what was not stored yet. An attempt at
// an endpoint that works costs two comparisons.
type outages struct {
	after   time.Duration // until an endpoint is disabled; 0: never
	count   *atomic.Int64 // of endpoints
	mu      *sync.Mutex
	of      map[string]*outage // by lane
	answers *witnesses         // others' answers while something fails
}

type outage struct {
	url string
	job.Failing
	stored  job.Failing
	writing bool
}

// witnesses are the last two lanes that had an answer, one with a look into the DNS,
// and one over a new TLS connection.
type witnesses struct{ answered, resolved, secured witness }

type witness [2]struct {
	lane string
	at   time.Time
}

func (w *witness) note(lane string, now time.Time) {
	if w[0].lane != lane {
		w[1] = w[0]
	}
	w[0].lane, w[0].at = lane, now
}

// other is when a lane but this one had its last answer.
func (w *witness) other(lane string) time.Time {
	if w[0].lane != lane {
		return w[0].at
	}
	return w[1].at
}

// maxOutages bounds the memory: what is not stored yet begins anew above it.
const maxOutages = 100_000

func newOutages(after time.Duration) outages {
	return outages{after: max(after, 0), count: &atomic.Int64{}, mu: &sync.Mutex{}, of: map[string]*outage{}, answers: &witnesses{}}
}

const (
	// storeAfter is how long an endpoint fails before that is stored: most that fail
	// once do not fail on.
	storeAfter = time.Minute
	// maxWitnessAge is for how long another destination's answer shows that our own
	// network works.
	maxWitnessAge = 12 * time.Hour
)

// step is how far what is stored may lag behind, and the least that can be told apart.
func (o outages) step() time.Duration { return o.after / 10 }

// ours are the classes that are never an endpoint's doing: the gateway's own affair,
// what was refused before anything was sent, and a certificate that another list of
// authorities would have accepted.
func ours(c job.Class) bool {
	switch c {
	case job.ClassPolicy, job.ClassRequest, job.ClassNoEndpoint, job.ClassUnsigned, job.ClassTLSAuthority:
		return true
	}
	info, known := c.Info()
	return !known || info.Side == job.SideGateway
}

// blames tells whether a failed attempt counts against its endpoint. An answer always
// does. Where there was none that may be our own network: it counts while others of
// whom the same is needed do answer. mu is held.
func (o outages) blames(lane string, a *job.Attempt, now time.Time) bool {
	if a.Status != 0 {
		return true
	}
	if ours(a.Error) {
		return false
	}
	w := &o.answers.answered
	switch a.Error {
	case job.ClassDNSNotFound, job.ClassDNSFailed, job.ClassTimeoutDNS:
		w = &o.answers.resolved
	case job.ClassTLSExpired, job.ClassTLSHost, job.ClassTLSCertificate, job.ClassTLSVersion, job.ClassTLSRejected, job.ClassTLSFailed, job.ClassTimeoutTLS:
		w = &o.answers.secured
	}
	at := w.other(lane)
	return !at.IsZero() && now.Sub(at) <= min(o.step(), maxWitnessAge)
}

// witness notes an answer, which says that our network works.
func (o outages) witness(lane string, a *job.Attempt, now time.Time) {
	if o.count.Load() == 0 || a.Status == 0 {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answers.answered.note(lane, now)
	if a.DNS > 0 {
		o.answers.resolved.note(lane, now)
	}
	if a.TLS > 0 {
		o.answers.secured.note(lane, now)
	}
}

// forget drops an endpoint that works, or is another one now, and returns what is stored
// of it as far as it is known here.
func (o outages) forget(lane string) (stored job.Failing) {
	if o.count.Load() == 0 {
		return stored
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.of[lane]; l != nil {
		delete(o.of, lane)
		o.count.Add(-1)
		return l.stored
	}
	return stored
}

// consequence is what follows from a failure: nothing, or a write.
type consequence struct {
	job.Failing
	write   bool
	tell    bool // that it fails
	disable bool
}

// failed notes a failure.
func (o outages) failed(lane string, e *job.Endpoint, a *job.Attempt, now time.Time) (c consequence) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.of[lane]
	if l == nil || l.url != e.URL {
		if len(o.of) >= maxOutages {
			clear(o.of)
		}
		l = &outage{url: e.URL, Failing: e.Failing, stored: e.Failing}
		o.of[lane] = l
		o.count.Store(int64(len(o.of)))
	}
	if !o.blames(lane, a, now) {
		return c
	}
	if l.Since.IsZero() || now.Sub(l.Last) > o.after/2 { // of the time between nothing is known
		l.Failing = job.Failing{Since: now}
	}
	l.Last = now
	if l.writing {
		return c
	}
	failing := now.Sub(l.Since)
	c.disable = failing >= o.after
	c.tell = !c.disable && !l.Told && failing >= o.after/2
	known := l.stored.Since.Equal(l.Since)
	c.write = c.disable || c.tell || !known && failing >= min(storeAfter, o.step()) || known && now.Sub(l.stored.Last) >= o.step()
	l.writing = c.write
	c.Failing = l.Failing
	c.Told = l.Told || c.tell
	return c
}

// written ends a write of failed. Where it came to nothing the next failure tries again.
func (o outages) written(lane string, c consequence, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.of[lane]
	if l == nil {
		return
	}
	if l.writing = false; err == nil {
		l.Told, l.stored = c.Told, c.Failing
	}
}

// noteEndpoint draws the consequences of an attempt for its endpoint, if it has one: it
// works, it fails, or it has failed for so long that it is disabled. What the answer
// itself disables is disabled by the settlement.
func (s *Sender) noteEndpoint(ctx context.Context, lane string, a *job.Attempt, v verdict) {
	now := s.opt.Now()
	s.outages.witness(lane, a, now)
	if v.place == nil || v.place.endpoint.Name == "" || s.outages.after == 0 {
		return
	}
	e := &v.place.endpoint
	switch {
	case v.kind == settled:
		stored := s.outages.forget(lane)
		if stored.Since.IsZero() {
			stored = e.Failing
		}
		if !stored.Since.IsZero() {
			s.recovered(ctx, e, stored)
		}
	case a.Status == http.StatusGone:
	case v.kind == retry || v.kind == giveUp:
		if c := s.outages.failed(lane, e, a, now); c.write {
			s.outages.written(lane, c, s.storeFailing(context.WithoutCancel(ctx), e, a, c))
		}
	}
}

// recovered stores that an endpoint works that did not.
func (s *Sender) recovered(ctx context.Context, e *job.Endpoint, was job.Failing) {
	ctx = context.WithoutCancel(ctx)
	var event *job.Acceptance
	if was.Told {
		event = s.operational(ctx, e, EventRecovered, report{FailingSince: jsonTime(was.Since)})
	}
	// Others that were in flight find that it is stored.
	err := s.opt.Store.SetFailing(ctx, e.App, e.Name, e.URL, job.Failing{}, event)
	if err == nil && was.Told {
		s.happened(EventRecovered, e, "failing_since", was.Since)
	}
	s.logOutage("store that an endpoint works", e, err)
}

// storeFailing stores how long an endpoint fails, or disables it.
func (s *Sender) storeFailing(ctx context.Context, e *job.Endpoint, a *job.Attempt, c consequence) (err error) {
	said := report{FailingSince: jsonTime(c.Since), LastStatus: a.Status, LastError: a.Error}
	if c.disable {
		d := s.disabling(ctx, e, job.DisabledFailing, said)
		if err = s.opt.Store.DisableEndpoint(ctx, *d); err == nil {
			s.happened(EventDisabled, e, "reason", d.Reason, "failing_since", c.Since, "error", a.Error, "status", a.Status)
		}
		s.logOutage("disable an endpoint", e, err)
		return err
	}
	var event *job.Acceptance
	if c.tell {
		said.DisablesAt = jsonTime(c.Since.Add(s.outages.after))
		event = s.operational(ctx, e, EventFailing, said)
	}
	if err = s.opt.Store.SetFailing(ctx, e.App, e.Name, e.URL, c.Failing, event); err == nil && c.tell {
		s.happened(EventFailing, e, "failing_since", c.Since, "error", a.Error, "status", a.Status)
	}
	s.logOutage("store that an endpoint fails", e, err)
	return err
}

// logOutage logs what could not be stored. An endpoint that has changed meanwhile is
// nothing to care for.
func (s *Sender) logOutage(what string, e *job.Endpoint, err error) {
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		s.opt.Log.Error(what, "app", e.App, "endpoint", e.Name, "error", err)
	}
}

// happened logs and counts an event, whoever else hears of it.
func (s *Sender) happened(event string, e *job.Endpoint, more ...any) {
	s.opt.Log.Warn(event, append([]any{"app", e.App, "endpoint", e.Name, "origin", job.Origin(e.URL)}, more...)...)
	s.metrics.endpointEvents.WithLabelValues(event).Inc()
}

// gone is what a 410 does to the endpoint that it came from; nil where it came from
// none, or from one URL of several.
func (s *Sender) gone(ctx context.Context, a *job.Attempt, v verdict) *job.Disabling {
	if a.Status != http.StatusGone || v.kind != giveUp || v.place == nil || v.place.endpoint.Name == "" || hasVariables(v.place.endpoint.URL) {
		return nil
	}
	return s.disabling(ctx, &v.place.endpoint, job.DisabledGone, report{LastStatus: a.Status, LastError: a.Error})
}

func (s *Sender) disabling(ctx context.Context, e *job.Endpoint, reason string, said report) *job.Disabling {
	at := s.opt.Now()
	said.Reason, said.DisabledAt = reason, jsonTime(at)
	return &job.Disabling{App: e.App, Name: e.Name, URL: e.URL, Reason: reason, At: at, Event: s.operational(ctx, e, EventDisabled, said)}
}

// report is what an operational event says beside the endpoint.
type report struct {
	Endpoint     string    `json:"endpoint"`
	Origin       string    `json:"origin"`
	Reason       string    `json:"reason,omitempty"`
	FailingSince string    `json:"failing_since,omitempty"`
	DisabledAt   string    `json:"disabled_at,omitempty"`
	DisablesAt   string    `json:"disables_at,omitempty"` // unless it works before
	LastStatus   int       `json:"last_status,omitempty"`
	LastError    job.Class `json:"last_error,omitempty"`
}

func jsonTime(t time.Time) string { return t.UTC().Format(plainTime) }

// operational makes the event that tells an app of one of its endpoints: a finished
// job whose callback says it. It is nil where the app wants to hear of none, and for
// the endpoint itself that would be told.
func (s *Sender) operational(ctx context.Context, e *job.Endpoint, event string, said report) *job.Acceptance {
	if e.Operational {
		return nil
	}
	all, err := s.opt.Store.ListEndpoints(ctx, e.App)
	if err != nil {
		s.opt.Log.Error("the app is not told of an endpoint", "app", e.App, "endpoint", e.Name, "event", event, "error", err)
		return nil
	}
	for i := range all {
		if all[i].Operational {
			return s.eventTo(&all[i], e, event, said)
		}
	}
	return nil
}

func (s *Sender) eventTo(to, e *job.Endpoint, event string, said report) *job.Acceptance {
	now := s.opt.Now()
	said.Endpoint, said.Origin = e.Name, job.Origin(e.URL)
	// Strings and numbers always have a JSON form.
	body, _ := json.Marshal(struct {
		Type      string `json:"type"`
		Timestamp string `json:"timestamp"`
		Data      report `json:"data"`
	}{event, jsonTime(now), said})
	j := &job.Job{ID: s.opt.Store.NewID(now), App: e.App, Operation: OperationEvents, State: job.Accepted, CreatedAt: now, StartedAt: now,
		Request: job.Request{Method: http.MethodPost, Path: "/", Header: http.Header{"Content-Type": {typeJSON}}, Body: job.Body{Inline: body, Size: int64(len(body))}},
		Targets: []job.Target{{Endpoint: to.Name, EndpointURL: to.URL, Source: job.SourceEndpoint}}}
	cb := &job.Callback{ID: s.opt.Store.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventSucceeded, Endpoint: to.Name,
		Method: http.MethodPost, Format: job.FormatEnvelope, CreatedAt: now, DueAt: now, State: job.Pending,
		GiveUpAt: now.Add(s.contract(j.Operation).GiveUpAfter), Body: body, ContentType: typeJSON}
	if to.Method != "" && !job.Bodiless(to.Method) {
		cb.Method = to.Method
	}
	return &job.Acceptance{Job: j, Finish: &job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now},
		Result: &job.Result{Status: http.StatusOK, ContentType: typeJSON, Echo: true}, Callbacks: []job.OwedCallback{{Callback: cb}}}}
}
