package backend

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/ringback/ringback/job"
)

// Async is a Backend whose attempts may come to their end after Run has returned: Run
// says so with a *Later. Meanwhile nothing of them is in memory.
type Async interface {
	Backend
	// Talks tells whether attempts need Links: what they call may speak of its own accord.
	Talks() bool
	// Poll looks once whether a result is there. Its error is a *Later where it is not
	// yet; a *Failure that is Final ends the attempt, and after any other it looks again.
	Poll(ctx context.Context, run *Run, wait *job.Wait) (*job.Result, error)
	// Completed reads what was sent to the completion URL of an attempt. The error is a
	// *Failure where that is one, a *Later where the result is to be fetched, ErrNotYet or
	// ErrMalformed; any other is from's.
	Completed(ctx context.Context, run *Run, header http.Header, from io.Reader) (*job.Result, error)
}

// Links are where an upstream can speak about an attempt of its own.
type Links struct {
	Completion string
	Ask        string
	Progress   string
}

// Later is the error of an attempt whose result is not there yet.
type Later struct {
	// Location is the path and query to poll at the backend's own origin; empty: the
	// one before, or none.
	Location string
	// After is how long the upstream wants to be left alone; 0: it did not say.
	After time.Duration
	// Now says that the result is there, at Location.
	Now bool
}

func (l *Later) Error() string { return "the result comes later" }

// ErrNotYet is of a message that does not end the attempt, ErrMalformed of one that
// cannot be read.
var (
	ErrNotYet    = errors.New("the message does not end the attempt")
	ErrMalformed = errors.New("the message cannot be read")
)
