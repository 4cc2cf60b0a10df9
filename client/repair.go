package client

import (
	"context"
	"iter"
	"net/url"
	"strconv"
	"time"
)

// BulkRequest asks for something to be done to many callbacks or jobs.
type BulkRequest struct {
	Action string     `json:"action" enum:"resend,discard,cancel" doc:"resend: callbacks that are dead, or as status says, are sent again; discard: callbacks that are pending, or as status says, are not sent; cancel: jobs that have not ended." example:"resend"`
	Filter BulkFilter `json:"filter,omitzero" doc:"What it is done to; all of the app's where nothing is given."`
	DryRun bool       `json:"dry_run,omitempty" doc:"Only say what it would be, in plan."`
}

// BulkFilter says what a bulk is about. Zero fields select all.
type BulkFilter struct {
	Endpoint  string   `json:"endpoint,omitempty" maxLength:"64" doc:"Callbacks to this endpoint." example:"shop"`
	Origin    string   `json:"origin,omitempty" maxLength:"300" doc:"Callbacks to URLs sent with a call, below this origin." example:"https://my.server"`
	Operation string   `json:"operation,omitempty" maxLength:"64" doc:"Of this operation." example:"scan"`
	Event     string   `json:"event,omitempty" enum:"accepted,running,progress,ask,succeeded,failed,canceled,expired" doc:"Callbacks of this event."`
	Error     string   `json:"error,omitempty" maxLength:"64" doc:"Callbacks whose last attempt ended with this error class." example:"refused"`
	Status    []string `json:"status,omitempty" nullable:"false" maxItems:"7" uniqueItems:"true" enum:"pending,delivered,dead,discarded,accepted,running,waiting" doc:"Callbacks, or jobs to cancel, with one of these; dead ones to resend, pending ones to discard, all that have not ended to cancel if nothing is given."`
	Since     Time     `json:"since,omitzero" format:"date-time" doc:"Owed, or accepted, not before this."`
	Until     Time     `json:"until,omitzero" format:"date-time" doc:"Owed, or accepted, before this."`
}

