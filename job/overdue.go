package job

import (
	"context"
	"time"
)

// GiveUps finds the callbacks whose time is over while they wait on disk, perhaps for a
// lane that sends nothing: so nobody else looks for them.
type GiveUps interface {
	// OverdueCallbacks lists up to limit callbacks that are pending, not claimed, due at
	// some time and to be given up at now or before, without what they say of their own:
	// by GiveUpAt and then ID, those behind after, nil for all.
	OverdueCallbacks(ctx context.Context, now time.Time, after *Callback, limit int) ([]*Callback, error)
	// ClaimOverdue claims, as ClaimCallbacks does, those of the listed ones that are
	// pending, not claimed and to be given up when they were still, and returns them.
	ClaimOverdue(ctx context.Context, listed []*Callback) ([]*Callback, error)
}
