package api

import (
	"context"
	"errors"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// kindCallbackSettled refuses what only a pending callback can be asked for.
var kindCallbackSettled = newKind(http.StatusConflict, "callback_settled", "The callback is pending no more")

const maxOrderKeyBytes = 512

func (v *v1) registerTurns() {
	register(v, appOnly, huma.Operation{OperationID: "discard-callback", Method: http.MethodPost, Path: "/v1/callbacks/{id}/discard",
		Summary: "Discard a pending callback, so that what waits for it follows", Tags: []string{"Callbacks"},
		DefaultStatus: http.StatusOK}, v.discardCallback)
}

func (v *v1) discardCallback(ctx context.Context, in *callbackInput) (*reply[client.Callback], error) {
	c, err := v.find(ctx, in)
	if err != nil {
		return nil, err
	}
	c, err = v.opt.Store.DiscardCallback(whole(ctx), c.App, c.ID, job.ReasonSkipped, v.now())
	if errors.Is(err, job.ErrTerminal) {
		return nil, kindCallbackSettled.problem("it was settled already").withHint("GET /v1/callbacks/{id} says how")
	}
	if err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "discard callback", err)
	}
	return v.replyCallback(ctx, c)
}

// replyCallback answers with a callback, and which one it waits for.
func (v *v1) replyCallback(ctx context.Context, c *job.Callback) (*reply[client.Callback], error) {
	out := []client.Callback{v.showCallback(c)}
	if err := v.addWaitsFor(ctx, out, []*job.Callback{c}); err != nil {
		return nil, err
	}
	return &reply[client.Callback]{out[0]}, nil
}

// addWaitsFor says of the callbacks that wait for their turn which ones they wait for.
func (v *v1) addWaitsFor(ctx context.Context, out []client.Callback, callbacks []*job.Callback) error {
	callbacks = callbacks[:len(out)] // a page has one more
	waits := false
	for _, c := range callbacks {
		waits = waits || c.Waiting == job.WaitingOrder
	}
	if !waits {
		return nil
	}
	before, err := v.opt.Store.WaitsFor(ctx, callbacks)
	if err != nil {
		return storeProblem(ctx, v.opt.Log, "find what callbacks wait for", err)
	}
	for i := range out {
		if !before[i].IsZero() {
			out[i].WaitsFor = before[i].Callback()
		}
	}
	return nil
}

// checkOrder says what is wrong with the order of an endpoint's callbacks.
func (v *v1) checkOrder(e *job.Endpoint, fault func(bad bool, pointer, detail string)) {
	switch {
	case e.OrderKey == "":
	case !e.Ordered:
		fault(true, "#/order_key", "a key is for an endpoint that is ordered; send ordered: true with it, or take it away with an empty text")
	case len(e.OrderKey) > maxOrderKeyBytes:
		fault(true, "#/order_key", "the expression may have 512 octets")
	case v.opt.CheckOrderKey != nil:
		if err := v.opt.CheckOrderKey(e.OrderKey); err != nil {
			fault(true, "#/order_key", "this is no expression such as $request.body#/customer: "+err.Error())
		}
	}
}
