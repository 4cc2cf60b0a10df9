package job

import (
	"context"
	"errors"
	"time"
)

// Errors that a store returns, wrapped or not. Everything else is internal.
var (
	// ErrNotFound: there is no such thing, or it belongs to another app.
	ErrNotFound = errors.New("not found")
	// ErrTerminal: the job or callback has already come to its end.
	ErrTerminal = errors.New("already in a terminal state")
	// ErrExists: the name is taken.
	ErrExists = errors.New("already exists")
	// ErrGone: what it is about was awaited once, and is no more.
	ErrGone = errors.New("no longer awaited")
	// ErrTooMany: there are as many already as there may be.
	ErrTooMany = errors.New("too many")
	// ErrMalformed: what was sent cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrUnavailable: the store can take nothing now (overload, full disk, gone
	// database); nothing was written, unless it is ErrOutcomeUnknown too, and a
	// repeat later may succeed.
	ErrUnavailable = errors.New("store unavailable")
	// ErrOutcomeUnknown goes with ErrUnavailable where a commit failed under way:
	// whether it is on disk shows only when the store was opened again.
	ErrOutcomeUnknown = errors.New("outcome unknown")
)

// Store keeps everything durable. A method that writes MUST return nil only
// after the write is synced to disk (or committed by the database), and MUST
// apply all of it or nothing. Methods are safe for concurrent use.
type Store interface { //nolint:interfacebloat // it joins the roles below, and nothing but the wiring asks for all of them
	Intake
	Runs
	Questions
	Deliveries
	GiveUps
	Reader
	Apps
	Keys
	Limiting
	Endpoints
	Pauses
	Outages
	Janitor
	Bulks
	Audits
	Turns
	Keeping
	Seals
	// Committed sets the function that hears of every change, after its commit,
	// in the order of the commits. It MUST be called before the first write; the
	// function must not block.
	Committed(func(Change))
	// Ready returns nil where the store can take a write, else why not.
	Ready(context.Context) error
	// Close ends all work and releases the store.
	Close() error
}

// Change is what one commit changed. Values in it are shared: read only.
type Change struct {
	Kind ChangeKind
	// Job is set for the kinds of a job. Of a claimed new job it is whole; of
	// others ID, App, Operation, State and the times are.
	Job *Job
	// Callback is set for the kinds of a callback.
	Callback *Callback
	// Claimed says that fresh work was born claimed: the slot reserved for it is
	// the claim, and it never comes out of a claim query. For CallbackOwed and
	// claimed, Job is the whole job, as at its end.
	Claimed bool
	App     string // AppChanged, EndpointChanged
	// Pause is set for PauseChanged.
	Pause *Pause
	Bulk  *Bulk  // BulkChanged
	Name  string // EndpointChanged: the endpoint's name; QuestionClosed: the question's key
}

// ChangeKind says what a Change is about.
type ChangeKind uint8

// The kinds of change.
const (
	JobAccepted     ChangeKind = iota + 1
	JobStarted                 // a run began
	JobProgressed              // it has a new Progress
	JobRetried                 // a run failed, and another is due
	JobWaiting                 // an upstream has it; something is due later
	JobFinished                // terminal
	QuestionAsked              // the job's backend asks the caller
	QuestionClosed             // answered or not; Name is its key
	CallbackOwed               // a callback was committed; or it is due again by a resend
	CallbackTried              // an attempt ended, another is due
	CallbackSettled            // delivered, dead or discarded
	AppChanged                 // an app, or a key or secret of it
	EndpointChanged
	PauseChanged   // it begins, or with To it is over
	PauseForgotten // it does not count any more, or its app was erased
	BulkChanged    // made, got further, or ended; Bulk is set
)

// Intake takes jobs in.
type Intake interface {
	// NewID makes an id for a job or a callback of this store.
	NewID(now time.Time) ID
	// Accept stores a job. With a key that the app used for the same operation
	// before, it stores nothing and returns the first call's job and fingerprint. It is
	// ErrNotFound where the app was deleted since the store was opened, or is being erased.
	Accept(context.Context, Acceptance) (Receipt, error)
	// Repeated returns what Accept would for a key that the app has used for the
	// operation before, else ErrNotFound.
	Repeated(ctx context.Context, app, operation, key string) (Receipt, error)
}

