package job

import (
	"context"
	"time"
)

// Redaction says what of an operation's bodies is not to be kept, nor to be shown: JSON
// pointers (RFC 6901), whose values the mark RedactedMark takes the place of. In a
// pointer * stands for every member or element, and the empty pointer for the whole
// body, whatever it is. Of what a pointer is given for and what is no JSON the whole
// is replaced.
type Redaction struct {
	Request []string // of what callers send
	Result  []string // of what the backend made of it
	Answer  []string // of what receivers of callbacks answer
	// KeepOther leaves bodies alone that do not look like JSON, but for the empty pointer.
	KeepOther bool
}

// RedactedMark takes the place of what was redacted, as a JSON string.
const RedactedMark = "[redacted]"

// Any tells whether there is anything to redact.
func (r Redaction) Any() bool { return len(r.Request)+len(r.Result)+len(r.Answer) > 0 }

// OfResult are the pointers for a result, which may be the request's own body.
func (r Redaction) OfResult(echo bool) []string {
	if !echo {
		return r.Result
	}
	return append(append([]string(nil), r.Request...), r.Result...)
}

// Bodies says what is left of a job's bodies: those of its request, its result, its
// callbacks, of what receivers answered and of what its backend asked.
type Bodies uint8

// What is left of bodies.
const (
	BodiesWhole    Bodies = iota
	BodiesRedacted        // for good; what its callbacks said of their own is gone
	BodiesGone            // their retention is over
)

// Cutoff says what of an operation's jobs is no longer kept.
type Cutoff struct {
	Jobs   time.Time // those that were over, with all their callbacks, before this
	Bodies time.Time // the bodies of those that were over before this; zero: of none
	Redact bool      // bodies are redacted at the end
}

// Sweep is a look at jobs, oldest first, for what is no longer to be kept.
type Sweep struct {
	After      uint64 // the key of the job that the last look ended with; 0: from the beginning
	Look       int    // at most at so many
	Others     Cutoff // for operations that Operations does not have
	Operations map[string]Cutoff
}

// Swept is the outcome of a Sweep.
type Swept struct {
	Next    uint64   // Sweep.After of the next look; 0: this was the last one
	Deleted int      // jobs
	Bared   int      // jobs whose bodies are gone now
	Redact  []ID     // those that are over and not redacted yet
	Unused  []string // references of stored bodies that may be unlinked
}

// Redacted are the bodies that take the place of a job's own.
type Redacted struct {
	ID      ID
	Request *Body // nil: it stays
	Result  *Body // nil: it stays, or is the request's
}

// Keeping is what a store does about what is no longer to be kept. What it deletes here,
// but for whole jobs in Sweep, it MUST overwrite in its files, too.
type Keeping interface {
	// Sweep deletes jobs that were over, with all their callbacks, before the cutoff of
	// their operation, and the bodies of those whose Bodies cutoff is past: of request,
	// result, callbacks, answers and questions. It MUST NOT read more than Look jobs.
	Sweep(context.Context, Sweep) (Swept, error)
	// Redact stores other bodies for a job that has ended, and forgets what its callbacks
	// said of their own, and what was asked and answered. It is ErrGone where the job or a
	// callback of it is not at its end, or the bodies are whole no more. unused is as in Swept.
	Redact(context.Context, Redacted) (unused []string, err error)

	// DeleteApp makes an app be no more: at once it has no keys, no endpoints, and takes
	// no jobs, and its name cannot be taken. Its jobs and all else go with EraseApp. It
	// is no error where that has begun before; ErrNotFound where there is no such app. The
	// audit log says it, and keeps of the app nothing else but when it was made.
	DeleteApp(ctx context.Context, name string, at time.Time) error
	// DeletedApps are those of which something is left.
	DeletedApps(context.Context) ([]App, error)
	// EraseApp deletes up to limit jobs of such an app, with all that belongs to them,
	// whatever their state, and announces the unfinished ones as canceled; and when there
	// are none, all else but its name, and tells that it is done.
	EraseApp(ctx context.Context, name string, limit int) (unused []string, done bool, err error)
	// ForgetApp frees the name of an app that was erased; ErrNotFound for any other.
	ForgetApp(ctx context.Context, name string) error
	// Scrub makes sure that nothing that was deleted is left in what was not written again
	// since: the log, and unused parts of the store's files. It holds up writes meanwhile.
	Scrub(context.Context) error
}
