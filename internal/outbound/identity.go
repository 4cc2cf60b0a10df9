package outbound

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
)

// Identity is a client certificate that is shown to receivers that ask for one.
// Connections and TLS sessions of different identities are never mixed: a
// receiver takes all that comes over one for what its certificate says.
type Identity struct {
	certificate tls.Certificate
	sessions    tls.ClientSessionCache
	name        string // a digest of the chain
}

// NewIdentity makes an Identity of a certificate with its private key.
func NewIdentity(certificate tls.Certificate) *Identity {
	digest := sha256.New()
	for _, der := range certificate.Certificate {
		digest.Write(der)
	}
	return &Identity{certificate: certificate, sessions: tls.NewLRUClientSessionCache(16), name: hex.EncodeToString(digest.Sum(nil))}
}

// poolKey names the connections that a request may go over.
func (r *Request) poolKey() string {
	if r.Identity == nil {
		return r.Target.origin
	}
	return r.Target.origin + " " + r.Identity.name
}

// config is base with the certificate.
func (i *Identity) config(base *tls.Config) *tls.Config {
	config := base.Clone()
	if i != nil {
		config.Certificates, config.ClientSessionCache = []tls.Certificate{i.certificate}, i.sessions
	}
	return config
}
