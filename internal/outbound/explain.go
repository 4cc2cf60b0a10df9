package outbound

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Explanation says what would happen to a callback URL, and why.
type Explanation struct {
	Allowed bool   // it would be called
	Origin  string // "" where the URL cannot be read
	Steps   []Step // in their order, up to the one that refuses it
	// Addresses would be dialled, in that order. There are none where a proxy resolves
	// the name.
	Addresses []netip.AddrPort
	Err       error // a *URLError or an *Error; nil where Allowed
}

// Step is a question that is asked of a callback URL.
type Step struct {
	Name   string // such as "scheme", or "address 10.0.0.1"
	OK     bool
	Detail string // why, in words that are safe to show
}

// ScopeOf is a Scope with whose it is.
type ScopeOf struct {
	Scope
	Whose      string // such as "operation scan"
	Registered bool   // no URL that comes with a call is permitted
}

// Explain asks of rawURL what an attempt would ask, and what these scopes permit. It
// resolves the name, and connects to nobody.
func (c *Client) Explain(ctx context.Context, rawURL string, scopes ...ScopeOf) *Explanation {
	e := &Explanation{}
	t, uerr := parseURL(rawURL)
	if uerr != nil {
		return e.refuse(uerr.Rule, uerr)
	}
	e.Origin = t.origin
	e.pass("syntax", "it can be read in one way only")
	if !t.tls && !c.rules.http {
		return e.refuse("scheme", forbidden(RuleScheme, "the callback URL must use https"))
	}
	e.pass("scheme", map[bool]string{true: "https", false: "http, which outbound.http permits"}[t.tls])
	if t.literal.IsValid() {
		e.pass("host", "the address "+t.literal.String()+": nothing is resolved")
	} else {
		e.pass("host", "the name "+t.host)
	}
	if _, err := c.Check(rawURL); err != nil {
		rule := RulePort
		if t.literal.IsValid() && !c.rules.permits(t.literal) {
			rule = "address " + t.literal.String()
			err = &URLError{Code: CodeForbidden, Rule: RuleAddress, Message: errForbiddenAddress.Message + ": " + c.rules.why(t.literal)}
		}
		return e.refuse(rule, err)
	}
	e.pass("port", strconv.Itoa(int(t.port)))
	for _, s := range scopes {
		if s.Registered {
			return e.refuse(s.Whose, forbidden("registered", "only registered endpoints are permitted, no URL that comes with a call"))
		}
		if err := s.Permit(t); err != nil {
			return e.refuse(s.Whose, err)
		}
		e.pass(s.Whose, "its policy permits the URL")
	}
	return c.explainAddresses(ctx, t, e)
}

// explainAddresses says where the URL leads.
func (c *Client) explainAddresses(ctx context.Context, t *Target, e *Explanation) *Explanation {
	if c.leftToProxy(t) {
		e.pass("dns", "left to the proxy, which has to refuse addresses itself")
	} else {
		found, err := c.lookup(ctx, t)
		if err != nil {
			return e.refuse("dns", failure(ctx, t, resolving, err))
		}
		if !t.literal.IsValid() {
			e.pass("dns", addressesFound(len(found)))
		}
		permitted := true
		for _, addr := range found {
			ok := c.rules.mayCall(t.host, addr, t.port)
			permitted = permitted && ok
			e.Steps = append(e.Steps, Step{"address " + addr.String(), ok, c.rules.reason(t, addr)})
		}
		if !permitted {
			e.Err = errForbiddenAddress
			return e
		}
		e.Addresses, _ = c.checked(t, found) // all of them are permitted
	}
	e.Allowed = true
	e.Steps = append(e.Steps, Step{"route", true, c.egress.describe()})
	return e
}

func addressesFound(n int) string {
	if n == 1 {
		return "1 address"
	}
	return fmt.Sprintf("%d addresses, of which all have to be permitted", n)
}

func (e *Explanation) pass(name, detail string) {
	e.Steps = append(e.Steps, Step{name, true, detail})
}

func (e *Explanation) refuse(name string, err error) *Explanation {
	detail := err.Error()
	if failed, ok := err.(*Error); ok { //nolint:errorlint // made by our caller, not wrapped
		detail = failed.Detail
	}
	e.Steps, e.Err = append(e.Steps, Step{name, false, detail}), err
	return e
}

// reason says why a target may or may not be called at an address.
func (r *rules) reason(t *Target, addr netip.Addr) string {
	switch {
	case r.names[nameAndPort(t.host, t.port)] || r.names[t.host] && usualPort(t.port):
		return "outbound.allow opens the name " + t.host
	case r.loopback && addr.IsLoopback():
		return "loopback, which --dev opens"
	case slices.Contains(r.addrPorts, netip.AddrPortFrom(addr, t.port)):
		return "outbound.allow opens " + netip.AddrPortFrom(addr, t.port).String()
	}
	return r.why(addr)
}

// why says why an address is permitted or is not.
func (r *rules) why(addr netip.Addr) string {
	if addr.Zone() != "" {
		return "has a zone"
	}
	for _, p := range r.prefixes {
		if p.Contains(addr) && r.permits(addr) {
			return "outbound.allow opens " + p.String()
		}
	}
	if inner, ok := embedded(addr); ok {
		return "leads on to the IPv4 address " + inner.String() + "; such addresses have to be opened by outbound.allow"
	}
	for _, p := range denied {
		if p.Contains(addr) {
			return "not public: " + p.String()
		}
	}
	if !addr.Is4() && !globalUnicast.Contains(addr) {
		return "not public: outside of " + globalUnicast.String()
	}
	return "public"
}

// describe says which way connections take.
func (e *egress) describe() string {
	var way []string
	if e.proxy != nil {
		way = append(way, "through the proxy "+nameAndPort(e.proxy.host, e.proxy.port))
	} else {
		way = append(way, "directly")
	}
	for _, source := range []netip.Addr{e.source4, e.source6} {
		if source.IsValid() {
			way = append(way, "from "+source.String())
		}
	}
	return strings.Join(way, ", ")
}
