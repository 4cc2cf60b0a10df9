// Package receivertest makes signed callbacks for the tests of those who receive them.
package receivertest

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// Callback is what to send. The zero value is one that the operation "test" succeeded.
type Callback struct {
	Method string // empty: POST
	URL    string // empty: "/", which is enough for a handler
	// ID is the webhook-id. Empty: a new one for each request; the same one twice is
	// a duplicate.
	ID string
	// Timestamp is the time of the attempt; zero: now.
	Timestamp time.Time
	// Header is added to the request's; its content type is application/json if this
	// has none.
	Header http.Header
	// Body is sent as it stands; nil: Envelope.
	Body []byte
	// Envelope is the default format. What it leaves out of type, timestamp, id,
	// operation and status is filled in.
	Envelope receiver.Envelope
}

// Request makes the request that a gateway sends, signed with the secrets. It can be
// given to a handler as well as to an http.Client. Like httptest.NewRequest it panics
// where the request cannot be made.
func (c Callback) Request(secrets ...sign.Secret) *http.Request {
	r, err := c.request(secrets)
	if err != nil {
		panic(fmt.Sprintf("receivertest: %v", err))
	}
	return r
}

func (c Callback) request(secrets []sign.Secret) (*http.Request, error) {
	m := sign.Message{ID: cmp.Or(c.ID, "cb_"+rand.Text()), Timestamp: c.Timestamp, Body: c.Body}
	if m.Timestamp.IsZero() {
		m.Timestamp = time.Now()
	}
	if m.Body == nil {
		var err error
		if m.Body, err = c.envelope(m.Timestamp); err != nil {
			return nil, fmt.Errorf("write the envelope: %w", err)
		}
	}
	r, err := http.NewRequest(cmp.Or(c.Method, http.MethodPost), cmp.Or(c.URL, "/"), bytes.NewReader(m.Body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	maps.Copy(r.Header, c.Header)
	if err := signWhole(r, m, secrets); err != nil {
		return nil, err
	}
	return r, sign.Sign(r.Header, m, secrets...)
}

// signWhole adds a signature of RFC 9421 to what says something outside its body, as a
// gateway does.
func signWhole(r *http.Request, m sign.Message, secrets []sign.Secret) error {
	whole := sign.Request{Message: m, Method: r.Method, URL: cmp.Or(r.URL.Scheme, "http") + "://" + r.Host + r.URL.RequestURI(), Header: r.Header}
	if !sign.SaysOutsideBody(whole) {
		return nil
	}
	keys := make([]sign.Keys, len(secrets))
	for i, secret := range secrets {
		keys[i] = sign.Keys{Shared: secret, Private: secret}
	}
	return sign.Schemes{{Name: sign.SchemeRFC9421}}.Sign(whole, keys...)
}

func (c Callback) envelope(now time.Time) ([]byte, error) {
	e := c.Envelope
	j := &e.Data.Job
	j.ID = cmp.Or(j.ID, "job_"+rand.Text())
	j.Operation = cmp.Or(j.Operation, "test")
	j.Status = cmp.Or(j.Status, "succeeded")
	if j.CreatedAt.IsZero() {
		j.CreatedAt = now.UTC()
	}
	e.Type = cmp.Or(e.Type, j.Operation+"."+j.Status)
	if e.Timestamp.IsZero() {
		e.Timestamp = now.UTC()
	}
	if e.Data.ContentType == "" && e.Data.Result != nil {
		e.Data.ContentType = "application/json"
	}
	return json.Marshal(e)
}
