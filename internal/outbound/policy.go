package outbound

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Policy says where callbacks may go. Its zero value permits https to public
// addresses, on ports 80, 443 and those from 1024 that no well-known other
// service owns.
type Policy struct {
	// HTTP permits plain http.
	HTTP bool
	// Loopback permits loopback addresses on any port, and plain http.
	Loopback bool
	// Allow names what may be called beyond public addresses: "10.20.0.0/16",
	// "10.1.2.3", "10.1.2.3:22", "[fd00::1]:8443", "hooks.internal" or
	// "hooks.internal:8443". An entry with a port opens that port and no other
	// one; an entry without leaves the rules for ports as they are. A name opens
	// whatever addresses it resolves to. A prefix of IPv6 addresses that hold an
	// IPv4 address (NAT64, 6to4, mapped) opens those whose IPv4 address is
	// permitted too.
	Allow []string
}

// Validate reports the first entry of Allow that cannot be read.
func (p Policy) Validate() error {
	_, err := p.compile()
	return err
}

// Our own table, not a library's: the list is part of what we promise, so it
// stands where a reader can compare it with the registries.

// denied holds the IANA special-purpose ranges (2025-06), multicast, deprecated
// space and one cloud's host agent that lives in public space.
var denied = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
	"172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24",
	"192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
	"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
	"240.0.0.0/4", "168.63.129.16/32",
	"2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20",
)

// globalUnicast is the only part of IPv6 that is assigned to the public; the
// special ranges outside it need no entry of their own in denied.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// badPorts are the ports from 1024 on that the Fetch standard blocks.
var badPorts = []uint16{
	1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566,
	6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

// rules is a Policy that has been read.
type rules struct {
	http, loopback bool
	prefixes       []netip.Prefix
	addrPorts      []netip.AddrPort
	names          map[string]bool // "host" and "host:port", in ASCII
}

func (p Policy) compile() (*rules, error) {
	r := &rules{http: p.HTTP || p.Loopback, loopback: p.Loopback, names: map[string]bool{}}
	for _, entry := range p.Allow {
		if err := r.allow(entry); err != nil {
			return nil, fmt.Errorf("outbound allow %q: %w", entry, err)
		}
	}
	return r, nil
}

func (r *rules) allow(entry string) error {
	if strings.Contains(entry, "/") {
		prefix, err := netip.ParsePrefix(entry)
		if err != nil {
			return fmt.Errorf("not a CIDR prefix such as 10.20.0.0/16")
		}
		if prefix != prefix.Masked() {
			return fmt.Errorf("has bits beyond its length; %s is meant", prefix.Masked())
		}
		r.prefixes = append(r.prefixes, prefix)
		return nil
	}
	if addr, err := netip.ParseAddr(strings.Trim(entry, "[]")); err == nil {
		return r.allowAddr(addr)
	}
	name, portText, hasPort := entry, "", false
	if i := strings.LastIndexByte(entry, ':'); i >= 0 {
		name, portText, hasPort = entry[:i], entry[i+1:], true
	}
	host, addr, uerr := parseHost(name)
	if uerr != nil {
		return fmt.Errorf("neither a CIDR prefix nor an address nor a host name, with or without a port")
	}
	if !hasPort {
		r.names[host] = true
		return nil
	}
	port, uerr := parsePort(portText, 0)
	if uerr != nil || port == 0 {
		return fmt.Errorf("%q is not a port", portText)
	}
	if addr.IsValid() {
		r.addrPorts = append(r.addrPorts, netip.AddrPortFrom(addr, port))
		return nil
	}
	r.names[nameAndPort(host, port)] = true
	return nil
}

func (r *rules) allowAddr(addr netip.Addr) error {
	if addr.Zone() != "" {
		return fmt.Errorf("an address with a zone cannot be called")
	}
	r.prefixes = append(r.prefixes, netip.PrefixFrom(addr, addr.BitLen()))
	return nil
}

// mayCall reports whether host, which resolved to addr, may be called on port.
// A literal host is its own address.
func (r *rules) mayCall(host string, addr netip.Addr, port uint16) bool {
	if addr.Zone() != "" {
		return false
	}
	if len(r.names) > 0 && r.names[nameAndPort(host, port)] || r.loopback && addr.IsLoopback() {
		return true
	}
	if slices.Contains(r.addrPorts, netip.AddrPortFrom(addr, port)) {
		return true
	}
	return usualPort(port) && (r.names[host] || r.permits(addr))
}

// mayUsePort reports whether port can be used with the name host at all, as far
// as that can be said before it is resolved.
func (r *rules) mayUsePort(host string, port uint16) bool {
	if usualPort(port) || r.names[nameAndPort(host, port)] {
		return true
	}
	return r.loopback && (host == "localhost" || strings.HasSuffix(host, ".localhost"))
}

// permits reports whether addr is public or opened by a prefix.
func (r *rules) permits(addr netip.Addr) bool {
	opened := slices.ContainsFunc(r.prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	if inner, ok := embedded(addr); ok {
		return opened && r.permits(inner)
	}
	return opened || public(addr)
}

func public(addr netip.Addr) bool {
	if !addr.Is4() && !globalUnicast.Contains(addr) {
		return false
	}
	return !slices.ContainsFunc(denied, func(p netip.Prefix) bool { return p.Contains(addr) })
}

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")
	localNAT64 = netip.MustParsePrefix("64:ff9b:1::/48")
	sixToFour  = netip.MustParsePrefix("2002::/16")
)

// embedded is the IPv4 address that a translator would find in addr (RFC 6052
// §2.2, RFC 3056 §2).
func embedded(addr netip.Addr) (netip.Addr, bool) {
	b := addr.As16()
	switch {
	case addr.Is4In6():
		return addr.Unmap(), true
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:])), true
	case localNAT64.Contains(addr):
		return netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return netip.Addr{}, false
}

func usualPort(port uint16) bool {
	if port < 1024 {
		return port == 80 || port == 443
	}
	return !slices.Contains(badPorts, port)
}

func nameAndPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}
