package job

import (
	"context"
	"slices"
	"time"
)

// Bulk is one thing that is done to many callbacks or jobs, in the background and in
// batches. It is about what was there when it was asked for, and is still as its Filter
// wants it when its turn comes: what is younger, or has been settled since, is left
// alone.
type Bulk struct {
	ID        ID
	App       string // whose
	Action    BulkAction
	Filter    BulkFilter
	State     BulkState
	Who       Actor // who asked for it
	CreatedAt time.Time
	EndedAt   time.Time // zero while it runs

	Counted bool  // Total is known
	Total   int64 // how many it was about when they were counted
	Done    int64
	Skipped int64 // not as the Filter wanted it any more when its turn came, or its body is gone

	// Steps counts what was stored of it, so that no step is done twice.
	Steps int64
	// Cursor is the key of the last one that was looked at, but for those of the lanes
	// in Behind, each of which has its own.
	Cursor uint64
	Behind []BulkLane
}

// BulkLane is a lane that a bulk has left behind, as it has much to send already.
type BulkLane struct {
	Lane   string `json:"lane"`
	Cursor uint64 `json:"cursor"`
}

// BulkAction is what a bulk does.
type BulkAction string

// The actions of a bulk.
const (
	BulkResend  BulkAction = "resend"  // callbacks that have come to their end are sent again
	BulkDiscard BulkAction = "discard" // callbacks that are pending or dead are discarded
	BulkCancel  BulkAction = "cancel"  // jobs that have not ended are canceled
)

// BulkActions lists them.
var BulkActions = []BulkAction{BulkResend, BulkDiscard, BulkCancel}

// BulkState is how far a bulk is.
type BulkState string

// The states of a bulk.
const (
	BulkRunning BulkState = "running"
	BulkDone    BulkState = "done"
	BulkStopped BulkState = "stopped" // by somebody; what was done is done
)

// BulkFilter says what a bulk is about. Zero fields select all, but for the states:
// empty ones are those of BulkAction.States and BulkCancel.
type BulkFilter struct {
	Endpoint  string          `json:"endpoint,omitempty"` // of callbacks
	Origin    string          `json:"origin,omitempty"`   // of callbacks to URLs that were sent with a call
	Operation string          `json:"operation,omitempty"`
	Event     Event           `json:"event,omitempty"`      // of callbacks
	Error     Class           `json:"error,omitempty"`      // of callbacks: their last one
	States    []CallbackState `json:"states,omitempty"`     // of callbacks
	JobStates []State         `json:"job_states,omitempty"` // of jobs
	Since     time.Time       `json:"since,omitzero"`       // owed, or accepted, not before this
	Until     time.Time       `json:"until,omitzero"`       // but before this
}

// States are those of the callbacks that an action may be about.
func (a BulkAction) States() []CallbackState {
	switch a {
	case BulkResend:
		return []CallbackState{Delivered, Dead, Discarded}
	case BulkDiscard:
		return []CallbackState{Pending, Dead}
	}
	return nil
}

// CallbackStates are those of the callbacks that the bulk is about: the dead ones, or
// where they are discarded the pending ones, if its filter says nothing.
func (b *Bulk) CallbackStates() []CallbackState {
	switch {
	case len(b.Filter.States) > 0:
		return b.Filter.States
	case b.Action == BulkDiscard:
		return []CallbackState{Pending}
	}
	return []CallbackState{Dead}
}

// Wants tells whether the bulk is about a callback.
func (b *Bulk) Wants(cb *Callback) bool {
	f := &b.Filter
	return b.Action != BulkCancel && cb.App == b.App && cb.ID.Key() < b.ID.Key() &&
		slices.Contains(b.CallbackStates(), cb.State) && slices.Contains(b.Action.States(), cb.State) &&
		(cb.State == Pending || !cb.SettledAt.After(b.CreatedAt)) &&
		(f.Endpoint == "" || cb.Endpoint == f.Endpoint) &&
		(f.Origin == "" || cb.Endpoint == "" && Origin(cb.URL) == f.Origin) &&
		(f.Operation == "" || cb.Operation == f.Operation) && (f.Event == "" || cb.Event == f.Event) &&
		(f.Error == "" || cb.LastError == f.Error) && f.within(cb.CreatedAt)
}

