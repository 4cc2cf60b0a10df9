// Package callback delivers what is owed: it takes due callbacks lane by lane,
// writes and signs them, sends them through the outbound client, judges the
// answer, and stores what follows.
package callback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/internal/pause"
	"github.com/ringback/ringback/internal/redact"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// Store is what a Sender needs of a store.
type Store interface {
	job.Deliveries
	job.GiveUps
	job.Endpoints
	job.Outages
	job.Apps
	job.Turns
	NewID(now time.Time) job.ID
}

// Options is what a Sender needs. All but the bounds are required.
type Options struct {
	Store      Store
	Client     *outbound.Client
	Seal       *seal.Sealer
	Operations []job.Operation
	// ResultLink makes a signed link to a job's result: the job's URL, "/result?" and
	// a token.
	ResultLink func(job.ID) string
	// ReplyURL makes the URL where the answer to a question goes, by the job and the
	// callback that asks it; nil where no backend asks.
	ReplyURL func(id, callback job.ID) string
	// OpenBody opens a body that is not inline, fs.ErrNotExist where it is no more.
	OpenBody func(job.Body) (io.ReadCloser, error)
	// MaxConcurrency is how far that of a lane may grow whose endpoint says nothing, and
	// OriginConcurrency how many callbacks may be in flight to an origin, of all apps
	// together; 256 both.
	MaxConcurrency    int
	OriginConcurrency int
	MaxItems          int   // callbacks in memory; 8192
	MaxBytes          int64 // of their jobs; 64 MiB
	Workers           int   // callbacks in flight at once; 1024
	UserAgent         string
	// Pauses are what rests now; nil: nothing ever does.
	Pauses *pause.Set
	// DisableAfter is how long an endpoint may bring nothing but failures before it is
	// disabled; 0: for ever.
	DisableAfter time.Duration
	// Proof is asked of endpoints before anything is sent there, and lasts for
	// ProofLasts. Origin is the name that a handshake introduces us with.
	Proof      job.Proof
	ProofLasts time.Duration
	Origin     string
	Log        *slog.Logger
	Now        func() time.Time
	Registerer prometheus.Registerer
}

// Sender delivers the callbacks of a store. Make it with New.
type Sender struct {
	opt       Options
	contracts map[string]job.Contract
	// signatures are the operations' schemes, as far as they are not the default.
	signatures map[string]sign.Schemes
	window     *window.Window[job.Delivery]
	places     places
	policies   map[string]*job.Policy     // of the operations that have one
	templates  map[string]*Program        // of the operations that have one
	redactions map[string]redact.Pointers // of answers
	lanes      *lanes
	outages    outages
	metrics    metrics

	verifyWake chan struct{} // an endpoint may have to be verified
	endVerify  func()        // nil: none is
	endExpire  func()
	endGiveUp  func()
}

// New makes a sender that does not send yet.
func New(opt Options) *Sender {
	setDefault(&opt.MaxConcurrency, 256)
	setDefault(&opt.OriginConcurrency, 256)
	setDefault(&opt.MaxItems, 8192)
	setDefault(&opt.MaxBytes, 64<<20)
	setDefault(&opt.Workers, 1024)
	s := &Sender{opt: opt, outages: newOutages(opt.DisableAfter), contracts: map[string]job.Contract{}, signatures: map[string]sign.Schemes{}, templates: map[string]*Program{}, metrics: newMetrics(opt.Registerer),
		verifyWake: make(chan struct{}, 1)}
	for _, op := range opt.Operations {
		s.contracts[op.Name] = op.WithDefaults().Callback
		if schemes, _ := sign.ParseSchemes(op.Callback.Signature); schemes != nil { // the intake refuses what is malformed
			s.signatures[op.Name] = schemes
		}
		if text := op.Callback.Template; text != "" {
			p, err := ParseTemplate(text)
			if err != nil {
				opt.Log.Error("the template cannot be used", "operation", op.Name, "error", err)
			}
			s.templates[op.Name] = p
		}
	}
	s.policies, s.redactions = policiesOf(opt.Operations), redactionsOf(opt.Operations)
	s.places = newPlaces(opt)
	s.lanes = newLanes(s.places, &opt)
	s.window = window.New(window.Options[job.Delivery]{
		MaxItems: opt.MaxItems, MaxGroupItems: max(opt.MaxItems/16, 1), MaxBytes: opt.MaxBytes, Workers: opt.Workers,
		Spare: true,
		Flow:  s.lanes.flow, CapLimit: s.capLimit, Begin: s.lanes.begin, Rest: s.lanes.rest,
		Load: func(ctx context.Context, k window.Key, limit int) ([]job.Delivery, time.Time, error) {
			if s.rests(k) != "" {
				return nil, time.Time{}, nil // its end looks again
			}
			// So that the lane's settings are known; its attempts tell of an error.
			_, _ = s.places.endpointOf(ctx, k)
			return opt.Store.ClaimCallbacks(ctx, k.Share+" "+k.Name, opt.Now(), limit)
		},
		Groups: s.due,
		Size:   job.Delivery.MemoryBytes,
		Run: func(ctx context.Context, d job.Delivery, turn *window.Turn[job.Delivery]) {
			s.deliver(ctx, d, turn.Free)
		},
		Failed: func(_ window.Key, err error) { opt.Log.Error("load callbacks", "error", err) },
		Now:    opt.Now,
	})
	opt.Registerer.MustRegister(append(s.window.Gauges("callbacks"), &laneCollector{s.lanes})...)
	return s
}

