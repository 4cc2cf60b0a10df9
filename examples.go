package ringback

import (
	"context"
	"fmt"

	"github.com/ringback/ringback/internal/api"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/docs"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// examples are the callbacks of an operation about a sample job, for the documents
// that the gateway serves. What cannot be made is left out, and the log says why.
func (g *Gateway) examples(op job.Operation) []docs.Example {
	var b Backend
	for _, o := range g.opt.Operations {
		if o.Name == op.Name {
			b = o.Backend
		}
	}
	contentType, body := backend.Sample(b)
	made, err := g.sender.Examples(op, contentType, body)
	if err != nil {
		g.opt.Log.Warn("some examples of callbacks are missing in the documents", "operation", op.Name, "error", err)
	}
	examples := make([]docs.Example, len(made))
	for i, e := range made {
		examples[i] = docs.Example(e)
	}
	return examples
}

// devKeys are what the callbacks of the app "dev" are signed with.
func (g *Gateway) devKeys(ctx context.Context) (sign.Keys, error) {
	app, err := g.store.App(ctx, api.DevApp)
	if err != nil {
		return sign.Keys{}, fmt.Errorf("dev keys: %w", err)
	}
	plain, err := g.seal.Open(app.Secrets.Current, "secret")
	if err != nil {
		return sign.Keys{}, fmt.Errorf("dev keys: %w", err)
	}
	return sign.ParseKeys(string(plain))
}
