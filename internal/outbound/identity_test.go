package outbound

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// identity is a client certificate for a name.
func (a *authority) identity(t testing.TB, name string) *Identity {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return NewIdentity(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: a.key})
}

// whoCalls is a receiver over TLS that answers with the name in the client's
// certificate.
func whoCalls(t testing.TB, ca *authority, clientAuth tls.ClientAuthType, version uint16) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		_, _ = io.WriteString(w, name)
	}))
	server.TLS = serverConfig(t, ca, "127.0.0.1", time.Now().Add(time.Hour))
	server.TLS.ClientAuth, server.TLS.ClientCAs, server.TLS.MaxVersion = clientAuth, ca.pool(), version
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func TestIdentitiesShareNeitherConnectionsNorSessions(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	who := map[string]*Identity{"nobody": nil, "shop": ca.identity(t, "shop"), "bank": ca.identity(t, "bank")}
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := whoCalls(t, ca, tls.VerifyClientCertIfGiven, version)
		// With the second limit each request has a connection of its own, and may
		// resume a session.
		for _, limits := range []Limits{{}, {IdleConnTimeout: time.Nanosecond}} {
			c := tlsClient(t, ca.pool(), limits)
			to := target(t, c, server.URL)
			for _, name := range []string{"shop", "shop", "nobody", "bank", "shop", "nobody", "bank"} {
				answer, err := c.Do(t.Context(), &Request{Target: to, Identity: who[name], Timeout: testTimeout})
				if err != nil {
					t.Fatal(err)
				}
				if string(answer.Body) != name {
					t.Errorf("TLS %x, %v: %s came as %s", version, limits.IdleConnTimeout, name, answer.Body)
				}
			}
			answer, err := c.Do(t.Context(), &Request{Target: to, Identity: who["shop"], Timeout: testTimeout})
			if err != nil || answer.Timing.Reused != (limits.IdleConnTimeout == 0) {
				t.Errorf("the connection was reused: %+v, %v", answer, err)
			}
		}
	}
}

func TestReceiverThatWantsACertificateGetsIt(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		server := whoCalls(t, ca, tls.RequireAndVerifyClientCert, version)
		c := tlsClient(t, ca.pool(), Limits{})
		to := target(t, c, server.URL)
		answer, err := c.Do(t.Context(), &Request{Target: to, Identity: ca.identity(t, "shop"), Timeout: testTimeout})
		if err != nil || string(answer.Body) != "shop" {
			t.Errorf("TLS %x: %v, %v", version, answer, err)
		}
		for what, identity := range map[string]*Identity{"none": nil, "a stranger's": stranger.identity(t, "shop")} {
			_, err := c.Do(t.Context(), &Request{Target: to, Identity: identity, Timeout: testTimeout})
			// The receiver's alert may be lost in its reset of the connection.
			t.Log(what, wantClass(t, err, ClassTLSRejected, ClassReset, ClassClosed))
		}
	}
}

func TestCertificateIsShownByHTTPSOnly(t *testing.T) {
	t.Parallel()
	r := listen(t, answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"))
	c := devClient(t, Limits{})
	_, err := c.Do(t.Context(), &Request{Target: target(t, c, r.url), Identity: newAuthority(t).identity(t, "shop"), Timeout: testTimeout})
	wantClass(t, err, ClassRequest)
	if n := r.accepted(); n != 0 {
		t.Errorf("%d connections", n)
	}
}
