package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// call is a request of an operation on its way to a job.
type call struct {
	api  *API
	op   *operation
	r    *http.Request
	who  *caller
	app  job.App // who's
	path string  // escaped, as received

	prefer   preferences
	asked    asked
	events   []job.Event
	method   string
	format   string
	schedule schedule
	key      string      // Idempotency-Key
	first    job.Receipt // of the call that came with it before, where one did

	// Where the choice of targets stands: what is to be looked at next, whether the
	// first destination has one, and which steps are done.
	nextDestination, nextSource int
	main, chosen, finished      bool

	document *expression.Document // the body, where an expression has looked into it
	job      *job.Job
}

// take takes a call in: 202 and a job, or a problem and nothing.
func (a *API) take(w http.ResponseWriter, r *http.Request, op *operation) {
	c := &call{api: a, op: op, r: r}
	p := c.identify(w)
	if p == nil && !c.first.Repeated {
		p = c.readHead()
	}
	if p != nil {
		c.refuse(w, p)
		return
	}
	receipt, p := c.admit(w)
	if p != nil {
		c.dropBody()
		c.refuse(w, p)
		return
	}
	c.answer(w, receipt)
}

// admit takes the body in and stores the job, where there is room in memory.
func (c *call) admit(w http.ResponseWriter) (job.Receipt, *Problem) {
	if c.r.ContentLength > c.op.MaxBodyBytes {
		return job.Receipt{}, c.tooLarge()
	}
	room, ok := c.api.gate.enter(c.app.Name, c.r.ContentLength)
	if !ok {
		p := kindUnavailable.problem("too many calls are being taken in, of this app or of all")
		p.retryAfter = unavailableSeconds
		return job.Receipt{}, p
	}
	defer room.leave()
	fingerprint, p := c.readBody(w)
	if p == nil {
		p = c.sinceTheHead()
	}
	if p != nil {
		return job.Receipt{}, p
	}
	if c.first.Repeated {
		return c.first, c.compare(c.first, fingerprint)
	}
	if p := c.chooseTargets(true); p != nil {
		return job.Receipt{}, p
	}
	return c.accept(fingerprint)
}

// sinceTheHead looks at what may have changed while the body came in, which takes as long
// as the caller likes: its key, and the one that seals.
func (c *call) sinceTheHead() (p *Problem) {
	if c.who, p = c.api.auth.still(c.r.Context(), c.who, job.ScopeSubmit); p != nil {
		return p
	}
	c.app = c.who.app
	sealed := &c.job.Request.Authorization
	if *sealed == nil {
		return nil
	}
	again, _, err := c.api.opt.Seal.Reseal(*sealed, authorizationUse)
	if err != nil {
		return storeProblem(c.r.Context(), c.api.opt.Log, "seal the credentials of a call", err)
	}
	*sealed = again
	return nil
}

// identify finds out who calls, and whether the call repeats another one. What that
// one chose stands: it is not chosen again from endpoints that may have changed.
func (c *call) identify(w http.ResponseWriter) (p *Problem) {
	if c.who, p = c.api.authenticate(c.r); p != nil {
		return p
	}
	c.app = c.who.app
	if c.who.rate != nil {
		if p = c.who.rate.take(w.Header(), c.api.now()); p != nil {
			return p
		}
	}
	c.prefer = readPrefer(c.r.Header["Prefer"], c.api.opt.MaxWait)
	if c.key, p = readIdempotencyKey(c.r.Header); p != nil {
		return p
	}
	now := c.api.now()
	c.path = rawPath(c.r)
	c.job = &job.Job{
		ID: c.api.opt.Store.NewID(now), App: c.app.Name, Operation: c.op.Name, State: job.Accepted,
		CreatedAt: now, DueAt: now,
		Request: job.Request{Method: c.r.Method, Path: c.path, Trace: readTrace(c.r.Header)},
	}
	if c.key == "" {
		return nil
	}
	var err error
	if c.first, err = c.api.opt.Store.Repeated(c.r.Context(), c.app.Name, c.op.Name, c.key); err != nil && !errors.Is(err, job.ErrNotFound) {
		return storeProblem(c.r.Context(), c.api.opt.Log, "look for a repeated call", err)
	}
	return nil
}

// readHead checks all that can be known before the body is read, so that the body
// of a call that will be refused is never asked for.
func (c *call) readHead() (p *Problem) {
	if c.job.Request.Params, p = c.op.pathValues(c.r); p != nil {
		return p
	}
	if c.asked, c.job.Request.RawQuery, p = c.op.readAsked(c.r); p != nil {
		return p
	}
	if c.job.Echo, p = c.asked.state(); p != nil {
		return p
	}
	if c.events, p = c.asked.events(); p != nil {
		return p
	}
	if p = c.readShape(); p != nil {
		return p
	}
	if p = c.readSchedule(); p != nil {
		return p
	}
	if p = c.readHeader(); p != nil {
		return p
	}
	return c.chooseTargets(false)
}

