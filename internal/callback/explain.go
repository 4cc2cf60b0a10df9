package callback

import (
	"context"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// ExplainURL says what would happen to a URL that comes with a call of an operation by
// an app; a nil one permits any.
func ExplainURL(ctx context.Context, c *outbound.Client, url string, op *job.Operation, app *job.App) *outbound.Explanation {
	var scopes []outbound.ScopeOf
	if op != nil {
		p := op.Callback.Policy
		scopes = append(scopes, outbound.ScopeOf{Whose: "operation " + op.Name, Scope: scope(&p), Registered: p.Registered})
	}
	if app != nil {
		scopes = append(scopes, outbound.ScopeOf{Whose: "app " + app.Name, Scope: scope(&app.Policy), Registered: app.Policy.Registered})
	}
	return c.Explain(ctx, url, scopes...)
}
