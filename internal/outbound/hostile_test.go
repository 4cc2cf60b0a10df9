package outbound

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// shortly is the time-out of attempts that are meant to run into it.
const shortly = 150 * time.Millisecond

// drip writes octets one by one until the other side has enough.
func drip(c net.Conn, s string) {
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i = (i + 1) % len(s) {
		if _, err := c.Write([]byte{s[i]}); err != nil {
			return
		}
		<-ticker.C
	}
}

// once reads one request, answers with the octets of each string, and then waits
// for the other side to close.
func once(t testing.TB, answers ...string) func(net.Conn, int) {
	t.Helper()
	return func(c net.Conn, _ int) {
		if _, _, ok := readRequest(t, bufio.NewReader(c)); !ok {
			return
		}
		for _, answer := range answers {
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
		untilClosed(c)
	}
}

// flood reads one request and then writes begin, and s for ever. It reports the
// end of the connection on the channel.
func flood(t testing.TB, begin, s string) (func(net.Conn, int), <-chan struct{}) {
	t.Helper()
	closed := make(chan struct{}, 100)
	return func(c net.Conn, _ int) {
		defer func() { closed <- struct{}{} }()
		if _, _, ok := readRequest(t, bufio.NewReader(c)); !ok {
			return
		}
		block := strings.Repeat(s, 1+8192/len(s))
		_, err := io.WriteString(c, begin)
		for err == nil {
			_, err = io.WriteString(c, block)
		}
	}, closed
}

func TestSlowHeaderEndsWithTheAttempt(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { drip(c, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("y", 1<<20)) })
	start := time.Now()
	_, err := post(t, devClient(t, Limits{}), r.url, shortly)
	e := wantClass(t, err, ClassTimeoutHeader)
	if e.Addr != r.addr || e.Timing.FirstByte == 0 || e.Timing.Total < shortly {
		t.Errorf("addr %v, timing %+v", e.Addr, e.Timing)
	}
	if took := time.Since(start); took > 20*shortly {
		t.Errorf("took %v", took)
	}
}

func TestBodyThatNeverEndsIsCutAndDelivered(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"none at all":        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
		"a part":             "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab",
		"chunked":            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n",
		"until close":        "HTTP/1.1 200 OK\r\n\r\nab",
		"last chunk is open": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listen(t, once(t, answer))
			answer, err := post(t, devClient(t, Limits{}), r.url, shortly)
			if err != nil {
				t.Fatal(err)
			}
			if answer.Status != 200 || !answer.Truncated || len(answer.Body) > 2 || answer.Timing.Total < shortly {
				t.Errorf("got %+v", answer)
			}
		})
	}
}

func TestSlowBodyIsCutAtTheEndOfTheAttempt(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) {
		_, _ = io.WriteString(c, "HTTP/1.1 201 Created\r\nContent-Length: 1000000\r\n\r\n")
		drip(c, "x")
	})
	answer, err := post(t, devClient(t, Limits{}), r.url, shortly)
	if err != nil || answer.Status != 201 || !answer.Truncated || !bytes.HasPrefix(answer.Body, []byte("x")) {
		t.Errorf("got %+v, %v", answer, err)
	}
}

func TestHeaderAboveTheLimitEndsTheAttempt(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][2]string{
		"many fields":             {"HTTP/1.1 200 OK\r\n", "A: b\r\n"},
		"one field":               {"HTTP/1.1 200 OK\r\nA: ", "bbbbbbbb"},
		"folded lines":            {"HTTP/1.1 200 OK\r\nA: b\r\n", " c\r\n"},
		"a status line":           {"HTTP/1.1 200 ", "OK"},
		"cookies":                 {"HTTP/1.1 200 OK\r\n", "Set-Cookie: a=b\r\n"},
		"options":                 {"HTTP/1.1 200 OK\r\n", "Connection: x\r\n"},
		"interim answers":         {"", "HTTP/1.1 102 Processing\r\n\r\n"},
		"hints before the answer": {"", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handle, closed := flood(t, parts[0], parts[1])
			r := listen(t, handle)
			_, err := post(t, devClient(t, Limits{}), r.url, testTimeout)
			wantClass(t, err, ClassHeaderLimit)
			<-closed
		})
	}
}

