package outbound

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testTimeout bounds attempts that are meant to succeed.
const testTimeout = 20 * time.Second

// authority signs certificates for whatever host a test wants.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// issue makes a certificate for host, valid until notAfter.
func (a *authority) issue(host string, notAfter time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: notAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if ip := net.ParseIP(host); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{host}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key}, err
}

// receiver is a raw TCP server on loopback. Its connections are closed when the
// handler returns, and all of them when the test ends.
type receiver struct {
	addr netip.AddrPort
	url  string

	mu    sync.Mutex
	conns []net.Conn
	wg    sync.WaitGroup
}

// listen serves each connection with handle, which also gets its number, from 1.
func listen(t testing.TB, handle func(c net.Conn, n int)) *receiver {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{addr: netip.MustParseAddrPort(l.Addr().String()), url: "http://" + l.Addr().String() + "/cb?a=1"}
	r.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.conns = append(r.conns, c)
			n := len(r.conns)
			r.mu.Unlock()
			r.wg.Go(func() {
				defer c.Close()
				handle(c, n)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		for _, c := range r.conns {
			c.Close()
		}
		r.mu.Unlock()
		r.wg.Wait()
	})
	return r
}

// accepted is how many connections there were so far.
func (r *receiver) accepted() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// readRequest reads a whole request, body included.
func readRequest(t testing.TB, in *bufio.Reader) (*http.Request, []byte, bool) {
	t.Helper()
	request, err := http.ReadRequest(in)
	if err != nil {
		return nil, nil, false
	}
	body, err := io.ReadAll(request.Body)
	if err != nil {
		t.Errorf("read the request's body: %v", err)
	}
	return request, body, err == nil
}

// answering handles each request on a connection with the octets of answer.
func answering(t testing.TB, answer string) func(net.Conn, int) {
	t.Helper()
	return func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		for {
			if _, _, ok := readRequest(t, in); !ok {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	}
}

// untilClosed reads and drops until the other side closes.
func untilClosed(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

func newClient(t testing.TB, policy Policy, limits Limits, options Options) *Client {
	t.Helper()
	c, err := New(policy, limits, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// devClient may call loopback.
func devClient(t testing.TB, limits Limits) *Client {
	t.Helper()
	return newClient(t, Policy{Loopback: true}, limits, Options{})
}

func target(t testing.TB, c *Client, url string) *Target {
	t.Helper()
	got, err := c.Check(url)
	if err != nil {
		t.Fatalf("check: %v", err)
	}
	return got
}

// post calls url with a small body.
func post(t testing.TB, c *Client, url string, timeout time.Duration) (*Answer, error) {
	t.Helper()
	return c.Do(context.Background(), &Request{Target: target(t, c, url), Body: []byte(`{"a":1}`), Timeout: timeout})
}

func mustPost(t testing.TB, c *Client, url string) *Answer {
	t.Helper()
	answer, err := post(t, c, url, testTimeout)
	if err != nil {
		t.Fatalf("want an answer, got %v", err)
	}
	return answer
}

func wantClass(t testing.TB, err error, classes ...Class) Error {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("error %v is not an *Error", err)
	}
	for _, class := range classes {
		if e.Class == class {
			return *e
		}
	}
	t.Fatalf("class %s (%v), want one of %v", e.Class, errors.Unwrap(e), classes)
	return Error{}
}
