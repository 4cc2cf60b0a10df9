package job

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
)

// Auth is how the gateway shows an endpoint who calls: exactly one of its members
// is set. A store keeps it sealed (Endpoint.Auth), as JSON.
type Auth struct {
	Basic  *BasicAuth  `json:"basic,omitempty"`
	Bearer *BearerAuth `json:"bearer,omitempty"`
	OAuth2 *OAuth2     `json:"oauth2,omitempty"`
	MTLS   *MTLS       `json:"mtls,omitempty"`
}

// BasicAuth is a name and a password (RFC 7617).
type BasicAuth struct {
	Username string `json:"username"`
	Password string `json:"password"`
}

// BearerAuth is a token that does not change (RFC 6750).
type BearerAuth struct {
	Token string `json:"token"`
}

// OAuth2 gets a bearer token by the client credentials grant (RFC 6749 §4.4).
type OAuth2 struct {
	TokenURL     string   `json:"token_url"`
	ClientID     string   `json:"client_id"`
	ClientSecret string   `json:"client_secret"`
	Scopes       []string `json:"scopes,omitempty"`
	Audience     string   `json:"audience,omitempty"`
}

// MTLS is a client certificate with its chain, the leaf first, and its key, in PEM.
type MTLS struct {
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

// What is wrong with a client certificate. The texts repeat nothing of it.
var (
	ErrCertificatePEM = errors.New("this is not a certificate in PEM, or one that cannot be read")
	ErrKeyPEM         = errors.New("this is not a private key in PEM without a password, of RSA, ECDSA or Ed25519")
	ErrKeyMismatch    = errors.New("the private key does not belong to the certificate")
)

// Pair reads certificate and key. Its error is ErrCertificatePEM, ErrKeyPEM or
// ErrKeyMismatch.
func (m *MTLS) Pair() (tls.Certificate, error) {
	leaf, err := m.leaf()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair([]byte(m.Certificate), []byte(m.Key))
	switch {
	case err == nil:
		pair.Leaf = leaf
		return pair, nil
	case strings.Contains(err.Error(), "private key does not match") || strings.Contains(err.Error(), "private key type does not match"):
		return tls.Certificate{}, ErrKeyMismatch
	}
	return tls.Certificate{}, ErrKeyPEM
}

// leaf reads all certificates, and returns the first.
func (m *MTLS) leaf() (leaf *x509.Certificate, err error) {
	for rest := []byte(m.Certificate); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, ErrCertificatePEM
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, ErrCertificatePEM
		}
		if leaf == nil {
			leaf = c
		}
	}
	if leaf == nil {
		return nil, ErrCertificatePEM
	}
	return leaf, nil
}
