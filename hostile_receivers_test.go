package ringback_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// peer is one connection to a hostile receiver.
type peer struct {
	net.Conn
	in   *bufio.Reader
	of   *hostileReceiver
	stop <-chan struct{} // closed when the test is over
}

// request reads a request, and notes its webhook-id.
func (p *peer) request() bool {
	r, err := http.ReadRequest(p.in)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	p.of.note(r.Header)
	return err == nil
}

func (p *peer) say(s string) { _, _ = io.WriteString(p, s) }

// flood says s until the other side has enough.
func (p *peer) flood(s string) {
	block := strings.Repeat(s, 1+8192/len(s))
	for {
		if _, err := io.WriteString(p, block); err != nil {
			return
		}
	}
}

// drip says s again and again, an octet at a time.
func (p *peer) drip(s string) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i = (i + 1) % len(s) {
		if _, err := p.Write([]byte{s[i]}); err != nil {
			return
		}
		<-tick.C
	}
}

// hold keeps the connection and reads nothing.
func (p *peer) hold() { <-p.stop }

// reset ends the connection with a RST.
func (p *peer) reset() {
	if tcp, ok := p.Conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
}

// answering is what a receiver does that reads a request and answers with these octets.
func answering(parts ...string) func(*peer) {
	return func(p *peer) {
		for p.request() {
			for _, part := range parts {
				p.say(part)
			}
		}
	}
}

// flooding answers with begin, and then with s for ever.
func flooding(begin, s string) func(*peer) {
	return func(p *peer) {
		p.request()
		p.say(begin)
		p.flood(s)
	}
}

// behaviour is one thing that a receiver may do, by its number in the list.
type behaviour struct {
	n    int
	name string
	do   func(*peer)
	tls  func(ca *certifier) *tls.Config // nil: plain http
	url  string                          // in place of the receiver's own
	// want is delivered, retry, dead, refused, or held: the receiver wants to be left
	// alone, and is, for an hour at most.
	want  string
	class []string // of the last attempt; none for delivered
	cut   bool     // the answer's body is marked as cut
	kept  bool     // the connection may be kept for the next callback
	// hasty bounds an attempt tightly: the receiver lets it run into that.
	hasty bool
	large bool // the request is larger than any socket's buffer
}

const ok200 = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func status(line string, fields ...string) func(*peer) {
	return answering("HTTP/1.1 " + line + "\r\nContent-Length: 0\r\n" + strings.Join(fields, "") + "\r\n")
}

