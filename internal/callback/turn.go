package callback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// MaxOrderKeyBytes is how long the key of an ordered endpoint's callback may be. A digest
// stands for a longer one, so that what belongs together stays together.
const MaxOrderKeyBytes = 256

// The headers of callbacks to ordered endpoints.
const (
	headerSequence = "Ringback-Sequence"
	headerOrderKey = "Ringback-Order-Key"
)

// ParseOrderKey reads the expression that says what belongs together at an ordered
// endpoint. Its error is safe to show.
func ParseOrderKey(text string) (*expression.Template, error) {
	t, err := expression.Parse(text)
	switch {
	case err != nil:
		return nil, err
	case t.Literal():
		return nil, errors.New("it holds no expression, so it would be the same for all callbacks")
	case len(t.Names(expression.URL))+len(t.Names(expression.Status)) > 0:
		return nil, errors.New("$url and $statusCode say nothing of what belongs together")
	}
	return t, nil
}

// line makes a callback one of the endpoint's line, where the endpoint is ordered.
func (s *Sender) line(cb *job.Callback, j *job.Job, p *place) {
	if !p.endpoint.Ordered {
		return
	}
	cb.Ordered = true
	if p.order != nil {
		cb.OrderKey = orderKey(p.order, jobCall{s, j})
	}
}

// orderKey is what the expression stands for; empty where that is nothing.
func orderKey(t *expression.Template, c expression.Call) string {
	key, ok, err := t.Text(c)
	switch {
	case err != nil || !ok:
		return ""
	case len(key) > MaxOrderKeyBytes || !utf8.ValidString(key) || strings.ContainsRune(key, 0):
		digest := sha256.Sum256([]byte(key))
		return "sha256:" + hex.EncodeToString(digest[:])
	}
	return key
}

// jobCall is a job as expressions look at it: its request, and as the answer its result.
type jobCall struct {
	s *Sender
	j *job.Job
}

func (c jobCall) URL() string             { return c.j.Request.Path }
func (c jobCall) Method() string          { return c.j.Request.Method }
func (c jobCall) Path(name string) string { return c.j.Request.Params[name] }

func (c jobCall) Header(name string) (string, bool, error) {
	values := c.j.Request.Header[name]
	switch len(values) {
	case 0:
		return "", false, nil
	case 1:
		return values[0], true, nil
	}
	return "", false, expression.ErrRepeated
}

func (c jobCall) Query(name string) (value string, ok bool, err error) {
	for pair := range strings.SplitSeq(c.j.Request.RawQuery, "&") {
		rawName, raw, _ := strings.Cut(pair, "=")
		if found, err := expression.Unescape(rawName); err != nil || found != name {
			continue
		}
		if ok {
			return "", false, expression.ErrRepeated
		}
		if value, err = expression.Unescape(raw); err != nil {
			return "", false, err
		}
		ok = true
	}
	return value, ok, nil
}

func (c jobCall) Body() (*expression.Document, error) {
	if c.j.Request.Header.Get("Content-Encoding") != "" {
		return nil, nil
	}
	return c.document(c.j.Request.Header.Get("Content-Type"), c.j.Request.Body)
}

func (c jobCall) document(contentType string, b job.Body) (*expression.Document, error) {
	if b.Size == 0 {
		return nil, nil
	}
	f, err := c.s.opt.OpenBody(b)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return expression.Read(contentType, f)
}

func (c jobCall) AnswerHeader(name string) (string, bool) {
	r := c.j.Result
	switch {
	case r == nil:
		return "", false
	case name == "Content-Type":
		return r.ContentType, r.ContentType != ""
	}
	values := r.Header[http.CanonicalHeaderKey(name)]
	return strings.Join(values, ", "), len(values) > 0
}

func (c jobCall) AnswerBody() *expression.Document {
	if c.j.Result != nil {
		if d, err := c.document(c.j.Result.ContentType, c.j.ResultBody()); err == nil && d != nil {
			return d
		}
	}
	return expression.JSON([]byte("null"))
}

// schedule says from when and until when a callback may be sent: as the call chose for
// the target, else as the operation has it. What asks is wanted at once.
func schedule(cb *job.Callback, t *job.Target, c *job.Contract) {
	if cb.Event == job.EventAsk {
		return
	}
	delay := t.Delay
	if delay == 0 && t.DeliverAt.IsZero() {
		delay = c.Delay
	}
	due := cb.CreatedAt.Add(delay)
	if t.DeliverAt.After(due) {
		due = t.DeliverAt
	}
	if due.After(cb.CreatedAt) {
		cb.GiveUpAt = cb.GiveUpAt.Add(due.Sub(cb.CreatedAt))
		cb.DeliverAt, cb.DueAt, cb.Waiting = due, due, job.WaitingScheduled
	}
	expires := t.ExpiresIn
	if expires == 0 {
		expires = c.ExpiresIn
	}
	if expires > 0 {
		cb.ExpiresAt = due.Add(expires)
	}
}

// mayBeClaimed tells whether a callback may be sent as soon as it is stored.
func mayBeClaimed(cb *job.Callback) bool { return !cb.Ordered && cb.DeliverAt.IsZero() }

func expired(cb *job.Callback, now time.Time) bool {
	return !cb.ExpiresAt.IsZero() && !now.Before(cb.ExpiresAt)
}

// setLine says in the header which place in its line a callback has.
func setLine(h http.Header, cb *job.Callback) {
	h[headerSequence] = []string{strconv.FormatInt(cb.Sequence, 10)}
	if cb.OrderKey != "" {
		h[headerOrderKey] = []string{escapeHeader(cb.OrderKey)}
	}
}

const (
	expireInterval = time.Second
	expireBatch    = 500
)

// openExpirer begins to discard what nobody wants any more while it waits; what it
// returns ends it.
func (s *Sender) openExpirer() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(expireInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				s.expire(ctx)
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

func (s *Sender) expire(ctx context.Context) {
	for n := expireBatch; n == expireBatch && ctx.Err() == nil; {
		var err error
		if n, err = s.opt.Store.ExpireCallbacks(ctx, s.opt.Now(), expireBatch); err != nil && ctx.Err() == nil {
			s.opt.Log.Error("discard expired callbacks", "error", err)
		}
	}
}
