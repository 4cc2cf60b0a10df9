package client

import "encoding/json"

// AcceptedJob is the answer to a call: 202, the work goes on.
type AcceptedJob struct {
	ID           string      `json:"id" doc:"The job's id." example:"job_01kf3q8m2xe5zr0v7w4h9c6d1t"`
	Operation    string      `json:"operation" doc:"The operation that was called." example:"scan"`
	Status       string      `json:"status" enum:"accepted,running,waiting,succeeded,failed,canceled,expired" doc:"Where the job stands." example:"accepted"`
	CreatedAt    Time        `json:"created_at" format:"date-time" doc:"When the call was accepted."`
	ScheduledFor Time        `json:"scheduled_for,omitzero" format:"date-time" doc:"When it begins at the earliest; absent: at once."`
	Links        Links       `json:"links" doc:"Where to follow the job."`
	Callback     JobCallback `json:"callback,omitzero" doc:"Where its callbacks go; absent for a job that can only be polled."`
	// Destinations begin with Callback.
	Destinations []JobCallback `json:"destinations,omitempty" nullable:"false" doc:"All places where its callbacks go, where there are several."`
}

// Job is one accepted call of an operation.
type Job struct {
	ID           string `json:"id" doc:"The job's id." example:"job_01kf3q8m2xe5zr0v7w4h9c6d1t"`
	Operation    string `json:"operation" doc:"The operation that was called." example:"scan"`
	Status       string `json:"status" enum:"accepted,running,waiting,succeeded,failed,canceled,expired" doc:"Where the job stands; from succeeded on it is final." example:"succeeded"`
	CreatedAt    Time   `json:"created_at" format:"date-time" doc:"When the call was accepted."`
	Waiting      string `json:"waiting,omitempty" doc:"Why an accepted job does not begin yet." example:"scheduled"`
	ScheduledFor Time   `json:"scheduled_for,omitzero" format:"date-time" doc:"When it begins at the earliest; absent: at once."`
	ExpiresAt    Time   `json:"expires_at,omitzero" format:"date-time" doc:"From when on no attempt of the backend begins any more."`
	StartedAt    Time   `json:"started_at,omitzero" format:"date-time" doc:"When the first attempt began."`
	FinishedAt   Time   `json:"finished_at,omitzero" format:"date-time" doc:"When the status became final."`
	Attempts     int    `json:"attempts" doc:"How many attempts of the backend have begun." example:"1"`
	// Progress is any JSON.
	Progress json.RawMessage `json:"progress,omitempty" doc:"What the backend said last of how far it is."`
	Error    *JobError       `json:"error,omitempty" doc:"Why the last attempt failed; of a failed or expired job: why there is no result."`
	Links    Links           `json:"links" doc:"Where to follow the job."`
	Bodies   string          `json:"bodies,omitempty" enum:"redacted,gone" doc:"What became of the bodies of request, result and callbacks; absent while they are whole."`
	Callback JobCallback     `json:"callback,omitzero" doc:"Where its callbacks go; absent for a job that can only be polled."`
	// Destinations begin with Callback.
	Destinations []JobCallback `json:"destinations,omitempty" nullable:"false" doc:"All places where its callbacks go, where there are several."`
	// Reply is what came back from the first of the destinations that took the callback
	// of the job's end. It is set where a single job is read, not in lists.
	Reply *Reply `json:"reply,omitempty" doc:"What the receiver answered to the callback of the job's end; of several, the first destination's that took it. Absent in lists."`
	// Callbacks is set where a single job is read, not in lists.
	Callbacks []JobCallbackStatus `json:"callbacks,omitempty" doc:"The callbacks that are owed for the job so far. Absent in lists."`
}

// The words of Job.Status.
const (
	StatusAccepted  = "accepted"
	StatusRunning   = "running"
	StatusWaiting   = "waiting"
	StatusSucceeded = "succeeded"
	StatusFailed    = "failed"
	StatusCanceled  = "canceled"
	StatusExpired   = "expired"
)

// Terminal tells whether the job's status is final.
func (j *Job) Terminal() bool {
	switch j.Status {
	case StatusSucceeded, StatusFailed, StatusCanceled, StatusExpired:
		return true
	}
	return false
}

// JobCallback says where the callbacks of a job go, as chosen when it was accepted.
type JobCallback struct {
	URL      string `json:"url,omitempty" doc:"The callback URL." example:"https://my.server/bar"`
	Source   string `json:"source,omitempty" enum:"request,endpoint,operation_endpoint,default_endpoint,operation" doc:"Which rule chose it: the request itself, an endpoint named in the request, the app's default endpoint for the operation, the app's default endpoint, or the operation." example:"request"`
	Endpoint string `json:"endpoint,omitempty" doc:"The endpoint's name, where one was chosen." example:"shop"`
	// What was chosen for this destination alone.
	Events []string `json:"events,omitempty" nullable:"false" doc:"The events that are sent there; absent: those of the endpoint or the operation."`
	Method string   `json:"method,omitempty" doc:"The HTTP method that the call chose." example:"PUT"`
	Format string   `json:"format,omitempty" doc:"The format that the call chose." example:"raw"`
}

// JobError says why an attempt or a job failed.
type JobError struct {
	Code    string `json:"code" doc:"A stable word." example:"timeout"`
	Message string `json:"message" doc:"The same as a sentence." example:"the attempt took longer than 10m0s"`
	Detail  string `json:"detail,omitempty" doc:"More of it, e.g. the last lines that a command wrote to stderr."`
}

// Links are the URLs of a job; relative ones where the gateway has no public_url.
type Links struct {
	Self   string `json:"self" doc:"The job." example:"/v1/jobs/job_01kf3q8m2xe5zr0v7w4h9c6d1t"`
	Result string `json:"result" doc:"Its result, with the result's own content type." example:"/v1/jobs/job_01kf3q8m2xe5zr0v7w4h9c6d1t/result"`
	Events string `json:"events" doc:"Its changes as server-sent events." example:"/v1/jobs/job_01kf3q8m2xe5zr0v7w4h9c6d1t/events"`
}

// JobCallbackStatus tells in short of a callback that is owed for a job.
type JobCallbackStatus struct {
	ID            string `json:"id" doc:"The callback's id, sent as webhook-id." example:"cb_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	Event         string `json:"event" enum:"accepted,running,progress,ask,succeeded,failed,canceled,expired" doc:"What it tells of." example:"succeeded"`
	Status        string `json:"status" enum:"pending,delivered,dead,discarded" doc:"Where it stands." example:"delivered"`
	Endpoint      string `json:"endpoint,omitempty" doc:"The endpoint that it goes to." example:"shop"`
	URL           string `json:"url,omitempty" doc:"The URL that it goes to." example:"https://my.server/bar"`
	Attempts      int    `json:"attempts" doc:"How many attempts have begun." example:"1"`
	NextAttemptAt Time   `json:"next_attempt_at,omitzero" format:"date-time" doc:"When the next attempt is due, while it is pending."`
	LastStatus    int    `json:"last_status,omitempty" doc:"The HTTP status of the last attempt's answer." example:"200"`
	LastError     string `json:"last_error,omitempty" doc:"The class of the last attempt's error." example:"timeout_connect"`
}
