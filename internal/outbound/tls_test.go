package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// listenTLS serves over TLS and counts the octets of requests that arrived.
func listenTLS(t testing.TB, config *tls.Config, handle func(c net.Conn, n int)) (*receiver, *atomic.Int64) {
	t.Helper()
	var octets atomic.Int64
	r := listen(t, func(c net.Conn, n int) {
		secure := tls.Server(c, config)
		if secure.Handshake() == nil {
			handle(&counted{secure, &octets}, n)
		}
		// A client that refuses the certificate may have finished TLS 1.3's
		// handshake as the server sees it.
		_, _ = io.Copy(io.Discard, &counted{secure, &octets})
	})
	r.url = strings.Replace(r.url, "http:", "https:", 1)
	return r, &octets
}

type counted struct {
	net.Conn
	octets *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.octets.Add(int64(n))
	return n, err
}

func tlsClient(t testing.TB, roots *x509.CertPool, limits Limits) *Client {
	t.Helper()
	return newClient(t, Policy{Loopback: true}, limits, Options{RootCAs: roots})
}

func serverConfig(t testing.TB, ca *authority, host string, notAfter time.Time) *tls.Config {
	t.Helper()
	certificate, err := ca.issue(host, notAfter)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{*certificate}}
}

func TestHTTPSConnectionIsVerifiedAndKept(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		for _, size := range []int{2, 10_000} {
			config := serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour))
			config.MaxVersion = version
			body := strings.Repeat("x", size)
			r, _ := listenTLS(t, config, answering(t, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body)))
			c := tlsClient(t, ca.pool(), Limits{})
			for i := range 3 {
				answer := mustPost(t, c, r.url)
				if string(answer.Body) != body || answer.Timing.Reused != (i > 0) || (answer.Timing.TLS > 0) != (i == 0) {
					t.Errorf("TLS %s, answer %d: %+v", name, i+1, answer)
				}
			}
		}
	}
}

func TestBadCertificateGetsNothingOfTheRequest(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		config *tls.Config
		roots  *x509.CertPool
		detail string
		class  Class
	}{
		"expired":       {serverConfig(t, ca, "127.0.0.1", time.Now().Add(-time.Hour)), ca.pool(), "expired", ClassTLSExpired},
		"another host":  {serverConfig(t, ca, "other.example", hour), ca.pool(), "another host", ClassTLSHost},
		"unknown":       {serverConfig(t, ca, "127.0.0.1", hour), x509.NewCertPool(), "unknown authority", ClassTLSAuthority},
		"TLS 1.1":       {&tls.Config{Certificates: serverConfig(t, ca, "127.0.0.1", hour).Certificates, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}, ca.pool(), "no version", ClassTLSVersion},
		"system's list": {serverConfig(t, ca, "127.0.0.1", hour), nil, "unknown authority", ClassTLSAuthority},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, octets := listenTLS(t, test.config, answering(t, "HTTP/1.1 200 OK\r\n\r\n"))
			_, err := post(t, tlsClient(t, test.roots, Limits{}), r.url, testTimeout)
			if e := wantClass(t, err, test.class); !strings.Contains(e.Detail, test.detail) || e.Addr != r.addr {
				t.Errorf("detail %q, addr %v", e.Detail, e.Addr)
			}
			if n := octets.Load(); n > 0 {
				t.Errorf("%d octets of the request were sent", n)
			}
		})
	}
}

func TestReceiverThatSpeaksHTTP2UnaskedIsAProtocolError(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	settings, goAway := "\x00\x00\x00\x04\x00\x00\x00\x00\x00", "\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	for name, frames := range map[string]string{"settings": settings, "goaway": goAway, "ping\n": "\x00\x00\x08\x06\x00\x00\x00\x00\x00\n\n\n\n\n\n\n\n"} {
		r, _ := listenTLS(t, serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour)), func(c net.Conn, _ int) {
			_, err := io.WriteString(c, frames)
			for err == nil {
				_, err = io.WriteString(c, strings.Repeat(frames, 1000))
			}
		})
		_, err := post(t, tlsClient(t, ca.pool(), Limits{}), r.url, testTimeout)
		if e := wantClass(t, err, ClassProtocol, ClassHeaderLimit); e.Timing.TLS == 0 {
			t.Errorf("%s: timing %+v", name, e.Timing)
		}
	}
}

func TestHandshakeThatStallsTimesOut(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { untilClosed(c) })
	url := strings.Replace(r.url, "http:", "https:", 1)
	_, err := post(t, tlsClient(t, nil, Limits{TLSHandshakeTimeout: shortly}), url, testTimeout)
	e := wantClass(t, err, ClassTimeoutTLS)
	if !strings.Contains(e.Detail, "handshake") || e.Timing.TLS < shortly || e.Addr != r.addr {
		t.Errorf("%+v", e)
	}
}