// Bulk is one thing that is done to many callbacks or jobs.
type Bulk struct {
	ID        string     `json:"id,omitempty" doc:"The bulk's id; absent for a dry run." example:"bulk_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	Action    string     `json:"action" enum:"resend,discard,cancel" doc:"What is done."`
	Filter    BulkFilter `json:"filter" doc:"What it is done to."`
	Status    string     `json:"status" enum:"planned,running,done,stopped" doc:"How far it is; planned: a dry run."`
	Actor     AuditActor `json:"actor" doc:"Who asked for it."`
	CreatedAt Time       `json:"created_at" format:"date-time" doc:"When it was asked for. What is younger is left alone."`
	EndedAt   Time       `json:"ended_at,omitzero" format:"date-time" doc:"When it was done, or stopped."`
	Total     *int64     `json:"total,omitempty" doc:"How many it is about; absent while they are counted." example:"1200"`
	Done      int64      `json:"done" doc:"How many it was done to." example:"800"`
	Skipped   int64      `json:"skipped" doc:"How many were not as the filter wants it any more when their turn came, or have no body any more." example:"2"`
	Behind    []string   `json:"behind,omitempty" nullable:"false" doc:"Destinations that have much to send already, so that the bulk has left them behind for now."`
	Plan      *BulkPlan  `json:"plan,omitempty" doc:"Of a dry run: what it would be."`
}

// BulkPlan is what a bulk would be.
type BulkPlan struct {
	Matched int64          `json:"matched" doc:"How many it is about." example:"1200"`
	More    bool           `json:"more,omitempty" doc:"There are more: counting took too long."`
	Lanes   []BulkPlanLane `json:"lanes,omitempty" nullable:"false" doc:"The destinations with the most of them, 20 at most."`
	Others  int            `json:"others,omitempty" doc:"How many destinations there are beside these."`
	Seconds float64        `json:"seconds,omitempty" doc:"About how long it takes; absent where that is not known." example:"42"`
	Basis   string         `json:"basis" doc:"What that is estimated from."`
}

// BulkPlanLane is a destination of what a bulk would be about.
type BulkPlanLane struct {
	Endpoint  string  `json:"endpoint,omitempty" doc:"The endpoint." example:"shop"`
	Origin    string  `json:"origin,omitempty" doc:"The origin of URLs sent with a call." example:"https://my.server"`
	Count     int64   `json:"count" doc:"How many go there." example:"700"`
	PerSecond float64 `json:"per_second,omitempty" doc:"How many a second it has taken lately, as far as that is known." example:"120"`
	Waiting   string  `json:"waiting,omitempty" doc:"What its callbacks wait for now: breaker, rate, paused, disabled, unverified."`
}

// The words of Bulk.Status.
const (
	BulkPlanned = "planned"
	BulkRunning = "running"
	BulkDone    = "done"
	BulkStopped = "stopped"
)

// DeadLetters is how many callbacks to a destination are dead with the same error.
type DeadLetters struct {
	Endpoint string `json:"endpoint,omitempty" doc:"The endpoint." example:"shop"`
	Origin   string `json:"origin,omitempty" doc:"The origin of URLs sent with a call." example:"https://my.server"`
	Error    string `json:"error,omitempty" doc:"The class of their last error." example:"refused"`
	Side     string `json:"side,omitempty" enum:"receiver,network,gateway,caller" doc:"Whose affair that is."`
	Means    string `json:"means,omitempty" doc:"What it means."`
	Do       string `json:"do,omitempty" doc:"What to do."`
	Count    int64  `json:"count" doc:"How many there are." example:"700"`
	Oldest   Time   `json:"oldest" format:"date-time" doc:"When the first of them was owed."`
	Newest   Time   `json:"newest" format:"date-time" doc:"When the last of them was owed."`
}

// DeadQuery selects dead letters. Zero fields select all.
type DeadQuery struct {
	Endpoint  string
	Origin    string
	Operation string
	Error     string
}

// Why says why a callback has not arrived, or that it has.
type Why struct {
	Callback string `json:"callback" doc:"The callback." example:"cb_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	JobID    string `json:"job_id" doc:"The job that it tells of."`
	Event    string `json:"event" doc:"What it tells of."`
	Endpoint string `json:"endpoint,omitempty" doc:"The endpoint that it goes to."`
	Origin   string `json:"origin,omitempty" doc:"The origin that it goes to."`
	Status   string `json:"status" enum:"pending,delivered,dead,discarded" doc:"Where it stands."`
	// Summary, Means, Next and Do are sentences for people.
	Summary  string       `json:"summary" doc:"The answer in one sentence."`
	Waiting  *WhyWaiting  `json:"waiting,omitempty" doc:"What it waits for."`
	Error    *WhyError    `json:"error,omitempty" doc:"Why the last attempt failed."`
	Attempts []WhyAttempt `json:"attempts,omitempty" nullable:"false" doc:"What was tried, newest first, 20 at most."`
	Tried    int          `json:"tried" doc:"How many attempts have begun."`
	Next     string       `json:"next" doc:"What happens next."`
	NextAt   Time         `json:"next_at,omitzero" format:"date-time" doc:"When, if that is known."`
	EndsAt   Time         `json:"ends_at,omitzero" format:"date-time" doc:"When it is given up at the latest; time that it rests because somebody paused it does not count."`
	Do       string       `json:"do,omitempty" doc:"What to do about it; absent where nothing has to be done."`
}

// WhyWaiting is what a callback waits for.
type WhyWaiting struct {
	For   string `json:"for" enum:"backoff,order,breaker,rate,paused,disabled,scheduled,unverified,turn" doc:"What it waits for; turn: its turn among others to the same destination."`
	Means string `json:"means" doc:"What that means."`
	Until Time   `json:"until,omitzero" format:"date-time" doc:"Until when at least, if that is known."`
	Since Time   `json:"since,omitzero" format:"date-time" doc:"Since when, if that is known."`
	By    string `json:"by,omitempty" doc:"Who wanted it so: of a pause, an app, admin or gateway; of a disabled endpoint manual, gone or failing."`
	// Behind is the callback that comes first, for order.
	Behind string `json:"behind,omitempty" doc:"The callback that comes before it."`
}

