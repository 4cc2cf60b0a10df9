package job

import (
	"context"
	"time"
)

// Failing is how long an endpoint has brought nothing but failures. It is written from
// time to time, not with every attempt. Zero: as far as it is known, it works.
type Failing struct {
	Since time.Time // the first failure
	Last  time.Time // one of the last
	Told  bool      // the app was told of it
}

// The reasons for which an endpoint is disabled.
const (
	DisabledManual  = "manual"  // by the app
	DisabledGone    = "gone"    // its receiver answered 410
	DisabledFailing = "failing" // for too long
)

// Disabling is what disables an endpoint where the gateway itself does it. It is about
// the URL that was called: an endpoint that has another one since stays as it is.
type Disabling struct {
	App, Name, URL string
	Reason         string
	At             time.Time
	// Event is the operational event that tells of it, a job with its Finish, whose
	// callbacks are not claimed; nil where nobody is to be told.
	Event *Acceptance
}

// Outages keeps what is known of endpoints that do not work.
type Outages interface {
	// SetFailing stores how long the endpoint has failed, the zero value that it has
	// recovered, together with the operational event that tells of it, nil for none.
	// ErrNotFound, and nothing is stored, where there is no such endpoint, where it has
	// another URL since, is disabled, or where that is what is stored already.
	SetFailing(ctx context.Context, app, name, url string, f Failing, event *Acceptance) error
	// DisableEndpoint disables an endpoint, and stores the event and a Pause of its lane
	// with it. ErrNotFound as for SetFailing.
	DisableEndpoint(ctx context.Context, d Disabling) error
	// EnableEndpoint ends that an endpoint is disabled, with its pause. It counts as
	// working again. One that is not disabled stays as it is.
	EnableEndpoint(ctx context.Context, app, name string, at time.Time) error
	// DiscardWaiting discards up to limit callbacks of a disabled endpoint that are
	// pending and not claimed, and returns how many: 0 where none is left. ErrNotFound
	// where there is no such endpoint, ErrTerminal where it is not disabled.
	DiscardWaiting(ctx context.Context, app, name string, at time.Time, limit int) (int, error)
}
