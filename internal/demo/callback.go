package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/receiver"
)

// verdict is the result of a scan.
type verdict struct {
	Infected  bool   `json:"infected"`
	Signature string `json:"signature"`
}

// takeCallback takes a callback whose signature has been verified.
func (s *Shop) takeCallback(w http.ResponseWriter, r *http.Request) {
	m, _ := receiver.FromContext(r.Context())
	callback, err := m.Envelope()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	number, _ := strconv.Atoi(strings.TrimPrefix(callback.Data.State, statePrefix))
	d := s.counter.get(number)
	if number == 0 || d == nil {
		// A repeat would not bring it back: it is settled.
		fmt.Fprintln(w, "The shop no longer has this document.")
		return
	}
	select {
	case <-d.answered: // a small document's verdict can come before the call's answer
	case <-r.Context().Done():
		return
	}
	arrived := time.Now()
	attempt, code, text := s.settle(d, callback)
	answer := w.Header()
	answer.Set("Content-Type", "text/plain; charset=utf-8")
	answer.Set("Content-Length", strconv.Itoa(len(text)))
	answer.Set("Date", arrived.UTC().Format(http.TimeFormat))
	s.counter.record(d,
		receivedMessage(r, m, arrived, attempt),
		answerMessage(code, answer.Clone(), text, time.Now()))
	w.WriteHeader(code)
	fmt.Fprint(w, text)
}

// settle does what the shop does with a verdict, unless it is to fail.
func (s *Shop) settle(d *document, callback receiver.Envelope) (attempt, code int, text string) {
	s.counter.change(d, func() {
		d.attempts++
		attempt = d.attempts
		d.next = time.Time{}
		if d.failures > 0 {
			d.failures--
			code, text = http.StatusInternalServerError, "The shop is out of order, as you asked.\n"
			return
		}
		code, text = http.StatusOK, "Thank you.\n"
		d.status, d.remark = outcome(callback)
	})
	return attempt, code, text
}

// outcome is what a callback says about the document.
func outcome(callback receiver.Envelope) (status, string) {
	if e := callback.Data.Error; e != nil {
		return failed, e.Message
	}
	var v verdict
	result, err := callback.Data.Bytes()
	switch {
	case err != nil:
		return failed, callback.Data.Job.Status
	case json.Unmarshal(result, &v) != nil:
		return failed, "the verdict cannot be read"
	case v.Infected:
		return infected, v.Signature
	}
	return clean, ""
}