// Acceptance is a job to store.
type Acceptance struct {
	Job *Job
	// Claimed: a slot is reserved for it, and its run begins at the commit's
	// announcement. Else it waits its turn on disk.
	Claimed bool
	// Finish is the job's terminal end where that is known before it is stored. Both
	// are stored at once, and only the end is announced. Nil where it has to run.
	Finish *Finish
	// Key is the caller's Idempotency-Key, empty for none, and Fingerprint the
	// digest of what the request says.
	Key         string
	Fingerprint [32]byte
	// Limits of the app; Accept is a LimitError where Jobs or Bytes would be exceeded,
	// however many are accepted at once. Only what is above 0 counts, and only what is
	// stored by acceptances: a result may exceed Bytes. Zero: none.
	Limits Limits
	// Callbacks are owed for the acceptance, none of them claimed; the job is Early
	// then. Not with Finish.
	Callbacks []OwedCallback
}

// Receipt is the outcome of an Acceptance.
type Receipt struct {
	ID          ID
	Repeated    bool     // an earlier call with the same key was found
	Fingerprint [32]byte // of that earlier call
}

// Runs is what the executor needs.
type Runs interface {
	// ClaimRuns claims up to limit due jobs of an app's operation, earliest first. next
	// is when the next one after them is due, zero for none. A claim lasts until
	// FinishRun, or until the store is opened again after a crash. What FinishRun has
	// made due again meanwhile is not among jobs.
	ClaimRuns(ctx context.Context, app, operation string, now time.Time, limit int) (jobs []*Job, next time.Time, err error)
	// StartRun stores that a run has begun, so that after a crash it counts as
	// interrupted, and the callbacks that are owed for it.
	StartRun(context.Context, Start) error
	// Progress stores how far a run is, and the callbacks that are owed for that, in
	// one transaction. The run's start MUST be stored; ErrTerminal where the job has
	// ended, ErrNotFound where another run has begun, or none goes on.
	Progress(context.Context, Progress) error
	// FinishRun stores the end of a run, or of the whole job, and the callbacks
	// that are owed for it. It MUST do all in one transaction: a crash between
	// them would lose the callback. The first terminal state wins: later ones
	// return ErrTerminal and change nothing. So does, with ErrGone, the end of a
	// run that waited, where it waits no more.
	FinishRun(context.Context, Finish) error
	// Overdue returns up to limit jobs that are not terminal though their deadline
	// has come, and of those that are not claimed, and wait for a run, these whose ExpiresAt has;
	// bodies included.
	Overdue(ctx context.Context, now time.Time, limit int) ([]*Job, error)
	// DueRuns lists up to limit of the apps' operations that have unclaimed jobs, and
	// when their first is due: those behind after, by app and then by operation.
	DueRuns(ctx context.Context, after Due, limit int) ([]Due, error)
}

// Due says when a group of work has its first unclaimed member due.
type Due struct {
	App  string
	Name string // an operation; or of a lane an endpoint, or an origin
	At   time.Time
}

// Start is the beginning of a run.
type Start struct {
	Job *Job // its ID, App and Operation count, and what Callbacks refer to
	N   int  // the run, 1 for the first
	At  time.Time
	// Await: StartRun returns when the start is stored. Else it returns at once, and
	// the start is written with one of the next commits, or not at all if the run
	// ends first.
	Await bool
	// Callbacks are owed for the start, none of them claimed, and awaited. They are
	// not stored where the job has callbacks of their event already: a run that was
	// handed back begins once more.
	Callbacks []OwedCallback
}

// Progress is how far a run is.
type Progress struct {
	Job   *Job // as in Start
	N     int  // the run
	Value []byte
	At    time.Time
	// Callbacks are owed for it, none of them claimed. Each takes the place of an
	// older one of the same event and destination that waits and was never tried:
	// that is discarded.
	Callbacks []OwedCallback
}

// MaxProgressBytes bounds Progress.Value.
const MaxProgressBytes = 16 << 10

