package docs

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/sign"
)

// What the inboxes hold at most, all together some 8 MiB.
const (
	maxInboxes      = 32
	maxArrivals     = 32
	maxArrivalBytes = 256 << 10 // of one callback: what is more cannot be verified here
	maxKeptBytes    = 8 << 10   // of its body, to be shown
	inboxLifetime   = time.Hour
)

// inboxes are receivers for those who try an operation out. They are in memory, few,
// small, and forgotten after an hour: this is no place for real callbacks.
type inboxes struct {
	keys func(context.Context) (sign.Keys, error)
	now  func() time.Time

	mu     sync.Mutex
	byName map[string]*inbox
	closed chan struct{} // ends the streams
}

// inbox is what arrived at one URL.
type inbox struct {
	opened   time.Time
	schemes  sign.Schemes // of the operation that is tried
	failures int          // how many callbacks are still to be answered with 500
	arrivals []arrival
	changed  chan struct{} // closed when another one has arrived
}

// arrival is a callback as it arrived, and what became of it.
type arrival struct {
	N           int
	At          time.Time
	Method, URL string // URL is the path and the query
	Header      []HeaderLine
	Body        string
	Cut         int    // octets of the body that are not shown
	Verified    string // by which signature; empty: by none
	Trouble     string // why it is not verified
	Answer      int
}

func newInboxes(keys func(context.Context) (sign.Keys, error), now func() time.Time) *inboxes {
	return &inboxes{keys: keys, now: now, byName: map[string]*inbox{}, closed: make(chan struct{})}
}

// open makes an inbox, and forgets what is too old or too much.
func (b *inboxes) open(schemes sign.Schemes, failures int) (name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
	if len(b.byName) >= maxInboxes {
		var oldest string
		for name, in := range b.byName {
			if oldest == "" || in.opened.Before(b.byName[oldest].opened) {
				oldest = name
			}
		}
		b.drop(oldest)
	}
	name = rand.Text() // 130 bits: nobody guesses it
	b.byName[name] = &inbox{opened: b.now(), schemes: schemes, failures: failures, changed: make(chan struct{})}
	return name
}

func (b *inboxes) forget() {
	for name, in := range b.byName {
		if b.now().Sub(in.opened) > inboxLifetime {
			b.drop(name)
		}
	}
}

// drop forgets an inbox; who watches it hears of that.
func (b *inboxes) drop(name string) {
	close(b.byName[name].changed)
	delete(b.byName, name)
}

// look is what has arrived so far, and a channel that is closed when there is more.
func (b *inboxes) look(name string) (arrivals []arrival, changed <-chan struct{}, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forget()
	in, ok := b.byName[name]
	if !ok {
		return nil, nil, false
	}
	return in.arrivals[:len(in.arrivals):len(in.arrivals)], in.changed, true
}

// schemes are those that the callbacks to an inbox should be signed with.
func (b *inboxes) schemes(name string) (sign.Schemes, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	in, ok := b.byName[name]
	if !ok {
		return nil, false
	}
	return in.schemes, true
}

func (b *inboxes) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	select {
	case <-b.closed:
	default:
		close(b.closed)
	}
}

// serveOpen makes an inbox for the callbacks of an operation. fail is how many of them it
// shall answer with 500.
func (s *Site) serveOpen(w http.ResponseWriter, r *http.Request) {
	failures, err := strconv.Atoi(r.URL.Query().Get("fail"))
	if err != nil || failures < 0 || failures > maxArrivals {
		failures = 0
	}
	path := s.opt.Prefix + "/docs/inbox/" + s.inboxes.open(s.schemes(r.URL.Query().Get("operation")), failures)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(struct {
		URL      string `json:"url"`
		Arrivals string `json:"arrivals"`
	}{"http://" + localAddress(r) + path, path + "/arrivals"})
}

// localAddress is where this gateway can reach itself, whatever it is called outside.
func localAddress(r *http.Request) string {
	if address, ok := r.Context().Value(http.LocalAddrContextKey).(interface{ String() string }); ok {
		return address.String()
	}
	return r.Host
}

// serveInbox takes a callback, whatever its method.
func (s *Site) serveInbox(w http.ResponseWriter, r *http.Request) {
	schemes, ok := s.inboxes.schemes(r.PathValue("name"))
	if !ok {
		http.Error(w, "there is no such inbox, or no longer", http.StatusGone)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxArrivalBytes))
	a := arrival{At: s.inboxes.now(), Method: r.Method, URL: r.URL.RequestURI(), Header: headerLines(r.Header)}
	a.Verified, a.Trouble = s.inboxes.verify(r, schemes, body, err)
	shown := pretty(r.Header.Get("Content-Type"), body)
	a.Body, a.Cut = shown[:min(len(shown), maxKeptBytes)], max(len(shown)-maxKeptBytes, 0)
	a.Body = strings.ToValidUTF8(a.Body, "\ufffd")
	if !s.inboxes.keep(r.PathValue("name"), &a) {
		http.Error(w, "there is no such inbox, or no longer", http.StatusGone)
		return
	}
	w.WriteHeader(a.Answer)
}

