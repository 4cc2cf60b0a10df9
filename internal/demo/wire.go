package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptrace"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/receiver"
)

// kind is what a message is in the picture of the letter.
type kind string

const (
	letter   kind = "letter"   // the shop's call
	receipt  kind = "receipt"  // 202
	refusal  kind = "refusal"  // another answer to the call
	silence  kind = "silence"  // no answer
	envelope kind = "envelope" // the callback
	thanks   kind = "thanks"   // the shop's 2xx
	failure  kind = "failure"  // the shop's 500
)

// message is one HTTP message as it was on the wire.
type message struct {
	Number  int
	Kind    kind
	At      time.Time
	Attempt int // of a callback: 1 for the first
	Start   []text
	Fields  []field
	Body    []text
	Remark  string // about the body, or in its place
}

// FromShop tells who sent it.
func (m message) FromShop() bool {
	return m.Kind == letter || m.Kind == thanks || m.Kind == failure
}

// text is a piece of a line; the page marks some.
type text struct {
	Text string
	Mark bool
}

type field struct {
	Name, Value string
	Mark        bool
}

// marked are the fields that the page draws attention to.
var marked = map[string]bool{"Location": true, "Webhook-Id": true, "Webhook-Timestamp": true, "Webhook-Signature": true}

func fieldsOf(h http.Header) []field {
	var fields []field
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fields = append(fields, field{name, value, marked[name]})
		}
	}
	return fields
}

const maxShownBody = 16 << 10

// telling are the members of a JSON body that the page marks: the callback URL,
// what the shop wanted back, and the verdict.
var telling = regexp.MustCompile(`"(?:url|state|infected)": (?:"[^"]*"|\w+)`)

// shownBody is a body for the page.
func shownBody(contentType string, body []byte) (shown []text, remark string) {
	media, _, _ := mime.ParseMediaType(contentType)
	var indented bytes.Buffer
	switch {
	case len(body) > maxShownBody:
		return nil, bytesText(int64(len(body))) + " more"
	case !strings.HasSuffix(media, "json") || json.Indent(&indented, body, "", "  ") != nil:
		return []text{{Text: string(body)}}, ""
	}
	rest := strings.TrimSpace(indented.String())
	for at := telling.FindStringIndex(rest); at != nil; at = telling.FindStringIndex(rest) {
		shown = append(shown, text{Text: rest[:at[0]]}, text{Text: rest[at[0]:at[1]], Mark: true})
		rest = rest[at[1]:]
	}
	return append(shown, text{Text: rest}), bytesText(int64(len(body))) + " of JSON, indented here"
}

type recordedKey struct{}

// recorded makes exchanges with this context show up on the document's page.
func recorded(ctx context.Context, d *document) context.Context {
	return context.WithValue(ctx, recordedKey{}, d)
}

// recorder notes what the shop and the gateway say to each other.
type recorder struct {
	next http.RoundTripper
	shop *Shop
}

// RoundTrip implements http.RoundTripper.
func (rec *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	d, _ := req.Context().Value(recordedKey{}).(*document)
	if d == nil {
		return rec.next.RoundTrip(req)
	}
	var sent sentFields
	sentAt := time.Now()
	resp, err := rec.next.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), sent.trace())))
	m := message{Kind: letter, At: sentAt, Start: startLine(req), Fields: sent.all(),
		Remark: fmt.Sprintf("the document: %s", bytesText(req.ContentLength))}
	if err != nil {
		rec.shop.counter.record(d, m, message{Kind: silence, At: time.Now(), Remark: err.Error()})
		return nil, err
	}
	answeredAt := time.Now()
	body, err := io.ReadAll(resp.Body)
	resp.Body.Close()
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	answer := message{Kind: refusal, At: answeredAt, Start: []text{{Text: resp.Proto + " "}, {Text: resp.Status, Mark: true}},
		Fields: fieldsOf(resp.Header)}
	if resp.StatusCode == http.StatusAccepted {
		answer.Kind = receipt
	}
	answer.Body, answer.Remark = shownBody(resp.Header.Get("Content-Type"), body)
	rec.shop.counter.record(d, m, answer)
	return resp, nil
}

// startLine is a request's first line, with the callback URL marked.
func startLine(req *http.Request) []text {
	line := req.Method + " " + req.URL.RequestURI()
	before, after, ok := strings.Cut(line, "callbackURL=")
	if !ok {
		return []text{{Text: line + " HTTP/1.1"}}
	}
	url, rest, more := strings.Cut(after, "&")
	if more {
		rest = "&" + rest
	}
	return []text{{Text: before + "callbackURL="}, {Text: url, Mark: true}, {Text: rest + " HTTP/1.1"}}
}

// sentFields are the header fields of a request as the transport writes them.
type sentFields struct {
	mu     sync.Mutex
	fields []field
}

func (s *sentFields) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		// Anew on another connection, where the first was found closed.
		GotConn: func(httptrace.GotConnInfo) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.fields = nil
		},
		WroteHeaderField: func(name string, values []string) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, value := range values {
				if name == "Ringback-Key" {
					value = "(the shop’s key, not shown here)"
				}
				s.fields = append(s.fields, field{name, value, false})
			}
		},
	}
}

func (s *sentFields) all() []field {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.fields)
}

// receivedMessage is a callback as it came. net/http has taken Host out of the
// fields.
func receivedMessage(r *http.Request, m receiver.Message, at time.Time, attempt int) message {
	got := message{Kind: envelope, At: at, Attempt: attempt,
		Start:  []text{{Text: r.Method + " "}, {Text: r.RequestURI, Mark: true}, {Text: " " + r.Proto}},
		Fields: append([]field{{"Host", r.Host, true}}, fieldsOf(r.Header)...)}
	got.Body, got.Remark = shownBody(r.Header.Get("Content-Type"), m.Body)
	return got
}

// answerMessage is the shop's answer to a callback.
func answerMessage(code int, header http.Header, body string, at time.Time) message {
	m := message{Kind: thanks, At: at, Start: []text{{Text: "HTTP/1.1 "}, {Text: fmt.Sprintf("%d %s", code, http.StatusText(code)), Mark: true}},
		Fields: fieldsOf(header), Body: []text{{Text: body}}}
	if code/100 != 2 {
		m.Kind = failure
	}
	return m
}
