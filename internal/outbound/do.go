package outbound

import (
	"context"
	"errors"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Do sends r and returns what the receiver answered; a redirect is an answer. As
// soon as the header of a final answer is whole there is no error any more:
// whatever becomes of the body, it is cut and marked as Truncated, and reading
// it ends with the attempt. An error is an *Error.
//
// A kept connection may turn out to be closed by the receiver in the moment it
// is used. If it ends with no octet of an answer read, the request is sent once
// more, on a new connection and within the same time. The receiver may then see
// it twice, which a receiver of at-least-once callbacks expects. Nothing else is
// ever sent again.
func (c *Client) Do(ctx context.Context, r *Request) (*Answer, error) {
	a := &attempt{client: c, request: r, start: time.Now()}
	if err := a.prepare(ctx); err != nil {
		return nil, err
	}
	answer, err := a.run(ctx)
	if err != nil {
		err.Timing.Total = time.Since(a.start)
		return nil, err
	}
	answer.Timing.Total = time.Since(a.start)
	return answer, nil
}

// attempt is one call of Do.
type attempt struct {
	client   *Client
	request  *Request
	method   string
	pool     string // names the connections that it may use
	start    time.Time
	deadline time.Time
}

func (a *attempt) run(ctx context.Context) (*Answer, *Error) {
	t := a.request.Target
	if cn := a.client.pool.get(a.pool, a.deadline); cn != nil {
		answer, err := a.exchange(ctx, cn)
		if err == nil {
			answer.Timing.Reused = true
			return answer, nil
		}
		err.Timing.Reused = true
		unanswered := cn.firstByte.IsZero() && (err.Class == ClassClosed || err.Class == ClassReset)
		if !unanswered {
			return nil, err
		}
	}
	until, cancel := context.WithDeadline(ctx, a.deadline)
	defer cancel()
	cn, err := a.client.connect(until, t, a.request.Identity)
	if err != nil {
		return nil, err
	}
	if err := cn.SetDeadline(a.deadline); err != nil {
		_ = cn.Close()
		return nil, failure(ctx, t, writing, err)
	}
	answer, err := a.exchange(ctx, cn)
	times := cn.times
	if err != nil {
		times.FirstByte = err.Timing.FirstByte
		err.Timing = times
		return nil, err
	}
	times.FirstByte = answer.Timing.FirstByte
	answer.Timing = times
	return answer, nil
}

// exchange sends the request on cn and reads the answer; it keeps or closes cn.
func (a *attempt) exchange(ctx context.Context, cn *conn) (*Answer, *Error) {
	// A context that cannot end is left alone; AfterFunc would cost for nothing.
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, cn.interrupt)
	}
	sending := a.send(ctx, cn)
	cn.left, cn.firstByte = a.client.limits.HeaderBytes, time.Time{}
	head, err := readHead(cn.in, a.method)
	var timing Timing
	if !cn.firstByte.IsZero() {
		timing.FirstByte = cn.firstByte.Sub(a.start)
	}
	if err != nil {
		stop()
		at := awaiting
		if !sending.sent() {
			at = writing
		}
		_ = cn.Close()
		var body *bodyError
		if sendErr := sending.wait(); errors.As(sendErr, &body) {
			err = sendErr
		}
		e := failure(ctx, a.request.Target, at, err)
		e.Addr, e.Timing = cn.addr, timing
		return nil, e
	}
	cn.left = math.MaxInt
	body, whole := head.readBody(cn.in, a.client.limits.BodyBytes)
	sent := sending.sent()
	undisturbed := stop()
	if whole && sent && undisturbed && head.reusable && !cn.heavy && cn.drained() {
		a.client.pool.put(a.pool, cn)
	} else {
		_ = cn.Close()
		_ = sending.wait()
	}
	return &Answer{
		Status: head.status, Proto: head.proto, Header: head.header,
		Body: body, Truncated: !whole, Addr: cn.addr, Timing: timing,
	}, nil
}

// maxInline is how much is written before anything is read. It fits the buffers
// of any socket, so that it cannot block on a receiver that answers first and
// reads later, or never.
const maxInline = 16 << 10

// sending is a request on its way: done already, or by a goroutine of its own.
type sending struct {
	err    error
	done   chan error // nil where err holds
	cancel context.CancelFunc
}

