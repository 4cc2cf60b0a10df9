package sqlite

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// binder binds the parameters of a statement in their order. The first error,
// from preparing it on, is kept until exec or each.
type binder struct {
	st  *sqlite3.Stmt
	n   int
	err error
}

func (c *conn) bind(sql string) *binder {
	st, err := c.stmt(sql)
	return &binder{st: st, err: err}
}

// next moves to the next parameter, and tells whether it can be bound.
func (b *binder) next() bool {
	b.n++
	return b.err == nil
}

func (b *binder) int(v int64) *binder {
	if b.next() {
		b.err = b.st.BindInt64(b.n, v)
	}
	return b
}

func (b *binder) text(v string) *binder {
	if b.next() {
		b.err = b.st.BindText(b.n, v)
	}
	return b
}

func (b *binder) null() *binder {
	if b.next() {
		b.err = b.st.BindNull(b.n)
	}
	return b
}

// blob binds nil as NULL.
func (b *binder) blob(v []byte) *binder {
	if v == nil {
		return b.null()
	}
	if b.next() {
		b.err = b.st.BindBlob(b.n, v)
	}
	return b
}

func (b *binder) key(id job.ID) *binder { return b.int(int64(id.Key())) }
func (b *binder) id(id job.ID) *binder  { return b.blob(id[:]) }

func (b *binder) bool(v bool) *binder {
	if v {
		return b.int(1)
	}
	return b.int(0)
}

// opt binds "" as NULL.
func (b *binder) opt(v string) *binder {
	if v == "" {
		return b.null()
	}
	return b.text(v)
}

// time binds the zero time as 0.
func (b *binder) time(t time.Time) *binder { return b.int(millis(t)) }

// failure binds an error as JSON text, nil as NULL.
func (b *binder) failure(e *job.Error) *binder {
	if e == nil {
		return b.null()
	}
	text, err := json.Marshal(e)
	if b.err == nil {
		b.err = err
	}
	return b.text(string(text))
}

// resultHead binds what the job's own row holds of a result.
func (b *binder) resultHead(r *job.Result) *binder {
	if r == nil {
		return b.int(0).null().bool(false)
	}
	return b.int(int64(r.Status)).opt(r.ContentType).bool(r.Echo)
}

// exec runs the statement to its end.
func (b *binder) exec() error {
	if b.err != nil {
		return b.err
	}
	return b.st.Exec()
}

// each runs the statement and calls f for each row.
func (b *binder) each(f func(*scanner)) error {
	if b.err != nil {
		return b.err
	}
	for b.st.Step() {
		f(&scanner{st: b.st})
	}
	return b.st.Reset()
}

func millis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

// scanner reads the columns of a row in their order.
type scanner struct {
	st *sqlite3.Stmt
	n  int
}

func (s *scanner) int() int64   { s.n++; return s.st.ColumnInt64(s.n - 1) }
func (s *scanner) text() string { s.n++; return s.st.ColumnText(s.n - 1) }
func (s *scanner) bool() bool   { return s.int() != 0 }

// blob is nil for NULL.
func (s *scanner) blob() []byte {
	s.n++
	return slices.Clone(s.st.ColumnRawBlob(s.n - 1))
}

func (s *scanner) id() (id job.ID) {
	s.n++
	copy(id[:], s.st.ColumnRawBlob(s.n-1))
	return id
}

func (s *scanner) time() time.Time { return timeOf(s.int()) }

// timeOf is the zero time for what is no time.
func timeOf(ms int64) time.Time {
	if ms > 0 {
		return time.UnixMilli(ms).UTC()
	}
	return time.Time{}
}

func (s *scanner) micros() time.Duration { return time.Duration(s.int()) * time.Microsecond }

// failure is nil for NULL.
func (s *scanner) failure() *job.Error {
	s.n++
	text := s.st.ColumnRawText(s.n - 1)
	if text == nil {
		return nil
	}
	e := new(job.Error)
	if err := json.Unmarshal(text, e); err != nil {
		e.Message = "unreadable" // only we write it: the row is damaged
	}
	return e
}

// policy binds a policy as JSON text, one that permits any URL as NULL.
func (b *binder) policy(p job.Policy) *binder {
	text, err := json.Marshal(p)
	if b.err == nil {
		b.err = err
	}
	if string(text) == "{}" {
		return b.null()
	}
	return b.text(string(text))
}

