package api

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxForwarded bounds how many entries of X-Forwarded-For are looked at.
const maxForwarded = 32

// Proxies are the proxies that may say on whose behalf they ask.
type Proxies struct {
	// Prefixes hold their addresses.
	Prefixes []netip.Prefix
	// Unix says that whoever connects by a Unix socket is one.
	Unix bool
}

func (p *Proxies) trusts(addr netip.Addr) bool {
	for _, prefix := range p.Prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

// remote is the address that a request comes from: that of the connection, or, where
// this is a trusted proxy's, the last one in X-Forwarded-For that is not. What stands
// before it anybody may have written. It is invalid for a Unix socket that nothing is
// said about.
func (p *Proxies) remote(r *http.Request) netip.Addr {
	peer, ok := parseAddr(r.RemoteAddr)
	if !ok && !p.Unix || ok && !p.trusts(peer) {
		return peer
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= max(0, len(hops)-maxForwarded); i-- {
		hop, ok := parseAddr(strings.TrimSpace(hops[i]))
		if !ok {
			break
		}
		if peer = hop; !p.trusts(hop) {
			break
		}
	}
	return peer
}

// parseAddr reads an address, with or without a port.
func parseAddr(text string) (netip.Addr, bool) {
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap().WithZone(""), true
	}
	addr, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return addr.Unmap().WithZone(""), err == nil
}

// neighbours is the network whose addresses count as one: whoever has an IPv6 address
// has at least 2^64 of them.
func neighbours(addr netip.Addr) netip.Prefix {
	bits := addr.BitLen()
	if addr.Is6() {
		bits = 64
	}
	network, _ := addr.Prefix(bits) // an invalid address has the invalid network
	return network
}
