package outbound

import (
	"fmt"
	"slices"
	"strings"
)

// Scope narrows down which URLs may be called, beyond what Policy says. Its zero
// value permits all of them.
type Scope struct {
	// Prefixes permits only URLs with the scheme, host and port of one of these, whose
	// path begins with the same whole segments; none: any.
	Prefixes []string
	HTTPS    bool     // permits https only
	Ports    []uint16 // permits these only; none: any
}

// RulePrefix is broken by a URL below none of a Scope's prefixes.
const RulePrefix = "prefixes"

const maxScopeEntries = 64

// Validate says what is wrong with the scope itself.
func (s Scope) Validate() error {
	if len(s.Prefixes) > maxScopeEntries || len(s.Ports) > maxScopeEntries {
		return fmt.Errorf("there may be %d prefixes and as many ports", maxScopeEntries)
	}
	for _, text := range s.Prefixes {
		if _, err := parsePrefix(text); err != nil {
			return fmt.Errorf("the prefix %q: %w", text, err)
		}
	}
	if slices.Contains(s.Ports, 0) {
		return fmt.Errorf("a port is a number from 1 to 65535")
	}
	return nil
}

// Permit says whether the scope holds a URL. Its error is a *URLError, and names
// the rule that the URL breaks.
func (s Scope) Permit(t *Target) error {
	if s.HTTPS && !t.tls {
		return forbidden(RuleScheme, "the callback URL must use https (rule: https)")
	}
	if len(s.Ports) > 0 && !slices.Contains(s.Ports, t.port) {
		return forbidden(RulePort, "the callback URL's port is none of those that are allowed (rule: ports)")
	}
	below := func(text string) bool {
		p, err := parsePrefix(text)
		return err == nil && p.holds(t)
	}
	if len(s.Prefixes) > 0 && !slices.ContainsFunc(s.Prefixes, below) {
		return forbidden(RulePrefix, "the callback URL is below none of the prefixes that are allowed (rule: prefixes)")
	}
	return nil
}

// prefix is an origin and the first segments of a path.
type prefix struct {
	origin   string
	segments []string // decoded
	deeper   bool     // it ends with a slash: something must follow
}

func parsePrefix(text string) (*prefix, error) {
	t, err := parseURL(text)
	if err != nil {
		return nil, fmt.Errorf("%s", strings.ReplaceAll(err.Message, "callback URL", "prefix"))
	}
	if strings.Contains(t.requestURI, "?") {
		return nil, fmt.Errorf("has a query; only scheme, host, port and path are compared")
	}
	segments, ok := t.segments()
	if !ok {
		return nil, fmt.Errorf("has . or .. or an encoded slash in its path")
	}
	p := &prefix{origin: t.origin, segments: segments}
	if last := len(segments) - 1; segments[last] == "" {
		p.segments, p.deeper = segments[:last], last > 0
	}
	return p, nil
}

func (p *prefix) holds(t *Target) bool {
	if t.origin != p.origin {
		return false
	}
	if len(p.segments) == 0 {
		return true // all of the origin
	}
	segments, ok := t.segments()
	n := len(p.segments)
	return ok && len(segments) >= n && slices.Equal(segments[:n], p.segments) && (!p.deeper || len(segments) > n)
}

// segments are those of the path, decoded once. ok is false where one of them could
// lead out of the segments before it, whatever its reader makes of it.
func (t *Target) segments() (segments []string, ok bool) {
	path, _, _ := strings.Cut(t.requestURI, "?")
	segments = strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, raw := range segments {
		segments[i] = unescape(raw)
		if climbs(raw) {
			return nil, false
		}
	}
	return segments, true
}

// climbs tells a segment that is a dot segment, with parameters or without, or holds
// a slash, however often it is encoded.
func climbs(segment string) bool {
	for {
		name, _, _ := strings.Cut(segment, ";")
		if name == "." || name == ".." || strings.ContainsAny(segment, `/\`) {
			return true
		}
		decoded := unescape(segment)
		if decoded == segment {
			return false
		}
		segment = decoded
	}
}

// unescape decodes the octets that are written with %, once.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]) {
			b.WriteByte(nibble(s[i+1])<<4 | nibble(s[i+2]))
			i += 2
			continue
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func nibble(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&7 + 9
}
