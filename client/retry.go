package client

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"time"
)

const (
	defaultAttempts = 5
	// The waits are 1/4 s, 1/2 s, 1 s and so on, each by up to a quarter more or less.
	minBackoff = 250 * time.Millisecond
	maxBackoff = 8 * time.Second
	// A gateway that wants to be left alone for longer is not waited for.
	maxRetryAfterSeconds = 30
)

// do makes an exchange, and repeats it where that may help and cannot do twice what
// was asked once. The caller closes the answer's body.
func (c *Client) do(req *http.Request) (*http.Response, error) {
	for attempt := 1; ; attempt++ {
		resp, err := c.send(req)
		wait, ok := retryWait(req, resp, err, attempt)
		if !ok || attempt >= c.opt.Attempts || !inTime(req, wait) {
			return resp, err
		}
		if resp != nil {
			err = problemOf(resp)
			resp.Body.Close()
		}
		if ended := pause(req.Context(), wait); ended != nil {
			return nil, fmt.Errorf("%w, after: %w", ended, err)
		}
		req = req.Clone(req.Context())
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, fmt.Errorf("%s %s: read the body again: %w", req.Method, c.origin, err)
			}
		}
	}
}

// retryWait says how long to wait before another attempt, if there is to be one: after
// 503 and 429, by which nothing has been done, and where no answer came to what may
// be asked twice.
func retryWait(req *http.Request, resp *http.Response, err error, attempt int) (time.Duration, bool) {
	if req.Body != nil && req.Body != http.NoBody && req.GetBody == nil {
		return 0, false
	}
	backoff := min(minBackoff<<min(attempt-1, 10), maxBackoff)
	backoff += backoff/4 - rand.N(backoff/2)
	if err != nil {
		return backoff, req.Context().Err() == nil && (repeatable(req) || notDialed(err))
	}
	switch resp.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
	default:
		return 0, false
	}
	if resp.Header.Get(headerJobID) != "" {
		return 0, false // the call was accepted: this is what became of it
	}
	seconds := retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return max(time.Duration(seconds)*time.Second, backoff), seconds <= maxRetryAfterSeconds
}

// repeatable tells whether two of a request are as good as one.
func repeatable(req *http.Request) bool {
	return req.Method == http.MethodGet || req.Header.Get("Idempotency-Key") != ""
}

// notDialed tells whether err is from before there was a connection.
func notDialed(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// inTime tells whether the request's context lasts longer than wait.
func inTime(req *http.Request, wait time.Duration) bool {
	deadline, ok := req.Context().Deadline()
	return !ok || time.Until(deadline) > wait
}

// rewindable makes a request with a file as its body repeatable, from where the file
// stands. The bodies in memory are so already.
func rewindable(req *http.Request, body io.Reader) {
	file, ok := body.(interface {
		io.ReaderAt
		io.Seeker
	})
	if !ok || req.GetBody != nil {
		return
	}
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return // a pipe
	}
	req.GetBody = func() (io.ReadCloser, error) {
		return io.NopCloser(io.NewSectionReader(file, start, 1<<63-1-start)), nil
	}
	req.Body, _ = req.GetBody()
}