// WantsJob tells whether the bulk is about a job.
func (b *Bulk) WantsJob(j *Job) bool {
	f := &b.Filter
	return b.Action == BulkCancel && j.App == b.App && j.ID.Key() < b.ID.Key() && !j.State.Terminal() &&
		(len(f.JobStates) == 0 || slices.Contains(f.JobStates, j.State)) &&
		(f.Operation == "" || j.Operation == f.Operation) && f.within(j.CreatedAt)
}

func (f *BulkFilter) within(t time.Time) bool {
	return !t.Before(f.Since) && (f.Until.IsZero() || t.Before(f.Until))
}

// MaxOpenBulks is how many bulks of an app may run at once.
const MaxOpenBulks = 16

// Bulks keeps what is done in bulk, and finds what it is about.
type Bulks interface {
	// CreateBulk stores a bulk that runs, with the context's Actor as its Who.
	// ErrTooMany where MaxOpenBulks of the app do. Those that ended long ago are
	// forgotten.
	CreateBulk(context.Context, *Bulk) error
	// Bulk returns a bulk of an app.
	Bulk(ctx context.Context, app string, id ID) (*Bulk, error)
	ListBulks(context.Context, BulksFilter) ([]*Bulk, error)
	// StopBulk ends a bulk that runs; ErrTerminal where it does no more.
	StopBulk(ctx context.Context, app string, id ID, at time.Time) (*Bulk, error)
	// FindBulk looks for what a bulk is about. It MUST NOT look at more than Look rows.
	FindBulk(context.Context, BulkLook) (BulkFound, error)
	// StepBulk does a batch of a bulk: all of it, with its counts and its place, in one
	// transaction. What is not as the bulk wants it any more is skipped. A resend is that
	// of Deliveries.Resend, and a cancellation that of Runs.FinishRun; a callback that is
	// claimed stays pending where it is discarded, but its attempt is its last. A step of
	// a bulk that has got further since is ErrGone, of one that runs no more ErrTerminal.
	StepBulk(context.Context, BulkStep) (*Bulk, error)
	// LaneBacklog counts the callbacks of a lane that are due and not claimed, up to limit.
	LaneBacklog(ctx context.Context, lane string, now time.Time, limit int) (int, error)
	// DeadLetters groups an app's dead callbacks, by lane and error class, in that order.
	// What it costs MUST NOT grow with the number of others.
	DeadLetters(context.Context, DeadFilter) ([]DeadGroup, error)
}

// BulksFilter selects bulks, newest first.
type BulksFilter struct {
	App    string // empty: any
	Open   bool   // only those that run
	Before ID
	Limit  int
}

// BulkLook is a look at what a bulk is about, in the order of age.
type BulkLook struct {
	Bulk  *Bulk
	After uint64 // the key of the last one that was looked at
	Lane  string // of callbacks: only those; empty: all
	Look  int    // at most at so many rows
	Limit int    // return at most so many
}

// BulkFound is what a look has found, at most one of Callbacks and Jobs.
type BulkFound struct {
	Callbacks []*Callback
	Jobs      []*Job // without requests and results
	Next      uint64 // BulkLook.After of the next look
	End       bool   // there is nothing more
}

// BulkStep is a batch of a bulk.
type BulkStep struct {
	Bulk *Bulk // as it is stored
	At   time.Time
	// Callbacks are to be resent or discarded, Finishes cancel jobs.
	Callbacks []BulkItem
	Finishes  []Finish
	Skipped   int64 // that were found and left alone
	// Counted and Total, Cursor and Behind are the bulk's after the step; End says that
	// there is nothing more.
	Counted bool
	Total   int64
	Cursor  uint64
	Behind  []BulkLane
	End     bool
}

// BulkItem is a callback of a batch.
type BulkItem struct {
	ID     ID
	GiveUp time.Time // of one that is resent
}

// DeadFilter selects groups of dead callbacks. Zero fields select all.
type DeadFilter struct {
	App       string // required
	Endpoint  string
	Origin    string
	Operation string
	Error     Class
	// After is the group that the last page ended with.
	AfterLane  string
	AfterError Class
	Limit      int
}

// DeadGroup is how many callbacks of a lane are dead with the same error.
type DeadGroup struct {
	Lane  string
	Error Class
	Count int64
	// Oldest and Newest are when the first and the last of them were owed.
	Oldest, Newest time.Time
}
