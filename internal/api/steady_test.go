package api

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tightListener makes connections that hold little on their way, so that whoever
// does not read is noticed soon.
type tightListener struct{ net.Listener }

const tightBytes = 4 << 10

func (l tightListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(*net.TCPConn).SetWriteBuffer(tightBytes)
	}
	return conn, err
}

// serveTight serves h on such connections, and tells of each that the server closes.
func serveTight(t *testing.T, h http.Handler) (address string, closed <-chan struct{}) {
	t.Helper()
	ended := make(chan struct{}, 1000)
	server := httptest.NewUnstartedServer(h)
	server.Listener = tightListener{server.Listener}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			ended <- struct{}{}
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String(), ended
}

// dialDeaf connects, sends octets and never reads.
func dialDeaf(t *testing.T, address, octets string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	written := make(chan struct{})
	t.Cleanup(func() { conn.Close(); <-written })
	if err := conn.(*net.TCPConn).SetReadBuffer(tightBytes); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(written)
		io.WriteString(conn, octets)
	}()
}

func await(t *testing.T, what string, closed <-chan struct{}, n int) {
	t.Helper()
	limit := time.NewTimer(10 * time.Second)
	defer limit.Stop()
	for i := range n {
		select {
		case <-closed:
		case <-limit.C:
			t.Fatalf("%s: %d of %d connections were cut off", what, i, n)
		}
	}
}

func TestStrangersWhoNeverReadAreCutOff(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) {
		o.WriteTimeout = 200 * time.Millisecond
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(make([]byte, 10<<10)) })
	})
	const n = 20
	for what, request := range map[string]string{
		"document":     "GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n",
		"metrics":      "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n",
		"health":       "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n",
		"no such":      "GET /nosuch HTTP/1.1\r\nHost: a\r\n\r\n",
		"key missing":  "POST /scan HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"own, missing": "GET /v1/jobs HTTP/1.1\r\nHost: a\r\n\r\n",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			address, closed := serveTight(t, g.api)
			for range n {
				dialDeaf(t, address, strings.Repeat(request, 2000))
			}
			await(t, what, closed, n)
		})
	}
}

func TestCallersWhoNeverReadAreCutOff(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.WriteTimeout = 200 * time.Millisecond })
	key := g.app("shop")
	address, closed := serveTight(t, g.api)
	dialDeaf(t, address, strings.Repeat("POST /scan HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer "+key+"\r\nContent-Length: 2\r\n\r\n{}", 300))
	await(t, "accepted", closed, 1)
}

func TestClientsOfTheUpstreamWhoNeverReadAreCutOff(t *testing.T) {
	t.Parallel()
	hungUp := make(chan struct{}, 1)
	endless := func(w io.Writer) {
		for {
			if _, err := w.Write(make([]byte, 8<<10)); err != nil {
				hungUp <- struct{}{}
				return
			}
		}
	}
	for what, upstream := range map[string]http.HandlerFunc{
		"answer": func(w http.ResponseWriter, _ *http.Request) { endless(w) },
		"upgraded": func(w http.ResponseWriter, _ *http.Request) {
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			buffered.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: noise\r\n\r\n")
			endless(buffered)
		},
	} {
		g, _, _ := setupUpstream(t, upstream, func(o *Options) { o.WriteTimeout = 200 * time.Millisecond })
		address, _ := serveTight(t, g.api)
		dialDeaf(t, address, "GET /noise HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: noise\r\n\r\n")
		await(t, what, hungUp, 1)
	}
}

func TestSilenceOfTheUpstreamIsNoReasonToCutOff(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	silence := func() { <-time.After(4 * limit) }
	g, _, _ := setupUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		control := http.NewResponseController(w)
		for i := range 3 {
			silence()
			fmt.Fprintf(w, "part %d\n", i)
			if err := control.Flush(); err != nil {
				t.Error(err)
			}
		}
		silence() // and the last chunk comes late, too
	}), func(o *Options) { o.WriteTimeout = limit })
	if a := g.call("GET", "/slow", "", ""); a.body != "part 0\npart 1\npart 2\n" {
		t.Errorf("%d %q", a.status, a.body)
	}
}

func TestHTTP2StreamOutlastsItsSilence(t *testing.T) {
	t.Parallel()
	const limit = 50 * time.Millisecond
	g := setup(t, func(o *Options) { o.WriteTimeout = limit })
	key := g.app("shop")
	server := httptest.NewUnstartedServer(g.api)
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/scan", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = http.Header{"Authorization": {"Bearer " + key}, "Prefer": {"wait=1"}}
	resp, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusAccepted || resp.ProtoMajor != 2 {
		t.Errorf("%s %s: %v", resp.Proto, resp.Status, err)
	}
}

// onePipe is a listener with one connection, whose time synctest can tell.
type onePipe struct{ conns chan net.Conn }

func (l *onePipe) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}

func (l *onePipe) Close() error   { close(l.conns); return nil }
func (l *onePipe) Addr() net.Addr { return &net.UnixAddr{} }

func TestLargeAnswerMayTakeAsLongAsItsReaderGoesOn(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	answer := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	h := g.api.answered(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write(answer) }))
	for bytesPerSecond, whole := range map[int64]bool{2 << 10: true, 512: false} {
		synctest.Test(t, func(t *testing.T) {
			near, far := net.Pipe()
			listener := &onePipe{conns: make(chan net.Conn, 1)}
			listener.conns <- far
			server := &http.Server{Handler: h}
			go server.Serve(listener)
			defer server.Close()
			defer near.Close()
			fmt.Fprint(near, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReaderSize(near, 16), nil)
			if err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			tick := time.NewTicker(time.Second)
			defer tick.Stop()
			for err == nil {
				<-tick.C
				_, err = io.CopyN(&got, resp.Body, bytesPerSecond)
			}
			if arrived := errors.Is(err, io.EOF) && bytes.Equal(got.Bytes(), answer); arrived != whole {
				t.Errorf("at %d octets a second: %d of %d, %v", bytesPerSecond, got.Len(), len(answer), err)
			}
		})
	}
}
