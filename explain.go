package ringback

import (
	"context"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/callback"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// explainURL says what would happen to a callback URL.
func (g *Gateway) explainURL(ctx context.Context, url string, op *job.Operation, app *job.App) client.URLChecked {
	return showExplanation(callback.ExplainURL(ctx, g.client, url, op, app))
}

func showExplanation(e *outbound.Explanation) client.URLChecked {
	shown := client.URLChecked{Allowed: e.Allowed, Origin: e.Origin, Steps: []client.URLStep{}}
	for _, s := range e.Steps {
		shown.Steps = append(shown.Steps, client.URLStep{Step: s.Name, OK: s.OK, Detail: s.Detail})
	}
	for _, addr := range e.Addresses {
		shown.Addresses = append(shown.Addresses, addr.String())
	}
	return shown
}

// CheckURL says what would happen to a callback URL in a gateway with these options,
// and, where it would be refused, why: no gateway needs to run. It resolves the name,
// and connects to nobody. The operation is one of Options; nil for none.
func CheckURL(ctx context.Context, opt Options, url string, op *job.Operation) (client.URLChecked, error) {
	c, err := outbound.New(opt.Outbound, outbound.Limits{}, outbound.Options{Egress: opt.Egress, Resolver: opt.Resolver})
	if err != nil {
		return client.URLChecked{}, err
	}
	defer c.Close()
	e := callback.ExplainURL(ctx, c, url, op, nil)
	return showExplanation(e), e.Err
}