// Finish is the end of a run: the job's next state and what goes with it. At the
// job's end the early callbacks that are still pending are discarded in the same
// transaction, and with the end of a run, but not where it is handed back or waits, its
// open questions are closed; those that are claimed when they come to their turn, or when the
// attempt in flight fails. What the end owes waits for these.
type Finish struct {
	// Job: its ID, App and Operation count, with a Run that did not wait its Early, and what Callbacks
	// refer to. Where it is Early no callback is claimed.
	Job   *Job
	State State // terminal, or Accepted: run again at DueAt, or Waiting: look again at DueAt
	DueAt time.Time
	At    time.Time
	// Run is the attempt that ended, nil where none had begun (a cancellation, a
	// job that expired while it waited, a run handed back at shutdown).
	Run *Run
	// Waited says that this is about Run while it waits: it is void where the job waits
	// no more, or for another run. Wait is what it goes on to wait for, with Waiting.
	Waited    bool
	Wait      *Wait
	Result    *Result
	Error     *Error
	Progress  []byte // the run's last, where Progress has not stored it; nil: as it is
	Callbacks []OwedCallback
}

// OwedCallback is a callback to store as pending.
type OwedCallback struct {
	Callback *Callback
	Claimed  bool // a slot in its lane is reserved; else it is due at once
}

// Deliveries is what the callback sender needs.
type Deliveries interface {
	// ClaimCallbacks claims up to limit due callbacks of a lane, earliest first,
	// each with its whole job and all that it says of its own (Link, Body, Data).
	// next is as in ClaimRuns.
	ClaimCallbacks(ctx context.Context, lane string, now time.Time, limit int) (due []Delivery, next time.Time, err error)
	// StartAttempt is to an attempt what StartRun is to a run. An awaited one of an
	// early callback whose job has ended is ErrTerminal: it is to be discarded.
	StartAttempt(ctx context.Context, id ID, n int, at time.Time, await bool) error
	// SettleAttempt stores the end of an attempt and the callback's next state. An
	// early callback whose job has ended is discarded where it would be Pending
	// again. One that is dead without any attempt gets the LastError ClassGaveUp. With
	// an early one's end those that waited for it alone are due.
	SettleAttempt(context.Context, Settlement) error
	// Resend makes a callback that is delivered, dead or discarded pending again,
	// due at now, for another round of attempts until giveUp. A pending one is
	// only made due at now. It is ErrGone where the job's bodies are whole no more.
	Resend(ctx context.Context, app string, id ID, now, giveUp time.Time) (*Callback, error)
	// DueCallbacks lists up to limit of the lanes that have unclaimed callbacks, as
	// DueRuns does, by app and then by name.
	DueCallbacks(ctx context.Context, after Due, limit int) ([]Due, error)
}

// Delivery is a callback together with the job that it tells of.
type Delivery struct {
	Callback *Callback
	Job      *Job
}

// MemoryBytes is about how much memory the delivery takes, as Job.MemoryBytes.
func (d Delivery) MemoryBytes() int64 {
	return d.Job.MemoryBytes() + int64(len(d.Callback.Body)+len(d.Callback.Data))
}

// Settlement is the end of an attempt.
type Settlement struct {
	Callback *Callback // as claimed
	// Attempt is nil where none was made: the callback is put back as it was.
	Attempt *Attempt
	State   CallbackState // Pending: again at DueAt
	DueAt   time.Time
	Waiting string
	Reason  string // of a discarded one
	At      time.Time
	// Error is why it ends where no attempt tells; empty: the last one does.
	Error Class
	// Question ends the open question that the callback asks; nil where it asks none,
	// or the answer comes later.
	Question *QuestionEnd
	// Disable is what the receiver's answer does to its endpoint, in the same
	// transaction; nil: nothing. Where the endpoint is disabled already, or has another
	// URL since, that part is left out.
	Disable *Disabling
}

