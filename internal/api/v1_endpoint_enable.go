package api

import (
	"context"
	"errors"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

type enableEndpointInput struct {
	EndpointPath
	Body *client.EndpointEnable
}

// discardBatch is how many callbacks one transaction discards.
const discardBatch = 500

// enableEndpoint enables an endpoint. What waited for it is discarded before that: a
// crash meanwhile leaves it disabled, and the request can be repeated.
func (v *v1) enableEndpoint(ctx context.Context, in *enableEndpointInput) (*reply[client.Endpoint], error) {
	e, err := v.endpoint(ctx, in.Name)
	if err != nil {
		return nil, err
	}
	if e.Disabled && in.Body != nil && in.Body.Backlog == client.BacklogDiscard {
		for n := discardBatch; n == discardBatch; {
			// Between two of them whoever has hung up may leave.
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			n, err = v.opt.Store.DiscardWaiting(whole(ctx), e.App, e.Name, v.now(), discardBatch)
			if errors.Is(err, job.ErrTerminal) {
				break // somebody else has enabled it
			}
			if err != nil {
				return nil, storeProblem(ctx, v.opt.Log, "discard what waits for an endpoint", err)
			}
		}
	}
	if err := v.opt.Store.EnableEndpoint(whole(ctx), e.App, e.Name, v.now()); err != nil {
		return nil, storeProblem(ctx, v.opt.Log, "enable endpoint", err)
	}
	if e, err = v.endpoint(ctx, in.Name); err != nil {
		return nil, err
	}
	return &reply[client.Endpoint]{v.showEndpoint(e)}, nil
}
