package callback

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// noConsent is why a proof failed whose request was answered; the other reasons are
// the classes of an attempt's errors.
const noConsent = "no_consent"

const (
	verifyTimeout = 15 * time.Second
	// verifiers is how many requests for a proof are under way at once, and
	// appVerifiers how many of them one app's.
	verifiers    = 16
	appVerifiers = 4
	verifyBatch  = 256
	// verifyRest is how long the verifier waits after an error of the store.
	verifyRest = 5 * time.Second
)

// verifySchedule are the delays after requests that brought no consent. Then the
// proof has failed. A URL whose receiver knows nothing of us is left in peace soon.
var verifySchedule = []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour}

// verifier asks the receivers of endpoints whether they want callbacks. What is due
// is in the store: a crash has it asked again.
type verifier struct {
	*Sender
	done chan asked
}

// asked names an endpoint whose request has ended.
type asked struct{ app, name string }

// openVerifier begins to ask; what it returns ends it.
func (s *Sender) openVerifier() (end func()) {
	return background((&verifier{Sender: s, done: make(chan asked)}).run)
}

// background runs what goes on until its context is done; what it returns ends that.
func background(run func(context.Context)) (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx)
	}()
	return func() {
		cancel()
		<-ended
	}
}

// endpointChanged tells the verifier that something may be due, and the lane that it
// need not wait any more.
func (s *Sender) endpointChanged(app, name string) {
	if s.opt.Proof == job.ProofNone {
		return
	}
	s.window.Resume(window.Key{Share: app, Name: name})
	select {
	case s.verifyWake <- struct{}{}:
	default:
	}
}

// run asks until ctx is done.
func (v *verifier) run(ctx context.Context) {
	busy := map[asked]bool{}
	defer func() {
		for range busy {
			<-v.done
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-v.done:
			delete(busy, e)
		case <-v.verifyWake:
		case <-timer.C:
		}
		timer.Reset(v.begin(ctx, busy))
	}
}

// begin asks those that are due, as far as there is room for them, and returns how
// long none will be.
func (v *verifier) begin(ctx context.Context, busy map[asked]bool) time.Duration {
	now := v.opt.Now()
	due, next, err := v.opt.Store.DueVerifications(ctx, now, verifyBatch)
	if err != nil {
		if ctx.Err() == nil {
			v.opt.Log.Error("look for endpoints to verify", "error", err)
		}
		return verifyRest
	}
	ofApp := map[string]int{}
	for e := range busy {
		ofApp[e.app]++
	}
	for _, e := range due {
		key := asked{e.App, e.Name}
		if busy[key] || len(busy) >= verifiers || ofApp[e.App] >= appVerifiers {
			continue
		}
		busy[key] = true
		ofApp[e.App]++
		go func() {
			v.one(ctx, e)
			v.done <- key
		}()
	}
	if next.IsZero() {
		return time.Hour
	}
	return min(max(next.Sub(now), 0), time.Hour)
}

// one asks the receiver of an endpoint, and stores what it said.
func (v *verifier) one(ctx context.Context, e job.Endpoint) {
	place, err := v.places.endpoint(ctx, e.App, e.Name)
	if err == nil {
		e = place.endpoint
		var rate int
		rate, err = v.ask(ctx, place)
		if ctx.Err() != nil {
			return // it is still due
		}
		err = v.opt.Store.SetVerification(context.WithoutCancel(ctx), e.App, e.Name, v.after(&e, rate, err), v.opt.Now())
	}
	// One that is gone, or has another URL now, is nothing to care for.
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		v.opt.Log.Error("verify an endpoint", "app", e.App, "endpoint", e.Name, "error", err)
		select {
		case <-time.After(verifyRest):
		case <-ctx.Done():
		}
	}
}

// after is what a request comes to: err is nil where the receiver consented.
func (v *verifier) after(e *job.Endpoint, rate int, err error) job.Verification {
	now := v.opt.Now()
	next := e.Verification
	if next.URL != e.URL {
		next = job.Verification{URL: e.URL}
	}
	next.Method, next.CheckedAt = v.opt.Proof, now
	if err == nil {
		next.State, next.Error, next.Tries, next.Rate = job.Verified, "", 0, rate
		// Before it ends, so that a receiver that is down for a while loses nothing.
		next.ExpiresAt, next.DueAt = now.Add(v.opt.ProofLasts), now.Add(v.opt.ProofLasts/10*9)
		v.opt.Log.Info("endpoint verified", "app", e.App, "endpoint", e.Name, "until", next.ExpiresAt)
		return next
	}
	next.Tries++
	next.Error = reasonOf(err)
	more := next.Tries <= len(verifySchedule)
	next.DueAt = time.Time{}
	if more {
		next.DueAt = now.Add(jitter(verifySchedule[next.Tries-1]))
	}
	switch valid := e.Verified(now); {
	case valid && !more:
		next.DueAt = next.ExpiresAt // once more, at its end
	case valid:
	case more:
		next.State, next.ExpiresAt = job.VerificationWaits, time.Time{}
	default:
		next.State, next.ExpiresAt = job.VerificationFailed, time.Time{}
	}
	v.opt.Log.Warn("endpoint not verified", "app", e.App, "endpoint", e.Name, "origin", job.Origin(e.URL), "error", next.Error, "state", next.State)
	return next
}