// Reader reads. It never holds a writer.
type Reader interface {
	// Job returns a job of an app, with request head and result head but
	// without inline bodies.
	Job(ctx context.Context, app string, id ID) (*Job, error)
	// WholeJob returns a job with its bodies. app "" stands for any.
	WholeJob(ctx context.Context, app string, id ID) (*Job, error)
	Jobs(context.Context, JobFilter) ([]*Job, error)
	// RunsOf returns the finished runs of a job, oldest first.
	RunsOf(ctx context.Context, id ID) ([]Run, error)
	Callback(ctx context.Context, app string, id ID) (*Callback, error)
	Callbacks(context.Context, CallbackFilter) ([]*Callback, error)
	// Attempts returns the attempts of a callback, oldest first.
	Attempts(ctx context.Context, id ID) ([]Attempt, error)
	// Backlog counts what is unfinished.
	Backlog(context.Context) (Backlog, error)
}

// JobFilter selects jobs, newest first. Zero fields select all.
type JobFilter struct {
	App       string
	Operation string
	State     State
	Before    ID  // older than this one
	Limit     int // at most so many
}

// CallbackFilter selects callbacks, newest first. Zero fields select all.
type CallbackFilter struct {
	App      string
	JobID    ID
	Endpoint string
	State    CallbackState
	Before   ID
	Limit    int
}

// Backlog is what is unfinished: how many, and since when the oldest waits
// (zero for none).
type Backlog struct {
	Jobs           int64
	Callbacks      int64
	OldestJob      time.Time
	OldestCallback time.Time
}

// Apps keeps the clients of the API and the settings of the gateway itself.
type Apps interface {
	// CreateApp stores an app with its first key. ErrExists where the name is taken.
	CreateApp(context.Context, App, Key) error
	App(ctx context.Context, name string) (App, error)
	ListApps(context.Context) ([]App, error)
	// AppOfKey finds a key by its hash, and its app. An expired one is found, too.
	AppOfKey(ctx context.Context, hash [32]byte) (App, Key, error)
	SetAppSecrets(ctx context.Context, app string, s Secrets) error
	SetAppPolicy(ctx context.Context, app string, p Policy) error
	// Setting and SetSetting keep small values of the gateway's own, such as the
	// admin key's hash. A missing one is ErrNotFound.
	Setting(ctx context.Context, name string) ([]byte, error)
	SetSetting(ctx context.Context, name string, value []byte) error
}

// Endpoints keeps the callback URLs that apps registered.
type Endpoints interface {
	// CreateEndpoint stores a new endpoint; ErrExists where the name is taken.
	// One that is a default takes the place of the default for the same
	// operations. ErrTooMany where it is operational and another one of the app is. One
	// that is disabled is so by the app, since CreatedAt.
	CreateEndpoint(context.Context, Endpoint) error
	// UpdateEndpoint changes an endpoint; ErrTooMany as above. Where Disabled is changed
	// that is done by the app, at UpdatedAt, as EnableEndpoint and DisableEndpoint do it;
	// but it stays as it is where DisabledAt is not what is stored: it has changed since
	// it was read. A new URL has not failed.
	UpdateEndpoint(context.Context, Endpoint) error
	// DeleteEndpoint removes it with its pauses.
	DeleteEndpoint(ctx context.Context, app, name string) error
	Endpoint(ctx context.Context, app, name string) (Endpoint, error)
	ListEndpoints(ctx context.Context, app string) ([]Endpoint, error)
	// SetVerification stores how far the proof of an endpoint is, unless its URL is
	// no more the one that was asked: then it is ErrNotFound. Once it is verified,
	// its callbacks that wait for that are due at once.
	SetVerification(ctx context.Context, app, name string, v Verification, now time.Time) error
	// DueVerifications returns up to limit enabled endpoints, of any app, whose
	// proof is due, earliest first. That of a new endpoint, or of a new URL, is due
	// at once. next is when the next one after them is due, zero for none.
	DueVerifications(ctx context.Context, now time.Time, limit int) (due []Endpoint, next time.Time, err error)
}

// Janitor removes what nobody needs any more.
type Janitor interface {
	// Purge deletes up to limit jobs that were, with all their callbacks, at their
	// end before the given time, and idempotency keys older than keysBefore. It
	// returns how many jobs, and the references of their stored bodies; these may
	// be unlinked, since the deletion is synced.
	Purge(ctx context.Context, before, keysBefore time.Time, limit int) (n int, bodies []string, err error)
	// KnownBodies tells which of the references some row still names.
	KnownBodies(ctx context.Context, refs []string) ([]bool, error)
}
