package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Event is one server-sent event about a job.
type Event struct {
	// ID is the place in the stream from which it can be read on.
	ID string `json:"id,omitempty"`
	// Name is EventJob or EventCallback.
	Name string `json:"event"`
	// Data is a Job where Name is EventJob, a Callback where it is EventCallback.
	Data json.RawMessage `json:"data"`
}

// The names of events, and thereby what their data is.
const (
	EventJob      = "job"      // the job changed; sent first of all with the job as it is
	EventCallback = "callback" // one of its callbacks was owed, tried or settled
)

// maxEventBytes bounds one line of a stream of events.
const maxEventBytes = 1 << 20

// Events follows a job until the gateway has nothing more to tell of it. A stream
// that breaks off is taken up again after its last event; an error, which is the
// last thing that it yields, is one of asking for the stream or of ctx.
func (c *Client) Events(ctx context.Context, id string) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := &stream{c: c, id: id, retry: minPollInterval}
		for {
			before := s.lastID
			more, err := s.read(ctx, func(e Event) bool { return yield(e, nil) })
			switch {
			case err != nil:
				yield(Event{}, err)
				return
			case !more || (s.terminal && s.lastID == before):
				// A gateway that shuts down ends streams early, so the end of one
				// proves nothing until a second brings nothing new.
				return
			}
			if err := pause(ctx, s.retry); err != nil {
				yield(Event{}, err)
				return
			}
		}
	}
}

// stream is where the reading of a job's events has come to.
type stream struct {
	c        *Client
	id       string
	lastID   string
	retry    time.Duration
	terminal bool // the job has come to its end
}

// read makes one connection and yields what it brings. more is false where the
// caller has enough, or the gateway says that there is nothing more (204).
func (s *stream) read(ctx context.Context, yield func(Event) bool) (more bool, err error) {
	req, err := s.c.request(ctx, "GET", "/jobs/"+url.PathEscape(s.id)+"/events", nil)
	if err != nil {
		return false, err
	}
	req.Header.Set("Accept", "text/event-stream")
	if s.lastID != "" {
		req.Header.Set("Last-Event-ID", s.lastID)
	}
	resp, err := s.c.send(req)
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
		return false, fmt.Errorf("%s answered with %q where events were expected", s.c.origin, mediaType(resp))
	}
	more = true
	err = readEvents(resp.Body, &s.retry, func(e Event) bool {
		s.note(e)
		more = yield(e)
		return more
	})
	if errors.Is(err, bufio.ErrTooLong) {
		return false, fmt.Errorf("read events of %s: %w", s.c.origin, err)
	}
	return more, ctx.Err()
}

// note remembers what matters for going on.
func (s *stream) note(e Event) {
	if e.ID != "" {
		s.lastID = e.ID
	}
	if e.Name == EventJob {
		var job Job
		// Data of another shape is the reader's to judge; it ends nothing.
		s.terminal = json.Unmarshal(e.Data, &job) == nil && job.Terminal()
	}
}

// readEvents parses a stream of server-sent events (HTML §9.2.6) and yields each,
// until yield returns false, the stream ends, or a line is too long. retry is set
// where the stream asks for it. Data that is not JSON becomes a JSON string.
func readEvents(r io.Reader, retry *time.Duration, yield func(Event) bool) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4096), maxEventBytes)
	lines.Split(splitLines())
	var e Event
	var data []byte
	lastID, has := "", false
	for first := true; lines.Scan(); first = false {
		line := lines.Text()
		if first {
			line = strings.TrimPrefix(line, "\ufeff")
		}
		if line == "" {
			if has {
				e.ID, e.Data = lastID, asJSON(data)
				if !yield(e) {
					return nil
				}
			}
			e, data, has = Event{}, nil, false
			continue
		}
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			e.Name = value
		case "data":
			if has {
				data = append(data, '\n')
			}
			data, has = append(data, value...), true
		case "id":
			if !strings.ContainsRune(value, 0) {
				lastID = value
			}
		case "retry":
			if ms, err := strconv.ParseUint(value, 10, 31); err == nil {
				*retry = min(max(time.Duration(ms)*time.Millisecond, minPollInterval), longPoll)
			}
		}
		if len(data) > maxEventBytes {
			return bufio.ErrTooLong
		}
	}
	return lines.Err()
}

func asJSON(data []byte) json.RawMessage {
	if json.Valid(data) {
		return data
	}
	text, _ := json.Marshal(string(data)) // a string can always be written
	return text
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
