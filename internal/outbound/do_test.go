package outbound

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		request Request
		want    string
	}{
		"post": {
			Request{Header: http.Header{"Webhook-Id": {"cb_1"}, "Content-Type": {"application/json"}, "X-Two": {"b", "a"}}, Body: []byte("{}")},
			"POST /cb?a=1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 2\r\nUser-Agent: Ringback\r\n" +
				"Content-Type: application/json\r\nWebhook-Id: cb_1\r\nX-Two: b\r\nX-Two: a\r\n\r\n{}",
		},
		"post without content": {Request{Header: http.Header{"User-Agent": {"shop"}}}, "POST /cb?a=1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 0\r\nUser-Agent: shop\r\n\r\n"},
		"get":                  {Request{Method: "GET"}, "GET /cb?a=1 HTTP/1.1\r\nHost: HOST\r\nUser-Agent: Ringback\r\n\r\n"},
		"streamed": {
			Request{Method: "PUT", ContentLength: 3, GetBody: content("abc")},
			"PUT /cb?a=1 HTTP/1.1\r\nHost: HOST\r\nContent-Length: 3\r\nUser-Agent: Ringback\r\n\r\nabc",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := make(chan string, 1)
			r := listen(t, func(c net.Conn, _ int) {
				octets := make([]byte, len(strings.Replace(test.want, "HOST", c.LocalAddr().String(), 1)))
				n, _ := io.ReadFull(c, octets)
				got <- string(octets[:n])
				_, _ = io.WriteString(c, ok)
				untilClosed(c)
			})
			c := devClient(t, Limits{})
			request := test.request
			request.Target, request.Timeout = target(t, c, r.url), testTimeout
			answer, err := c.Do(t.Context(), &request)
			if err != nil || string(answer.Body) != "ok" || answer.Addr != r.addr || answer.Proto != "HTTP/1.1" {
				t.Fatalf("got %+v, %v", answer, err)
			}
			if want := strings.Replace(test.want, "HOST", r.addr.String(), 1); <-got != want {
				t.Errorf("the request differs from %q", want)
			}
		})
	}
}

func content(s string) func(context.Context) (io.ReadCloser, error) {
	return func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(s)), nil }
}

func TestRequestThatCannotBeWrittenIsNotSent(t *testing.T) {
	t.Parallel()
	r := listen(t, once(t, ok))
	c := devClient(t, Limits{})
	for name, request := range map[string]Request{
		"line break in a value":  {Header: http.Header{"X-A": {"secret\r\nX-B: c"}}},
		"NUL in a value":         {Header: http.Header{"X-A": {"\x00"}}},
		"line break in a name":   {Header: http.Header{"X-A\r\nX-B": {"c"}}},
		"framing":                {Header: http.Header{"transfer-encoding": {"chunked"}}},
		"length":                 {Header: http.Header{"Content-Length": {"1"}}},
		"host":                   {Header: http.Header{"Host": {"other.example"}}},
		"line break in a method": {Method: "GET / HTTP/1.1\r\nX-B: c\r\n\r\nPOST"},
		"a method of proxies":    {Method: "CONNECT"},
	} {
		request.Target = target(t, c, r.url)
		_, err := c.Do(t.Context(), &request)
		if e := wantClass(t, err, ClassRequest); strings.Contains(e.Error(), "secret") {
			t.Errorf("%s: %v repeats the value", name, e)
		}
	}
	if n := r.accepted(); n > 0 {
		t.Errorf("%d connections", n)
	}
}

func TestLargeContentArrivesWhole(t *testing.T) {
	t.Parallel()
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	r := listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		for {
			_, body, read := readRequest(t, in)
			if !read {
				return
			}
			if !bytes.Equal(body, large) {
				t.Errorf("%d octets arrived changed", len(body))
			}
			_, _ = io.WriteString(c, ok)
		}
	})
	c := devClient(t, Limits{})
	for i := range 4 {
		request := Request{Target: target(t, c, r.url), Timeout: testTimeout, Body: large}
		if i%2 == 1 {
			request.Body, request.GetBody, request.ContentLength = nil, content(string(large)), int64(len(large))
		}
		answer, err := c.Do(t.Context(), &request)
		if err != nil || answer.Status != 200 {
			t.Fatalf("got %+v, %v", answer, err)
		}
	}
}

func TestContentThatCannotBeReadIsAnErrorOfItsOwn(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk on fire")
	for name, open := range map[string]func(context.Context) (io.ReadCloser, error){
		"cannot be opened": func(context.Context) (io.ReadCloser, error) { return nil, broken },
		"breaks off":       func(context.Context) (io.ReadCloser, error) { return io.NopCloser(iotest.ErrReader(broken)), nil },
		"is too short":     content("ab"),
	} {
		r := listen(t, func(c net.Conn, _ int) { untilClosed(c) })
		c := devClient(t, Limits{})
		_, err := c.Do(t.Context(), &Request{Target: target(t, c, r.url), GetBody: open, ContentLength: 3, Timeout: testTimeout})
		if e := wantClass(t, err, ClassBody); e.Timing.Total > testTimeout/2 {
			t.Errorf("%s: took %v", name, e.Timing.Total)
		}
	}
}

func TestConnectionIsKeptForTheSameOriginOnly(t *testing.T) {
	t.Parallel()
	r, other := listen(t, answering(t, ok)), listen(t, answering(t, ok))
	c := devClient(t, Limits{})
	for i, url := range []string{r.url, r.url, other.url, "http://" + r.addr.String() + "/elsewhere"} {
		if answer := mustPost(t, c, url); answer.Timing.Reused != (i == 1 || i == 3) {
			t.Errorf("call %d: %+v", i+1, answer.Timing)
		}
	}
	if r.accepted() != 1 || other.accepted() != 1 {
		t.Errorf("%d and %d connections", r.accepted(), other.accepted())
	}
}