// verify says by which signature a callback is genuine, or why it is not.
func (b *inboxes) verify(r *http.Request, schemes sign.Schemes, body []byte, broken error) (verified, trouble string) {
	if broken != nil {
		return "", fmt.Sprintf("the body is larger than %d KiB, which this inbox does not read", maxArrivalBytes>>10)
	}
	keys, err := b.keys(r.Context())
	if err != nil {
		return "", "the secret of the app cannot be read"
	}
	var passed []string
	check := func(name string, err error) {
		switch {
		case err == nil:
			passed = append(passed, name)
		case errors.Is(err, sign.ErrMismatch):
			trouble = name + ": no signature matches"
		default:
			trouble = name + ": " + err.Error()
		}
	}
	if r.Header.Get(sign.HeaderSignature) != "" {
		_, err := sign.Verify(r.Header, body, b.now(), keys.Shared, keys.Private)
		check("Standard Webhooks", err)
	}
	if sign.HasRFC9421(r.Header) {
		request := sign.Request{Message: sign.Message{Body: body}, Method: r.Method, URL: "http://" + r.Host + r.URL.RequestURI(), Header: r.Header}
		_, err := sign.VerifyRFC9421(request, b.now(), keys.Shared, keys.Private)
		check("RFC 9421", err)
	}
	for _, scheme := range schemes {
		if l := scheme.Legacy; l != nil && r.Header.Get(l.Header) != "" {
			_, err := l.Verify(r.Header, body, b.now(), keys.Shared)
			check(l.Header, err)
		}
	}
	request := sign.Request{Message: sign.Message{Body: body}, Method: r.Method, Header: r.Header}
	if trouble == "" && len(passed) > 0 && !sign.HasRFC9421(r.Header) && sign.SaysOutsideBody(request) {
		trouble = "what it says outside its body has no signature of RFC 9421"
	}
	if trouble == "" && len(passed) == 0 {
		trouble = "it has no signature that this inbox knows"
	}
	if trouble != "" {
		return "", trouble
	}
	return strings.Join(passed, ", "), ""
}

// keep puts a callback into an inbox and says how it is answered. It is false where
// the inbox has gone.
func (b *inboxes) keep(name string, a *arrival) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	in := b.byName[name]
	if in == nil {
		return false
	}
	a.N, a.Answer = 1, http.StatusOK
	if n := len(in.arrivals); n > 0 {
		a.N = in.arrivals[n-1].N + 1
	}
	if in.failures > 0 {
		in.failures--
		a.Answer = http.StatusInternalServerError
	}
	if len(in.arrivals) >= maxArrivals {
		in.arrivals = in.arrivals[1:]
	}
	in.arrivals = append(in.arrivals, *a)
	close(in.changed)
	in.changed = make(chan struct{})
	return true
}

// keepAlive is how often a quiet stream says that it is there.
const keepAlive = 15 * time.Second

// serveArrivals streams what arrives at an inbox, as parts of the page.
func (s *Site) serveArrivals(w http.ResponseWriter, r *http.Request) {
	name, sent := r.PathValue("name"), 0
	if n, err := strconv.Atoi(r.Header.Get("Last-Event-ID")); err == nil {
		sent = n
	}
	if _, _, ok := s.inboxes.look(name); !ok {
		http.Error(w, "there is no such inbox, or no longer", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	control := http.NewResponseController(w)
	for {
		arrivals, changed, ok := s.inboxes.look(name)
		if !ok {
			return
		}
		var events bytes.Buffer
		for _, a := range arrivals {
			if a.N <= sent {
				continue
			}
			part, err := s.part("arrival", a)
			if err != nil {
				return
			}
			fmt.Fprintf(&events, "id: %d\ndata: %s\n\n", a.N, part)
			sent = a.N
		}
		if events.Len() == 0 {
			events.WriteString(": waiting\n\n")
		}
		if _, err := w.Write(events.Bytes()); err != nil || control.Flush() != nil {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-s.inboxes.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// part is a part of the page as one line of JSON.
func (s *Site) part(template string, data any) ([]byte, error) {
	var b strings.Builder
	if err := templates.ExecuteTemplate(&b, template, data); err != nil {
		return nil, err
	}
	return json.Marshal(b.String())
}
