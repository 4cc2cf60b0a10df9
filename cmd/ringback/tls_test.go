package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/config"
)

// writePair makes a certificate of its own for 127.0.0.1, and returns its pool.
func writePair(t *testing.T, certFile, keyFile, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(certFile, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// syncBuffer is a log that is read while it is written.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// shownCertificate is the name on what a new connection is shown, and its state.
func shownCertificate(t *testing.T, addr string, conf *tls.Config) (string, tls.ConnectionState) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	state := conn.ConnectionState()
	return state.PeerCertificates[0].Subject.CommonName, state
}

func TestGatewayListensWithACertificateThatMayChange(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	dir := filepath.Dir(store)
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	pool := writePair(t, certFile, keyFile, "first")
	s := sealSettings(store)
	s.TLS = &config.TLS{CertFile: certFile, KeyFile: keyFile}
	log := &syncBuffer{}
	srv, err := startServer(t.Context(), s, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	addr, ok := strings.CutPrefix(srv.URL(), "https://")
	if !ok {
		t.Fatal(srv.URL())
	}

	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	for _, path := range []string{"/healthz", "/v1/jobs", "/nothing", "/relay"} {
		resp, err := (&http.Client{Transport: transport}).Get(srv.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Error(err)
		}
		resp.Body.Close()
		if resp.ProtoMajor != 2 || resp.Header.Get("Strict-Transport-Security") != strictTransport {
			t.Errorf("%s: %s, %v", path, resp.Proto, resp.Header)
		}
	}
	if _, state := shownCertificate(t, addr, &tls.Config{RootCAs: pool}); state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "" {
		t.Errorf("%+v", state)
	}
	if _, state := shownCertificate(t, addr, &tls.Config{RootCAs: pool, NextProtos: []string{"http/1.1"}, MaxVersion: tls.VersionTLS12}); state.NegotiatedProtocol != "http/1.1" {
		t.Errorf("%+v", state)
	}
	if conn, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil { // it must be refused
		conn.Close()
		t.Error("TLS 1.1 is spoken")
	}

	// A pair that does not fit together is refused, said once, and replaced when it does.
	insecure := &tls.Config{InsecureSkipVerify: true} // which certificate it is shows in its name
	key, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	writePair(t, certFile, keyFile, "second")
	good, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(log.String(), "the one before stays") {
		if name, _ := shownCertificate(t, addr, insecure); name != "first" || time.Now().After(deadline) {
			t.Fatalf("%s is shown; the log:\n%s", name, log.String())
		}
	}
	if err := os.WriteFile(keyFile, good, 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		if name, _ := shownCertificate(t, addr, insecure); name == "second" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the second is not taken:\n%s", log.String())
		}
	}
	for _, secret := range []string{string(key), string(good), strings.Split(string(good), "\n")[1]} {
		if strings.Contains(log.String(), secret) {
			t.Error("the log shows a key")
		}
	}
}

func TestRefusedCertificateIsSaidOnceAndTriedAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "c"), filepath.Join(dir, "k")
	writePair(t, certFile, keyFile, "first")
	log := &syncBuffer{}
	c, err := openCertificate(config.TLS{CertFile: certFile, KeyFile: keyFile}, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Now()
	c.now = func() time.Time { clock = clock.Add(certificateCheck); return clock }
	name := func() string {
		pair, err := c.get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf.Subject.CommonName
	}
	for range 2 {
		if err := os.Remove(keyFile); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if name() != "first" {
				t.Error("the first is gone")
			}
		}
		writePair(t, certFile, keyFile, "first")
		if name() != "first" {
			t.Error("the first is gone")
		}
	}
	if n := strings.Count(log.String(), "the one before stays"); n != 2 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
	writePair(t, certFile, keyFile, "second")
	if name() != "second" {
		t.Error("the second is not taken")
	}
}

func TestStartWithoutAGoodCertificateSaysWhatIsWanted(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	dir := filepath.Dir(store)
	s := sealSettings(store)
	other := filepath.Join(dir, "other")
	writePair(t, filepath.Join(dir, "c"), filepath.Join(dir, "k"), "first")
	writePair(t, other+"c", other+"k", "other")
	for _, conf := range []config.TLS{
		{CertFile: filepath.Join(dir, "none"), KeyFile: filepath.Join(dir, "k")},
		{CertFile: filepath.Join(dir, "c"), KeyFile: other + "k"},
		{CertFile: filepath.Join(dir, "k"), KeyFile: filepath.Join(dir, "c")},
	} {
		s.TLS = &conf
		if srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler)); err == nil || explain(err).hint == "" || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("%+v: %v", conf, err)
			if srv != nil {
				srv.Close()
			}
		}
	}
}
