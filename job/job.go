// Package job holds the words of Ringback as types: apps, operations, jobs,
// endpoints, callbacks and attempts, the states they go through, and the
// contract that a store keeps. It imports nothing of Ringback and no driver.
package job

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/http"
	"time"
)

// Job is one accepted call of an operation.
type Job struct {
	ID        ID
	App       string // the name of the app that called
	Operation string
	State     State
	Request   Request
	// Targets are where its callbacks go, each delivered on its own; none: it can
	// only be polled.
	Targets []Target
	// Echo is the caller's own text, unchanged in every callback.
	Echo string

	CreatedAt  time.Time
	StartedAt  time.Time // the first run's start; zero before it
	FinishedAt time.Time // zero until the state is terminal
	Deadline   time.Time // when the whole job expires; zero: never
	DueAt      time.Time // when the next run is due, or the next look at what it waits for, while not claimed

	// ScheduledAt is when it may begin at the earliest; zero: at once. ExpiresAt is from when
	// on nobody wants it any more: no run begins; zero: it is always wanted.
	ScheduledAt time.Time
	ExpiresAt   time.Time

	Runs        int  // attempts started
	Interrupted int  // attempts that a crash cut off, counted in Runs too
	Rescued     bool // claimed again after a crash: the next start is awaited

	// Early says that a callback was owed before the job's end: its callbacks are
	// kept in order.
	Early bool
	// Progress is what the backend said last of how far it is: JSON, nil for nothing.
	Progress []byte
	// Wait is set while an upstream has the job and nothing of it is in memory. A job
	// that waits without it has a run in memory that asks somebody.
	Wait *Wait

	// Bodies says whether those of request and result are still there.
	Bodies Bodies

	Result *Result // succeeded only
	Error  *Error  // the last failed attempt's; of a failed or expired job: why
}

// Request is what the caller sent, as the backend will see it: without the API
// key, hop-by-hop headers and the parameters that chose the callback.
type Request struct {
	Method   string
	Path     string // escaped, as received
	RawQuery string
	Header   http.Header
	// Params are the path parameters of the operation's route, decoded.
	Params map[string]string
	// Authorization is sealed: the value of the header of that name, where it belongs
	// to the upstream, and behind a line feed that of Cookie; nil where there is neither.
	// It is gone once the job has ended.
	Authorization []byte
	Body          Body
	// Trace is the request's trace context, to go on in backend and callbacks.
	Trace Trace
}

// Trace is a W3C trace context as received, valid or empty.
type Trace struct {
	Parent string // traceparent
	State  string // tracestate
}

// Body is a sequence of octets: small ones inline, others by reference into the
// body storage. Exactly one of Inline and Ref is set, or neither for no octets.
type Body struct {
	Inline []byte
	Ref    string
	Size   int64
}

// Result is what a backend answered.
type Result struct {
	// Status is the HTTP status of an upstream's answer, else 200.
	Status      int
	ContentType string
	// Header holds an upstream's other end-to-end response headers.
	Header http.Header
	Body   Body
	// Echo says that the body is the request's own (relay): stores keep it once.
	Echo bool
}

// ResultBody is the body of the job's result, wherever it is kept.
func (j *Job) ResultBody() Body {
	if j.Result == nil {
		return Body{}
	}
	if j.Result.Echo {
		return j.Request.Body
	}
	return j.Result.Body
}

// MemoryBytes is about how much memory the job takes, its inline bodies included.
// It is what a place in a window of work is reserved for.
func (j *Job) MemoryBytes() int64 {
	n := 1024 + int64(len(j.Request.Body.Inline))
	if j.Result != nil {
		n += int64(len(j.Result.Body.Inline))
	}
	return n
}

// Error is why an attempt or a job failed. Code and Message are safe to show to
// the app that owns the job: they hold no secret, no address of the backend.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"message"`
	// Detail is more of the same for the owner, e.g. the last lines of a
	// command's stderr; at most 4 KiB of UTF-8.
	Detail string `json:"detail,omitempty"`
}

func (e *Error) Error() string { return string(e.Code) + ": " + e.Message }

// Code is a stable word for why a run or a job failed.
type Code string

// The closed list of codes; docs/errors.md explains each.
const (
	CodeTimeout        Code = "timeout"              // the attempt took longer than the operation's timeout
	CodeUnreachable    Code = "backend_unreachable"  // no connection, or it broke before the answer was whole
	CodeBackendStatus  Code = "backend_status"       // an upstream's status that is no success
	CodeBackendError   Code = "backend_error"        // the backend ran and said that it failed
	CodeExit           Code = "exit_status"          // a command's exit code is not 0
	CodePanic          Code = "panic"                // a Go function panicked
	CodeScannerLimit   Code = "scanner_limit"        // the document exceeds the scanner's stream limit
	CodeResultTooLarge Code = "result_too_large"     // the result exceeds the operation's limit
	CodeInterrupted    Code = "interrupted"          // the gateway stopped during the run, once too often
	CodeExpired        Code = "expired"              // the deadline came first
	CodeUnanswered     Code = "question_unanswered"  // the caller gave no answer to what the backend asked
	CodeUnconfigured   Code = "operation_unknown"    // the configuration no longer has the operation
	CodeBodyLost       Code = "request_body_missing" // the stored document cannot be read
)

// State is where a job stands. docs/states.md draws the transitions.
type State uint8

// The states of a job; from Succeeded on they are terminal.
const (
	Accepted State = iota + 1
	Running
	Waiting
	Succeeded
	Failed
	Canceled
	Expired
)

var stateNames = [...]string{Accepted: "accepted", Running: "running", Waiting: "waiting",
	Succeeded: "succeeded", Failed: "failed", Canceled: "canceled", Expired: "expired"}

// String is the state's word, as in the API; empty for an unknown one.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return ""
}

// Terminal tells whether the state is final.
func (s State) Terminal() bool { return s >= Succeeded }

// ParseState reads a state's word.
func ParseState(word string) (State, bool) {
	for i, name := range stateNames {
		if name == word && name != "" {
			return State(i), true
		}
	}
	return 0, false
}

// Run is the record of one attempt of a backend.
type Run struct {
	N          int // 1 for the first
	StartedAt  time.Time
	FinishedAt time.Time
	Error      *Error // nil: it succeeded
}

// Child is the trace context to send on: the same trace, with a new parent id
// (W3C Trace Context §3.2). An empty or malformed one stays empty.
func (t Trace) Child() Trace {
	const length = len("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
	if len(t.Parent) < length {
		return Trace{}
	}
	flags, err := hex.DecodeString(t.Parent[length-2 : length])
	if err != nil {
		return Trace{}
	}
	var parent [8]byte
	rand.Read(parent[:])
	parent[0] |= 1 // an id of zeros is not valid
	// Of the flags only sampled and random are known, unknown ones are sent as 0.
	return Trace{Parent: fmt.Sprintf("00-%s-%x-%02x", t.Parent[3:35], parent, flags[0]&3), State: t.State}
}
