package config

import (
	"net/netip"
	"time"

	"github.com/ringback/ringback"
)

// proxy is an entry of trusted_proxies: a prefix, an address, or "unix".
type proxy struct {
	prefix netip.Prefix
	unix   bool
}

func (p *proxy) parse(text string) error {
	if text == "unix" {
		p.unix = true
		return nil
	}
	if addr, err := netip.ParseAddr(text); err == nil && addr.Zone() == "" {
		addr = addr.Unmap()
		p.prefix = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return wrong("write a prefix (10.0.0.0/8), an address, or unix", "%q is not the address of a proxy", text)
	}
	p.prefix = prefix.Masked()
	return nil
}

func (p *proxy) add(to *ringback.Proxies) {
	if p.unix {
		to.Unix = true
		return
	}
	to.Prefixes = append(to.Prefixes, p.prefix)
}

// ParseDuration reads a duration as the configuration writes it, such as 30d.
func ParseDuration(text string) (time.Duration, error) {
	var d duration
	err := d.parse(text)
	return time.Duration(d), err
}
