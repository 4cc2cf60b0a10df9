package job

import (
	"context"
	"time"
)

// Why a callback was discarded (Callback.Reason); empty: a later event of its job made
// it pointless.
const (
	ReasonExpired = "expired" // nobody wants it any more: its ExpiresAt came first
	ReasonSkipped = "skipped" // somebody asked for that
)

// Turns keeps the lines of ordered endpoints, and what has an end of its own.
//
// A callback that is Ordered stands in the line of its lane and OrderKey. A store MUST
// give it the line's next Sequence, from 1 on, in the transaction that stores it, never
// one twice, and never a lesser one than before; it is never Claimed when it is stored.
// Of the pending callbacks of a line at most one has its turn, also after a crash: it is
// due or claimed. All others wait with WaitingOrder, due at no time. With the end of the
// one that has its turn, however it ends, the pending one with the least Sequence has it,
// in the same transaction, at its DeliverAt if that is later; the time that it has waited is
// added to its GiveUpAt. One that is resent takes its old place: it waits for the one
// that has its turn, and comes before all others. What it costs MUST not grow with
// the length of the line.
type Turns interface {
	// DiscardCallback discards a pending callback of an app. One that is claimed stays
	// pending, but the attempt that it is claimed for is its last. An open question that it
	// asks is closed. ErrTerminal where it is pending no more.
	DiscardCallback(ctx context.Context, app string, id ID, reason string, now time.Time) (*Callback, error)
	// ExpireCallbacks discards up to limit callbacks whose ExpiresAt has come and that are
	// not claimed, with ReasonExpired, and returns how many.
	ExpireCallbacks(ctx context.Context, now time.Time, limit int) (n int, err error)
	// WaitsFor tells of each callback with WaitingOrder which one it waits for; zero for
	// the others, and where that has been settled since.
	WaitsFor(ctx context.Context, callbacks []*Callback) ([]ID, error)
}
