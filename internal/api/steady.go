package api

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

const (
	// defaultWriteTimeout is how long a reader may take for stepBytes. A guess: slow
	// phones manage them in seconds.
	defaultWriteTimeout = 30 * time.Second
	// stepBytes is how much of an answer has a deadline of its own.
	stepBytes = 32 << 10
)

// answerWriter is what every answer of the gateway goes through, up to the
// passthrough's. It gives the reader a time for each step, so that one who takes
// nothing is cut off, while neither a large answer nor a long stream needs a
// deadline as a whole: only a write that blocks can fail, and a silent stream may
// last. It also knows whether the answer has begun.
type answerWriter struct {
	http.ResponseWriter
	control http.ResponseController
	timeout time.Duration
	armed   time.Time // when the deadline was last set; zero: there is none
	begun   bool
	// lifted: the deadline stands only while a write is under way. HTTP/2 ends a
	// stream at its deadline, whether a write blocks or not.
	lifted bool
}

func newAnswerWriter(w http.ResponseWriter, r *http.Request, timeout time.Duration) *answerWriter {
	a := &answerWriter{ResponseWriter: w, control: *http.NewResponseController(w), timeout: timeout, lifted: r.ProtoMajor > 1}
	if !a.lifted {
		a.arm() // net/http may write on its own, such as 100 Continue
	}
	return a
}

// arm moves the deadline on. A timer costs more than a look at the clock: one that
// has most of its time left will do.
func (w *answerWriter) arm() {
	if now := time.Now(); now.Sub(w.armed) > w.timeout/4 {
		// A writer without deadlines, as in tests, needs none.
		_ = w.control.SetWriteDeadline(now.Add(w.timeout))
		w.armed = now
	}
}

func (w *answerWriter) lift() {
	if w.lifted {
		_ = w.control.SetWriteDeadline(time.Time{})
		w.armed = time.Time{}
	}
}

// WriteHeader begins the answer, unless it is an interim one.
func (w *answerWriter) WriteHeader(status int) {
	w.begun = w.begun || status >= http.StatusOK
	w.arm()
	defer w.lift()
	w.ResponseWriter.WriteHeader(status)
}

// Write begins the answer. It fails where the reader takes nothing for too long.
func (w *answerWriter) Write(b []byte) (n int, err error) {
	w.begun = true
	defer w.lift()
	for {
		step := b[n:min(n+stepBytes, len(b))]
		w.arm()
		written, err := w.ResponseWriter.Write(step)
		n += written
		if err != nil || n == len(b) {
			return n, err
		}
	}
}

// FlushError sends what is buffered.
func (w *answerWriter) FlushError() error {
	w.arm()
	defer w.lift()
	return w.control.Flush()
}

// Hijack hands the connection over, for what an upstream has upgraded it to. Its
// writes keep their deadline.
func (w *answerWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := w.control.Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.begun = true
	steady := &steadyConn{Conn: conn, timeout: w.timeout}
	buffered.Writer.Reset(steady)
	return steady, buffered, nil
}

// Unwrap leads an http.ResponseController to the connection.
func (w *answerWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// steadyConn is a hijacked connection whose writes have a deadline each.
type steadyConn struct {
	net.Conn
	timeout time.Duration
}

// Write implements net.Conn.
func (c *steadyConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

// CloseWrite ends what is sent, where the other side may go on.
func (c *steadyConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return c.Close()
}
