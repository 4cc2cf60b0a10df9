package client

import (
	"context"
	"net/url"
)

// DiscardCallback discards a pending callback: what waits for it follows. Where an attempt
// at it is under way it stays pending, and that attempt is its last.
func (c *Client) DiscardCallback(ctx context.Context, id string) (*Callback, error) {
	return ask[Callback](ctx, c, "POST", "/callbacks/"+url.PathEscape(id)+"/discard", nil)
}
