package client

import (
	"context"
	"net/url"
)

// DeleteApp deletes an app with all that it has: its keys are refused at once, its jobs
// are canceled, its callbacks are not sent any more, and what is stored of them is erased
// in the background. It takes the admin key, and cannot be undone. The app is listed by
// Apps until nothing of it is left.
func (c *Client) DeleteApp(ctx context.Context, name string) (*App, error) {
	return ask[App](ctx, c, "DELETE", "/apps/"+url.PathEscape(name)+"?confirm="+url.QueryEscape(name), nil)
}
