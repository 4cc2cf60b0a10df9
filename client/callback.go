package client

// Callback is one message owed to one URL about one job.
type Callback struct {
	ID        string `json:"id" doc:"The callback's id, sent as webhook-id." example:"cb_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	JobID     string `json:"job_id" doc:"The job that it tells of." example:"job_01kf3q8m2xe5zr0v7w4h9c6d1t"`
	Operation string `json:"operation" doc:"The operation of that job." example:"scan"`
	Event     string `json:"event" enum:"accepted,running,progress,ask,succeeded,failed,canceled,expired" doc:"What it tells of." example:"succeeded"`
	Status    string `json:"status" enum:"pending,delivered,dead,discarded" doc:"Where it stands." example:"delivered"`
	Waiting   string `json:"waiting,omitempty" doc:"Why a pending callback is not being sent now: backoff, order, breaker, rate, paused, disabled, scheduled, unverified." example:"backoff"`
	// WaitsFor is set where Waiting is order.
	WaitsFor      string `json:"waits_for,omitempty" doc:"The callback that has to be settled before this one is sent." example:"cb_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	Reason        string `json:"reason,omitempty" enum:"expired,skipped" doc:"Why it was discarded: it had expired, or somebody asked for that. Absent where a later event made it pointless."`
	Sequence      int64  `json:"sequence,omitempty" doc:"Its number in its line, of an ordered endpoint." example:"7"`
	OrderKey      string `json:"order_key,omitempty" doc:"The line that it stands in, where the endpoint has several." example:"customer-12"`
	Endpoint      string `json:"endpoint,omitempty" doc:"The endpoint that it goes to." example:"shop"`
	URL           string `json:"url,omitempty" doc:"The URL that it goes to." example:"https://my.server/bar"`
	Method        string `json:"method" doc:"The HTTP method that it is sent with." example:"POST"`
	Format        string `json:"format" doc:"What it looks like." example:"envelope"`
	CreatedAt     Time   `json:"created_at" format:"date-time" doc:"When its event happened."`
	GiveUpAt      Time   `json:"give_up_at,omitzero" format:"date-time" doc:"When no further attempt is made."`
	SettledAt     Time   `json:"settled_at,omitzero" format:"date-time" doc:"When it stopped being pending."`
	ExpiresAt     Time   `json:"expires_at,omitzero" format:"date-time" doc:"From when on nobody wants it any more."`
	NextAttemptAt Time   `json:"next_attempt_at,omitzero" format:"date-time" doc:"When the next attempt is due, while it is pending."`
	Attempts      int    `json:"attempts" doc:"How many attempts have begun." example:"1"`
	Interrupted   int    `json:"interrupted,omitempty" doc:"How many of these a crash of the gateway cut off, so that their outcome is not known."`
	LastStatus    int    `json:"last_status,omitempty" doc:"The HTTP status of the last attempt's answer." example:"200"`
	LastError     string `json:"last_error,omitempty" doc:"The class of the last attempt's error." example:"timeout_connect"`
}

// The words of Callback.Status.
const (
	CallbackPending   = "pending"
	CallbackDelivered = "delivered"
	CallbackDead      = "dead"
	CallbackDiscarded = "discarded"
)

// Attempt is the record of one HTTP exchange for a callback. Times that were not
// needed (a reused connection) or not reached are absent.
type Attempt struct {
	N           int     `json:"n" doc:"1 for the first." example:"1"`
	StartedAt   Time    `json:"started_at" format:"date-time" doc:"When it began."`
	DNS         float64 `json:"dns_ms,omitempty" doc:"Milliseconds for the name's resolution." example:"1.2"`
	Connect     float64 `json:"connect_ms,omitempty" doc:"Milliseconds for the connection." example:"8.1"`
	TLS         float64 `json:"tls_ms,omitempty" doc:"Milliseconds for the TLS handshake." example:"17.4"`
	FirstByte   float64 `json:"first_byte_ms,omitempty" doc:"Milliseconds until the answer's first byte." example:"42.0"`
	Total       float64 `json:"total_ms" doc:"Milliseconds in all." example:"42.3"`
	Address     string  `json:"address,omitempty" doc:"The receiver's address and port." example:"93.184.216.34:443"`
	Status      int     `json:"status,omitempty" doc:"The HTTP status of the answer; absent where none came." example:"200"`
	ContentType string  `json:"content_type,omitempty" doc:"The content type of the answer."`
	// Headers holds a field that came several times as one, with commas between.
	Headers    map[string]string `json:"headers,omitempty" doc:"The answer's other end-to-end headers but for Set-Cookie, up to 4 KiB."`
	Body       string            `json:"body,omitempty" doc:"The answer's body where it is UTF-8 text, up to 16 KiB."`
	BodyBase64 []byte            `json:"body_base64,omitempty" doc:"The answer's body where it is not UTF-8 text."`
	Truncated  bool              `json:"truncated,omitempty" doc:"The answer was longer than what is kept, or was cut off."`
	Error      string            `json:"error,omitempty" doc:"Absent for a 2xx answer, else the class of the error." example:"refused"`
}

// Reply is what a receiver answered to a callback that it took.
type Reply struct {
	Callback    string            `json:"callback" doc:"The callback that was answered." example:"cb_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	At          Time              `json:"at" format:"date-time" doc:"When the attempt began that brought the answer."`
	Status      int               `json:"status" doc:"The HTTP status of the answer: 2xx." example:"200"`
	ContentType string            `json:"content_type,omitempty" doc:"The content type of the answer."`
	Headers     map[string]string `json:"headers,omitempty" doc:"The answer's other end-to-end headers but for Set-Cookie, up to 4 KiB."`
	Body        string            `json:"body,omitempty" doc:"The answer's body where it is UTF-8 text, up to 16 KiB."`
	BodyBase64  []byte            `json:"body_base64,omitempty" doc:"The answer's body where it is not UTF-8 text."`
	Truncated   bool              `json:"truncated,omitempty" doc:"The answer was longer than what is kept, or was cut off."`
}
