// Package api is the HTTP side of the gateway: it takes calls of operations in,
// and serves /v1, where apps follow their jobs and define their callback URLs.
package api

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/docs"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// Options is what the API needs. Store, Bodies, Seal, Repair, Slots, CheckURL, CheckPolicy,
// ReadPolicy, EndpointURL, CheckHeader, Owed, Log and Now are required.
type Options struct {
	Store  job.Store
	Bodies body.Storage
	Seal   *seal.Sealer
	// Repair does what is asked for in bulk, and explains.
	Repair Repair
	// Slots reserves places in the executor's window of work.
	Slots Slots
	// Runs hears what upstreams say about runs; nil where none can.
	Runs Runs
	// CheckURL says at intake whether a callback URL may be used at all. Its error's
	// text is safe to show.
	CheckURL func(url string) error
	// CheckPolicy says whether a policy permits a URL that CheckURL has taken, and
	// ReadPolicy whether there can be such a policy. Their errors are safe to show.
	CheckPolicy func(url string, p *job.Policy) error
	ReadPolicy  func(p *job.Policy) error
	// EndpointURL is the URL of an endpoint with its variables replaced, as it would be
	// called for a job; with a nil job, for any. Its error is as CheckURL's.
	EndpointURL func(url string, j *job.Job) (string, error)
	// ExplainURL says what would happen to a URL that comes with a call of an operation
	// by an app; a nil one permits any.
	ExplainURL func(ctx context.Context, url string, op *job.Operation, app *job.App) client.URLChecked
	// CheckOrderKey says whether an endpoint may have an expression as its order_key. Its
	// error is safe to show.
	CheckOrderKey func(text string) error
	// CheckHeader says whether an endpoint or an operation may set a header on its
	// callbacks.
	CheckHeader func(name, value string) error
	// Proof is what endpoints have to show before anything is sent there.
	Proof job.Proof
	// Owed builds the callbacks that the end of a job owes. None of them holds a
	// slot in its lane.
	Owed func(j *job.Job, end job.State, at time.Time) []job.OwedCallback
	// OwedAccepted builds those that its acceptance owes; nil: none.
	OwedAccepted func(j *job.Job) []job.OwedCallback
	// Waits tells what a pending callback waits for now, and until when, as
	// callback.Sender.Waits does; nil: what is stored.
	Waits func(*job.Callback) (waiting string, until time.Time)
	// GiveUpAt is when a pending callback is tried no more, as callback.Sender.GiveUpAt
	// has it; nil: what is stored.
	GiveUpAt   func(*job.Callback) time.Time
	Operations []job.Operation
	// Examples are the callbacks of an operation about a sample job, as docs.Describe
	// takes them. nil: the documents have none.
	Examples func(op job.Operation) []docs.Example
	// NoDocs leaves the page below /docs out. DevKeys are what callbacks of the app "dev"
	// are signed with: with Dev they are verified there.
	NoDocs bool
	// NoDashboard leaves the pages below /dashboard out.
	NoDashboard bool
	DevKeys     func(context.Context) (sign.Keys, error)
	// Upstream, where set, is the API that the whole gateway stands in front of:
	// every method and path is the operation UpstreamOperation, and requests that
	// do not ask for a callback go to Passthrough.
	Upstream    *job.Operation
	Passthrough http.Handler

	Prefix    string // of the gateway's own routes: "" or "/.ringback"
	PublicURL string // what links are made of, without a slash at the end; "" for relative links
	// SplitAdmin takes what needs the admin key, and what tells of the inside, out of
	// the API's own handler: API.Admin serves it.
	SplitAdmin bool
	// Limits of apps that have none of their own.
	Limits job.Limits
	// AdminKeyFixed: the admin key comes from the configuration, at each start.
	AdminKeyFixed bool
	// Proxies may say on whose behalf they ask.
	Proxies Proxies
	Dev     bool          // no keys: everything belongs to the app "dev"
	MaxWait time.Duration // the longest wait for a result; 0: a minute
	// BodyIdleTimeout is how long a caller's body may make no progress; 0: 30 s.
	BodyIdleTimeout time.Duration
	// WriteTimeout is how long a reader may take for 32 KiB of an answer; 0: 30 s.
	WriteTimeout time.Duration
	Log          *slog.Logger
	Now          func() time.Time
	Version      string
	// Metrics serves /metrics; nil for none.
	Metrics http.Handler
}

// Slots is the bounded window of work in memory: a job with a slot in it is
// stored as already claimed and runs as soon as it is committed.
type Slots interface {
	// Reserve takes a slot for a job. It is false where there is none, or where
	// others of its app and operation wait on disk.
	Reserve(*job.Job) bool
	// Release gives back the slot of a job that was not committed, and is as it was.
	Release(*job.Job)
	// Instantly makes the end of a job that takes no time, with the callbacks that it
	// owes; nil where the job has to run. Disown gives back what an end holds that was
	// not committed.
	Instantly(ctx context.Context, j *job.Job) *job.Finish
	Disown(*job.Finish)
}

// DevApp is the app that everything belongs to with Options.Dev.
const DevApp = "dev"

// API serves HTTP. Make it with New.
type API struct {
	opt   Options
	watch *watchers
	auth  *authenticator
	gate  *gate
	docs  *docs.Site // nil: there is none
	// defaults are the endpoints that calls without a callback URL go to.
	defaults *defaults
	now      func() time.Time
	// redactions are what is not shown of results.
	redactions redactions
	// changing makes reading and writing endpoints or a secret one step.
	changing sync.Mutex
	http.Handler
	// Admin serves the gateway's own routes, all of them, and no operations. It is nil
	// without Options.SplitAdmin.
	Admin http.Handler
}

// New puts the API together. It fails where the operations' routes or
// expressions are wrong, with an error that names the operation.
func New(opt Options) (*API, error) {
	opt.MaxWait = cmp.Or(opt.MaxWait, time.Minute)
	opt.BodyIdleTimeout = cmp.Or(opt.BodyIdleTimeout, 30*time.Second)
	opt.WriteTimeout = cmp.Or(opt.WriteTimeout, defaultWriteTimeout)
	a := &API{opt: opt, now: opt.Now, watch: newWatchers(), gate: newGate(), auth: newAuthenticator(opt), defaults: newDefaults(opt.Store)}
	var err error
	if a.redactions, err = newRedactions(opt.Operations); err != nil {
		return nil, err
	}
	h, err := a.routes()
	if err != nil {
		return nil, err
	}
	a.Handler = h
	return a, nil
}

// Committed hears of every change from the store: it wakes long polls and
// streams, and forgets keys and endpoints that were changed. It does not block.
func (a *API) Committed(ch job.Change) {
	a.watch.committed(ch)
	a.auth.committed(ch)
	a.defaults.committed(ch)
}

// Drain ends the streams and long polls, so that the server can shut down.
func (a *API) Drain() {
	a.watch.close()
	if a.docs != nil {
		a.docs.Close()
	}
}

// whole detaches a write from its request: a caller that hangs up must not make
// the outcome of a commit unknown to us.
func whole(ctx context.Context) context.Context { return context.WithoutCancel(ctx) }