// wait ends the sending; the connection MUST be closed before.
func (s *sending) wait() error {
	if s.done != nil {
		s.cancel()
		s.err, s.done = <-s.done, nil
	}
	return s.err
}

// sent reports, without waiting, that the whole request is out.
func (s *sending) sent() bool {
	if s.done != nil {
		select {
		case s.err = <-s.done:
			s.cancel()
			s.done = nil
		default:
			return false
		}
	}
	return s.err == nil
}

// send writes the request. An error does not end the attempt: a receiver that
// has answered before it read everything has answered.
func (a *attempt) send(ctx context.Context, cn *conn) sending {
	r := a.request
	// The buffer is held while it is written only, not while the receiver thinks.
	buffer, _ := buffers.Get().(*[]byte)
	*buffer = a.appendHeader((*buffer)[:0])
	if r.GetBody == nil && len(*buffer)+len(r.Body) <= maxInline {
		_, err := cn.Write(append(*buffer, r.Body...))
		buffers.Put(buffer)
		return sending{err: err}
	}
	ctx, cancel := context.WithDeadline(ctx, a.deadline)
	done := make(chan error, 1)
	go func() {
		err := a.stream(ctx, cn, buffer)
		var body *bodyError
		if errors.As(err, &body) {
			cn.interrupt()
		}
		done <- err
	}()
	return sending{done: done, cancel: cancel}
}

// stream writes a request that is too large to be written at once.
func (a *attempt) stream(ctx context.Context, cn *conn, header *[]byte) error {
	_, err := cn.Write(*header)
	buffers.Put(header)
	if err != nil {
		return err
	}
	r := a.request
	if r.GetBody == nil {
		_, err := cn.Write(r.Body)
		return err
	}
	body, err := r.GetBody(ctx)
	if err != nil {
		return &bodyError{err}
	}
	defer func() { _ = body.Close() }() // it was only read
	source := &watchedReader{from: body}
	_, err = io.CopyN(cn.Conn, source, r.ContentLength)
	if err != nil && errors.Is(err, source.err) {
		return &bodyError{err}
	}
	return err
}

// watchedReader tells an error of the content from one of the connection.
type watchedReader struct {
	from io.Reader
	err  error
}

func (w *watchedReader) Read(p []byte) (int, error) {
	n, err := w.from.Read(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// buffers are for the header, with room for a small body.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, maxInline); return &b }}

// prepare looks at the request; what cannot be written is an error before anything
// is dialled.
func (a *attempt) prepare(ctx context.Context) *Error {
	r := a.request
	a.method = r.Method
	if a.method == "" {
		a.method = http.MethodPost
	}
	if !isToken(a.method) || a.method == http.MethodConnect {
		return a.unsendable("the method cannot be used")
	}
	if r.Identity != nil && !r.Target.tls {
		return a.unsendable("a certificate can be shown by https only")
	}
	a.pool = r.poolKey()
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = defaultTimeout
	}
	a.deadline = a.start.Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(a.deadline) {
		a.deadline = d
	}
	for name, values := range r.Header {
		for _, value := range values {
			if err := checkField(name, value); err != nil {
				return a.unsendable(err.Error())
			}
		}
	}
	return nil
}

func (a *attempt) unsendable(detail string) *Error {
	return &Error{Class: ClassRequest, Detail: detail, origin: a.request.Target.origin}
}

func (a *attempt) appendHeader(b []byte) []byte {
	r := a.request
	var room [16]string
	names := room[:0]
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	b = append(b, a.method...)
	b = append(b, ' ')
	b = append(b, r.Target.requestURI...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, r.Target.authority()...)
	length := int64(len(r.Body))
	if r.GetBody != nil {
		length = r.ContentLength
	}
	// RFC 9110 §8.6: methods that give content a meaning say 0 as well.
	if length > 0 || a.method == http.MethodPost || a.method == http.MethodPut || a.method == http.MethodPatch {
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, length, 10)
	}
	if _, ok := r.Header["User-Agent"]; !ok {
		b = append(b, "\r\nUser-Agent: Ringback"...)
	}
	for _, name := range names {
		for _, value := range r.Header[name] {
			b = append(b, "\r\n"...)
			b = append(b, name...)
			b = append(b, ": "...)
			b = append(b, value...)
		}
	}
	return append(b, "\r\n\r\n"...)
}