// behaviours are the 28 that a delivery must survive, most of them in several forms.
func behaviours(elsewhere string) []behaviour {
	hour := time.Hour
	length := "HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"
	chunked := "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	odd := "\xff\xfe\x00\x1b[31m\u202e<script>alert(1)</script>\r"
	timedOut := []string{"timeout_header", "timeout_write"}
	broken := []string{"closed", "reset"}
	list := []behaviour{
		{n: 1, name: "header at an octet a time", do: func(p *peer) { p.request(); p.drip("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("y", 1<<20)) }, want: "retry", class: timedOut, hasty: true},
		{n: 2, name: "body at an octet a time", do: func(p *peer) { p.request(); p.say(length); p.drip("x") }, want: "delivered", cut: true, hasty: true},
		{n: 2, name: "no body", do: func(p *peer) { p.request(); p.say(length); p.hold() }, want: "delivered", cut: true, hasty: true},
		{n: 3, name: "endless header", do: flooding("HTTP/1.1 200 OK\r\n", "A: b\r\n"), want: "retry", class: []string{"header_limit"}},
		{n: 3, name: "one endless field", do: flooding("HTTP/1.1 200 OK\r\nA: ", "bbbb"), want: "retry", class: []string{"header_limit"}},
		{n: 4, name: "a gigabyte with a length", do: flooding(length, "body"), want: "delivered", cut: true},
		{n: 4, name: "a gigabyte in chunks", do: flooding(chunked, "4\r\nbody\r\n"), want: "delivered", cut: true},
		{n: 5, name: "gzip bomb", do: flooding("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff", "\xec\xc1\x01\x01\x00\x00"), want: "delivered", cut: true},
		{n: 6, name: "length too long", do: func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc") }, want: "delivered", cut: true},
		{n: 6, name: "length too short", do: answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"), want: "delivered"},
		{n: 6, name: "two lengths", do: answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"), want: "retry", class: []string{"protocol"}},
		{n: 8, name: "no Location", do: status("302 Found"), want: "retry", class: []string{"status_3xx"}, kept: true},
		{n: 8, name: "in a circle", do: status("308 Permanent Redirect", "Location: /bar\r\n"), want: "retry", class: []string{"status_3xx"}, kept: true},
		{n: 9, name: "flood of 100", do: flooding("", "HTTP/1.1 100 Continue\r\n\r\n"), want: "retry", class: []string{"header_limit"}},
		{n: 9, name: "flood of 102 and 103", do: flooding("", "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"), want: "retry", class: []string{"header_limit"}},
		{n: 9, name: "interim answers, slowly", do: func(p *peer) { p.request(); p.drip("HTTP/1.1 102 Processing\r\n\r\n") }, want: "retry", class: timedOut, hasty: true},
		{n: 10, name: "101 unasked", do: answering("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"), want: "retry", class: []string{"protocol"}},
		{n: 11, name: "closes unread", do: func(*peer) {}, want: "retry", class: broken},
		{n: 11, name: "reads and closes", do: func(p *peer) { p.request() }, want: "retry", class: broken},
		{n: 12, name: "reset in the header", do: func(p *peer) { p.request(); p.say("HTTP/1.1 200 OK\r\nConte"); p.reset() }, want: "retry", class: broken},
		{n: 12, name: "answers before it reads", do: func(p *peer) { p.say(ok200); p.hold() }, want: "delivered", large: true},
		{n: 13, name: "HTTP/0.9", do: answering("hello\n"), want: "retry", class: []string{"protocol"}},
		{n: 13, name: "garbage", do: answering("\x16\x03\x01\x00\x00\xff\n\n"), want: "retry", class: []string{"protocol"}},
		{n: 13, name: "status 000", do: answering("HTTP/1.1 000 No\r\n\r\n"), want: "retry", class: []string{"protocol"}},
		{n: 13, name: "status 2OO", do: answering("HTTP/1.1 2OO OK\r\n\r\n"), want: "retry", class: []string{"protocol"}},
		{n: 14, name: "certificate expired", do: answering(ok200), tls: func(ca *certifier) *tls.Config { return ca.config("127.0.0.1", -hour) }, want: "retry", class: []string{"tls_expired"}},
		{n: 14, name: "certificate for another host", do: answering(ok200), tls: func(ca *certifier) *tls.Config { return ca.config("other.test", hour) }, want: "retry", class: []string{"tls_wrong_host"}},
		{n: 14, name: "self-signed", do: answering(ok200), tls: func(*certifier) *tls.Config { return newCertifier().config("127.0.0.1", hour) }, want: "retry", class: []string{"tls_unknown_authority"}},
		{n: 15, name: "TLS stalls", do: (*peer).hold, url: "https:", want: "retry", class: []string{"timeout_tls"}, hasty: true},
		{n: 16, name: "never answers", do: func(p *peer) { p.request(); p.hold() }, want: "retry", class: timedOut, hasty: true},
		{n: 16, name: "never reads", do: (*peer).hold, want: "retry", class: timedOut, hasty: true, large: true},
		{n: 17, name: "answers and holds", do: func(p *peer) { p.request(); p.say(ok200); p.hold() }, want: "delivered", kept: true},
		{n: 18, name: "insists on HTTP/2", do: answering(ok200), tls: func(ca *certifier) *tls.Config {
			c := ca.config("127.0.0.1", hour)
			c.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				return nil, fmt.Errorf("offered %v", hello.SupportedProtos) // never h2
			}
			return c
		}, want: "retry", class: []string{"tls_rejected"}},
		{n: 19, name: "endless chunk extension", do: flooding(chunked+"2;", "xxxx"), want: "delivered", cut: true},
		{n: 19, name: "chunk size that is no number", do: flooding(chunked+"xyz\r\n", "ab"), want: "delivered", cut: true},
		{n: 20, name: "cookies below the limit", do: answering("HTTP/1.1 200 OK\r\n" + strings.Repeat("Set-Cookie: a=b\r\nConnection: x\r\n", 1500) + "Content-Length: 0\r\n\r\n"), want: "delivered", kept: true},
		{n: 20, name: "cookies above the limit", do: answering("HTTP/1.1 200 OK\r\n" + strings.Repeat("Set-Cookie: a=b\r\nConnection: x\r\n", 5000) + "\r\n"), want: "retry", class: []string{"header_limit"}},
		{n: 21, name: "204 with a body", do: answering("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello"), want: "delivered"},
		{n: 22, name: "415", do: status("415 Unsupported Media Type"), want: "dead", class: []string{"status_4xx"}, kept: true},
		{n: 23, name: "410", do: status("410 Gone", "Retry-After: 1\r\n"), want: "dead", class: []string{"gone"}, kept: true},
		{n: 24, name: "429, ten years", do: status("429 Too Many Requests", "Retry-After: 315360000\r\n"), want: "held", class: []string{"throttled"}, kept: true},
		{n: 26, name: "503 with a date", do: status("503 No", "Retry-After: Sun, 06 Nov 2094 08:49:37 GMT\r\n"), want: "held", class: []string{"status_5xx"}, kept: true},
		{n: 26, name: "Location, Refresh and Alt-Svc on a 200", do: status("200 OK", "Location: http://"+elsewhere+"/\r\nRefresh: 0; url=http://"+elsewhere+"/\r\nAlt-Svc: h2=\""+elsewhere+"\"\r\n"), want: "delivered", kept: true},
		{n: 27, name: "odd octets", do: answering("HTTP/1.1 200 " + odd + "\r\nX-Odd: " + odd + "x\r\nContent-Length: " + fmt.Sprint(len(odd)) + "\r\n\r\n" + odd), want: "delivered", kept: true},
		{n: 28, name: "DNS stalls", url: "http://stalls.test/", want: "retry", class: []string{"timeout_dns"}, hasty: true},
		{n: 28, name: "the name vanishes", url: "http://gone.test/", want: "retry", class: []string{"dns_not_found"}},
		{n: 28, name: "1,000 addresses", url: "http://many.test:1/", want: "retry", class: []string{"refused"}},
		{n: 7, name: "the name leads inside", url: "http://inside.test/", want: "refused", class: []string{"policy"}},
	}
	for _, code := range []string{"301", "302", "303", "307", "308"} {
		for _, to := range []string{"http://169.254.169.254/latest/", "http://" + elsewhere + "/", "http://inside.test/"} {
			list = append(list, behaviour{n: 7, name: code + " to " + to, do: status(code+" Go", "Location: "+to+"\r\n"), want: "retry", class: []string{"status_3xx"}, kept: true})
		}
	}
	for _, to := range []string{"file:///etc/passwd", "gopher://127.0.0.1:6379/_", "https://public.test/"} {
		list = append(list, behaviour{n: 8, name: "to " + to, do: status("307 Go", "Location: "+to+"\r\n"), want: "retry", class: []string{"status_3xx"}, kept: true})
	}
	for _, code := range []int{400, 401, 403, 404, 408, 413, 418, 425, 451, 499, 500, 501, 502, 504, 599} {
		class := string(job.StatusClass(code))
		list = append(list, behaviour{n: 22, name: fmt.Sprint(code), do: status(fmt.Sprint(code) + " No"), want: "retry", class: []string{class}, kept: true})
	}
	list = append(list, behaviour{n: 25, name: "Retry-After that overflows", do: status("429 No", "Retry-After: 99999999999999999999999\r\n"), want: "held", class: []string{"throttled"}, kept: true})
	for _, after := range []string{"-5", "Sun, 06 Nov 1994 08:49:37 GMT", "soon", ""} {
		list = append(list, behaviour{n: 25, name: "Retry-After: " + after, do: status("429 No", "Retry-After: "+after+"\r\n"), want: "retry", class: []string{"throttled"}, kept: true})
	}
	for name, frames := range map[string]string{
		"SETTINGS": "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "PING": "\x00\x00\x08\x06\x00\x00\x00\x00\x00\n\n\n\n\n\n\n\n",
		"GOAWAY": "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "RST_STREAM": "\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x00",
		"CONTINUATION": "\x00\x00\x01\x09\x00\x00\x00\x00\x01\x00", "WINDOW_UPDATE": "\x00\x00\x04\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		list = append(list, behaviour{n: 18, name: "flood of " + name, do: flooding("", frames), want: "retry", class: []string{"protocol", "header_limit"},
			tls: func(ca *certifier) *tls.Config { return ca.config("127.0.0.1", hour) }})
	}
	return list
}

// hostileReceiver plays one behaviour.
type hostileReceiver struct {
	url     string
	mu      sync.Mutex
	ids     []string // of the callbacks that came
	cookies int
	conns   []net.Conn
	wg      sync.WaitGroup
}

func (h *hostileReceiver) note(header http.Header) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ids = append(h.ids, header.Get("Webhook-Id"))
	h.cookies += len(header["Cookie"])
}

func playHostile(t *testing.T, b behaviour, ca *certifier) *hostileReceiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	scheme := "http://"
	if b.tls != nil || b.url == "https:" {
		scheme = "https://"
	}
	h := &hostileReceiver{url: scheme + l.Addr().String() + "/bar"}
	stop := make(chan struct{})
	h.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns = append(h.conns, c)
			h.mu.Unlock()
			h.wg.Go(func() { h.serve(c, b, ca, stop) })
		}
	})
	t.Cleanup(func() {
		close(stop)
		l.Close()
		h.mu.Lock()
		for _, c := range h.conns {
			c.Close()
		}
		h.mu.Unlock()
		h.wg.Wait()
	})
	return h
}

