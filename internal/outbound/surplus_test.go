package outbound

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// corked keeps what is written until release, and then sends it as one: what is
// several records of TLS reaches the client in a single read.
type corked struct {
	net.Conn
	kept bytes.Buffer
	on   bool
}

func (c *corked) Write(p []byte) (int, error) {
	if c.on {
		return c.kept.Write(p)
	}
	return c.Conn.Write(p)
}

func (c *corked) release() error {
	c.on = false
	_, err := c.kept.WriteTo(c.Conn)
	return err
}

// onceInRecords is once over TLS with each string in a record of its own.
func onceInRecords(t testing.TB, config *tls.Config, answers ...string) func(net.Conn, int) {
	t.Helper()
	config = config.Clone()
	config.DynamicRecordSizingDisabled = true
	return func(c net.Conn, _ int) {
		cork := &corked{Conn: c}
		secure := tls.Server(cork, config)
		if _, _, ok := readRequest(t, bufio.NewReader(secure)); !ok {
			return
		}
		cork.on = true
		for _, answer := range answers {
			if _, err := io.WriteString(secure, answer); err != nil {
				t.Errorf("write a record: %v", err)
			}
		}
		if cork.release() == nil {
			untilClosed(c)
		}
	}
}

func TestSurplusIsNeverTheNextAnswer(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	config := serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour))
	ok := "HTTP/1.1 200 OK\r\n"
	surplus := "HTTP/1.1 500 Surplus\r\nContent-Length: 0\r\n\r\n"
	// More than what is read ahead, so that the body is read past that buffer.
	large := strings.Repeat("x", 8192)
	for name, parts := range map[string][]string{
		"length too short":      {ok + "Content-Length: 2\r\n\r\nok", surplus},
		"large body":            {ok + "Content-Length: 8192\r\n\r\n", large + surplus},
		"large body alone":      {ok + "Content-Length: 8192\r\n\r\n", large, surplus},
		"large chunk":           {ok + "Transfer-Encoding: chunked\r\n\r\n2000\r\n", large + "\r\n0\r\n\r\n", surplus},
		"large surplus":         {ok + "Content-Length: 2\r\n\r\nok", "HTTP/1.1 500 Surplus\r\nContent-Length: 8192\r\n\r\n" + large},
		"nothing announced":     {ok + "Content-Length: 0\r\n\r\n", surplus},
		"no content":            {"HTTP/1.1 204 No Content\r\n\r\n", surplus},
		"no content, announced": {"HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n"},
		"no content, chunked":   {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		"behind the last chunk": {ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", surplus},
		"a trailer":             {ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n", "A: b\r\n\r\n"},
		"length and chunks":     {ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
		"not modified":          {"HTTP/1.1 304 Not Modified\r\n\r\n", surplus},
	} {
		whole := strings.Join(parts, "")
		for over, handle := range map[string]func(net.Conn, int){
			"http":                 once(t, whole),
			"https in one record":  onceInRecords(t, config, whole),
			"https in its records": onceInRecords(t, config, parts...),
		} {
			t.Run(name+" over "+over, func(t *testing.T) {
				t.Parallel()
				r := listen(t, handle)
				scheme, _, _ := strings.Cut(over, " ")
				c := tlsClient(t, ca.pool(), Limits{})
				for i := range 3 {
					answer := mustPost(t, c, strings.Replace(r.url, "http", scheme, 1))
					if answer.Status == 500 || answer.Truncated || answer.Timing.Reused {
						t.Fatalf("answer %d: %+v", i+1, answer)
					}
				}
				if n := r.accepted(); n != 3 {
					t.Errorf("%d connections, want 3", n)
				}
			})
		}
	}
}

func TestOctetsThatComeUnaskedEndAnIdleConnection(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			more, written := make(chan struct{}), make(chan struct{})
			handle := func(c net.Conn, n int) {
				readRequest(t, bufio.NewReader(c))
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				if n == 1 {
					<-more
					_, _ = io.WriteString(c, "HTTP/1.1 500 Late\r\nContent-Length: 0\r\n\r\n")
					close(written)
				}
				untilClosed(c)
			}
			var r *receiver
			if scheme == "https" {
				r, _ = listenTLS(t, serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour)), handle)
			} else {
				r = listen(t, handle)
			}
			c := tlsClient(t, ca.pool(), Limits{})
			mustPost(t, c, r.url)
			close(more)
			<-written
			if answer := mustPost(t, c, r.url); answer.Status != 200 || answer.Timing.Reused {
				t.Errorf("got %+v", answer)
			}
		})
	}
}

func TestConnectionThatCannotBeLookedIntoIsNotUsedAgain(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 8192) // the surplus behind it stays in the socket
	r := listen(t, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n"+large+"HTTP/1.1 500 Surplus\r\nContent-Length: 0\r\n\r\n"))
	c := newClient(t, Policy{Loopback: true}, Limits{}, Options{Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		socket, err := (&egress{anywhere: true}).dialExactly(ctx, network, address)
		return struct{ net.Conn }{socket}, err
	}})
	for i := range 3 {
		if answer := mustPost(t, c, r.url); answer.Status != 200 || answer.Timing.Reused {
			t.Fatalf("answer %d: status %d, reused %v", i+1, answer.Status, answer.Timing.Reused)
		}
	}
}