func TestHeaderOfExactlyTheLimitIsRead(t *testing.T) {
	t.Parallel()
	header := "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: "
	header += strings.Repeat("b", 5000-len(header)-4) + "\r\n\r\n"
	r := listen(t, once(t, header+"ok"))
	answer, err := post(t, devClient(t, Limits{HeaderBytes: 5000}), r.url, testTimeout)
	if err != nil || string(answer.Body) != "ok" {
		t.Errorf("got %+v, %v", answer, err)
	}
	_, err = post(t, devClient(t, Limits{HeaderBytes: 4999}), r.url, testTimeout)
	wantClass(t, err, ClassHeaderLimit)
}

func TestHugeBodyIsCutAtTheLimitAndTheConnectionClosed(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][2]string{
		"length":      {"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "body"},
		"chunked":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "4\r\nbody\r\n"},
		"until close": {"HTTP/1.1 200 OK\r\n\r\n", "body"},
		"no success":  {"HTTP/1.1 500 No\r\n\r\n", "body"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handle, closed := flood(t, parts[0], parts[1])
			r := listen(t, handle)
			c := devClient(t, Limits{})
			answer, err := post(t, c, r.url, testTimeout)
			if err != nil {
				t.Fatal(err)
			}
			want := strings.Repeat("body", 16<<10/4)
			if !answer.Truncated || string(answer.Body) != want {
				t.Errorf("truncated %v, %d octets", answer.Truncated, len(answer.Body))
			}
			<-closed
		})
	}
}

func TestCompressedBodyIsKeptAsItCame(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	for range 8 << 10 {
		if _, err := z.Write(make([]byte, 1024)); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	asked := make(chan http.Header, 1)
	r := listen(t, func(c net.Conn, _ int) {
		request, _, ok := readRequest(t, bufio.NewReader(c))
		if !ok {
			return
		}
		asked <- request.Header
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%s", bomb.Len(), bomb.String())
		untilClosed(c)
	})
	answer := mustPost(t, devClient(t, Limits{}), r.url)
	if !bytes.Equal(answer.Body, bomb.Bytes()) || answer.Truncated || answer.Header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d octets, truncated %v, header %v", len(answer.Body), answer.Truncated, answer.Header)
	}
	if header := <-asked; header.Get("Accept-Encoding") != "" {
		t.Errorf("asked for %q", header.Get("Accept-Encoding"))
	}
}

func TestContentLengthThatIsTooLongCutsTheBody(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) {
		readRequest(t, bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
	})
	answer := mustPost(t, devClient(t, Limits{}), r.url)
	if !answer.Truncated || string(answer.Body) != "abc" {
		t.Errorf("got %+v", answer)
	}
}

func TestRedirectIsAnAnswerAndNothingElse(t *testing.T) {
	t.Parallel()
	other := listen(t, func(net.Conn, int) {})
	locations := []string{
		"http://169.254.169.254/", "http://" + other.addr.String() + "/", "http://localhost:1/", "file:///etc/passwd",
		"gopher://127.0.0.1:6379/_", "https://example.com/", "", "/cb?a=1",
	}
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range locations {
			answer := fmt.Sprintf("HTTP/1.1 %d Go\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n", status, location)
			if location == "" {
				answer = fmt.Sprintf("HTTP/1.1 %d Go\r\nContent-Length: 0\r\n\r\n", status)
			}
			r := listen(t, once(t, answer))
			got := mustPost(t, devClient(t, Limits{}), r.url)
			if got.Status != status || got.Header.Get("Location") != location || r.accepted() != 1 {
				t.Errorf("%d to %q: got %+v over %d connections", status, location, got, r.accepted())
			}
		}
	}
	if n := other.accepted(); n > 0 {
		t.Errorf("the other server was called %d times", n)
	}
}

func TestSlowInterimAnswersEndWithTheAttempt(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { drip(c, "HTTP/1.1 102 Processing\r\n\r\n") })
	_, err := post(t, devClient(t, Limits{}), r.url, shortly)
	wantClass(t, err, ClassTimeoutHeader)
}

