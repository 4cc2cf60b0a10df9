package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tunnels is a proxy that connects whatever it is asked for to the receiver.
type tunnels struct {
	*receiver
	mu       sync.Mutex
	requests []*http.Request
}

// newTunnels starts a proxy. answer is what it says instead of opening a tunnel; ""
// opens one.
func newTunnels(t *testing.T, secure *tls.Config, to *receiver, answer string) *tunnels {
	t.Helper()
	p := &tunnels{}
	p.receiver = listen(t, func(c net.Conn, _ int) {
		if secure != nil {
			s := tls.Server(c, secure)
			if s.Handshake() != nil {
				return
			}
			c = s
		}
		in := bufio.NewReader(c)
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.requests = append(p.requests, r)
		p.mu.Unlock()
		if answer != "" {
			_, _ = io.WriteString(c, answer)
			untilClosed(c)
			return
		}
		out, err := net.Dial("tcp", to.addr.String())
		if err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() {
			_, _ = io.Copy(out, in)
			_ = out.Close()
		}()
		_, _ = io.Copy(c, out)
		_ = c.Close()
	})
	return p
}

func (p *tunnels) asked() []*http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// leadsTo resolves every name to these.
func leadsTo(addrs ...string) Resolver {
	return resolverFunc(func(context.Context) ([]netip.Addr, error) {
		found := make([]netip.Addr, len(addrs))
		for i, a := range addrs {
			found[i] = netip.MustParseAddr(a)
		}
		return found, nil
	})
}

func proxyURL(t *testing.T, raw string) *url.URL {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestProxyIsAskedForTheAddressThatWasChecked(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	hour := time.Now().Add(time.Hour)
	plain := listen(t, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	secure, _ := listenTLS(t, serverConfig(t, ca, "shop.example", hour), answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
	for _, proxyTLS := range []bool{false, true} {
		for scheme, to := range map[string]*receiver{"http": plain, "https": secure} {
			for _, names := range []bool{false, true} {
				var config *tls.Config
				proxyScheme := "http"
				if proxyTLS {
					proxyScheme, config = "https", serverConfig(t, ca, "127.0.0.1", hour)
				}
				p := newTunnels(t, config, to, "")
				c := newClient(t, Policy{HTTP: true}, Limits{}, Options{RootCAs: ca.pool(), Resolver: leadsTo("93.184.216.34"),
					Egress: Egress{Proxy: proxyURL(t, proxyScheme+"://gw:p%40ss@"+p.addr.String()), ProxyNames: names}})
				for i := range 2 {
					answer := mustPost(t, c, scheme+"://shop.example/cb")
					if string(answer.Body) != "ok" || answer.Timing.Reused != (i > 0) || answer.Addr.IsValid() == names {
						t.Errorf("%s through %s, names %v: %+v", scheme, proxyScheme, names, answer)
					}
				}
				want := map[string]string{"http": "93.184.216.34:80", "https": "93.184.216.34:443"}[scheme]
				if names {
					want = "shop.example:" + want[len("93.184.216.34:"):]
				}
				asked := p.asked()
				if len(asked) != 1 || asked[0].Method != "CONNECT" || asked[0].RequestURI != want || asked[0].Host != want ||
					asked[0].Header.Get("Proxy-Authorization") != "Basic Z3c6cEBzcw==" {
					t.Errorf("%s, names %v: asked for %+v, want %s", scheme, names, asked, want)
				}
				c.Close()
			}
		}
	}
}

func TestWithAProxyAForbiddenAddressIsRefusedAllTheSame(t *testing.T) {
	t.Parallel()
	p := newTunnels(t, nil, nil, "HTTP/1.1 200 OK\r\n\r\n")
	for _, names := range []bool{false, true} {
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: leadsTo("93.184.216.34", "10.0.0.1"),
			Egress: Egress{Proxy: proxyURL(t, "http://"+p.addr.String()), ProxyNames: names}})
		if !names {
			_, err := post(t, c, "http://mixed.example/", testTimeout)
			wantClass(t, err, ClassPolicy)
		}
		for _, raw := range []string{"http://10.0.0.1/", "http://[::1]/", "http://shop.example:25/"} {
			if _, err := c.Check(raw); err == nil {
				t.Errorf("names %v: %s is permitted", names, raw)
			}
		}
	}
	if n := p.accepted(); n > 0 {
		t.Errorf("the proxy was called %d times", n)
	}
}

func TestWhatGoesWrongAtTheProxyIsOurs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer string
		class  Class
		detail string
	}{
		"denied":                   {"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", ClassProxy, "refused the receiver"},
		"denied as by Smokescreen": {"HTTP/1.1 407 Request rejected by proxy\r\nX-Smokescreen-Error: no\r\n\r\n", ClassProxy, "refused the receiver"},
		"credentials":              {"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n", ClassProxy, "credentials"},
		"overloaded":               {"HTTP/1.1 503 No\r\n\r\n", ClassProxy, "503"},
		"redirect":                 {"HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1/\r\n\r\n", ClassProxy, "302"},
		"garbage":                  {"hello\n", ClassProxy, "understood"},
		"closes":                   {"HTTP/1.1 2", ClassTimeoutConnect, "proxy"},
		"switches":                 {"HTTP/1.1 101 Switching\r\n\r\n", ClassProxy, "understood"},
		"endless":                  {"HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 100_000), ClassProxy, "understood"},
		"says too much":            {"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ClassProxy, "more than its answer"},
		"receiver is down":         {"HTTP/1.1 502 Bad gateway\r\n\r\n", ClassUnreachable, "could not connect"},
		"receiver is silent":       {"HTTP/1.1 504 Gateway timeout\r\n\r\n", ClassTimeoutConnect, "proxy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newTunnels(t, nil, nil, test.answer)
			c := newClient(t, Policy{HTTP: true}, Limits{ConnectTimeout: shortly}, Options{Resolver: leadsTo("93.184.216.34"),
				Egress: Egress{Proxy: proxyURL(t, "http://gw:hush@"+p.addr.String())}})
			_, err := post(t, c, "http://shop.example/cb", testTimeout)
			e := wantClass(t, err, test.class)
			if !strings.Contains(e.Detail, test.detail) || strings.Contains(e.Error(), "hush") {
				t.Errorf("%v (%v)", e.Error(), e.Unwrap())
			}
		})
	}
}

