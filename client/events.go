package client

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is one server-sent event about a job. It tells what stands, not what has
// happened: changes that follow closely are one event.
type Event struct {
	// ID is the place in the stream from which it can be read on.
	ID string `json:"id,omitempty"`
	// Name is the job's status, or EventCallback.
	Name string `json:"event"`
	// Job is the job with its callbacks.
	Job Job `json:"job"`
}

// EventCallback is the name of an event where only the job's callbacks have changed.
const EventCallback = "callback"

// Settled tells whether the job and its callbacks have all come to their end.
func (j *Job) Settled() bool {
	return j.Terminal() && !slices.ContainsFunc(j.Callbacks, func(cb JobCallbackStatus) bool { return cb.Status == CallbackPending })
}

// maxEventBytes bounds one line of a stream of events.
const maxEventBytes = 1 << 20

// Events follows a job until it and its callbacks have come to their end. A stream
// that breaks off is taken up again after its last event; an error, which is the
// last thing that it yields, is one of asking for the stream or of ctx.
func (c *Client) Events(ctx context.Context, id string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := &stream{c: c, id: id, retry: minPollInterval}
		for {
			more, err := s.read(ctx, func(e Event) bool { return yield(e, nil) })
			if err == nil && more {
				err = pause(ctx, s.retry)
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if !more {
				return
			}
		}
	}
}

// stream is where the reading of a job's events has come to.
type stream struct {
	c      *Client
	id     string
	lastID string
	retry  time.Duration // how long to wait before the next connection
}

// read makes one connection and yields what it brings. more is false where the
// caller has enough, or there is nothing more to come: a gateway that shuts down
// ends streams early, so the end of one does not tell.
func (s *stream) read(ctx context.Context, yield func(Event) bool) (more bool, err error) {
	req, err := s.c.request(ctx, "GET", "/jobs/"+url.PathEscape(s.id)+"/events", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	exchange := s.c.do
	if s.lastID != "" {
		exchange = s.c.send // a broken stream has a rhythm of its own
	}
	resp, err := exchange(req)
	if err != nil {
		// The gateway may be restarting; but one that was never there is an error.
		if s.lastID != "" && ctx.Err() == nil {
			return true, nil
		}
		return false, err
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNoContent:
		return false, nil
	case resp.StatusCode == http.StatusServiceUnavailable && s.lastID != "":
		return true, nil
	case resp.StatusCode != http.StatusOK:
		return false, problemOf(resp)
	case mediaType(resp) != "text/event-stream":
		return false, s.c.foreign(resp, fmt.Sprintf("%q where events were expected", mediaType(resp)))
	}
	more, err = s.consume(resp.Body, yield)
	if err != nil {
		return false, fmt.Errorf("read events of %s: %w", s.c.origin, err)
	}
	return more, ctx.Err()
}

// consume yields the events of a body to its end. A body that breaks off is no error.
func (s *stream) consume(body io.Reader, yield func(Event) bool) (more bool, err error) {
	more = true
	broken := readEvents(body, &s.retry, func(m message) bool {
		e := Event{ID: m.id, Name: m.name}
		if err = json.Unmarshal(m.data, &e.Job); err == nil && e.Job.Status == "" {
			err = ErrForeign
		}
		if err != nil {
			return false
		}
		s.lastID = cmp.Or(m.id, s.lastID)
		more = yield(e) && !e.Job.Settled()
		return more
	})
	if errors.Is(broken, bufio.ErrTooLong) {
		err = broken
	}
	return more, err
}

// message is a server-sent event as it stands in its stream.
type message struct {
	id, name string
	data     []byte
}

// readEvents parses a stream of server-sent events (HTML §9.2.6) and yields each,
// until yield returns false, the stream ends, or a line is too long. retry is set
// where the stream asks for it.
func readEvents(r io.Reader, retry *time.Duration, yield func(message) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), maxEventBytes)
	lines.Split(splitLines())
	var m message // its id lasts from one to the next
	has := false
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			if has && !yield(m) {
				return nil
			}
			m, has = message{id: m.id}, false
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			m.name = value
		case "data":
			if has {
				m.data = append(m.data, '\n')
			}
			m.data, has = append(m.data, value...), true
		case "id":
			if !strings.ContainsRune(value, 0) {
				m.id = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				*retry = min(max(time.Duration(ms)*time.Millisecond, minPollInterval), longPoll)
			}
		}
		if len(m.data) > maxEventBytes {
			return bufio.ErrTooLong
		}
	}
	return lines.Err()
}

// splitLines splits at LF, CR and CRLF, as event streams do. It does not wait for
// an LF behind a CR, which may be long in coming.
func splitLines() bufio.SplitFunc {
	afterCR := false
	return func(data []byte, atEOF bool) (advance int, token []byte, err error) {
		skip := 0
		if afterCR && len(data) > 0 {
			afterCR = false
			if data[0] == '\n' {
				skip = 1
			}
		}
		i := bytes.IndexAny(data[skip:], "\r\n")
		if i < 0 {
			// What stands behind the last line end is cut off, so not an event.
			if atEOF {
				return len(data), nil, nil
			}
			return skip, nil, nil
		}
		afterCR = data[skip+i] == '\r'
		return skip + i + 1, data[skip : skip+i], nil
	}
}
