package config

import (
	"crypto/tls"
	"os"
	"strings"
	"testing"
)

func TestTLSNeedsBothFiles(t *testing.T) {
	t.Parallel()
	none := func(string) (string, bool) { return "", false }
	for text, want := range map[string]*TLS{
		"listen: a:1":                      nil,
		"tls: {cert_file: a, key_file: b}": {CertFile: "a", KeyFile: "b", MinVersion: tls.VersionTLS12},
		"tls: {cert_file: a, key_file: b, min_version: '1.3'}": {CertFile: "a", KeyFile: "b", MinVersion: tls.VersionTLS13},
		"tls: {cert_file: a, key_file: b, min_version: 1.3}":   {CertFile: "a", KeyFile: "b", MinVersion: tls.VersionTLS13},
	} {
		s, err := load(Sources{LookupEnv: none}, []byte(text), os.ReadFile)
		if err != nil || (s.TLS == nil) != (want == nil) || want != nil && *s.TLS != *want {
			t.Errorf("%s: %+v, %v", text, s, err)
		}
	}
	for text, want := range map[string]string{
		"tls: {cert_file: a}":                                    "key_file is missing",
		"tls: {key_file: a}":                                     "cert_file is missing",
		"tls: {min_version: 1.3}":                                "is missing",
		"tls: {cert_file: a, key_file: b, min_version: 1.1}":     "is none of 1.2, 1.3",
		"tls: {cert_file: a, key_file: b, client_certificate: }": "unknown key",
	} {
		if _, err := load(Sources{LookupEnv: none}, []byte(text), os.ReadFile); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
