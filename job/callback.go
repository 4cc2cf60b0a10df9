package job

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Target is one destination of a job's callbacks, as chosen at intake: an endpoint
// of the app by name, or a URL.
type Target struct {
	Endpoint string // exactly one of Endpoint and URL is set
	URL      string
	// EndpointURL is what the endpoint's was at intake, as the caller was told. The
	// callback goes to what it is then.
	EndpointURL string
	Source      Source
	// Events that it is for; empty: those of the endpoint, else of the operation.
	Events []Event
	// Method and Format that the caller chose; empty: the endpoint's, else the
	// operation's.
	Method string
	Format string
	// Delay and DeliverAt, one of them, are how long after its event a callback is sent, and
	// when at the earliest. ExpiresIn is for how long it is wanted from then on. Zero: as the
	// operation has it.
	Delay     time.Duration
	DeliverAt time.Time
	ExpiresIn time.Duration
	// Header is what the operation's callback.headers were at intake; nil for none.
	Header http.Header
}

// Source says which rule chose a callback's URL.
type Source string

// The sources, in the order in which they are tried.
const (
	SourceRequest           Source = "request"            // callbackURL, X-Callback-Url, or an expression
	SourceEndpoint          Source = "endpoint"           // ?callback=NAME
	SourceOperationEndpoint Source = "operation_endpoint" // the app's default for this operation
	SourceDefaultEndpoint   Source = "default_endpoint"   // the app's default
	SourceOperation         Source = "operation"          // the operation's own default URL
)

// Event is what a callback tells of.
type Event string

// The terminal events, whose words are those of the states, and the early ones.
const (
	EventSucceeded Event = "succeeded"
	EventFailed    Event = "failed"
	EventCanceled  Event = "canceled"
	EventExpired   Event = "expired"

	EventAccepted Event = "accepted"
	EventRunning  Event = "running"  // the first run has begun
	EventProgress Event = "progress" // the backend says how far it is
)

// Events lists the terminal events: those that are told of unless somebody says more.
var Events = []Event{EventSucceeded, EventFailed, EventCanceled, EventExpired}

// EventAsk asks the caller something in the middle of the work. Nobody chooses it: it
// goes to the job's first destination.
const EventAsk Event = "ask"

// AllEvents lists every event that can be asked for, in the order of a job's life.
var AllEvents = append([]Event{EventAccepted, EventRunning, EventProgress}, Events...)

// Terminal tells the events that end a job. All others are early: their callbacks
// are sent in their order, and the job's end discards those that are still pending.
func (e Event) Terminal() bool {
	switch e {
	case EventSucceeded, EventFailed, EventCanceled, EventExpired:
		return true
	}
	return false
}

// Event is the event of a terminal state.
func (s State) Event() Event { return Event(s.String()) }

// Callback is one message owed to one URL about one job. App to CreatedAt are
// frozen when its event is committed.
type Callback struct {
	ID        ID
	JobID     ID
	App       string
	Operation string
	Event     Event
	Endpoint  string // read at each attempt; empty: URL
	URL       string
	Method    string
	Format    string // how it is said; empty: as an envelope
	CreatedAt time.Time
	GiveUpAt  time.Time

	// What follows is kept apart, where there is any: readers that list callbacks
	// leave it out.

	// Link is the signed link to the job's result, for a callback that names it.
	Link string
	// Body is what is sent where the job alone does not say it (a template), with
	// its ContentType; nil: it is made of the job at each attempt.
	Body        []byte
	ContentType string
	// Data is JSON that the event carries of its own, such as a progress.
	Data []byte

	State       CallbackState
	Attempts    int // attempts started
	Interrupted int // of these, cut off by a crash
	Round       int // of these, before the last resend: the schedule counts from there
	DueAt       time.Time
	SettledAt   time.Time
	Waiting     string // why it is pending and not being sent, of the list of Waiting…; or empty
	LastStatus  int    // of the last attempt's answer, 0 for none
	LastError   Class  // the last attempt's, empty for none
	Rescued     bool   // claimed again after a crash: the next start is awaited
	// Ordered says that it stands in the line of its lane and OrderKey, with the number
	// Sequence; see Turns.
	Ordered  bool
	OrderKey string
	Sequence int64
	// DeliverAt is when it is to be sent at the earliest; zero: at once. ExpiresAt is from
	// when on nobody wants it any more; zero: it is always wanted.
	DeliverAt time.Time
	ExpiresAt time.Time
	Reason    string // why it was discarded: ReasonExpired, ReasonSkipped, or empty
	// Resent says that somebody asked for it after the job's end, which then discards
	// it no more.
	Resent bool
}

// What a pending callback waits for: a closed list. Of WaitingOrder, nothing is due
// before an earlier callback is settled.
const (
	WaitingBackoff    = "backoff"    // an attempt failed; the next one is due by the schedule
	WaitingOrder      = "order"      // for an earlier one of its job, or of its line
	WaitingBreaker    = "breaker"    // its lane rests, since its receiver failed again and again
	WaitingRate       = "rate"       // its lane may send no more now: its rate, or the receiver's Retry-After
	WaitingPaused     = "paused"     // somebody paused it
	WaitingDisabled   = "disabled"   // its endpoint is disabled
	WaitingScheduled  = "scheduled"  // it was asked for later
	WaitingUnverified = "unverified" // its endpoint is to prove that it wants callbacks
)