// accept stores the job. A call that repeats another one gets that one's receipt.
func (c *call) accept(fingerprint [32]byte) (job.Receipt, *Problem) {
	a := c.api
	acceptance := job.Acceptance{Job: c.job, Limits: c.who.limits, Claimed: c.job.ScheduledAt.IsZero() && a.opt.Slots.Reserve(c.job), Key: c.key, Fingerprint: fingerprint}
	if acceptance.Claimed { // nothing waits before it
		acceptance.Finish = a.opt.Slots.Instantly(c.r.Context(), c.job)
	}
	if acceptance.Finish == nil && a.opt.OwedAccepted != nil {
		acceptance.Callbacks = a.opt.OwedAccepted(c.job)
		c.job.Early = len(acceptance.Callbacks) > 0
	}
	receipt, err := a.opt.Store.Accept(whole(c.r.Context()), acceptance)
	stored := err == nil && !receipt.Repeated
	if acceptance.Finish != nil && !stored {
		a.opt.Slots.Disown(acceptance.Finish)
	}
	if acceptance.Claimed && (!stored || acceptance.Finish != nil) {
		a.opt.Slots.Release(c.job)
	}
	if errors.Is(err, job.ErrOutcomeUnknown) {
		c.job.Request.Body.Ref = "" // perhaps a row names it: the next start's sweep decides
	}
	if over, ok := errors.AsType[*job.LimitError](err); ok {
		return receipt, overLimit(over)
	}
	switch {
	case errors.Is(err, job.ErrNotFound): // the app was deleted while the call came in
		return receipt, unknownKey()
	case err != nil:
		return receipt, storeProblem(c.r.Context(), a.opt.Log, "accept job", err)
	case receipt.Repeated: // by one that came at the same time
		if p := c.compare(receipt, fingerprint); p != nil {
			return receipt, p
		}
		c.dropBody() // the first call's is kept
	}
	return receipt, nil
}

// compare refuses a call that differs from the one whose key it has.
func (c *call) compare(first job.Receipt, fingerprint [32]byte) *Problem {
	if first.Fingerprint == fingerprint {
		return nil
	}
	return kindKeyReused.at(place{"Idempotency-Key", true}, "was used for a request that differs from this one").
		withHint("use a new key for each new request; the same one only to repeat a request unchanged")
}

// refuse answers with a problem. Prefer has no say in it, but could have had.
func (c *call) refuse(w http.ResponseWriter, p *Problem) {
	w.Header()["Vary"] = varyPrefer
	if p.Status == http.StatusRequestTimeout || p.Status == http.StatusRequestEntityTooLarge {
		w.Header()["Connection"] = []string{"close"} // the rest of the body is not wanted
	}
	answerAtOnce(w, c.r)
	p.write(w)
}

// leaveTimeout is how long the rest of a body may delay a refusal. The server
// reads a small rest first, so that the connection can be used again.
const leaveTimeout = time.Second

// answerAtOnce prepares an answer to a request whose body is not read to its end.
func answerAtOnce(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		// A writer without deadlines, as in tests, needs none.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(leaveTimeout))
	}
}

// rawPath is the request's path as it was sent, where that is still to be had:
// net/url writes characters anew that should have been encoded.
func rawPath(r *http.Request) string {
	raw, _, _ := strings.Cut(r.RequestURI, "?")
	if strings.HasPrefix(raw, "/") {
		if raw == r.URL.Path || raw == r.URL.RawPath {
			return raw
		}
		if decoded, err := url.PathUnescape(raw); err == nil && decoded == r.URL.Path {
			return raw
		}
	}
	return r.URL.EscapedPath()
}

// dropBody deletes a body that no job will own.
func (c *call) dropBody() {
	ref := c.job.Request.Body.Ref
	if ref == "" {
		return
	}
	if err := c.api.opt.Bodies.Delete(ref); err != nil {
		// The next start sweeps it away.
		c.api.opt.Log.WarnContext(c.r.Context(), "delete body of a refused call", "error", err)
	}
}

// result waits for the job's end and reads it whole, nil where it is not there in
// time.
func (c *call) result(ctx context.Context, id job.ID) (*job.Job, error) {
	if c.prefer.wait <= 0 {
		return nil, nil
	}
	j, err := c.api.awaitEnd(ctx, c.who, job.ScopeSubmit, id, c.prefer.wait)
	if _, revoked := errors.AsType[*Problem](err); revoked {
		return nil, nil // its job is accepted, and more it does not learn
	}
	if err == nil && j.State.Terminal() {
		return c.api.opt.Store.WholeJob(ctx, c.app.Name, id)
	}
	if errors.Is(err, job.ErrNotFound) {
		return nil, nil // a repeated call, whose job is kept no longer than its key
	}
	return nil, err
}
