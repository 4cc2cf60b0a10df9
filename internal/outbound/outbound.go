// Package outbound is the only HTTP client that callbacks leave through.
//
// It calls nobody whom the policy forbids: a URL is read strictly, a name is
// resolved once for each connection, the whole answer is refused if one of its
// addresses is, and only an address that was checked is connected to. It uses no
// proxy but a configured one (Egress), follows no redirect, keeps no cookie,
// decompresses nothing, and bounds everything that a receiver can make long: connecting, the TLS
// handshake, the header (interim answers included), the body that is kept, and
// the attempt as a whole.
//
// HTTP/1.1 is spoken here and not by net/http's Transport, for three reasons.
// The Transport sends a request again on its own judgement; here that is one
// documented case (see Client.Do). It may hand a connection with surplus octets
// to the next request; here such a connection is closed. And its two goroutines
// for each connection cost as much as the exchange itself. HTTP/2 is not
// offered: every receiver of webhooks speaks HTTP/1.1, one stalled connection
// then holds one callback and not all of its origin's, and nobody can keep us busy
// with frames outside of any attempt, as HTTP/2's pings and settings would on an
// idle connection.
package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"
)

// Limits bounds what a receiver can cost. A zero field means its default.
type Limits struct {
	HeaderBytes         int           // of an answer's header and all interim answers; 64 KiB
	BodyBytes           int           // kept of an answer's body; 16 KiB
	ConnectTimeout      time.Duration // for all addresses of a name together; 5s
	TLSHandshakeTimeout time.Duration // 5s
	IdleConnsPerHost    int           // kept open to one origin; 256
	MaxIdleConns        int           // kept open to all of them; 1024
	IdleConnTimeout     time.Duration // 30s
}

// defaultTimeout bounds an attempt whose Request names no time-out.
const defaultTimeout = 15 * time.Second

func (l Limits) withDefaults() Limits {
	setDefault(&l.HeaderBytes, 64<<10)
	setDefault(&l.BodyBytes, 16<<10)
	setDefault(&l.ConnectTimeout, 5*time.Second)
	setDefault(&l.TLSHandshakeTimeout, 5*time.Second)
	setDefault(&l.IdleConnsPerHost, 256)
	setDefault(&l.MaxIdleConns, 1024)
	setDefault(&l.IdleConnTimeout, 30*time.Second)
	return l
}

func setDefault[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// A Resolver answers with the addresses of a name; *net.Resolver is one. It MUST
// return when ctx ends.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// DialFunc connects to address, which is always a literal that was checked. It
// MUST connect to that address and no other one, and return when ctx ends. Only
// connections that are a syscall.Conn are used for more than one attempt.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Options says which way a Client goes, and replaces what it uses of the machine it
// runs on. A nil field means the machine's own.
type Options struct {
	Egress   Egress
	Resolver Resolver
	Dial     DialFunc
	RootCAs  *x509.CertPool
}

// Client calls receivers back. It is safe for concurrent use.
type Client struct {
	rules    *rules
	egress   *egress
	limits   Limits
	resolver Resolver
	dial     DialFunc
	tls      *tls.Config
	pool     *pool
}

// New makes a Client; the error names what of the policy or the egress cannot be
// used.
func New(policy Policy, limits Limits, options Options) (*Client, error) {
	rules, err := policy.compile()
	if err != nil {
		return nil, err
	}
	egress, err := options.Egress.compile()
	if err != nil {
		return nil, fmt.Errorf("outbound: %w", err)
	}
	limits = limits.withDefaults()
	c := &Client{
		rules:    rules,
		egress:   egress,
		limits:   limits,
		resolver: options.Resolver,
		dial:     options.Dial,
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            options.RootCAs,
			NextProtos:         []string{"http/1.1"},
			ClientSessionCache: newSessions(512),
		},
		pool: newPool(limits),
	}
	if c.resolver == nil {
		// The C library's keeps a thread for as long as a name server stalls.
		c.resolver = &net.Resolver{PreferGo: true}
	}
	if c.dial == nil {
		c.dial = c.egress.dialExactly
	}
	return c, nil
}

// Close closes the idle connections and keeps no further one.
func (c *Client) Close() { c.pool.close() }

// Request is one callback's HTTP request.
type Request struct {
	Target *Target
	// Identity is shown to a receiver that asks for a certificate; nil: none. It
	// needs https.
	Identity *Identity
	Method   string // any token but CONNECT; "" means POST
	// Header is sent as it is, sorted by name. Host, Content-Length and the
	// fields of the connection are the client's own and refused here; User-Agent
	// is "Ringback" unless set.
	Header http.Header

	// Body is the content, unless GetBody is set.
	Body []byte
	// GetBody opens a content of exactly ContentLength octets that is too large
	// for memory. What it returns MUST NOT block beyond the end of ctx.
	GetBody       func(ctx context.Context) (io.ReadCloser, error)
	ContentLength int64

	Timeout time.Duration // of the whole attempt; 0 means 15s
}

// Answer is what a receiver said, as far as it is kept.
type Answer struct {
	Status    int
	Proto     string      // "HTTP/1.1"
	Header    http.Header // the fields that fit maxKeptHeader; later ones are left out
	Body      []byte      // the first Limits.BodyBytes, as octets, never decompressed
	Truncated bool        // the body is not whole: too long, too slow, broken off or malformed
	Addr      netip.AddrPort
	Timing    Timing
}

// Timing says where the time of an attempt went. A phase that did not happen, or
// not on this attempt, is 0.
type Timing struct {
	DNS, Connect, TLS time.Duration
	FirstByte         time.Duration // from the start to the first octet of an answer
	Total             time.Duration
	Reused            bool // sent on a connection that an earlier attempt opened
}