// WaitingReasons lists them.
var WaitingReasons = []string{WaitingBackoff, WaitingOrder, WaitingBreaker, WaitingRate, WaitingPaused, WaitingDisabled, WaitingScheduled, WaitingUnverified}

// Lane names the flow control that the callback belongs to: of an endpoint, or
// of the origin of a URL sent with a call; always within one app.
func (c *Callback) Lane() string {
	if c.Endpoint != "" {
		return c.App + " " + c.Endpoint
	}
	return c.App + " " + Origin(c.URL)
}

// Origin cuts a valid absolute URL down to scheme, host and port: all that may
// stand in a log or an error. It returns "" for what has no authority.
func Origin(url string) string {
	i := strings.Index(url, "://")
	if i < 0 {
		return ""
	}
	rest := url[i+3:]
	if j := strings.IndexAny(rest, "/?#\\"); j >= 0 {
		rest = rest[:j]
	}
	if j := strings.LastIndexByte(rest, '@'); j >= 0 {
		rest = rest[j+1:]
	}
	return strings.ToLower(url[:i+3] + rest)
}

// CallbackState is where a callback stands.
type CallbackState uint8

// The states of a callback; all but Pending are terminal until a resend.
const (
	Pending CallbackState = iota + 1
	Delivered
	Dead
	Discarded
)

var callbackStateNames = [...]string{Pending: "pending", Delivered: "delivered", Dead: "dead", Discarded: "discarded"}

// String is the state's word, as in the API; empty for an unknown one.
func (s CallbackState) String() string {
	if int(s) < len(callbackStateNames) {
		return callbackStateNames[s]
	}
	return ""
}

// ParseCallbackState reads a callback state's word.
func ParseCallbackState(word string) (CallbackState, bool) {
	i := slices.Index(callbackStateNames[:], word)
	return CallbackState(max(i, 0)), i > 0
}

// Attempt is the record of one HTTP exchange for a callback.
type Attempt struct {
	N         int // 1 for the first
	StartedAt time.Time
	// How long each part took; zero where it was not needed (a reused
	// connection has no DNS, Connect and TLS) or not reached.
	DNS, Connect, TLS, FirstByte, Total time.Duration
	Address                             string // the receiver's address and port
	Status                              int    // 0: no answer
	ContentType                         string // of the answer
	// Header holds the answer's other end-to-end headers without Set-Cookie, up to
	// 4 KiB; nil for none.
	Header    http.Header
	Body      []byte // the answer's, up to 16 KiB
	Truncated bool   // the answer was longer or was cut off
	Error     Class  // empty for a 2xx answer
}

// Endpoint is a callback URL that an app registered.
type Endpoint struct {
	App         string
	Name        string
	URL         string
	Default     bool     // the app's default, for Operations or for all
	Operations  []string // the operations that a default is for; empty: all
	Events      []Event  // empty: those of the operation
	Method      string   // empty: that of the operation
	Format      string   // empty: that of the operation
	Signature   string   // the schemes, as sign.ParseSchemes reads them; empty: those of the operation
	Headers     map[string]string
	Concurrency int  // callbacks in flight at once; 0: the default
	Rate        Rate // of callbacks that begin; the zero one: any
	// ProgressInterval is the least time between two progress callbacks of a job;
	// 0: that of the operation.
	ProgressInterval time.Duration
	// Operational makes it the one endpoint of its app that is told of what happens to
	// the others, and of nothing else.
	Operational bool
	// Disabled: nothing is sent there. DisabledReason, DisabledAt and Failing are
	// written by Outages and by the change of Disabled itself.
	Disabled       bool
	DisabledReason string
	DisabledAt     time.Time
	Failing        Failing
	// Ordered makes its callbacks stand in lines: one for each value of OrderKey, a
	// runtime expression, or a single one where that is empty.
	Ordered   bool
	OrderKey  string
	CreatedAt time.Time
	UpdatedAt time.Time
	Secrets   Secrets
	// Authorization is the sealed value of an Authorization among the headers.
	Authorization []byte
	// Auth is the sealed JSON of an Auth; nil: none.
	Auth []byte
	// Verification is written by SetVerification alone.
	Verification Verification
}

// Secrets are the sealed signing secrets of an endpoint or of an app. Previous
// signs too until PreviousUntil, so that receivers can change over.
type Secrets struct {
	Current       []byte
	Previous      []byte
	PreviousUntil time.Time
}

// App is a client of the API. Its name is its identity.
type App struct {
	Name      string
	CreatedAt time.Time
	Secrets   Secrets // for URLs sent with a call
	Policy    Policy  // of URLs sent with a call, and of its endpoints
	Limits    Limits
	DeletedAt time.Time // when it was deleted, while something of it is left; else zero
}