func setDefault[T int | int64](field *T, value T) {
	if *field == 0 {
		*field = value
	}
}

// capLimit is how many callbacks may be in flight of what lanes have in common: an
// origin, or how they fare.
func (s *Sender) capLimit(name string) int {
	switch name {
	case classNew:
		return max(s.opt.Workers/2, 1)
	case classFailing:
		return max(s.opt.Workers/4, 1)
	}
	return s.opt.OriginConcurrency
}

// Open begins to deliver, with what is due on disk.
func (s *Sender) Open(ctx context.Context) error {
	if err := s.window.Open(ctx); err != nil {
		return fmt.Errorf("open callbacks: %w", err)
	}
	s.endExpire = s.openExpirer()
	if s.opt.Proof != job.ProofNone {
		s.endVerify = s.openVerifier()
	}
	s.endGiveUp = background(s.giveUp)
	return nil
}

// Close lets attempts end until ctx is done, then cuts them off. Its error says
// that some did not heed that.
func (s *Sender) Close(ctx context.Context) error {
	if s.endVerify != nil {
		s.endVerify()
	}
	if s.endExpire != nil {
		s.endExpire()
	}
	if s.endGiveUp != nil {
		s.endGiveUp()
	}
	if err := s.window.Close(ctx); err != nil {
		return fmt.Errorf("close callbacks: %w", err)
	}
	return nil
}

// Committed hears of every change of the store.
func (s *Sender) Committed(ch job.Change) {
	switch ch.Kind {
	case job.CallbackOwed:
		if ch.Claimed {
			s.window.Start(laneOf(ch.Callback), job.Delivery{Callback: ch.Callback, Job: ch.Job})
			return
		}
		if ch.Callback.Waiting != job.WaitingOrder {
			s.window.Due(laneOf(ch.Callback), ch.Callback.DueAt)
		}
	case job.CallbackSettled:
		s.metrics.settled.WithLabelValues(ch.Callback.State.String()).Inc()
	case job.CallbackTried:
		s.window.Due(laneOf(ch.Callback), ch.Callback.DueAt)
	case job.PauseChanged:
		s.pauseChanged(ch.Pause)
	case job.AppChanged:
		s.places.forget(ch.App)
	case job.EndpointChanged:
		s.places.forget(ch.App)
		s.endpointChanged(ch.App, ch.Name)
	}
}

// Owe makes the callbacks that a job owes for its terminal state, one for each
// target that wants to hear of it, with places in their lanes where there are some.
func (s *Sender) Owe(ctx context.Context, j *job.Job, state job.State, at time.Time) []job.OwedCallback {
	if len(j.Targets) == 0 {
		return nil
	}
	owed := make([]job.OwedCallback, 0, len(j.Targets))
	for i := range j.Targets {
		cb := s.owe(ctx, j, &j.Targets[i], news{event: state.Event(), at: at})
		if cb != nil {
			// What may have to wait for an earlier one has no place.
			d := job.Delivery{Callback: cb, Job: j}
			owed = append(owed, job.OwedCallback{Callback: cb, Claimed: !j.Early && mayBeClaimed(cb) && s.reserve(laneOf(cb), d.MemoryBytes())})
		}
	}
	return owed
}

// reserve takes a place for a fresh callback, unless its lane rests.
func (s *Sender) reserve(lane window.Key, bytes int64) bool {
	return s.rests(lane) == "" && s.window.Reserve(lane, bytes)
}

// news is what a callback tells of.
type news struct {
	event job.Event
	data  []byte // JSON of its own; nil: none
	at    time.Time
	make  func(*job.Callback) // says more of the callback; nil: nothing
}

