// Package receiver is for those who are called back: it verifies the signature of a
// request, of Standard Webhooks (v1, v1a) or of RFC 9421, hands each message to the application once, and
// answers so that the sender repeats what was not handled.
//
// What it answers, and what a sender makes of it:
//
//   - the handler's own 2xx: settled
//   - the same answer again: handled before under the same webhook-id
//   - 400: a webhook-* header is missing or malformed, or the body broke off
//   - 403: no signature matches, or covers what the request says, or the timestamp is
//     not within sign.Tolerance. Not 401, which would have to name a scheme in WWW-Authenticate (RFC 9110 §15.5.2)
//   - 413: the body exceeds Options.MaxBodyBytes
//   - 500, or the handler's own: not handled, please repeat
//   - 503 with Retry-After: the Deduper failed, please repeat
//
// Each refusal says what is wrong and what to do about it, to the sender and in the log.
//
// It does not look at the request's method and path: those are the mux's.
package receiver

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/ringback/ringback/sign"
)

// DefaultMaxBodyBytes is the limit of a request's body where Options has none. The
// body is held in memory before its signature can be checked, so the limit is also
// what a stranger can make each connection hold.
const DefaultMaxBodyBytes = 4 << 20

// retryAfterSeconds is what a 503 asks for.
const retryAfterSeconds = 5

// Options say how a Receiver works. All but Secrets may be left out.
type Options struct {
	// Secrets are those of one sender: a message passes if any of them fits. Two
	// while a secret is being replaced, else one.
	Secrets []sign.Secret
	// MaxBodyBytes bounds a request's body; 0 is DefaultMaxBodyBytes. The formats
	// that send a result without its envelope may need more.
	MaxBodyBytes int64
	// RequireRFC9421 takes only messages with a signature of RFC 9421, which covers
	// the method, the URL and the headers Ringback-* and ce-*, too. Without it one is
	// checked where there is one (see Message.WholeRequest), and demanded of a request
	// that has no body, or such headers.
	RequireRFC9421 bool
	// PublicURL is what senders call this receiver by where a proxy stands before it
	// that changes host or path: scheme, host and what the proxy cuts off the path,
	// such as https://my.server/hooks. Only signatures of RFC 9421 need it. Empty is
	// what the request says.
	PublicURL string
	// Deduper remembers the handled messages; nil is a new Memory, which forgets
	// them when the process ends.
	Deduper Deduper
	// Logger gets the handler's and the Deduper's errors, and refusals at level Info;
	// nil is slog.Default().
	Logger *slog.Logger
}

// What Verify returns besides the errors of sign.Verify, wrapped with the particulars.
var (
	// ErrBodyTooLarge: the body exceeds Options.MaxBodyBytes.
	ErrBodyTooLarge = errors.New("the request's body is too large")
	// ErrBodyBroken: the body ended early, or too late.
	ErrBodyBroken = errors.New("the request's body could not be read")
	// ErrOutsideBody: the request has no body, or headers ce-* or Ringback-*, and no
	// signature of RFC 9421, which alone covers what it says.
	ErrOutsideBody = errors.New("what the request says is not signed")
)

// Receiver takes the callbacks of one sender. It is safe for concurrent use.
type Receiver struct {
	secrets []sign.Secret
	maxBody int64
	// requireRFC9421 and publicURL are those of Options.
	requireRFC9421 bool
	publicURL      string

	deduper Deduper
	logger  *slog.Logger
}

// New makes a Receiver. It fails without a usable secret and on a negative limit.
func New(o Options) (*Receiver, error) {
	if len(o.Secrets) == 0 {
		return nil, fmt.Errorf("new receiver: %w: Options.Secrets is empty; it takes the sign.ParseSecret of what GET /v1/secret shows", sign.ErrSecret)
	}
	for i, secret := range o.Secrets {
		if secret.IsZero() {
			return nil, fmt.Errorf("new receiver: %w: Options.Secrets[%d] is empty", sign.ErrSecret, i)
		}
	}
	if o.MaxBodyBytes < 0 {
		return nil, errors.New("new receiver: Options.MaxBodyBytes is negative")
	}
	if err := checkPublicURL(o.PublicURL); err != nil {
		return nil, err
	}
	rc := &Receiver{secrets: slices.Clone(o.Secrets), maxBody: o.MaxBodyBytes, deduper: o.Deduper, logger: o.Logger,
		requireRFC9421: o.RequireRFC9421, publicURL: o.PublicURL}
	if rc.maxBody == 0 {
		rc.maxBody = DefaultMaxBodyBytes
	}
	if rc.deduper == nil {
		rc.deduper = &Memory{}
	}
	if rc.logger == nil {
		rc.logger = slog.Default()
	}
	return rc, nil
}

// Message is a verified callback. The signature covers all of it, and nothing else
// of the request unless WholeRequest says so.
type Message struct {
	// ID is the same in all attempts at one callback.
	ID string
	// Timestamp is the time of this attempt, in whole seconds.
	Timestamp time.Time
	// Type is the "type" of a JSON body, such as "scan.succeeded"; else empty.
	Type string
	// Body is the request's body. It must not be changed.
	Body []byte
	// WholeRequest tells that the method, the URL with its query and the headers
	// Ringback-* and ce-* are signed, too (RFC 9421). Else nothing that a stranger
	// wrote into those would be noticed.
	WholeRequest bool
}

// Verify reads the request's body and checks it, without looking for duplicates and
// without answering: for those who do both themselves. Status tells what to answer
// to its error.
func (rc *Receiver) Verify(r *http.Request) (Message, error) {
	body, err := rc.read(r)
	if err != nil {
		return Message{}, fmt.Errorf("receive callback: %w", err)
	}
	m, err := rc.verify(r, body)
	if err != nil {
		return Message{}, fmt.Errorf("receive callback: %w", err)
	}
	m.Type = typeOf(body)
	return m, nil
}

