package config

import "crypto/tls"

// TLS says with which certificate the gateway listens.
type TLS struct {
	CertFile, KeyFile string
	MinVersion        uint16 // tls.VersionTLS12 or tls.VersionTLS13
}

type tlsBlock struct {
	CertFile   string     `yaml:"cert_file"`
	KeyFile    string     `yaml:"key_file"`
	MinVersion tlsVersion `yaml:"min_version"`
}

type tlsVersion uint16

func (v *tlsVersion) parse(text string) error {
	*v = map[string]tlsVersion{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13}[text]
	return oneOf(text, "1.2", "1.3")
}

// tls is nil where no certificate is configured.
func (d *decoder) tls(b tlsBlock) *TLS {
	if b == (tlsBlock{}) {
		return nil
	}
	for key, path := range map[string]string{"cert_file": b.CertFile, "key_file": b.KeyFile} {
		if path == "" {
			d.problem("tls", wrong("write tls: {cert_file: tls.crt, key_file: tls.key}", "%s is missing", key))
		}
	}
	if b.MinVersion == 0 {
		b.MinVersion = tls.VersionTLS12
	}
	return &TLS{CertFile: b.CertFile, KeyFile: b.KeyFile, MinVersion: uint16(b.MinVersion)}
}