// owe makes the callback that tells a target of an event, nil where it does not
// want to hear of it.
func (s *Sender) owe(ctx context.Context, j *job.Job, t *job.Target, n news) *job.Callback {
	contract := s.contract(j.Operation)
	events, endpoint, schemes := contract.Events, job.Endpoint{}, s.signatures[j.Operation]
	var at *place
	if t.Endpoint != "" {
		// One that cannot be read now is owed all the same; its attempts will tell.
		if p, err := s.places.endpoint(ctx, j.App, t.Endpoint); err == nil {
			at, endpoint, schemes = p, p.endpoint, s.schemes(p, j.Operation)
			if len(endpoint.Events) > 0 {
				events = endpoint.Events
			}
		}
	}
	if len(t.Events) > 0 {
		events = t.Events
	}
	if n.make == nil && !slices.Contains(events, n.event) {
		return nil
	}
	cb := &job.Callback{ID: s.opt.Store.NewID(n.at), JobID: j.ID, App: j.App, Operation: j.Operation, Event: n.event, Data: n.data,
		Endpoint: t.Endpoint, URL: t.URL, CreatedAt: n.at, DueAt: n.at,
		GiveUpAt: n.at.Add(contract.GiveUpAfter), State: job.Pending}
	cb.Method, cb.Format = choose(t, &endpoint, &contract)
	schedule(cb, t, &contract)
	if at != nil {
		s.line(cb, j, at)
	}
	if n.make != nil {
		n.make(cb)
	}
	then := asOf(cb, j)
	cb.Format = signable(message{cb: cb, job: then}, schemes)
	s.freeze(cb, then)
	s.veil(cb)
	return cb
}

// OweUnclaimed is Owe without places: the callbacks wait for their turn on disk.
func (s *Sender) OweUnclaimed(j *job.Job, state job.State, at time.Time) []job.OwedCallback {
	owed := s.Owe(context.Background(), j, state, at)
	s.Disown(j, owed)
	for i := range owed {
		owed[i].Claimed = false
	}
	return owed
}

// Disown gives back the places of callbacks that were not stored.
func (s *Sender) Disown(j *job.Job, owed []job.OwedCallback) {
	for _, o := range owed {
		if o.Claimed {
			s.window.Release(laneOf(o.Callback), job.Delivery{Callback: o.Callback, Job: j}.MemoryBytes())
		}
	}
}