func (h *hostileReceiver) serve(c net.Conn, b behaviour, ca *certifier, stop <-chan struct{}) {
	defer c.Close()
	p := &peer{Conn: c, of: h, stop: stop}
	if b.tls != nil {
		secure := tls.Server(c, b.tls(ca))
		if secure.Handshake() != nil {
			return
		}
		p.Conn = secure
	}
	p.in = bufio.NewReader(p.Conn)
	b.do(p)
}

// gatewaySide are the connections as the gateway has them, and its DNS.
type gatewaySide struct {
	mu      sync.Mutex
	open    map[string]int // by the address that was dialled
	dialled map[string]int
}

func (g *gatewaySide) dial(ctx context.Context, network, address string) (net.Conn, error) {
	g.mu.Lock()
	g.dialled[address]++
	g.mu.Unlock()
	var d net.Dialer
	c, err := d.DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.open[address]++
	g.mu.Unlock()
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil, fmt.Errorf("dialled a %T", c)
	}
	return &trackedConn{TCPConn: tcp, closed: sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open[address]--
	})}, nil
}

// counts are how often the host of a URL was dialled, and how many connections to it
// are open.
func (g *gatewaySide) counts(address string) (dialled, open int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.dialled[address], g.open[address]
}

// trackedConn tells when the gateway closes it.
type trackedConn struct {
	*net.TCPConn
	closed func()
}