func TestConnectionThatTheReceiverEndsIsNotKept(t *testing.T) {
	t.Parallel()
	for _, answer := range []string{
		"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		r := listen(t, answering(t, answer))
		c := devClient(t, Limits{})
		for range 2 {
			if mustPost(t, c, r.url).Timing.Reused {
				t.Errorf("reused after %q", answer)
			}
		}
	}
}

func TestConnectionClosedWhileIdleIsNotUsed(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) {
		readRequest(t, bufio.NewReader(c))
		_, _ = io.WriteString(c, ok)
	})
	c := devClient(t, Limits{})
	for range 3 {
		if answer := mustPost(t, c, r.url); answer.Status != 200 {
			t.Errorf("got %+v", answer)
		}
	}
}

func TestKeptConnectionThatTurnsOutClosedCostsOneMoreSending(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	r := listen(t, func(c net.Conn, n int) {
		in := bufio.NewReader(c)
		readRequest(t, in)
		requests.Add(1)
		_, _ = io.WriteString(c, ok)
		if n == 1 {
			readRequest(t, in)
			requests.Add(1)
			return // without an answer
		}
		untilClosed(c)
	})
	c := devClient(t, Limits{})
	for i := range 2 {
		answer := mustPost(t, c, r.url)
		if answer.Timing.Reused || answer.Timing.Connect == 0 {
			t.Errorf("answer %d: %+v", i+1, answer.Timing)
		}
	}
	if n := requests.Load(); n != 3 || r.accepted() != 2 {
		t.Errorf("%d requests on %d connections", n, r.accepted())
	}
}

func TestNothingIsSentAgainOnceAnAnswerHasBegun(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		readRequest(t, in)
		_, _ = io.WriteString(c, ok)
		readRequest(t, in)
		_, _ = io.WriteString(c, "H")
	})
	c := devClient(t, Limits{})
	mustPost(t, c, r.url)
	_, err := post(t, c, r.url, testTimeout)
	if e := wantClass(t, err, ClassClosed); !e.Timing.Reused || r.accepted() != 1 {
		t.Errorf("%+v on %d connections", e, r.accepted())
	}
}

func TestNothingIsSentAgainAfterATimeout(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		readRequest(t, in)
		_, _ = io.WriteString(c, ok)
		untilClosed(c)
	})
	c := devClient(t, Limits{})
	mustPost(t, c, r.url)
	_, err := post(t, c, r.url, shortly)
	wantClass(t, err, ClassTimeoutHeader)
	if r.accepted() != 1 {
		t.Errorf("%d connections", r.accepted())
	}
}

func TestCancellationEndsAnAttempt(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{})
	r := listen(t, func(c net.Conn, _ int) {
		readRequest(t, bufio.NewReader(c))
		close(arrived)
		untilClosed(c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-arrived
		cancel()
	}()
	c := devClient(t, Limits{})
	_, err := c.Do(ctx, &Request{Target: target(t, c, r.url), Timeout: testTimeout})
	wantClass(t, err, ClassCanceled)
	_, err = c.Do(ctx, &Request{Target: target(t, c, r.url), Timeout: testTimeout})
	wantClass(t, err, ClassCanceled)
}

func TestDeadlineOfTheContextCountsToo(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { untilClosed(c) })
	ctx, cancel := context.WithTimeout(t.Context(), shortly)
	defer cancel()
	c := devClient(t, Limits{})
	_, err := c.Do(ctx, &Request{Target: target(t, c, r.url), Timeout: testTimeout})
	wantClass(t, err, ClassTimeoutHeader)
}

func TestRefusedConnectionIsRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	_, err = post(t, devClient(t, Limits{}), "http://"+addr.String()+"/cb?token=secret", testTimeout)
	e := wantClass(t, err, ClassRefused)
	if want := "call http://" + addr.String() + ": refused: could not connect: connection refused"; e.Error() != want || e.Addr != addr {
		t.Errorf("%q at %v, want %q", e.Error(), e.Addr, want)
	}
}

func TestIdleConnectionsAreLimitedInNumber(t *testing.T) {
	t.Parallel()
	limits := Limits{IdleConnsPerHost: 2, MaxIdleConns: 3}
	p := newPool(limits.withDefaults())
	defer p.close()
	var far []net.Conn
	put := func(origin string) {
		near, other := net.Pipe()
		far = append(far, other)
		cn := &conn{Conn: near, tcp: near}
		cn.opened(Timing{})
		p.put(origin, cn)
	}
	for _, origin := range []string{"a", "a", "a", "b", "b", "c"} {
		put(origin)
	}
	p.mu.Lock()
	if p.count != 3 || len(p.idle["a"]) > 2 || len(p.idle["c"]) != 1 {
		t.Errorf("%d idle: %v", p.count, p.idle)
	}
	p.mu.Unlock()
	p.close()
	for _, c := range far {
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("a connection stayed open: %v", err)
		}
	}
	put("d")
	if _, err := far[len(far)-1].Read(make([]byte, 1)); !errors.Is(err, io.EOF) || p.count != 0 {
		t.Errorf("a closed pool kept a connection: %v", err)
	}
}

func TestIdleConnectionIsClosedInTime(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	r := listen(t, func(c net.Conn, _ int) {
		answering(t, ok)(c, 1)
		close(closed)
	})
	c := devClient(t, Limits{IdleConnTimeout: 20 * time.Millisecond})
	mustPost(t, c, r.url)
	<-closed
	if c.pool.get("http://"+r.addr.String(), time.Now().Add(time.Minute)) != nil {
		t.Error("the pool still has it")
	}
}