// WhyError is the class of an error, explained.
type WhyError struct {
	Class  string `json:"class" doc:"The error class." example:"refused"`
	Status int    `json:"status,omitempty" doc:"The HTTP status of the answer, if one came."`
	Side   string `json:"side" enum:"receiver,network,gateway,caller" doc:"Whose affair it is."`
	Means  string `json:"means" doc:"What it means."`
	Do     string `json:"do" doc:"What to do about it."`
}

// WhyAttempt is an attempt in short.
type WhyAttempt struct {
	N       int     `json:"n" doc:"1 for the first."`
	At      Time    `json:"at" format:"date-time" doc:"When it began."`
	Outcome string  `json:"outcome" doc:"The status of the answer, the error class, or both." example:"503 status_5xx"`
	Address string  `json:"address,omitempty" doc:"The receiver's address and port."`
	Total   float64 `json:"total_ms" doc:"Milliseconds in all."`
}

// JobWhy says why a job's callbacks have not arrived.
type JobWhy struct {
	JobID     string `json:"job_id" doc:"The job."`
	Status    string `json:"status" doc:"Where the job stands."`
	Summary   string `json:"summary" doc:"The answer in one sentence."`
	Do        string `json:"do,omitempty" doc:"What to do about it; absent where nothing has to be done."`
	Callbacks []Why  `json:"callbacks" nullable:"false" doc:"Its callbacks, newest first, 50 at most."`
}

func (b *Bulk) whole() bool        { return b.Action != "" && b.Status != "" }
func (d *DeadLetters) whole() bool { return d.Count > 0 }
func (w *Why) whole() bool         { return w.Callback != "" && w.Summary != "" }
func (w *JobWhy) whole() bool      { return w.JobID != "" && w.Summary != "" }

// CreateBulk has something done to many callbacks or jobs, or with DryRun says what that
// would be. It returns at once; Bulk tells how far it is.
func (c *Client) CreateBulk(ctx context.Context, r BulkRequest) (*Bulk, error) {
	return ask[Bulk](ctx, c, "POST", "/bulk", r)
}

// Bulk reads how far a bulk is.
func (c *Client) Bulk(ctx context.Context, id string) (*Bulk, error) {
	return ask[Bulk](ctx, c, "GET", "/bulk/"+url.PathEscape(id), nil)
}

// Bulks lists the app's bulks, newest first.
func (c *Client) Bulks(ctx context.Context) iter.Seq2[Bulk, error] {
	return pages[Bulk](ctx, c, "/bulk", url.Values{})
}

// StopBulk ends a bulk. What was done is done.
func (c *Client) StopBulk(ctx context.Context, id string) (*Bulk, error) {
	return ask[Bulk](ctx, c, "POST", "/bulk/"+url.PathEscape(id)+"/stop", nil)
}

// WatchBulk calls show with a bulk as it gets on, until it has ended.
func (c *Client) WatchBulk(ctx context.Context, id string, every time.Duration, show func(*Bulk)) (*Bulk, error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		b, err := c.Bulk(ctx, id)
		if err != nil {
			return nil, err
		}
		if show(b); b.Status != BulkRunning {
			return b, nil
		}
		select {
		case <-ctx.Done():
			return b, ctx.Err()
		case <-tick.C:
		}
	}
}

// DeadLetters lists the app's dead callbacks, grouped by destination and error class.
func (c *Client) DeadLetters(ctx context.Context, q DeadQuery) iter.Seq2[DeadLetters, error] {
	query := url.Values{}
	for name, value := range map[string]string{"endpoint": q.Endpoint, "origin": q.Origin, "operation": q.Operation, "error": q.Error} {
		if value != "" {
			query.Set(name, value)
		}
	}
	query.Set("limit", strconv.Itoa(200))
	return pages[DeadLetters](ctx, c, "/dead", query)
}

// Why says why a callback has not arrived.
func (c *Client) Why(ctx context.Context, id string) (*Why, error) {
	return ask[Why](ctx, c, "GET", "/callbacks/"+url.PathEscape(id)+"/why", nil)
}

// JobWhy says why a job's callbacks have not arrived.
func (c *Client) JobWhy(ctx context.Context, id string) (*JobWhy, error) {
	return ask[JobWhy](ctx, c, "GET", "/jobs/"+url.PathEscape(id)+"/why", nil)
}
