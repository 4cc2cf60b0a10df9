package outbound

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// maxDials is how many addresses of a name one attempt tries.
const maxDials = 4

// leftToProxy tells a target whose name the proxy resolves.
func (c *Client) leftToProxy(t *Target) bool {
	return c.egress.proxy != nil && c.egress.proxy.names && !t.literal.IsValid()
}

// resolve returns checked addresses only, and none of them if one is forbidden.
func (c *Client) resolve(ctx context.Context, t *Target) ([]netip.AddrPort, error) {
	found, err := c.lookup(ctx, t)
	if err != nil {
		return nil, err
	}
	return c.checked(t, found)
}

// lookup returns all addresses of a target, at least one.
func (c *Client) lookup(ctx context.Context, t *Target) ([]netip.Addr, error) {
	if t.literal.IsValid() {
		return []netip.Addr{t.literal}, nil
	}
	found, err := c.resolver.LookupNetIP(ctx, "ip", t.host)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, &net.DNSError{Err: "no address", IsNotFound: true}
	}
	for i, addr := range found {
		// A resolver may hand out an IPv4 address in its IPv6-mapped form.
		found[i] = addr.Unmap()
	}
	return found, nil
}

// checked picks the addresses to dial, in their order.
func (c *Client) checked(t *Target, found []netip.Addr) ([]netip.AddrPort, error) {
	addrs := make([]netip.AddrPort, len(found))
	for i, addr := range found {
		if !c.rules.mayCall(t.host, addr, t.port) {
			return nil, errForbiddenAddress
		}
		addrs[i] = netip.AddrPortFrom(addr, t.port)
	}
	return pickDials(addrs), nil
}

// pickDials keeps the resolver's order, but lets the second dial be of the other
// family, so that a broken one of the two costs one dial only.
func pickDials(addrs []netip.AddrPort) []netip.AddrPort {
	for i, a := range addrs {
		if i > 0 && a.Addr().Is4() != addrs[0].Addr().Is4() {
			copy(addrs[2:i+1], addrs[1:i])
			addrs[1] = a
			break
		}
	}
	return addrs[:min(len(addrs), maxDials)]
}

// connect opens a connection that is ready for a request. Its error carries the
// address and the times as far as it got.
func (c *Client) connect(ctx context.Context, t *Target, who *Identity) (*conn, *Error) {
	timing := Timing{}
	addrs := []netip.AddrPort{{}}
	if !c.leftToProxy(t) {
		start := time.Now()
		var err error
		addrs, err = c.resolve(ctx, t)
		if !t.literal.IsValid() {
			timing.DNS = time.Since(start)
		}
		if err != nil {
			e := failure(ctx, t, resolving, err)
			e.Timing = timing
			return nil, e
		}
	}
	start := time.Now()
	through, raw, addr, err := c.dialFirst(ctx, t, addrs)
	timing.Connect = time.Since(start)
	if err != nil {
		e := failure(ctx, t, connecting, err)
		e.Addr, e.Timing = addr, timing
		return nil, e
	}
	cn := &conn{Conn: through, tcp: raw, addr: addr}
	if t.tls {
		start = time.Now()
		cn.Conn, err = c.handshake(ctx, through, t.host, who)
		timing.TLS = time.Since(start)
		if err != nil {
			_ = raw.Close()
			e := failure(ctx, t, shaking, err)
			e.Addr, e.Timing = addr, timing
			return nil, e
		}
	}
	cn.opened(timing)
	return cn, nil
}

// dialFirst returns the first connection that comes about, or the last error; each
// address gets its share of the time that is left. An invalid address stands for the
// name, which is the proxy's to resolve. Where some dial failed by the receiver's doing,
// that is the error, and not one of ours.
func (c *Client) dialFirst(ctx context.Context, t *Target, addrs []netip.AddrPort) (through, raw net.Conn, addr netip.AddrPort, err error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.ConnectTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	for i, a := range addrs {
		to := nameAndPort(t.host, t.port)
		if a.IsValid() {
			to = a.String()
		}
		share := time.Until(deadline) / time.Duration(len(addrs)-i)
		try, cancel := context.WithTimeout(ctx, share)
		var failed error
		through, raw, failed = c.open(try, to)
		cancel()
		if failed == nil {
			return through, raw, a, nil
		}
		if err == nil || !ours(failed) {
			addr, err = a, failed
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, nil, addr, err
}

// dialExactly connects to address, and asks once more at the last moment, when
// the socket exists and nothing has been sent, that it is this address.
func (e *egress) dialExactly(ctx context.Context, network, address string) (net.Conn, error) {
	want, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	source, ok := e.sourceFor(want.Addr())
	if !ok {
		return nil, errNoSource
	}
	dialer := net.Dialer{ControlContext: func(_ context.Context, _, actual string, _ syscall.RawConn) error {
		got, err := netip.ParseAddrPort(actual)
		if err != nil || got.Port() != want.Port() || got.Addr().Unmap() != want.Addr().Unmap() {
			return errForbiddenAddress
		}
		return nil
	}}
	if source.IsValid() {
		dialer.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(source, 0))
	}
	return dialer.DialContext(ctx, network, address)
}

func (c *Client) handshake(ctx context.Context, raw net.Conn, host string, who *Identity) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limits.TLSHandshakeTimeout)
	defer cancel()
	config := who.config(c.tls)
	config.ServerName = host
	secure := tls.Client(&bounded{Conn: raw, left: maxTLSRead}, config)
	return secure, secure.HandshakeContext(ctx)
}
