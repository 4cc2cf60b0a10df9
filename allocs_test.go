package ringback_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
)

// maxAllocs is what a message may allocate from the call to its settled callback:
// a quarter above the 89 that it does. With the race detector, which makes pools
// forget, it does 96.
const maxAllocs = 111

// TestTheFastPathAllocatesLittle counts what the gateway allocates for a message,
// without the connections of net/http on either side. It is not parallel: the
// count is that of the process.
func TestTheFastPathAllocatesLittle(t *testing.T) {
	const messages, senders = 2000, 8
	r := newCountingReceiver(t) // before the gateway, to end after it
	g := setup(t, ringback.Operation{Operation: job.Operation{Name: "relay", Route: "POST /relay"}, Backend: ringback.Relay()})
	g.send(t, r, 500, senders)
	calls := make([]*http.Request, messages)
	for i := range calls {
		calls[i] = g.request(t, r.url)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	g.send(t, r, 0, senders, calls...)
	runtime.ReadMemStats(&after)
	allocs := float64(after.Mallocs-before.Mallocs) / messages
	octets := float64(after.TotalAlloc-before.TotalAlloc) / messages
	t.Logf("%.0f allocations and %.0f octets a message", allocs, octets)
	if allocs > maxAllocs {
		t.Errorf("%.0f allocations a message, want at most %d", allocs, maxAllocs)
	}
}

// request is a call as the server would hand it over.
func (g *gateway) request(t *testing.T, callback string) *http.Request {
	t.Helper()
	target := "/relay?callbackURL=" + url.QueryEscape(callback)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, target, bytes.NewReader(bytes.Repeat([]byte("7"), 500)))
	if err != nil {
		t.Fatal(err)
	}
	r.RequestURI, r.RemoteAddr, r.Host = target, "127.0.0.1:1", "api.example.com"
	r.Header = http.Header{"Authorization": {"Bearer " + g.key}, "Content-Type": {"application/json"}}
	return r
}

// send makes the calls, or n new ones, from several goroutines, and waits until
// all are called back.
func (g *gateway) send(t *testing.T, r *countingReceiver, n, senders int, calls ...*http.Request) {
	t.Helper()
	for range n {
		calls = append(calls, g.request(t, r.url))
	}
	r.expect(len(calls))
	handler := g.Handler()
	var next atomic.Int64
	var sending sync.WaitGroup
	for range senders {
		sending.Go(func() {
			w := &statusWriter{header: http.Header{}}
			for i := next.Add(1); i <= int64(len(calls)); i = next.Add(1) {
				clear(w.header)
				if handler.ServeHTTP(w, calls[i-1]); w.status != http.StatusAccepted {
					t.Errorf("answered %d", w.status)
				}
			}
		})
	}
	sending.Wait()
	select {
	case <-r.all:
	case <-time.After(time.Minute):
		t.Fatalf("%d callbacks are missing", r.left.Load())
	}
}

// statusWriter is a connection's writer without the connection.
type statusWriter struct {
	header http.Header
	status int
}

func (w *statusWriter) Header() http.Header             { return w.header }
func (w *statusWriter) WriteHeader(status int)          { w.status = status }
func (w *statusWriter) Write(b []byte) (int, error)     { return len(b), nil }
func (w *statusWriter) SetReadDeadline(time.Time) error { return nil }

// countingReceiver answers callbacks, and allocates nothing for it.
type countingReceiver struct {
	url  string
	left atomic.Int64
	all  chan struct{} // gets a value when none is left
}

func newCountingReceiver(t *testing.T) *countingReceiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &countingReceiver{url: "http://" + listener.Addr().String() + "/bar", all: make(chan struct{}, 1)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return r
}

func (r *countingReceiver) expect(n int) { r.left.Store(int64(n)) }

var (
	contentLength = []byte("content-length:")
	answer        = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
)

func (r *countingReceiver) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return
		}
		if len(line) > len(contentLength) && bytes.EqualFold(line[:len(contentLength)], contentLength) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(contentLength):]))); err != nil {
				return
			}
		}
		if len(line) > len("\r\n") {
			continue
		}
		if _, err := in.Discard(length); err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
		if r.left.Add(-1) == 0 {
			r.all <- struct{}{}
		}
	}
}
