package api

import (
	"cmp"
	"errors"
	"net/http"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ringback/ringback/job"
)

// acceptedRetrySeconds is when to ask for a fresh job: most work takes longer
// than a request.
const acceptedRetrySeconds = "1"

// Header values that every answer shares; nobody changes them.
var (
	varyPrefer    = []string{"Prefer"}
	jsonType      = []string{"application/json"}
	acceptedRetry = []string{acceptedRetrySeconds}
	noSniff       = []string{"nosniff"}
	noStore       = []string{"no-store"}
)

// answer tells the caller about the job, or sends the result itself where the
// caller waits for it.
func (c *call) answer(w http.ResponseWriter, receipt job.Receipt) {
	h := w.Header()
	h["Vary"] = varyPrefer
	if receipt.Repeated {
		h["Idempotency-Replayed"] = []string{"true"}
		if p := c.recall(receipt.ID); p != nil {
			p.write(w)
			return
		}
	}
	done, err := c.result(c.r.Context(), receipt.ID)
	switch {
	case err != nil:
		// The job is safe; that its result cannot be read now is no reason to refuse.
		c.api.opt.Log.ErrorContext(c.r.Context(), "wait for job", "job", receipt.ID.Job(), "error", err)
	case done != nil:
		c.prefer.setApplied(h, false)
		h.Set("Ringback-Job-Id", receipt.ID.Job())
		if done.State != job.Succeeded {
			c.api.serveResult(w, c.r, done)
			return
		}
		if done.Bodies != job.BodiesWhole { // the call is a repeated one
			c.api.writeWhatIsLeft(w, c.r, done)
			return
		}
		c.api.writeResult(w, c.r, done)
		return
	}
	c.prefer.setApplied(h, true)
	c.writeAccepted(w)
}

// recall makes the call's job the one that an earlier call with the same key got.
func (c *call) recall(id job.ID) *Problem {
	ctx := c.r.Context()
	first, err := c.api.opt.Store.Job(ctx, c.app.Name, id)
	if errors.Is(err, job.ErrNotFound) {
		// The key is kept longer than its job: what can be said is what was said.
		c.job.ID, c.job.CreatedAt = id, id.Time()
		return nil
	}
	if err != nil {
		return storeProblem(ctx, c.api.opt.Log, "read job of a repeated call", err)
	}
	c.job = first
	return nil
}

var answerBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// writeAccepted sends the 202.
func (c *call) writeAccepted(w http.ResponseWriter) {
	h, self := w.Header(), c.api.jobURL(c.job.ID)
	h["Location"] = []string{self}
	h["Retry-After"] = acceptedRetry
	h["X-Content-Type-Options"] = noSniff
	h["Cache-Control"] = noStore
	if c.prefer.minimal {
		w.WriteHeader(http.StatusAccepted)
		return
	}
	h["Content-Type"] = jsonType
	w.WriteHeader(http.StatusAccepted)
	buf := answerBuffers.Get().(*[]byte)
	*buf = c.appendAccepted((*buf)[:0], self)
	_, _ = w.Write(*buf) // nobody is left to tell
	answerBuffers.Put(buf)
}

// createdLayout is how client.Time writes a moment.
const createdLayout = "2006-01-02T15:04:05.000Z"

// appendAccepted appends a client.AcceptedJob in JSON. It is written by hand since
// every call pays for it. self is the job's URL.
func (c *call) appendAccepted(b []byte, self string) []byte {
	b = append(b, `{"id":"`...)
	b = c.job.ID.AppendJob(b)
	b = append(b, `","operation":"`...)
	b = append(b, c.op.Name...)
	b = append(b, `","status":"accepted","created_at":"`...)
	b = c.job.CreatedAt.UTC().AppendFormat(b, createdLayout)
	if at := c.job.ScheduledAt; !at.IsZero() {
		b = append(b, `","scheduled_for":"`...)
		b = at.UTC().AppendFormat(b, createdLayout)
	}
	b = append(b, `","links":{"self":`...)
	b = appendQuoted(b, self, "")
	b = append(b, `,"result":`...)
	b = appendQuoted(b, self, "/result")
	b = append(b, `,"events":`...)
	b = appendQuoted(b, self, "/events")
	b = append(b, '}')
	targets := c.job.Targets
	if len(targets) > 0 {
		b = appendTarget(append(b, `,"callback":`...), &targets[0])
	}
	if len(targets) > 1 {
		b = append(b, `,"destinations":[`...)
		for i := range targets {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendTarget(b, &targets[i])
		}
		b = append(b, ']')
	}
	return append(b, '}', '\n')
}

// appendTarget appends a client.JobCallback in JSON.
func appendTarget(b []byte, t *job.Target) []byte {
	b = append(b, `{"url":`...)
	b = appendQuoted(b, cmp.Or(t.URL, t.EndpointURL), "")
	b = append(b, `,"source":"`...)
	b = append(b, t.Source...)
	b = append(b, '"')
	if t.Endpoint != "" {
		b = append(b, `,"endpoint":`...)
		b = appendQuoted(b, t.Endpoint, "")
	}
	if len(t.Events) > 0 {
		b = append(b, `,"events":["`...)
		for i, event := range t.Events {
			if i > 0 {
				b = append(b, `","`...)
			}
			b = append(b, event...)
		}
		b = append(b, `"]`...)
	}
	if t.Method != "" {
		b = appendQuoted(append(b, `,"method":`...), t.Method, "")
	}
	if t.Format != "" {
		b = appendQuoted(append(b, `,"format":`...), t.Format, "")
	}
	return append(b, '}')
}

func appendQuoted(b []byte, s, suffix string) []byte {
	// It fails only for what is not UTF-8, and no such URL was accepted.
	b, _ = jsontext.AppendQuote(b, s)
	b = append(b[:len(b)-1], suffix...)
	return append(b, '"')
}