// errNoConsent says that the receiver answered, and did not consent.
var errNoConsent = errors.New("the receiver does not consent")

// reasonOf is a word of a closed list.
func reasonOf(err error) string {
	if errors.Is(err, errNoConsent) {
		return noConsent
	}
	var a job.Attempt
	judge(&a, nil, err)
	return string(a.Error)
}

// ask makes the request that the policy wants. It returns how many callbacks a
// minute the receiver allows, 0 where it sets no bound.
func (v *verifier) ask(ctx context.Context, p *place) (rate int, err error) {
	if p, err = v.places.asked(p); err != nil {
		return 0, &outbound.Error{Class: outbound.ClassPolicy, Detail: "the outbound policy forbids the URL: " + err.Error()}
	}
	if v.opt.Proof == job.ProofHandshake {
		return v.handshake(ctx, p)
	}
	return 0, v.challenge(ctx, p)
}

// verificationType is the type of a challenge's envelope.
const verificationType = "endpoint.verification"

// challenge sends a random text that consent repeats. It is signed by v1 and by RFC 9421,
// so that whoever verifies callbacks, by whichever key, can verify it, too.
func (v *verifier) challenge(ctx context.Context, p *place) error {
	now, challenge := v.opt.Now(), rand.Text()
	body := append([]byte(`{"type":"`+verificationType+`","timestamp":`), appendTime(nil, now)...)
	body = append(body, `,"data":{"endpoint":`...)
	body = append(appendString(body, p.endpoint.Name), `,"challenge":"`+challenge+`"}}`...)
	h := v.verifyHeader(p)
	h["Content-Type"] = contentTypeJSON
	m := sign.Message{ID: "ver_" + rand.Text(), Timestamp: now, Body: body}
	r := sign.Request{Message: m, Method: http.MethodPost, URL: p.target.RequestURL(), Header: h}
	if err := sign.Schemes(nil).WithRFC9421().Sign(r, p.signing(now, 1)...); err != nil {
		return err
	}
	answer, err := p.send(ctx, v.opt.Client, &outbound.Request{Method: http.MethodPost, Header: h, Body: body, Timeout: verifyTimeout})
	if err != nil {
		return err
	}
	if answer.Status/100 != 2 || answer.Truncated || !repeats(answer.Body, challenge) {
		return errNoConsent
	}
	return nil
}

// repeats tells an answer that was made for the challenge from one that repeats
// whatever it gets.
func repeats(body []byte, challenge string) bool {
	if strings.TrimSpace(string(body)) == challenge {
		return true
	}
	var said struct {
		Challenge string `json:"challenge"`
	}
	return json.Unmarshal(body, &said) == nil && said.Challenge == challenge
}

// handshake asks as CloudEvents' HTTP 1.1 Web Hooks §4 has it. What consents is a
// field of the answer, never its status.
func (v *verifier) handshake(ctx context.Context, p *place) (rate int, err error) {
	h := v.verifyHeader(p)
	h[originField] = []string{v.opt.Origin}
	answer, err := p.send(ctx, v.opt.Client, &outbound.Request{Method: http.MethodOptions, Header: h, Timeout: verifyTimeout})
	if err != nil {
		return 0, err
	}
	if allowed := answer.Header.Values("Webhook-Allowed-Origin"); len(allowed) != 1 || allowed[0] != "*" && !strings.EqualFold(allowed[0], v.opt.Origin) {
		return 0, errNoConsent
	}
	// "*", none, and what is no number set no bound.
	rate, err = strconv.Atoi(answer.Header.Get("Webhook-Allowed-Rate"))
	if err != nil || rate < 1 {
		rate = 0
	}
	return rate, nil
}

// originField says in a handshake, and then in each delivery, who we are.
const originField = "Webhook-Request-Origin"

// verifyHeader has what the endpoint wants in each request.
func (v *verifier) verifyHeader(p *place) http.Header {
	h := make(http.Header, 8+len(p.headers))
	for name, value := range p.headers {
		h[name] = slices.Clone(value)
	}
	if h["User-Agent"] == nil {
		h["User-Agent"] = []string{v.opt.UserAgent}
	}
	return h
}

// proven tells whether callbacks may go to a place now.
func (s *Sender) proven(p *place, now time.Time) bool {
	return s.opt.Proof == job.ProofNone || p.endpoint.Name == "" || p.endpoint.Verified(now)
}

// awaitProof puts a callback back until its endpoint is verified. That may happen at
// any moment meanwhile, so the endpoint is looked at once more in the end.
func (s *Sender) awaitProof(ctx context.Context, d job.Delivery) {
	lane, until := laneOf(d.Callback), s.opt.Now().Add(pausedDelay)
	s.settle(ctx, job.Settlement{Callback: d.Callback, State: job.Pending, DueAt: until, Waiting: job.WaitingUnverified, At: s.opt.Now()})
	s.window.Pause(lane, until)
	now := s.opt.Now()
	p, err := s.places.of(ctx, &d)
	if err != nil || !s.proven(p, now) {
		return
	}
	// What is stored again makes due what waits for it.
	if err := s.opt.Store.SetVerification(ctx, d.Callback.App, d.Callback.Endpoint, p.endpoint.Verification, now); err != nil {
		s.opt.Log.Error("callback is sent later", "callback", d.Callback.ID.Callback(), "error", err)
	}
}