// deliver makes one attempt at a callback and stores what follows from it.
func (s *Sender) deliver(ctx context.Context, d job.Delivery, free func()) {
	now, lane := s.opt.Now(), laneOf(d.Callback)
	if waiting := s.rests(lane); waiting != "" {
		// It was in memory when the pause began: it keeps its place among the others.
		s.settle(ctx, job.Settlement{Callback: d.Callback, State: job.Pending, DueAt: d.Callback.DueAt, Waiting: waiting, At: now})
		return
	}
	d.Job = asOf(d.Callback, d.Job)
	if expired(d.Callback, now) {
		s.settle(ctx, job.Settlement{Callback: d.Callback, State: job.Discarded, Reason: job.ReasonExpired, At: now})
		return
	}
	a := &job.Attempt{N: d.Callback.Attempts + 1, StartedAt: now}
	if made := a.N - 1 - d.Callback.Round; made > len(s.contract(d.Callback.Operation).Schedule) {
		// One that takes the process down with it each time ends here, too.
		st := job.Settlement{Callback: d.Callback, State: job.Dead, At: now}
		if d.Callback.Event == job.EventAsk {
			st.Question = answerOf(&st)
		}
		s.settle(ctx, st)
		return
	}
	if waiting, _ := s.lanes.enter(lane, now); waiting != "" {
		free()
		// It stays due: the lane says when it is loaded again.
		s.settle(ctx, job.Settlement{Callback: d.Callback, State: job.Pending, DueAt: earlier(d.Callback.DueAt, now), Waiting: waiting, At: now})
		return
	}
	v, err := s.try(ctx, d, a)
	s.note(lane, a, v)
	if v.kind == unproven {
		free()
		s.awaitProof(ctx, d)
		return
	}
	free()
	if err != nil {
		s.opt.Log.Error("callback put off", "callback", d.Callback.ID.Callback(), "error", err)
		v = verdict{kind: putOff}
	}
	if v.kind != putOff && v.kind != obsolete {
		s.metrics.tried(a, s.opt.Now().Sub(now))
	}
	st := s.next(d, a, v)
	if d.Callback.Event == job.EventAsk {
		st.Question = answerOf(&st)
	}
	if st.Disable = s.gone(ctx, a, v); st.Disable != nil {
		s.happened(EventDisabled, &v.place.endpoint, "reason", st.Disable.Reason)
	}
	s.redact(&st)
	s.settle(ctx, st)
	s.noteEndpoint(ctx, d.Callback.Lane(), a, v)
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// try makes the attempt. Its error means that none was made, and that it is ours.
func (s *Sender) try(ctx context.Context, d job.Delivery, a *job.Attempt) (verdict, error) {
	place, err := s.places.of(ctx, &d)
	if err == nil && d.Callback.Endpoint == "" {
		err = s.permits(place, &d)
	}
	var refused *outbound.URLError
	switch {
	case errors.Is(err, job.ErrNotFound):
		a.Error = job.ClassNoEndpoint
		return verdict{kind: giveUp}, nil
	case errors.As(err, &refused):
		a.Error = job.ClassPolicy
		return verdict{kind: giveUp}, nil
	case err != nil:
		return verdict{}, err
	case !s.proven(place, a.StartedAt):
		return verdict{kind: unproven}, nil
	}
	early := !d.Callback.Event.Terminal()
	err = s.opt.Store.StartAttempt(ctx, d.Callback.ID, a.N, a.StartedAt, d.Callback.Rescued || early)
	if early && errors.Is(err, job.ErrTerminal) {
		return verdict{kind: obsolete}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	c, err := formatOf(d.Callback).content(message{cb: s.unveiled(d.Callback), job: d.Job, open: s.opt.OpenBody})
	if err != nil {
		return verdict{}, err
	}
	place = place.withQuery(c.Query)
	header, err := s.header(place, d, a, c)
	if errors.Is(err, sign.ErrStreamed) {
		a.Error = job.ClassUnsigned
		return verdict{kind: giveUp}, nil
	}
	if err != nil {
		return verdict{}, err
	}
	answer, err := place.send(ctx, s.opt.Client, c.request(d.Callback.Method, header, s.contract(d.Callback.Operation).Timeout))
	v := judge(a, answer, err)
	v.place = place
	if err != nil && ctx.Err() != nil {
		v = verdict{kind: cutOff} // whether the receiver has it is not known
	}
	return v, nil
}

// Contract is how the callbacks of an operation are tried; the default for one that the
// configuration no longer has.
func (s *Sender) Contract(operation string) job.Contract { return s.contract(operation) }

func (s *Sender) contract(operation string) job.Contract {
	if c, ok := s.contracts[operation]; ok {
		return c
	}
	return job.Operation{}.WithDefaults().Callback
}

// header makes the header of an attempt: what the operation wants, then the endpoint,
// then what is ours, the signature last.
func (s *Sender) header(p *place, d job.Delivery, a *job.Attempt, c content) (http.Header, error) {
	h := make(http.Header, 8+len(p.headers))
	for name, value := range operationHeader(d) {
		h[name] = value
	}
	for name, value := range p.headers {
		h[name] = value
	}
	for name, values := range c.Header {
		h[name] = values
	}
	switch c.Type {
	case "":
	case typeJSON:
		h["Content-Type"] = contentTypeJSON
	default:
		h["Content-Type"] = []string{c.Type}
	}
	if d.Callback.Ordered {
		setLine(h, d.Callback)
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{s.opt.UserAgent}
	}
	if t := d.Job.Request.Trace.Child(); t.Parent != "" {
		h["Traceparent"] = []string{t.Parent}
		if t.State != "" {
			h["Tracestate"] = []string{t.State}
		}
	}
	return h, s.sign(p, p.target, &d, a, sign.Request{Message: sign.Message{Body: c.Body}, Open: c.Open, Method: d.Callback.Method, Header: h})
}

// operationHeader is what the operation's callback.headers were for the call.
func operationHeader(d job.Delivery) http.Header {
	for i := range d.Job.Targets {
		if t := &d.Job.Targets[i]; t.Header != nil && t.Endpoint == d.Callback.Endpoint && t.URL == d.Callback.URL {
			return t.Header
		}
	}
	return nil
}

var contentTypeJSON = []string{typeJSON}

// settle stores the outcome of an attempt, and keeps trying while the store can
// take nothing: what was delivered must not be sent again for want of a row.
func (s *Sender) settle(ctx context.Context, st job.Settlement) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		err := s.opt.Store.SettleAttempt(context.WithoutCancel(ctx), st)
		if err == nil {
			return
		}
		if errors.Is(err, job.ErrNotFound) {
			return // its app was deleted meanwhile
		}
		if !errors.Is(err, job.ErrUnavailable) {
			s.opt.Log.Error("store an attempt", "callback", st.Callback.ID.Callback(), "error", err)
			return
		}
		s.opt.Log.Error("the store takes no attempts", "callback", st.Callback.ID.Callback(), "error", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			// The claim stays on disk; the next start finds the attempt interrupted.
			return
		}
	}
}
