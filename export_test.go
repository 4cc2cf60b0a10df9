package ringback

import (
	"context"
	"time"
)

// Clean deletes what is past its retention, now.
func (g *Gateway) Clean(ctx context.Context) error { return g.keeper.Once(ctx) }

// SettleSeals sets how long what was under way at a change of seal keys may take.
func (g *Gateway) SettleSeals(d time.Duration) { g.settle = d }
