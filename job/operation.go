package job

import (
	"cmp"
	"time"
)

// Operation is one thing that the API does: a route and a callback contract.
// Its backend is attached where the gateway is put together.
type Operation struct {
	Name  string // [a-z][a-z0-9_]*
	Route string // a pattern of net/http's ServeMux with a method: "POST /scan/{region}"
	// Timeout bounds an attempt, Deadline the whole job (0: none).
	Timeout  time.Duration
	Deadline time.Duration
	// MaxBodyBytes bounds the request's body, MaxResultBytes the result's.
	MaxBodyBytes   int64
	MaxResultBytes int64
	// Concurrency is how many runs there may be at once.
	Concurrency int
	// AtMostOnce makes a run that a crash interrupted fail instead of run again.
	AtMostOnce bool
	Retry      Retry
	// Delay is how long after its acceptance a job begins, ExpiresIn for how long it is
	// wanted from then on: no run begins later; 0: for ever.
	Delay     time.Duration
	ExpiresIn time.Duration
	Callback  Contract
	// Retention is how long jobs are kept after they and their callbacks have come to
	// their end, BodyRetention how long their bodies are; 0: the gateway's, and as long
	// as the job.
	Retention     time.Duration
	BodyRetention time.Duration
	Redact        Redaction
}

// Retry says how often and when a failed run is repeated.
type Retry struct {
	Attempts   int           // runs in all
	Backoff    time.Duration // before the second run; doubled for each further
	MaxBackoff time.Duration
}

// Contract is what an operation says about its callbacks.
type Contract struct {
	// URL are the sources of a URL in the call, OpenAPI runtime expressions
	// tried in order, and at most one text without an expression: the default.
	URL []string
	// Also are further destinations, each a list such as URL.
	Also [][]string
	// Success, Failure and Progress are destinations for one outcome only, each a list
	// such as URL: succeeded; failed, canceled and expired; running and progress.
	Success, Failure, Progress []string
	// Headers and Query are set on every callback, and added to every URL that is no
	// endpoint's: texts, which may hold runtime expressions, by name.
	Headers, Query map[string]string
	// Policy says which URLs may come with a call.
	Policy      Policy
	Required    bool
	Method      string
	Format      string // "envelope"
	Template    string // for the format "template": a jq program
	Signature   string // the schemes, as sign.ParseSchemes reads them; empty: v1
	Events      []Event
	Schedule    []time.Duration // the delays between attempts
	Timeout     time.Duration   // of one attempt
	GiveUpAfter time.Duration   // since the callback was owed
	// ProgressInterval is the least time between two progress callbacks of a job.
	ProgressInterval time.Duration
	// Delay is how long after its event a callback is sent, ExpiresIn for how long it is
	// wanted from then on; 0: for as long as it is tried.
	Delay, ExpiresIn time.Duration
	CallerMay        []string // "url", "state", "events", "method", "format", "delay", "expires"
}

// WithDefaults fills in what is not set.
func (o Operation) WithDefaults() Operation {
	o.Timeout = cmp.Or(o.Timeout, 10*time.Minute)
	o.MaxBodyBytes = cmp.Or(o.MaxBodyBytes, 100<<20)
	o.MaxResultBytes = cmp.Or(o.MaxResultBytes, 1<<30)
	o.Concurrency = cmp.Or(o.Concurrency, 32)
	o.Retry.Attempts = cmp.Or(o.Retry.Attempts, 3)
	o.Retry.Backoff = cmp.Or(o.Retry.Backoff, 2*time.Second)
	o.Retry.MaxBackoff = cmp.Or(o.Retry.MaxBackoff, time.Minute)
	o.Callback = o.Callback.withDefaults()
	return o
}

// The delays between the attempts of a callback, unless configured.
var defaultSchedule = []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute,
	30 * time.Minute, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

func (c Contract) withDefaults() Contract {
	if len(c.URL) == 0 {
		c.URL = []string{"{$request.query.callbackURL}", "{$request.header.X-Callback-Url}"}
	}
	if c.Format == "" && Bodiless(c.Method) {
		c.Format = FormatQuery
	}
	c.Format = cmp.Or(c.Format, FormatEnvelope)
	switch {
	case c.Method == "" && c.Format == FormatQuery:
		c.Method = "GET"
	case c.Method == "":
		c.Method = "POST"
	}
	if len(c.Events) == 0 {
		c.Events = Events
	}
	if len(c.Schedule) == 0 {
		c.Schedule = defaultSchedule
	}
	c.Timeout = cmp.Or(c.Timeout, 15*time.Second)
	c.GiveUpAfter = cmp.Or(c.GiveUpAfter, 72*time.Hour)
	c.ProgressInterval = cmp.Or(c.ProgressInterval, time.Second)
	if c.CallerMay == nil {
		c.CallerMay = []string{"url", "state", "events"}
	}
	return c
}
