package outbound

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Egress says which way connections leave. Its zero value: straight to the receiver,
// from whatever address the system takes. No environment variable changes that.
type Egress struct {
	// Proxy is an HTTP proxy that opens tunnels (CONNECT), for http URLs too:
	// "http://proxy.internal:4750" or https, with a name and a password where it asks
	// for them. Its own address is not subject to the policy. Nil: none.
	Proxy *url.URL
	// ProxyNames has the proxy resolve the names of receivers, and so makes it the one
	// that refuses addresses; without, it is asked for addresses that were checked here.
	ProxyNames bool
	// Source are the addresses that connections come from, at most one of each family.
	// With one given, receivers of a family without are not called.
	Source []netip.Addr
}

// Validate says what is wrong with it. Its error repeats no secret.
func (e Egress) Validate() error {
	_, err := e.compile()
	return err
}

// egress is an Egress that has been read.
type egress struct {
	proxy    *proxy // nil: none
	source4  netip.Addr
	source6  netip.Addr
	anywhere bool // no source is given
}

type proxy struct {
	host          string
	port          uint16
	tls           bool
	names         bool
	authorization string // the field's value, a secret; "" for none
}

func (e Egress) compile() (*egress, error) {
	c := &egress{anywhere: len(e.Source) == 0}
	for _, addr := range e.Source {
		of := &c.source6
		if addr.Is4() {
			of = &c.source4
		}
		switch {
		case !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || addr.IsMulticast():
			return nil, fmt.Errorf("%s is no address that connections can come from", addr)
		case of.IsValid():
			return nil, errors.New("there may be one source address of each family")
		}
		*of = addr
	}
	if e.Proxy == nil {
		if e.ProxyNames {
			return nil, errors.New("names can be left to a proxy only where there is one")
		}
		return c, nil
	}
	var err error
	c.proxy, err = readProxy(e.Proxy)
	if c.proxy != nil {
		c.proxy.names = e.ProxyNames
	}
	return c, err
}

func readProxy(u *url.URL) (*proxy, error) {
	const shape = "the proxy must be a URL such as http://proxy.internal:4750"
	p := &proxy{host: u.Hostname(), tls: u.Scheme == "https", port: 80}
	if p.tls {
		p.port = 443
	}
	if p.host == "" || !p.tls && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" {
		return nil, errors.New(shape)
	}
	if text := u.Port(); text != "" {
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil || port == 0 {
			return nil, errors.New(shape)
		}
		p.port = uint16(port)
	}
	if u.User != nil {
		password, _ := u.User.Password()
		if strings.Contains(u.User.Username(), ":") {
			return nil, errors.New("the proxy's user name holds a colon, which no proxy can tell from the password's beginning")
		}
		p.authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
	return p, nil
}

// sourceFor is where a connection to addr comes from; invalid: from anywhere. ok is
// false where it cannot be made.
func (e *egress) sourceFor(addr netip.Addr) (source netip.Addr, ok bool) {
	if e.anywhere {
		return netip.Addr{}, true
	}
	source = e.source6
	if addr.Unmap().Is4() {
		source = e.source4
	}
	return source, source.IsValid()
}

var errNoSource = &egressError{class: ClassEgress, detail: "there is no source address for the family of the receiver's address"}

// egressError is a failure of our own way out.
type egressError struct {
	class  Class  // ClassProxy or ClassEgress
	detail string // safe to show
	err    error
}

func (e *egressError) Error() string { return e.detail }
func (e *egressError) Unwrap() error { return e.err }

// proxyVerdict is what a proxy says of a receiver that it could not connect to.
type proxyVerdict struct{ timeout bool }

func (e *proxyVerdict) Error() string { return "the proxy could not connect" }

// ours tells an error of connecting that is no doing of the receiver's: something is
// missing on this machine, or forbidden.
func ours(err error) bool {
	var own *egressError
	var number syscall.Errno
	if errors.As(err, &own) {
		return true
	}
	if !errors.As(err, &number) {
		return false
	}
	switch number {
	case syscall.EADDRNOTAVAIL, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS,
		syscall.ENOMEM, syscall.EACCES, syscall.EPERM, syscall.EAFNOSUPPORT:
		return true
	}
	return false
}

// open connects to the receiver at an address that was checked, or, where the proxy
// resolves names, at a name. The raw connection is the socket, for deadlines.
func (c *Client) open(ctx context.Context, to string) (through, raw net.Conn, err error) {
	if c.egress.proxy == nil {
		raw, err = c.dial(ctx, "tcp", to)
		return raw, raw, err
	}
	if raw, err = c.dialProxy(ctx); err != nil {
		return nil, nil, &egressError{ClassProxy, "the proxy could not be reached" + errno(err), err}
	}
	through, err = c.tunnel(ctx, raw, to)
	if err != nil {
		_ = raw.Close()
		return nil, nil, err
	}
	return through, raw, nil
}