func TestServerThatSpeaksNoTLSIsATLSError(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { _, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n") })
	_, err := post(t, tlsClient(t, nil, Limits{}), strings.Replace(r.url, "http:", "https:", 1), testTimeout)
	wantClass(t, err, ClassTLSFailed)
}

// resolverFunc is a Resolver.
type resolverFunc func(ctx context.Context) ([]netip.Addr, error)

func (f resolverFunc) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	return f(ctx)
}

func TestResolverThatStallsEndsWithTheAttempt(t *testing.T) {
	t.Parallel()
	c := newClient(t, Policy{}, Limits{}, Options{Resolver: resolverFunc(func(ctx context.Context) ([]netip.Addr, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})})
	_, err := post(t, c, "https://stalls.example/cb", shortly)
	if e := wantClass(t, err, ClassTimeoutDNS); e.Timing.DNS < shortly || !strings.Contains(e.Detail, "resolving") {
		t.Errorf("%+v", e)
	}
}

func TestNameWithoutAddressIsADNSError(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]error{"empty": nil, "unknown": &net.DNSError{IsNotFound: true}, "failed": &net.DNSError{Err: "server misbehaving"}} {
		want := ClassDNSNotFound
		if name == "failed" {
			want = ClassDNSFailed
		}
		c := newClient(t, Policy{}, Limits{}, Options{Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) {
			return nil, answer
		})})
		_, err := post(t, c, "https://gone.example/cb?token=secret", testTimeout)
		if e := wantClass(t, err, want); strings.Contains(e.Error(), "secret") || !strings.Contains(e.Error(), "https://gone.example:") {
			t.Errorf("%s: %v", name, e)
		}
	}
}

func TestThousandAddressesCostAHandfulOfDials(t *testing.T) {
	t.Parallel()
	many := make([]netip.Addr, 1000)
	for i := range many {
		many[i] = netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)})
	}
	many[700] = netip.MustParseAddr("2606:4700:4700::1111")
	var dialled []string
	options := Options{
		Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) { return slices.Clone(many), nil }),
		Dial: func(_ context.Context, _, address string) (net.Conn, error) {
			dialled = append(dialled, address)
			return nil, &net.OpError{Op: "dial", Err: io.ErrClosedPipe}
		},
	}
	_, err := post(t, newClient(t, Policy{}, Limits{}, options), "https://many.example/cb", testTimeout)
	if e := wantClass(t, err, ClassUnreachable); !e.Addr.IsValid() {
		t.Errorf("no address in %+v", e)
	}
	want := []string{"8.8.0.0:443", "[2606:4700:4700::1111]:443", "8.8.0.1:443", "8.8.0.2:443"}
	if !slices.Equal(dialled, want) {
		t.Errorf("dialled %v, want %v", dialled, want)
	}
	many[999] = netip.MustParseAddr("10.0.0.1")
	_, err = post(t, newClient(t, Policy{}, Limits{}, options), "https://many.example/cb", testTimeout)
	wantClass(t, err, ClassPolicy)
}

func TestDialThatStallsLeavesTimeForTheNextAddress(t *testing.T) {
	t.Parallel()
	r := listen(t, once(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	c := newClient(t, Policy{HTTP: true}, Limits{ConnectTimeout: 2 * shortly}, Options{
		Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) {
			return []netip.Addr{netip.MustParseAddr("2606:4700:4700::1111"), netip.MustParseAddr("1.1.1.1")}, nil
		}),
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "[") {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return (&egress{anywhere: true}).dialExactly(ctx, network, r.addr.String())
		},
	})
	answer := mustPost(t, c, "http://dual.example/cb")
	if answer.Addr != netip.MustParseAddrPort("1.1.1.1:80") || answer.Timing.Connect < shortly {
		t.Errorf("got %+v", answer)
	}
}

func TestDialExactlyConnectsToTheAddressItWasGiven(t *testing.T) {
	t.Parallel()
	r := listen(t, func(c net.Conn, _ int) { untilClosed(c) })
	conn, err := (&egress{anywhere: true}).dialExactly(t.Context(), "tcp", r.addr.String())
	if err != nil || conn.RemoteAddr().String() != r.addr.String() {
		t.Fatalf("connected to %v, %v", conn, err)
	}
	conn.Close()
	if _, err := (&egress{anywhere: true}).dialExactly(t.Context(), "tcp", "localhost:80"); err == nil {
		t.Error("a name was dialled")
	}
}