func TestInterimAnswersBeforeTheFinalOneAreSkipped(t *testing.T) {
	t.Parallel()
	r := listen(t, once(t, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	answer := mustPost(t, devClient(t, Limits{}), r.url)
	if answer.Status != 200 || string(answer.Body) != "ok" || answer.Header.Get("Link") != "" {
		t.Errorf("got %+v", answer)
	}
}

func TestWhatIsNotAnAnswerIsAProtocolError(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]string{
		"switching protocols":     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
		"two lengths":             "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
		"two lengths in a list":   "HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok",
		"negative length":         "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
		"length with a sign":      "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
		"length that overflows":   "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
		"HTTP/0.9":                "hello\n",
		"garbage":                 "\x16\x03\x01\x00\x00\xff\n",
		"an empty line":           "\r\nHTTP/1.1 200 OK\r\n\r\n",
		"HTTP/2":                  "HTTP/2.0 200 OK\r\n\r\n",
		"HTTP/1.2":                "HTTP/1.2 200 OK\r\n\r\n",
		"frames of HTTP/2":        "\x00\x00\x00\x04\x00\x00\x00\x00\x00\n",
		"status 000":              "HTTP/1.1 000 No\r\n\r\n",
		"status with letters":     "HTTP/1.1 2OO OK\r\n\r\n",
		"status of two digits":    "HTTP/1.1 20 OK\r\n\r\n",
		"status of four digits":   "HTTP/1.1 2000 OK\r\n\r\n",
		"signed status":           "HTTP/1.1 +20 OK\r\n\r\n",
		"no status":               "HTTP/1.1\r\n\r\n",
		"a line without colon":    "HTTP/1.1 200 OK\r\nabc\r\n\r\n",
		"a name with a space":     "HTTP/1.1 200 OK\r\nA b: c\r\n\r\n",
		"a field without a name":  "HTTP/1.1 200 OK\r\n: c\r\n\r\n",
		"a fold before any field": "HTTP/1.1 200 OK\r\n c\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			closed := make(chan struct{})
			r := listen(t, func(c net.Conn, n int) {
				once(t, answer)(c, n)
				close(closed)
			})
			_, err := post(t, devClient(t, Limits{}), r.url, testTimeout)
			wantClass(t, err, ClassProtocol)
			<-closed
		})
	}
}