func TestProxyThatIsNotThereIsOurs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	ca := newAuthority(t)
	other := newTunnels(t, serverConfig(t, ca, "other.example", time.Now().Add(time.Hour)), nil, "")
	for name, raw := range map[string]string{"closed": "http://" + closed, "no such name": "http://nowhere.invalid:3128", "another certificate": "https://" + other.addr.String()} {
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{RootCAs: ca.pool(), Resolver: namesFunc(func(host string) ([]netip.Addr, error) {
			if host == "shop.example" {
				return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
			}
			return nil, &net.DNSError{IsNotFound: true}
		}), Egress: Egress{Proxy: proxyURL(t, raw)}})
		_, err := post(t, c, "http://shop.example/cb", testTimeout)
		if e := wantClass(t, err, ClassProxy); !strings.Contains(e.Detail, "proxy") {
			t.Errorf("%s: %v", name, e.Detail)
		}
	}
}

type namesFunc func(host string) ([]netip.Addr, error)

func (f namesFunc) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	return f(host)
}

func TestConnectionsComeFromTheSourceAddress(t *testing.T) {
	t.Parallel()
	from := make(chan string, 1)
	r := listen(t, func(c net.Conn, n int) {
		from <- c.RemoteAddr().String()
		once(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")(c, n)
	})
	c := newClient(t, Policy{Loopback: true}, Limits{}, Options{Egress: Egress{Source: []netip.Addr{netip.MustParseAddr("127.0.0.77")}}})
	mustPost(t, c, r.url)
	if got := <-from; !strings.HasPrefix(got, "127.0.0.77:") {
		t.Errorf("came from %s", got)
	}
	for name, test := range map[string]struct{ source, url string }{
		"no address of this machine": {"192.0.2.7", r.url},
		"of the other family only":   {"::1", r.url},
	} {
		c := newClient(t, Policy{Loopback: true}, Limits{}, Options{Egress: Egress{Source: []netip.Addr{netip.MustParseAddr(test.source)}}})
		_, err := post(t, c, test.url, testTimeout)
		if e := wantClass(t, err, ClassEgress); e.Detail == "" {
			t.Errorf("%s: no detail", name)
		}
	}
	if n := r.accepted(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

func TestRefusalOfAReceiverIsNotHiddenBehindOurs(t *testing.T) {
	t.Parallel()
	for name, answers := range map[string][]error{"ours last": {errors.New("refused"), errNoSource}, "ours first": {errNoSource, errors.New("refused")}} {
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: leadsTo("93.184.216.34", "2606:4700:4700::1111"),
			Dial: func(_ context.Context, _, _ string) (net.Conn, error) {
				err := answers[0]
				answers = answers[1:]
				return nil, err
			}})
		_, err := post(t, c, "http://shop.example/", testTimeout)
		if e := wantClass(t, err, ClassUnreachable); e.Addr.IsValid() == false {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