// policy permits nothing but endpoints where it cannot be read: only we write it,
// so the row is damaged.
func (s *scanner) policy() (p job.Policy) {
	s.n++
	if text := s.st.ColumnRawText(s.n - 1); text != nil && json.Unmarshal(text, &p) != nil {
		p.Registered = true
	}
	return p
}

// words is nil for none.
func (s *scanner) words() []string {
	if text := s.text(); text != "" {
		return strings.Fields(text)
	}
	return nil
}

// header is written as lines of "Name: value"; values hold no line break.
func encodeHeader(h http.Header) string {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v) + 3
		}
	}
	b := make([]byte, 0, size)
	for name, values := range h {
		for _, v := range values {
			b = append(append(append(append(b, name...), ": "...), v...), '\n')
		}
	}
	return string(b)
}

func decodeHeader(text string) http.Header {
	h := http.Header{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": "); ok {
			h[name] = append(h[name], value)
		}
	}
	return h
}

// Targets, a line each, and path parameters are written as a URL's query: what
// callers send is any octets, which JSON would not keep.

func encodeTargets(targets []job.Target) string {
	switch len(targets) {
	case 0:
		return ""
	case 1:
		return encodeTarget(&targets[0])
	}
	lines := make([]string, len(targets))
	for i := range targets {
		lines[i] = encodeTarget(&targets[i])
	}
	return strings.Join(lines, "\n")
}

func encodeTarget(t *job.Target) string {
	text := "source=" + url.QueryEscape(string(t.Source)) + "&endpoint=" + url.QueryEscape(t.Endpoint) + "&url=" + url.QueryEscape(t.URL)
	if t.EndpointURL != "" {
		text += "&endpoint_url=" + url.QueryEscape(t.EndpointURL)
	}
	if len(t.Events) > 0 {
		text += "&events=" + url.QueryEscape(strings.Join(eventWords(t.Events), " "))
	}
	if t.Method != "" {
		text += "&method=" + url.QueryEscape(t.Method)
	}
	if t.Format != "" {
		text += "&format=" + url.QueryEscape(t.Format)
	}
	if t.Delay > 0 {
		text += "&delay=" + t.Delay.String()
	}
	if !t.DeliverAt.IsZero() {
		text += "&deliver_at=" + strconv.FormatInt(t.DeliverAt.UnixMilli(), 10)
	}
	if t.ExpiresIn > 0 {
		text += "&expires_in=" + t.ExpiresIn.String()
	}
	if len(t.Header) > 0 {
		text += "&header=" + url.QueryEscape(encodeHeader(t.Header))
	}
	return text
}

func decodeTargets(text string) []job.Target {
	if text == "" {
		return nil
	}
	targets := make([]job.Target, 0, 1+strings.Count(text, "\n"))
	for line := range strings.SplitSeq(text, "\n") {
		v, _ := url.ParseQuery(line)
		t := job.Target{Source: job.Source(v.Get("source")), Endpoint: v.Get("endpoint"), URL: v.Get("url"), EndpointURL: v.Get("endpoint_url"),
			Events: eventsOf(strings.Fields(v.Get("events"))), Method: v.Get("method"), Format: v.Get("format")}
		// Only we write them: what cannot be read is none.
		t.Delay, _ = time.ParseDuration(v.Get("delay"))
		t.ExpiresIn, _ = time.ParseDuration(v.Get("expires_in"))
		at, _ := strconv.ParseInt(v.Get("deliver_at"), 10, 64)
		t.DeliverAt = timeOf(at)
		if header := v.Get("header"); header != "" {
			t.Header = decodeHeader(header)
		}
		targets = append(targets, t)
	}
	return targets
}

func encodeParams(params map[string]string) string {
	var b strings.Builder
	for name, value := range params {
		if b.Len() > 0 {
			b.WriteByte('&')
		}
		b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(value))
	}
	return b.String()
}

func decodeParams(text string) map[string]string {
	if text == "" {
		return nil
	}
	v, _ := url.ParseQuery(text)
	params := make(map[string]string, len(v))
	for name := range v {
		params[name] = v.Get(name)
	}
	return params
}

func eventWords(events []job.Event) (words []string) {
	for _, ev := range events {
		words = append(words, string(ev))
	}
	return words
}

func eventsOf(words []string) (events []job.Event) {
	for _, word := range words {
		events = append(events, job.Event(word))
	}
	return events
}