func TestConnectionThatEndsWithoutAnAnswerIsAnError(t *testing.T) {
	t.Parallel()
	reset := func(c net.Conn) {
		tcp, ok := c.(*net.TCPConn)
		if !ok || tcp.SetLinger(0) != nil {
			t.Error("cannot reset")
		}
	}
	for name, handle := range map[string]func(net.Conn, int){
		"closed unread": func(net.Conn, int) {},
		"closed after the request": func(c net.Conn, _ int) {
			readRequest(t, bufio.NewReader(c))
		},
		"closed within the header": func(c net.Conn, _ int) {
			readRequest(t, bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n")
		},
		"closed within the last line end": func(c net.Conn, _ int) {
			readRequest(t, bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r")
		},
		"reset after the request": func(c net.Conn, _ int) {
			readRequest(t, bufio.NewReader(c))
			reset(c)
		},
		"reset within the header": func(c net.Conn, _ int) {
			readRequest(t, bufio.NewReader(c))
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConte")
			reset(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := listen(t, handle)
			_, err := post(t, devClient(t, Limits{}), r.url, testTimeout)
			wantClass(t, err, ClassClosed, ClassReset)
			if n := r.accepted(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestResetWithinTheBodyOfASuccessIsDelivered(t *testing.T) {
	t.Parallel()
	answered := make(chan struct{})
	r := listen(t, func(c net.Conn, _ int) {
		readRequest(t, bufio.NewReader(c))
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
		<-answered
		if tcp, ok := c.(*net.TCPConn); !ok || tcp.SetLinger(0) != nil {
			t.Error("cannot reset")
		}
	})
	// The reset follows once the client waits for the rest of the body.
	c := newClient(t, Policy{Loopback: true}, Limits{}, Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&egress{anywhere: true}).dialExactly(ctx, network, address)
		return &afterFirstRead{Conn: conn, then: answered}, err
	}})
	answer := mustPost(t, c, r.url)
	if answer.Status != 200 || !answer.Truncated || string(answer.Body) != "abc" {
		t.Errorf("got %+v", answer)
	}
}

// afterFirstRead closes a channel at the second read.
type afterFirstRead struct {
	net.Conn
	then  chan struct{}
	reads int
}

func (c *afterFirstRead) Read(p []byte) (int, error) {
	if c.reads++; c.reads == 2 {
		close(c.then)
	}
	return c.Conn.Read(p)
}

func TestReceiverThatAnswersBeforeItReadsIsDelivered(t *testing.T) {
	t.Parallel()
	large := make([]byte, 32<<20)
	for name, then := range map[string]func(net.Conn, <-chan struct{}){
		"and never reads": func(_ net.Conn, done <-chan struct{}) { <-done },
		"and then reads":  func(c net.Conn, _ <-chan struct{}) { untilClosed(c) },
		"and closes":      func(net.Conn, <-chan struct{}) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			r := listen(t, func(c net.Conn, _ int) {
				_, _ = io.WriteString(c, "HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok")
				then(c, done)
			})
			c := devClient(t, Limits{})
			answer, err := c.Do(context.Background(), &Request{Target: target(t, c, r.url), Body: large, Timeout: testTimeout})
			close(done)
			if err != nil || answer.Status != 202 || string(answer.Body) != "ok" {
				t.Fatalf("got %+v, %v", answer, err)
			}
		})
	}
}

func TestReceiverThatNeverReadsOrNeverAnswersEndsWithTheAttempt(t *testing.T) {
	t.Parallel()
	for class, body := range map[Class][]byte{ClassTimeoutHeader: []byte("a"), ClassTimeoutWrite: make([]byte, 32<<20)} {
		t.Run(string(class), func(t *testing.T) {
			t.Parallel()
			done := make(chan struct{})
			defer close(done)
			r := listen(t, func(net.Conn, int) { <-done })
			c := devClient(t, Limits{})
			_, err := c.Do(context.Background(), &Request{Target: target(t, c, r.url), Body: body, Timeout: shortly})
			wantClass(t, err, class)
		})
	}
}

func TestReceiverThatHoldsTheConnectionIsDeliveredAtOnce(t *testing.T) {
	t.Parallel()
	r := listen(t, once(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	answer := mustPost(t, devClient(t, Limits{}), r.url)
	if answer.Timing.Total > testTimeout/2 || answer.Truncated {
		t.Errorf("got %+v", answer)
	}
}

func TestMalformedChunksCutTheBody(t *testing.T) {
	t.Parallel()
	for name, parts := range map[string][2]string{
		"an extension that never ends": {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n4;", "xxxxxxxx"},
		"extensions without end":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "1;" + strings.Repeat("x", 1000) + "\r\nc\r\n"},
		"a size that is no number":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nxyz\r\n", "ab"},
		"a size that overflows":        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nfffffffffffffffff\r\n", "ab"},
		"an unknown coding":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "2\r\nab\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			handle, closed := flood(t, parts[0], parts[1])
			r := listen(t, handle)
			answer := mustPost(t, devClient(t, Limits{}), r.url)
			if answer.Status != 200 || !answer.Truncated || len(answer.Body) > 100 {
				t.Errorf("truncated %v, %d octets", answer.Truncated, len(answer.Body))
			}
			<-closed
		})
	}
}

func TestCookiesAreNotSentBack(t *testing.T) {
	t.Parallel()
	asked := make(chan http.Header, 2)
	cookies := strings.Repeat("Set-Cookie: a=b\r\nConnection: x\r\n", 1000)
	r := listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		for {
			request, _, ok := readRequest(t, in)
			if !ok {
				return
			}
			asked <- request.Header
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n"+cookies+"Content-Length: 0\r\n\r\n")
		}
	})
	c := devClient(t, Limits{})
	for range 2 {
		if answer := mustPost(t, c, r.url); len(answer.Header["Set-Cookie"]) > 200 || answer.Truncated {
			t.Errorf("%d cookies in the answer, truncated %v", len(answer.Header["Set-Cookie"]), answer.Truncated)
		}
		if header := <-asked; header.Get("Cookie") != "" {
			t.Errorf("sent %q", header.Get("Cookie"))
		}
	}
}

func TestOddOctetsAreKept(t *testing.T) {
	t.Parallel()
	odd := "\xff\xfe\x00\x1b[31m\u202e<script>\r"
	r := listen(t, once(t, "HTTP/1.1 200 "+odd+"\r\nX-Odd: a"+odd+"b\r\nContent-Length: "+fmt.Sprint(len(odd))+"\r\n\r\n"+odd))
	answer := mustPost(t, devClient(t, Limits{}), r.url)
	if answer.Status != 200 || answer.Header.Get("X-Odd") != "a"+odd+"b" || string(answer.Body) != odd || answer.Truncated {
		t.Errorf("got %+v", answer)
	}
}
