package config

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func TestTheWayOutIsRead(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, block, 0o600); err != nil {
		t.Fatal(err)
	}
	s := mustLoad(t, "outbound: {proxy: 'https://gw:${PASSWORD}@proxy.internal:4750', proxy_names: true, source: [192.0.2.7, '2001:db8::7'], ca_file: "+file+"}",
		Sources{}, map[string]string{"PASSWORD": "p%40ss"})
	e := s.Options.Egress
	if password, _ := e.Proxy.User.Password(); e.Proxy.Host != "proxy.internal:4750" || password != "p@ss" || !e.ProxyNames || fmt.Sprint(e.Source) != "[192.0.2.7 2001:db8::7]" {
		t.Errorf("got %+v", e)
	}
	if _, err := server.Certificate().Verify(x509.VerifyOptions{Roots: s.Options.RootCAs}); err != nil {
		t.Errorf("the authority of the file is not trusted: %v", err)
	}
	system, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	system.AddCert(server.Certificate())
	if !s.Options.RootCAs.Equal(system) {
		t.Error("the system's authorities are not trusted any more")
	}
	if err := os.WriteFile(file, append(block, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := loadText(t, "outbound: {ca_file: "+file+"}", Sources{}, nil); err == nil {
		t.Error("a key among the certificates was taken")
	}
}

func TestTheWayOutIsReadFromVariablesAndFiles(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "", Sources{}, map[string]string{"RINGBACK_OUTBOUND_SOURCE": "192.0.2.7,::1", "RINGBACK_OUTBOUND_PROXY": "http://10.0.0.1:3128"})
	if e := s.Options.Egress; e.Proxy.Host != "10.0.0.1:3128" || len(e.Source) != 2 || e.Proxy.User != nil {
		t.Errorf("got %+v", e)
	}
	// The usual variables of other programs say nothing here.
	s = mustLoad(t, "", Sources{}, map[string]string{"HTTP_PROXY": "http://10.0.0.1:3128", "HTTPS_PROXY": "http://10.0.0.1:3128"})
	if s.Options.Egress.Proxy != nil {
		t.Errorf("got %+v", s.Options.Egress)
	}
}
