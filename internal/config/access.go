package config

import (
	"net/netip"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
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

// ParseSize reads a number of bytes as the configuration writes it, such as 10GiB.
func ParseSize(text string) (int64, error) {
	var n size
	err := n.parse(text)
	return int64(n), err
}

type limitsBlock struct {
	Calls     calls `yaml:"calls"`
	Jobs      count `yaml:"jobs"`
	Bytes     size  `yaml:"bytes"`
	Endpoints count `yaml:"endpoints"`
}

func (l *limitsBlock) limits() job.Limits {
	return job.Limits{Calls: l.Calls.n, Per: l.Calls.per, Jobs: int64(l.Jobs), Bytes: int64(l.Bytes), Endpoints: int64(l.Endpoints)}
}

// calls is how many requests there may be in a time.
type calls struct {
	n   int64
	per time.Duration
}

func (c *calls) parse(text string) (err error) {
	if c.n, c.per, err = job.ParseCalls(text); err != nil {
		return wrong(err.Error(), "%q is no number of calls", text)
	}
	return nil
}