func (rc *Receiver) read(r *http.Request) ([]byte, error) {
	var body []byte
	var err error
	if r.ContentLength <= rc.maxBody {
		body, err = io.ReadAll(http.MaxBytesReader(nil, r.Body, rc.maxBody))
	}
	switch _, tooLarge := errors.AsType[*http.MaxBytesError](err); {
	case tooLarge || r.ContentLength > rc.maxBody:
		return nil, fmt.Errorf("%w: it has more than %d bytes; raise Options.MaxBodyBytes", ErrBodyTooLarge, rc.maxBody)
	case err != nil:
		return nil, fmt.Errorf("%w: %w; the sender repeats it", ErrBodyBroken, err)
	}
	return body, nil
}

func typeOf(body []byte) string {
	var v struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(body, &v) != nil {
		return ""
	}
	return v.Type
}

// Status is the HTTP status for an error of Verify: 400, 403 or 413.
func Status(err error) int {
	switch {
	case errors.Is(err, ErrBodyTooLarge):
		return http.StatusRequestEntityTooLarge
	case errors.Is(err, sign.ErrMismatch), errors.Is(err, sign.ErrTimestamp), errors.Is(err, ErrOutsideBody):
		return http.StatusForbidden
	default:
		return http.StatusBadRequest
	}
}

// Handler calls handle with each message, once unless it fails. An error is logged
// and answered with 500, and the sender repeats the message; nil is 200. handle's
// context ends when the sender hangs up, usually after some 15 seconds: what takes
// longer is better stored and done later.
func (rc *Receiver) Handler(handle func(ctx context.Context, m Message) error) http.Handler {
	return rc.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, _ := FromContext(r.Context())
		if err := handle(r.Context(), m); err != nil {
			rc.logger.ErrorContext(r.Context(), "callback not handled",
				"webhook_id", m.ID, "type", m.Type, "error", err)
			http.Error(w, "the message was not handled", http.StatusInternalServerError)
		}
	}))
}

// Middleware calls next with each verified request, once unless it answers with
// another status than 2xx or panics; a duplicate gets the same answer. FromContext has
// the message, and the body can be read again. The answer is held back until next has
// returned and the Deduper has kept it, so next can neither stream nor hijack.
func (rc *Receiver) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, err := rc.Verify(r)
		if err != nil {
			rc.logger.InfoContext(r.Context(), "callback refused", "error", err)
			http.Error(w, err.Error(), Status(err))
			return
		}
		if challenge := m.Challenge(); challenge != "" {
			Consent(w, challenge)
			return
		}
		var given *answer
		kept, err := rc.deduper.Once(r.Context(), m.ID, func(ctx context.Context) ([]byte, error) {
			given = &answer{Head: http.Header{}}
			next.ServeHTTP(given, withMessage(ctx, r, m))
			return given.settle()
		})
		switch {
		case err == nil && given == nil:
			readAnswer(kept).copyTo(w)
		case err == nil || errors.Is(err, errNotSettled):
			given.copyTo(w)
		default:
			rc.unavailable(w, r, m, err)
		}
	})
}

func (rc *Receiver) unavailable(w http.ResponseWriter, r *http.Request, m Message, err error) {
	// A sender that hung up while it waited for another attempt is no news.
	if r.Context().Err() == nil {
		rc.logger.ErrorContext(r.Context(), "callback not deduplicated", "webhook_id", m.ID, "error", err)
	}
	w.Header().Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	http.Error(w, "the message could not be recorded", http.StatusServiceUnavailable)
}

type contextKey struct{}

// FromContext returns the verified message, in a handler behind Middleware.
func FromContext(ctx context.Context) (Message, bool) {
	m, ok := ctx.Value(contextKey{}).(Message)
	return m, ok
}

func withMessage(ctx context.Context, r *http.Request, m Message) *http.Request {
	r = r.WithContext(context.WithValue(ctx, contextKey{}, m))
	r.Body = io.NopCloser(bytes.NewReader(m.Body))
	return r
}

// errNotSettled tells the Deduper that the handler's answer was no 2xx.
var errNotSettled = errors.New("the handler did not answer with 2xx")

// answer is a response that waits for the Deduper, which keeps it as JSON.
type answer struct {
	Status int         `json:"status"`
	Head   http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"`
}

// Header, WriteHeader and Write implement http.ResponseWriter.
func (a *answer) Header() http.Header { return a.Head }

func (a *answer) WriteHeader(status int) {
	// The first final status counts, as in net/http; 1xx are not final.
	if a.Status == 0 && status >= http.StatusOK {
		a.Status = status
	}
}

func (a *answer) Write(p []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.Body = append(a.Body, p...)
	return len(p), nil
}

// settle returns what the Deduper keeps of a 2xx: nil for a mere 200.
func (a *answer) settle() ([]byte, error) {
	a.WriteHeader(http.StatusOK)
	switch {
	case a.Status/100 != 2:
		return nil, errNotSettled
	case a.Status == http.StatusOK && len(a.Head) == 0 && len(a.Body) == 0:
		return nil, nil
	}
	return json.Marshal(a)
}

// readAnswer reads what settle has returned. What a Deduper did not bring back whole
// is a mere 200: the message is handled.
func readAnswer(kept []byte) *answer {
	a := &answer{}
	if json.Unmarshal(kept, a) != nil || a.Status/100 != 2 {
		return &answer{Status: http.StatusOK}
	}
	return a
}

func (a *answer) copyTo(w http.ResponseWriter) {
	maps.Copy(w.Header(), a.Head)
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body) // the sender may have gone; it will repeat
}
