package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// heartbeat keeps proxies from closing a stream in which nothing happens.
const heartbeat = 15 * time.Second

type followInput struct {
	JobPath
	LastEventID string `header:"Last-Event-ID" doc:"The id of the last event that was read: nothing is sent until the job is different."`
}

func eventResponses() map[string]*huma.Response {
	return map[string]*huma.Response{
		"200": {
			Description: "A stream of events. Each one's data is the job as it stands; its name is the job's status, " +
				"or callback where only the callbacks have changed. It ends with the job's last callback.",
			Content: map[string]*huma.MediaType{"text/event-stream": {}},
		},
		"204": {Description: "Nothing has happened since Last-Event-ID, and nothing will"},
	}
}

// event is the state of a job as one server-sent event.
type event struct {
	id, name string
	data     []byte
	last     bool // nothing will change any more
}

// followJob streams a job's changes. What is sent is what stands, not what
// happened: changes that follow closely are one event.
func (v *v1) followJob(ctx context.Context, in *followInput) (*huma.StreamResponse, error) {
	id, err := in.id()
	if err != nil {
		return nil, err
	}
	who := callerOf(ctx)
	app := who.app.Name
	changed, cancel := v.watch.subscribe(id)
	first, err := v.event(ctx, app, id, in.LastEventID)
	if err != nil {
		cancel()
		return nil, storeProblem(ctx, v.opt.Log, "follow job", err)
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		defer cancel()
		r, w := humago.Unwrap(hctx)
		if first.last && first.id == in.LastEventID {
			// Unlike an end of the stream, this keeps a browser from connecting again.
			w.WriteHeader(http.StatusNoContent)
			return
		}
		s := newStream(w)
		s.begin()
		if first.id == in.LastEventID || s.send(first) == nil {
			v.stream(r, s, id, who, first, changed)
		}
	}}, nil
}

// stream sends what changes after the event sent, until the end of job and
// callbacks, of the connection, of the key, or of the gateway.
func (v *v1) stream(r *http.Request, s *stream, id job.ID, who *caller, sent event, changed <-chan struct{}) {
	expired, stop := v.expiry(who)
	defer stop()
	ticker := time.NewTicker(heartbeat)
	defer ticker.Stop()
	for !sent.last {
		select {
		case _, ok := <-changed:
			if !ok {
				return
			}
		case <-ticker.C:
			if s.ping() != nil {
				return
			}
		case <-who.changed:
		case <-expired:
			return
		case <-r.Context().Done():
			return
		}
		var p *Problem
		if who, p = v.auth.still(r.Context(), who, job.ScopeRead); p != nil {
			return
		}
		next, err := v.event(r.Context(), who.app.Name, id, sent.id)
		if err != nil {
			if r.Context().Err() == nil {
				v.opt.Log.WarnContext(r.Context(), "follow job", "job", id.Job(), "error", err)
			}
			return
		}
		if next.id != sent.id && s.send(next) != nil {
			return
		}
		sent = next
	}
}

// expiry tells when the key of a caller expires; nil where it never does.
func (a *API) expiry(who *caller) (expired <-chan time.Time, stop func()) {
	if who.key.ExpiresAt.IsZero() {
		return nil, func() {}
	}
	timer := time.NewTimer(who.key.ExpiresAt.Sub(a.now()))
	return timer.C, func() { timer.Stop() }
}

// event reads what stands. before is the id of the event that the reader has.
func (v *v1) event(ctx context.Context, app string, id job.ID, before string) (event, error) {
	j, err := v.opt.Store.Job(ctx, app, id)
	if err != nil {
		return event{}, fmt.Errorf("read job: %w", err)
	}
	doc, err := v.wholeDocument(ctx, j)
	if err != nil {
		return event{}, fmt.Errorf("read callbacks: %w", err)
	}
	return makeEvent(doc, before)
}

// makeEvent gives a job's document an id of two digests, of the job and of its
// callbacks, so that a reader who connects again with it learns of nothing twice,
// and which of the two has changed.
func makeEvent(doc client.Job, before string) (event, error) {
	data, err := json.Marshal(doc)
	if err != nil {
		return event{}, err
	}
	callbacks, err := json.Marshal([]any{doc.Callbacks, doc.Reply})
	if err != nil {
		return event{}, err
	}
	e := event{name: doc.Status, data: data, last: doc.Terminal()}
	for _, c := range doc.Callbacks {
		e.last = e.last && c.Status != client.CallbackPending
	}
	doc.Callbacks, doc.Reply = nil, nil
	alone, err := json.Marshal(doc)
	if err != nil {
		return event{}, err
	}
	e.id = digest(alone) + "-" + digest(callbacks)
	if job, _, _ := strings.Cut(before, "-"); job == digest(alone) {
		e.name = client.EventCallback
	}
	return e, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// stream writes server-sent events.
type stream struct {
	w       http.ResponseWriter
	control *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	return &stream{w: w, control: http.NewResponseController(w)}
}

func (s *stream) begin() {
	h := s.w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // a proxy that collects would hold the events back
	s.w.WriteHeader(http.StatusOK)
	_ = s.write([]byte("retry: 1000\n\n")) // a closed connection shows at the next write
}

func (s *stream) send(e event) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "id: %s\nevent: %s\ndata: %s\n\n", e.id, e.name, e.data) // JSON has no line breaks
	return s.write(b.Bytes())
}

func (s *stream) ping() error { return s.write([]byte(": ping\n\n")) }

func (s *stream) write(b []byte) error {
	if _, err := s.w.Write(b); err != nil {
		return err
	}
	return s.control.Flush()
}
