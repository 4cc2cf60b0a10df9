package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/hostile"
)

// wire plays every receiver on loopback and notes what was dialled and asked.
type wire struct {
	receiver *receiver

	mu      sync.Mutex
	dialled []netip.AddrPort
	asked   []string // the target of each request line
	host    string   // whom the next certificate is for
}

func newWire(t *testing.T, ca *authority) *wire {
	t.Helper()
	w := &wire{}
	w.receiver = listen(t, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		if first, err := in.Peek(1); err == nil && first[0] == 0x16 { // a TLS handshake
			secure := tls.Server(&peeked{c, in}, &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				w.mu.Lock()
				defer w.mu.Unlock()
				return ca.issue(w.host, time.Now().Add(time.Hour))
			}})
			c, in = secure, bufio.NewReader(secure)
		}
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		for {
			if field, err := in.ReadString('\n'); err != nil || field == "\r\n" {
				break
			}
		}
		w.mu.Lock()
		w.asked = append(w.asked, strings.Split(line, " ")[1])
		w.mu.Unlock()
		_, _ = io.WriteString(c, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	return w
}

type peeked struct {
	net.Conn
	in io.Reader
}

func (p *peeked) Read(b []byte) (int, error) { return p.in.Read(b) }

func (w *wire) dial(ctx context.Context, network, address string) (net.Conn, error) {
	addr, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	w.dialled = append(w.dialled, addr)
	w.mu.Unlock()
	var d net.Dialer
	return d.DialContext(ctx, network, w.receiver.addr.String())
}

// expect forgets what was noted and names the host that is called next.
func (w *wire) expect(host string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dialled, w.asked, w.host = nil, nil, host
}

func (w *wire) noted() ([]netip.AddrPort, []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.dialled), slices.Clone(w.asked)
}

func TestEveryURLIsRefusedInvalidOrCalledAsListed(t *testing.T) {
	t.Parallel()
	runRows(t)
}

func TestProxyVariablesChangeNothing(t *testing.T) {
	proxy := listen(t, func(net.Conn, int) {})
	for _, name := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"} {
		t.Setenv(name, "http://"+proxy.addr.String())
	}
	t.Setenv("NO_PROXY", "")
	t.Setenv("no_proxy", "")
	runRows(t)
	if n := proxy.accepted(); n > 0 {
		t.Errorf("the proxy was called %d times", n)
	}
}

func runRows(t *testing.T) {
	t.Helper()
	ca := newAuthority(t)
	w := newWire(t, ca)
	for _, row := range hostile.URLs() {
		resolver := row.Resolver()
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: resolver, Dial: w.dial, RootCAs: ca.pool()})
		got, err := c.Check(row.URL)
		switch row.Expect {
		case "invalid":
			var urlError *URLError
			if !errors.As(err, &urlError) || urlError.Code != CodeInvalid || urlError.Rule == "" {
				t.Errorf("line %d (%s): %v, want %s", row.Line, row.Why, err, CodeInvalid)
			}
		case "refuse":
			if err == nil {
				wantRefused(t, c, w, row, got)
			}
		case "allow":
			if err != nil {
				t.Errorf("line %d (%s): %v", row.Line, row.Why, err)
				continue
			}
			wantCalled(t, c, w, row, got)
		default:
			t.Fatalf("line %d: unknown expectation %q", row.Line, row.Expect)
		}
	}
}

// attempts is more than any row has answers one after the other.
const attempts = 4

func wantRefused(t *testing.T, c *Client, w *wire, row hostile.URL, got *Target) {
	t.Helper()
	w.expect(got.host)
	var err error
	for range attempts {
		_, err = c.Do(context.Background(), &Request{Target: got, Timeout: testTimeout})
	}
	var e *Error
	var urlError *URLError
	if !errors.As(err, &e) || e.Class != ClassPolicy || !errors.As(err, &urlError) || urlError.Code != CodeForbidden {
		t.Errorf("line %d (%s): %v, want it refused", row.Line, row.Why, err)
	}
	dialled, _ := w.noted()
	for _, addr := range dialled {
		earlier := strings.HasPrefix(row.Why, "dns mixed") && addr.Addr() == netip.MustParseAddr("93.184.216.34")
		if !earlier {
			t.Errorf("line %d (%s): %s was dialled", row.Line, row.Why, addr)
		}
	}
}

func wantCalled(t *testing.T, c *Client, w *wire, row hostile.URL, got *Target) {
	t.Helper()
	w.expect(got.host)
	_, rest, _ := strings.Cut(row.URL, "://")
	want := "/"
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		want = rest[i:]
		if want[0] == '?' {
			want = "/" + want
		}
	}
	for range attempts {
		answer, err := c.Do(context.Background(), &Request{Target: got, Timeout: testTimeout})
		if err != nil || answer.Status != 204 {
			t.Errorf("line %d (%s): %v (%v)", row.Line, row.Why, err, errors.Unwrap(err))
			return
		}
	}
	dialled, asked := w.noted()
	if len(dialled) != attempts || len(asked) != attempts {
		t.Errorf("line %d (%s): dialled %v, asked %q", row.Line, row.Why, dialled, asked)
	}
	for _, target := range asked {
		if target != want {
			t.Errorf("line %d (%s): asked for %q, want %q", row.Line, row.Why, target, want)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for _, row := range hostile.URLs() {
		f.Add(row.URL)
	}
	c := newClient(f, Policy{HTTP: true}, Limits{}, Options{})
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := c.Check(raw)
		if err != nil {
			var urlError *URLError
			if !errors.As(err, &urlError) || urlError.Code == "" || urlError.Rule == "" || urlError.Message == "" {
				t.Fatalf("%q: incomplete error %#v", raw, err)
			}
			return
		}
		if strings.ContainsAny(got.origin+got.requestURI, "\r\n \x00") || got.requestURI[0] != '/' {
			t.Fatalf("%q would be sent as %q to %q", raw, got.requestURI, got.origin)
		}
		again, err := c.Check(got.Origin() + got.requestURI)
		if len(got.Origin()+got.requestURI) <= MaxURLBytes && (err != nil || again.origin != got.origin || again.requestURI != got.requestURI) {
			t.Fatalf("%q: origin %q is not stable: %v", raw, got.origin, err)
		}
	})
}