func (c *trackedConn) Close() error {
	c.closed()
	return c.TCPConn.Close()
}

func (g *gatewaySide) LookupNetIP(ctx context.Context, _, host string) ([]netip.Addr, error) {
	switch host {
	case "stalls.test":
		<-ctx.Done()
		return nil, ctx.Err()
	case "inside.test":
		return []netip.Addr{netip.MustParseAddr("10.0.0.5")}, nil
	case "many.test":
		many := make([]netip.Addr, 1000)
		for i := range many {
			many[i] = netip.AddrFrom4([4]byte{127, 9, byte(i >> 8), byte(i)})
		}
		return many, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

// large is more than the buffers of two sockets take.
var large = bytes.Repeat([]byte("large "), 3<<20)

// hostileGateway has operations whose callbacks are tried twice at once: patiently, with
// little patience, and with a large body.
func hostileGateway(t *testing.T, side *gatewaySide, ca *certifier) *gateway {
	t.Helper()
	twice := func(timeout time.Duration, format string) func(*job.Operation) {
		return func(op *job.Operation) {
			op.Callback.Schedule, op.Callback.Timeout, op.Callback.Format = []time.Duration{time.Millisecond}, timeout, format
		}
	}
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{
			operation("patient", "POST /patient", ringback.Relay(), twice(time.Minute, "")),
			operation("hasty", "POST /hasty", ringback.Relay(), twice(time.Second, "")),
			operation("patient_large", "POST /patient_large", ringback.Relay(), twice(time.Minute, job.FormatRaw)),
			operation("hasty_large", "POST /hasty_large", ringback.Relay(), twice(time.Second, job.FormatRaw)),
		}
		o.Resolver, o.Dial, o.RootCAs = side, side.dial, ca.pool()
	})
	g.join(t)
	return g
}

func TestDeliverySurvivesEveryBehaviourOfReceivers(t *testing.T) {
	elsewhere, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer elsewhere.Close()
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(nobody.Addr().String())
	nobody.Close()
	side, ca := &gatewaySide{open: map[string]int{}, dialled: map[string]int{}}, newCertifier()
	g := hostileGateway(t, side, ca)
	var mu sync.Mutex
	bad, tried := map[int]bool{}, map[int]int{}
	t.Run("all", func(t *testing.T) {
		for _, b := range behaviours(elsewhere.Addr().String()) {
			b.url = strings.Replace(b.url, ":1/", ":"+port+"/", 1)
			tried[b.n]++
			t.Run(fmt.Sprintf("%d %s", b.n, b.name), func(t *testing.T) {
				t.Parallel()
				defer func() {
					mu.Lock()
					defer mu.Unlock()
					bad[b.n] = bad[b.n] || t.Failed()
				}()
				g.survive(t, side, b, ca)
			})
		}
	})
	survived := 0
	for n := 1; n <= 28; n++ {
		if tried[n] == 0 {
			t.Errorf("nothing behaves as number %d", n)
		} else if !bad[n] {
			survived++
		}
	}
	t.Logf("hostile receivers: %d of 28", survived)
	if n, _ := side.counts(elsewhere.Addr().String()); n > 0 {
		t.Errorf("a redirect was followed %d times", n)
	}
	side.mu.Lock()
	defer side.mu.Unlock()
	for address := range side.dialled {
		if !strings.HasPrefix(address, "127.") {
			t.Errorf("%s was dialled", address)
		}
	}
}

