package client

import "encoding/json"

// Event is one server-sent event about a job.
type Event struct {
	// ID is the place in the stream from which it can be read on.
	ID string `json:"id,omitempty"`
	// Name is EventJob or EventCallback.
	Name string `json:"event"`
	// Data is a Job where Name is EventJob, a Callback where it is EventCallback.
	Data json.RawMessage `json:"data"`
}

// The names of events, and thereby what their data is.
const (
	EventJob      = "job"      // the job changed; sent first of all with the job as it is
	EventCallback = "callback" // one of its callbacks was owed, tried or settled
)
