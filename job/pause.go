package job

import (
	"context"
	"time"
)

// Pause says that work rests by somebody's order: the runs of an operation, the
// callbacks to a destination of an app, or, where it names neither, everything. What is
// under way when it begins comes to its end.
type Pause struct {
	ID        int64
	Operation string // its runs
	App       string // whose destination it is
	Endpoint  string // by name; else Origin
	Origin    string // of URLs sent with a call, as Origin makes it
	// Disabled says that it is there because the endpoint is disabled.
	Disabled bool
	From     time.Time
	To       time.Time // zero: it lasts
	Who      string    // who ordered it: an app, "admin" or the gateway itself
}

// Lane is the lane of the destination that rests; empty where it is none.
func (p *Pause) Lane() string {
	if p.App == "" {
		return ""
	}
	return (&Callback{App: p.App, Endpoint: p.Endpoint, URL: p.Origin}).Lane()
}

// MaxPauses is how many pauses of its own an app may have, counted with those that are
// over and still remembered.
const MaxPauses = 1000

// Pauses keeps what rests. What is over is remembered for as long as it may count for a
// pending callback: the time that its lane has rested is not counted against it.
type Pauses interface {
	// Pause stores that work rests from p.From on, under an id of its own. Where it does
	// already the pause that there is is returned. ErrNotFound where the app has no such
	// endpoint; ErrTooMany where an app has MaxPauses.
	Pause(ctx context.Context, p Pause) (Pause, error)
	// Resume ends a pause that lasts. app is whose it is; empty: any, and those of
	// everything and of operations. ErrNotFound where there is no such one, and where it
	// is there for a disabled endpoint: EnableEndpoint ends that.
	Resume(ctx context.Context, app string, id int64, at time.Time) (Pause, error)
	// ListPauses returns all pauses that last or are remembered, those of disabled
	// endpoints included, the oldest first.
	ListPauses(ctx context.Context) ([]Pause, error)
	// ForgetPauses drops those that were over before the oldest pending callback was
	// owed, or where none is pending before now.
	ForgetPauses(ctx context.Context, now time.Time) error
}