func TestAReceiverThatHoldsAnAttemptDelaysNobodyElse(t *testing.T) {
	t.Parallel()
	side := &gatewaySide{open: map[string]int{}, dialled: map[string]int{}}
	g := hostileGateway(t, side, newCertifier())
	silent := playHostile(t, behaviour{do: func(p *peer) { p.request(); p.hold() }}, nil)
	deaf := playHostile(t, behaviour{do: (*peer).hold}, nil)
	url, messages := listen(t, g.appSecret, nil)
	var held []string
	for range 20 { // all wait for a minute, and the good one for none of them
		held = append(held, g.call(t, client.Call{Path: "/patient", CallbackURL: silent.url, Body: strings.NewReader(`"x"`)}).ID)
	}
	held = append(held, g.call(t, client.Call{Path: "/patient_large", CallbackURL: deaf.url, Body: bytes.NewReader(large)}).ID)
	for range 10 {
		g.call(t, client.Call{Path: "/patient", CallbackURL: url, Body: strings.NewReader(`"y"`)})
		next(t, messages)
	}
	for _, id := range held {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			if err != nil || c.Status != "pending" {
				t.Errorf("%+v, %v", c, err)
			}
		}
	}
}

// wantHeld waits until the receiver has put off the only callback of a job.
func (g *gateway) wantHeld(t *testing.T, id string, b behaviour) {
	t.Helper()
	eventually(t, "the receiver holds its lane", func() bool {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Status != "pending" {
				t.Fatalf("%s %s", c.Status, c.LastError)
			}
			if c.Attempts == 1 && c.Waiting == job.WaitingRate {
				wait := time.Until(c.NextAttemptAt.Time)
				return slices.Contains(b.class, c.LastError) && wait > 50*time.Minute && wait <= time.Hour
			}
		}
		return false
	})
}

// survive delivers to a receiver that behaves as b says, and looks at what is left.
func (g *gateway) survive(t *testing.T, side *gatewaySide, b behaviour, ca *certifier) {
	t.Helper()
	r, address := &hostileReceiver{url: b.url}, ""
	if b.do != nil {
		r = playHostile(t, b, ca)
		address = strings.Split(r.url, "/")[2]
	}
	call := client.Call{Path: "/patient", CallbackURL: r.url, Body: strings.NewReader(`"x"`)}
	if b.hasty {
		call.Path = "/hasty"
	}
	if b.large {
		call.Path += "_large"
		call.Body = bytes.NewReader(large)
	}
	accepted := g.call(t, call)
	if b.want == "held" {
		g.wantHeld(t, accepted.ID, b)
		return
	}
	c := g.settled(t, accepted.ID)
	attempts := g.attempts(t, c.ID)
	state, want := "delivered", 1
	if b.want != "delivered" {
		state = "dead"
	}
	if b.want == "retry" {
		want = 2
	}
	if c.Status != state || len(attempts) != want || len(b.class) > 0 && !slices.Contains(b.class, c.LastError) || len(b.class) == 0 && c.LastError != "" {
		t.Errorf("%s %s after %d attempts; want %s %v after %d", c.Status, c.LastError, len(attempts), state, b.class, want)
	}
	if last := attempts[len(attempts)-1]; b.want == "delivered" && last.Truncated != b.cut {
		t.Errorf("cut: %v", last.Truncated)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.ids, func(id string) bool { return id != c.ID }) || r.cookies > 0 || len(r.ids) > want {
		t.Errorf("callback %s came as %v, with %d cookies", c.ID, r.ids, r.cookies)
	}
	if address == "" {
		return
	}
	eventually(t, "connections are closed", func() bool {
		dialled, open := side.counts(address)
		return dialled <= want && (open == 0 || b.kept && open == 1)
	})
}

// certifier signs certificates.
type certifier struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newCertifier() *certifier {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-3 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return &certifier{key, cert}
}

func (ca *certifier) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

func (ca *certifier) config(host string, lasts time.Duration) *tls.Config {
	template := &x509.Certificate{SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(lasts), DNSNames: []string{host}}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses, template.DNSNames = []net.IP{ip}, nil
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, ca.key.Public(), ca.key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: ca.key}}}
}
