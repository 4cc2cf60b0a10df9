package api

import (
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// progressBytes, or the body's end, have to arrive within each BodyIdleTimeout, so
// that a sender who trickles is no better off than one who stops, and a small body
// is there as a whole. With 30 s that is 2 KiB a second.
const progressBytes = 64 << 10

// upload is the body of a request, which ends when it makes too little progress.
type upload struct {
	body    io.Reader
	control http.ResponseController
	idle    time.Duration
	owed    int // bytes until the deadline moves on
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	if u.owed <= 0 {
		// A writer without deadlines, as in tests, needs none.
		_ = u.control.SetReadDeadline(time.Now().Add(u.idle))
		u.owed = progressBytes
	}
	n, err := u.body.Read(p)
	u.owed -= n
	return n, err
}

// done lifts the deadline, which would otherwise cancel the request later on.
func (u *upload) done() { _ = u.control.SetReadDeadline(time.Time{}) }

// readBody stores the body, and returns the request's fingerprint where it has an
// Idempotency-Key.
func (c *call) readBody(w http.ResponseWriter) (fingerprint [32]byte, p *Problem) {
	var digest hash.Hash
	if c.key != "" {
		digest = c.op.newFingerprint(c.r, c.path)
	}
	if c.r.Body != nil && c.r.Body != http.NoBody {
		if p := c.storeBody(w, digest); p != nil {
			return fingerprint, p
		}
	}
	if digest != nil {
		digest.Sum(fingerprint[:0])
	}
	return fingerprint, nil
}

func (c *call) storeBody(w http.ResponseWriter, digest hash.Hash) *Problem {
	up := &upload{body: c.r.Body, control: *http.NewResponseController(w), idle: c.api.opt.BodyIdleTimeout}
	from := io.Reader(up)
	if digest != nil {
		from = io.TeeReader(up, digest)
	}
	stored, err := c.keepBody(from)
	switch {
	case err == nil:
		up.done()
		c.job.Request.Body = stored
		return nil
	case errors.Is(err, body.ErrTooLarge):
		return c.tooLarge()
	case errors.Is(err, body.ErrStorage):
		c.api.opt.Log.ErrorContext(c.r.Context(), "store request body", "error", err)
		p := kindUnavailable.problem("")
		p.retryAfter = unavailableSeconds
		return p
	case errors.Is(err, os.ErrDeadlineExceeded):
		return kindTimeout.problem(fmt.Sprintf("the body brought less than %d octets within %v", progressBytes, up.idle))
	}
	return kindBodyIncomplete.problem("")
}

// keepBody takes a body in, but of a repeated call, whose body is there already,
// reads it only.
func (c *call) keepBody(from io.Reader) (job.Body, error) {
	if !c.first.Repeated {
		return body.Read(c.r.Context(), c.api.opt.Bodies, from, c.op.MaxBodyBytes)
	}
	n, err := io.Copy(io.Discard, io.LimitReader(from, c.op.MaxBodyBytes+1))
	if err == nil && n > c.op.MaxBodyBytes {
		err = body.ErrTooLarge
	}
	return job.Body{}, err
}

func (c *call) tooLarge() *Problem {
	return kindTooLarge.problem(fmt.Sprintf("the operation takes bodies of at most %d octets", c.op.MaxBodyBytes))
}