// dialProxy connects to the proxy. Where it has a name, its addresses are tried one
// after the other.
func (c *Client) dialProxy(ctx context.Context) (raw net.Conn, err error) {
	p := c.egress.proxy
	var addrs []netip.Addr
	if literal, err := netip.ParseAddr(p.host); err == nil {
		addrs = []netip.Addr{literal}
	} else if addrs, err = c.resolver.LookupNetIP(ctx, "ip", p.host); err != nil {
		return nil, err
	}
	err = &net.DNSError{Err: "no address", IsNotFound: true}
	for i, addr := range addrs[:min(len(addrs), maxDials)] {
		deadline, _ := ctx.Deadline()
		try, cancel := context.WithTimeout(ctx, time.Until(deadline)/time.Duration(min(len(addrs), maxDials)-i))
		raw, err = c.dial(try, "tcp", netip.AddrPortFrom(addr.Unmap(), p.port).String())
		cancel()
		if err == nil || ctx.Err() != nil {
			break
		}
	}
	return raw, err
}

// tunnel asks the proxy to connect to the receiver (RFC 9110 §9.3.6). What the proxy
// answers is bounded as a receiver's answer is.
func (c *Client) tunnel(ctx context.Context, raw net.Conn, to string) (net.Conn, error) {
	p := c.egress.proxy
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline) // an error comes back with the next write
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	through := raw
	if p.tls {
		config := c.tls.Clone()
		config.ServerName, config.ClientSessionCache = p.host, nil
		secure := tls.Client(&bounded{Conn: raw, left: maxTLSRead}, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_, detail := tlsFailure(err)
			return nil, &egressError{ClassProxy, "the TLS handshake with the proxy failed: " + detail, err}
		}
		through = secure
	}
	request := "CONNECT " + to + " HTTP/1.1\r\nHost: " + to + "\r\nUser-Agent: Ringback\r\n"
	if p.authorization != "" {
		request += "Proxy-Authorization: " + p.authorization + "\r\n"
	}
	if _, err := through.Write([]byte(request + "\r\n")); err != nil {
		return nil, &egressError{ClassProxy, "the connection to the proxy broke" + errno(err), err}
	}
	cn := &conn{Conn: through, tcp: raw, left: c.limits.HeaderBytes}
	cn.in = bufio.NewReader(cn)
	head, err := readHead(cn.in, http.MethodConnect)
	var timeout net.Error
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		return nil, &proxyVerdict{timeout: true}
	case err != nil:
		return nil, &egressError{ClassProxy, "the proxy gave no answer that can be understood", err}
	case head.status/100 == 2 && cn.in.Buffered() > 0:
		return nil, &egressError{class: ClassProxy, detail: "the proxy sent more than its answer"}
	}
	if err := proxyAnswer(head); err != nil {
		return nil, err
	}
	if !stop() {
		return nil, ctx.Err()
	}
	_ = raw.SetDeadline(time.Time{})
	if b, ok := netConn(through); ok {
		b.left = math.MaxInt // from here on the connection within is the one that is bounded
	}
	return through, nil
}

// netConn is what a TLS connection reads from, where that is bounded.
func netConn(c net.Conn) (*bounded, bool) {
	secure, ok := c.(*tls.Conn)
	if !ok {
		return nil, false
	}
	b, ok := secure.NetConn().(*bounded)
	return b, ok
}

// proxyAnswer judges what the proxy says to a CONNECT. Only a status that speaks of
// the receiver counts against it. A proxy that refuses a receiver is not taken at its word
// for ever: it refuses for reasons of its own, too.
func proxyAnswer(head *head) error {
	refused := head.header.Get("X-Smokescreen-Error") != ""
	switch status := head.status; {
	case status/100 == 2:
		return nil
	case status == http.StatusBadGateway:
		return &proxyVerdict{}
	case status == http.StatusGatewayTimeout:
		return &proxyVerdict{timeout: true}
	case status == http.StatusForbidden, status == http.StatusProxyAuthRequired && refused:
		return &egressError{class: ClassProxy, detail: "the proxy refused the receiver (" + strconv.Itoa(status) + ")"}
	case status == http.StatusProxyAuthRequired:
		return &egressError{class: ClassProxy, detail: "the proxy wants other credentials (407)"}
	default:
		return &egressError{class: ClassProxy, detail: "the proxy answered " + strconv.Itoa(status)}
	}
}
