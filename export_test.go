package ringback

import "context"

// Clean deletes what is past its retention, now.
func (g *Gateway) Clean(ctx context.Context) error { return g.keeper.Once(ctx) }
