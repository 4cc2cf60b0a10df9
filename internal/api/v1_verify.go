package api

import (
	"context"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// verifyRest is how long a receiver is left alone between two requests for its
// proof, however often they are asked for.
const verifyRest = 10 * time.Second

// verifyEndpoint has the receiver asked again, soon. A proof that is good stays good
// meanwhile.
func (v *v1) verifyEndpoint(ctx context.Context, in *EndpointPath) (*reply[client.Endpoint], error) {
	if v.opt.Proof == job.ProofNone {
		return nil, kindConflict.problem("the gateway asks for no proof: callbacks go to every endpoint").
			withHint("outbound.verify in the gateway's configuration")
	}
	v.changing.Lock()
	defer v.changing.Unlock()
	e, err := v.endpoint(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	now, next := v.now(), e.Verification
	if next.URL != e.URL {
		next = job.Verification{URL: e.URL}
	}
	if !e.Verified(now) {
		next.State, next.ExpiresAt = job.VerificationWaits, time.Time{}
	}
	next.Method, next.Tries, next.DueAt = v.opt.Proof, 0, now
	if rested := next.CheckedAt.Add(verifyRest); rested.After(now) {
		next.DueAt = rested
	}
	if err := v.opt.Store.SetVerification(whole(ctx), e.App, e.Name, next, now); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "verify endpoint", err)
	}
	e.Verification = next
	return &reply[client.Endpoint]{v.showEndpoint(e)}, nil
}

// showVerification is how far the proof of an endpoint is now; nil where none is
// asked for.
func (v *v1) showVerification(e *job.Endpoint) *client.Verification {
	if v.opt.Proof == job.ProofNone {
		return nil
	}
	state := e.Verification
	switch {
	case state.URL != e.URL || state.State == "":
		state = job.Verification{State: job.VerificationWaits, Method: v.opt.Proof}
	case state.State == job.Verified && !e.Verified(v.now()):
		state.State = job.Unverified
	}
	if e.Disabled && state.State == job.VerificationWaits {
		state.State = job.Unverified // it is asked once it is enabled
	}
	out := &client.Verification{State: string(state.State), Method: string(state.Method), Error: state.Error, AllowedRate: state.Rate}
	if !state.CheckedAt.IsZero() {
		out.CheckedAt = client.At(state.CheckedAt)
	}
	if !state.ExpiresAt.IsZero() {
		out.ExpiresAt = client.At(state.ExpiresAt)
	}
	return out
}
