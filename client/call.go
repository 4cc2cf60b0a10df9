package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// expectBytes is from where a body is large enough to ask first.
const expectBytes = 1 << 20

// Call is a call of an operation. Only Path is required.
type Call struct {
	Method string // empty: POST
	Path   string // of the operation's route, escaped, with a query if it needs one: "/scan?strict=1"
	Header http.Header

	// Body is nil for none. A Reader in memory and a file are read from where they
	// stand, and not closed; every other one is closed if it is a Closer.
	Body        io.Reader
	BodyBytes   int64 // the body's length; 0: unknown, unless Body is a bytes or strings Reader
	ContentType string

	CallbackURL string   // where the callbacks go; empty: Endpoint
	Endpoint    string   // the name of one of the app's endpoints, or several with commas between them; empty: its default, if it has one
	Events      []string // the events to be told of; empty: those of endpoint or operation
	State       string   // echoed unchanged in every callback
	// CallbackMethod and CallbackFormat are how the callback is sent, where the
	// operation leaves that to its callers; empty: as endpoint or operation have it.
	CallbackMethod string
	CallbackFormat string
	// When, where the operation leaves it to its callers.
	Schedule Schedule

	// IdempotencyKey makes a repetition of the call answer with the first one's job.
	// Empty: one of the client's own for each Call, where Options.Attempts allows several.
	IdempotencyKey string
	// Wait asks for the result itself if it is there within this time, in whole
	// seconds. The gateway may wait less.
	Wait time.Duration
}

// Answer is what a call was answered with: exactly one of its fields is set.
type Answer struct {
	Job    *AcceptedJob // the work goes on
	Result *Result      // the work was done within Call.Wait. The caller closes its body
}

// Result is what an operation made of a call.
type Result struct {
	Status      int // 200, or an upstream's other 2xx
	ContentType string
	Header      http.Header // with ContentType in it
	Body        io.ReadCloser
}

// headerJobID is in the answer to a call that waited for its job's end.
const headerJobID = "Ringback-Job-Id"

// headerResultStatus is in the answer to who asks for a job's result.
const headerResultStatus = "Ringback-Result-Status"

// Call calls an operation. Where the job ends without a result within Call.Wait,
// the error is a *Problem with the JobID. Where the error is ErrNoAnswer the call may or may
// not have been accepted: to repeat it is safe with an IdempotencyKey of one's own.
func (c *Client) Call(ctx context.Context, call Call) (*Answer, error) {
	req, err := c.callRequest(ctx, call)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	// An upstream's own 202 with a Location can be a result: that names its job.
	waited := resp.Header.Get(headerJobID) != ""
	switch {
	case resp.StatusCode == http.StatusAccepted && !waited:
		defer resp.Body.Close()
		job, err := decode[AcceptedJob](c, resp)
		if err != nil {
			return nil, err
		}
		return &Answer{Job: job}, nil
	case resp.StatusCode/100 == 2 && waited:
		return &Answer{Result: resultOf(resp)}, nil
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil, c.foreign(resp, "no job")
	}
	return nil, problemOf(resp)
}

func resultOf(resp *http.Response) *Result {
	status, err := strconv.Atoi(resp.Header.Get(headerResultStatus))
	if err != nil {
		status = resp.StatusCode
	}
	return &Result{Status: status, ContentType: resp.Header.Get("Content-Type"), Header: resp.Header, Body: resp.Body}
}

func (c *Client) callRequest(ctx context.Context, call Call) (*http.Request, error) {
	if !strings.HasPrefix(call.Path, "/") {
		return nil, errors.New("an operation's path begins with a slash")
	}
	if call.CallbackURL != "" && call.Endpoint != "" {
		return nil, errors.New("a call goes back to a URL or to an endpoint, not to both")
	}
	method := call.Method
	if method == "" {
		method = "POST"
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+call.Path, call.Body)
	if err != nil {
		return nil, fmt.Errorf("call an operation of %s: %w", c.origin, withoutURL(err))
	}
	rewindable(req, call.Body)
	if call.BodyBytes > 0 {
		req.ContentLength = call.BodyBytes
	}
	// A large body is not sent before the gateway has agreed to it.
	if req.Body != nil && req.Body != http.NoBody && (req.ContentLength == 0 || req.ContentLength > expectBytes) {
		req.Header.Set("Expect", "100-continue")
	}
	for name, values := range call.Header {
		req.Header[http.CanonicalHeaderKey(name)] = values
	}
	if call.ContentType != "" {
		req.Header.Set("Content-Type", call.ContentType)
	}
	switch {
	case call.IdempotencyKey != "":
		req.Header.Set("Idempotency-Key", call.IdempotencyKey)
	case c.opt.Attempts > 1 && req.Header.Get("Idempotency-Key") == "":
		req.Header.Set("Idempotency-Key", rand.Text())
	}
	// A gateway in front of a whole API passes on what does not ask for this.
	prefer := "respond-async"
	if seconds := int(call.Wait / time.Second); seconds > 0 {
		prefer += ", wait=" + strconv.Itoa(seconds)
	}
	req.Header.Set("Prefer", prefer)
	req.URL.RawQuery = call.query(req.URL.RawQuery)
	return req, nil
}

// query adds the parameters of the callback to those of the operation, and leaves
// these as they are spelt.
func (call *Call) query(own string) string {
	parts := make([]string, 0, 7)
	if own != "" {
		parts = append(parts, own)
	}
	for _, p := range [...]struct{ name, value string }{
		{"callbackURL", call.CallbackURL},
		{"callback", call.Endpoint},
		{"callbackEvents", strings.Join(call.Events, ",")},
		{"callbackState", call.State},
		{"callbackMethod", call.CallbackMethod},
		{"callbackFormat", call.CallbackFormat},
		{"callbackDelay", duration(call.Schedule.CallbackDelay)},
		{"callbackDeliverAt", moment(call.Schedule.CallbackDeliverAt)},
		{"callbackExpiresIn", duration(call.Schedule.CallbackExpiresIn)},
		{"runDelay", duration(call.Schedule.RunDelay)},
		{"runAt", moment(call.Schedule.RunAt)},
		{"runExpiresIn", duration(call.Schedule.RunExpiresIn)},
	} {
		if p.value != "" {
			parts = append(parts, p.name+"="+url.QueryEscape(p.value))
		}
	}
	return strings.Join(parts, "&")
}
