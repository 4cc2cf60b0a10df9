package main

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// receipt is a callback that came in whole.
type receipt struct {
	began, ended time.Time // of the exchange
	taken        bool      // answered 2xx; else refused, or cut off without an answer
	digest       [sha256.Size]byte
}

// message is all that was received under one webhook-id.
type message struct {
	number    int // of the call
	job       string
	event     string
	errorCode string
	resultURL string
	sequence  int // in the line of the ordered endpoint; 0: it stands in none
	receipts  []receipt
}

// delivered tells whether the receiver has taken the message.
func (m *message) delivered() bool {
	for _, r := range m.receipts {
		if r.taken {
			return true
		}
	}
	return false
}

// receiver is called back. What comes to /flaky it refuses now and then, and to
// what comes to /tardy it answers late.
type receiver struct {
	seed   uint64
	faults *faults // nil: none
	url    string
	server *http.Server

	mu       sync.Mutex
	messages map[string]*message // by webhook-id
	wrong    []string
}

func newReceiver(seed uint64, f *faults) (*receiver, error) {
	from, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &receiver{seed: seed, faults: f, url: "http://" + from.Addr().String(), messages: map[string]*message{}}
	if f != nil {
		from = &listener{from, f}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /steady", r.receive)
	mux.HandleFunc("POST /"+flakyEndpoint, r.receive)
	mux.HandleFunc("POST /"+tardyEndpoint, r.receive)
	mux.HandleFunc("POST /"+orderedEndpoint, r.receive)
	r.server = &http.Server{Handler: mux, ConnContext: withConn}
	go func() { _ = r.server.Serve(from) }() // ends with close
	return r, nil
}

func (r *receiver) close() error { return r.server.Close() }

// envelope is what the harness reads of a callback's body.
type envelope struct {
	Type string `json:"type"`
	Data struct {
		State string `json:"state"`
		Job   struct {
			ID string `json:"id"`
		} `json:"job"`
		ResultText string `json:"result_text"`
		ResultURL  string `json:"result_url"`
		Error      struct {
			Code string `json:"code"`
		} `json:"error"`
	} `json:"data"`
}

func (r *receiver) receive(w http.ResponseWriter, req *http.Request) {
	got := receipt{began: time.Now(), taken: true}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // cut off by a kill: nothing was received
	}
	got.digest = sha256.Sum256(body)
	// Exchanges that last let kills come into the middle of them.
	switch {
	case req.URL.Path == "/"+tardyEndpoint:
		time.Sleep(time.Duration(100+rand.IntN(150)) * time.Millisecond)
	case rand.IntN(50) == 0:
		time.Sleep(time.Duration(rand.IntN(60)) * time.Millisecond)
	}
	chance := rand.IntN(100)
	flaky := req.URL.Path == "/"+flakyEndpoint
	cut := flaky && chance < 3
	refuse := flaky && !cut && chance < 30
	fault := r.faults.cut(req)
	got.taken = !cut && !refuse && fault == nil
	got.ended = time.Now()
	if err := r.keep(req.Header, body, got); err != nil {
		r.complain("%v", err)
	}
	switch {
	case fault != nil:
		fault()
	case cut:
		panic(http.ErrAbortHandler)
	case refuse:
		w.WriteHeader(http.StatusInternalServerError)
	}
}

// keep notes a receipt, and checks what it brought.
func (r *receiver) keep(h http.Header, body []byte, got receipt) error {
	id := h.Get("Webhook-Id")
	var e envelope
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("callback %s: %w", id, err)
	}
	number, err := strconv.Atoi(e.Data.State)
	if err != nil || id == "" || e.Data.Job.ID == "" {
		return fmt.Errorf("callback %q of job %q has state %q", id, e.Data.Job.ID, e.Data.State)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.messages[id]
	if m == nil {
		m = &message{number: number, job: e.Data.Job.ID, event: e.Type, errorCode: e.Data.Error.Code, resultURL: e.Data.ResultURL}
		if text := h.Get("Ringback-Sequence"); text != "" {
			if m.sequence, err = strconv.Atoi(text); err != nil {
				return fmt.Errorf("callback %s has the number %q", id, text)
			}
		}
		r.messages[id] = m
	}
	m.receipts = append(m.receipts, got)
	if m.receipts[0].digest != got.digest {
		return fmt.Errorf("callback %s has two bodies", id)
	}
	if e.Data.Error.Code != "" {
		return nil
	}
	if c := callOf(r.seed, number); !c.large() && e.Data.ResultText != string(c.body) {
		return fmt.Errorf("callback %s brought another result than call %d asked for", id, number)
	} else if c.large() && e.Data.ResultURL == "" {
		return errors.New("a large result came without a link: callback " + id)
	}
	return nil
}

// received is all that came, by webhook-id, once nothing comes any more.
func (r *receiver) received() map[string]*message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.messages)
}

func (r *receiver) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}
