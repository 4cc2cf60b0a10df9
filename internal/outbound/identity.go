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
	return &Identity{certificate: certificate, sessions: newSessions(16), name: hex.EncodeToString(digest.Sum(nil))}
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

// maxTicketBytes is how long a session's ticket may be that is kept: those of the
// usual servers have a few hundred octets, TLS permits 64 KiB.
const maxTicketBytes = 4 << 10

// sessions are those that can be resumed, without the ones that are no gain.
type sessions struct{ tls.ClientSessionCache }

func newSessions(n int) tls.ClientSessionCache {
	return sessions{tls.NewLRUClientSessionCache(n)}
}

func (s sessions) Put(key string, session *tls.ClientSessionState) {
	if session != nil {
		if ticket, _, err := session.ResumptionState(); err != nil || len(ticket) > maxTicketBytes {
			return
		}
	}
	s.ClientSessionCache.Put(key, session)
}
