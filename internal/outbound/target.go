package outbound

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// MaxURLBytes is the longest callback URL there may be.
const MaxURLBytes = 2048

// Target is a callback URL that Check has accepted. It can be kept and used for
// any number of requests, from several goroutines.
type Target struct {
	url        string
	tls        bool
	host       string     // ASCII, lower case, no trailing dot, no brackets
	literal    netip.Addr // valid where the host is an address
	port       uint16
	origin     string // scheme, host and, unless it is the default, port
	requestURI string // path and query as they were given, "/" for no path
}

// Origin is scheme, host and port of the URL in their normal form, such as
// "https://a.example:8443". Nothing of the path, the query or the userinfo is in
// it: it may be logged.
func (t *Target) Origin() string { return t.origin }

// URL is the URL as it was given.
func (t *Target) URL() string { return t.url }

// WithQuery is t with query, which is in its encoded form, behind the query that it
// has: what is there stays as it is.
func (t *Target) WithQuery(query string) *Target {
	with := *t
	with.url, with.requestURI = appendQuery(t.url, query), appendQuery(t.requestURI, query)
	return &with
}

func appendQuery(url, query string) string {
	switch {
	case !strings.Contains(url, "?"):
		return url + "?" + query
	case strings.HasSuffix(url, "?"), strings.HasSuffix(url, "&"):
		return url + query
	}
	return url + "&" + query
}

// RequestURL is the URL as the receiver sees it: host, port and path are those that
// are sent (RFC 9421 §2.2.2).
func (t *Target) RequestURL() string { return t.origin + t.requestURI }

// String is the origin, so that a logged Target gives no secret away.
func (t *Target) String() string { return t.origin }

// authority is what the Host field says (RFC 9110 §7.2).
func (t *Target) authority() string {
	return t.origin[strings.Index(t.origin, "://")+len("://"):]
}

// The two codes of a URLError.
const (
	CodeInvalid   = "callback_url_invalid"
	CodeForbidden = "callback_url_forbidden"
)

// The rules that a URL can break.
const (
	RuleLength   = "length"   // empty, or above MaxURLBytes
	RuleSyntax   = "syntax"   // not an absolute URL, or octets that no URL has
	RuleScheme   = "scheme"   // neither https nor, where the policy permits it, http
	RuleUserinfo = "userinfo" // a name or password before the host
	RuleFragment = "fragment" // a part behind #, which is never sent
	RuleHost     = "host"     // no usable name or address
	RulePort     = "port"     // no number, or a port of another service
	RuleAddress  = "address"  // leads to an address that is not public
)

// URLError says why a URL is not called. Its text repeats nothing of the URL.
type URLError struct {
	Code    string // CodeInvalid: malformed; CodeForbidden: the policy says no
	Rule    string
	Message string
}

func (e *URLError) Error() string { return e.Message }

// Forbidden tells a URL that the policy refuses from one that is malformed.
func (e *URLError) Forbidden() bool { return e.Code == CodeForbidden }

func invalid(rule, message string) *URLError {
	return &URLError{Code: CodeInvalid, Rule: rule, Message: message}
}

func forbidden(rule, message string) *URLError {
	return &URLError{Code: CodeForbidden, Rule: rule, Message: message}
}

var errForbiddenAddress = forbidden(RuleAddress, "the callback URL leads to an address that is not public")

// Check reads rawURL and says all that can be said about it without asking the
// DNS. Its error is a *URLError.
func (c *Client) Check(rawURL string) (*Target, error) {
	t, err := parseURL(rawURL)
	if err != nil {
		return nil, err
	}
	if !t.tls && !c.rules.http {
		return nil, forbidden(RuleScheme, "the callback URL must use https")
	}
	if t.literal.IsValid() {
		if c.rules.mayCall(t.host, t.literal, t.port) {
			return t, nil
		}
		if !c.rules.permits(t.literal) {
			return nil, errForbiddenAddress
		}
	} else if c.rules.mayUsePort(t.host, t.port) {
		return t, nil
	}
	return nil, forbidden(RulePort, "the callback URL's port must be 80, 443 or at least 1024, and not one of another well-known service")
}

// parseURL is stricter than net/url and looks for nothing that it would have to
// guess: where two readers of a URL could see two hosts, it is refused.
func parseURL(raw string) (*Target, *URLError) {
	if raw == "" {
		return nil, invalid(RuleLength, "the callback URL is empty")
	}
	if len(raw) > MaxURLBytes {
		return nil, invalid(RuleLength, "the callback URL is longer than 2048 octets")
	}
	t := &Target{url: raw}
	rest, err := t.cutScheme(raw)
	if err != nil {
		return nil, err
	}
	for i := range len(raw) {
		if b := raw[i]; b <= ' ' || b == 0x7f || b == '\\' {
			return nil, invalid(RuleSyntax, "the callback URL holds a space, a control character or a backslash; percent-encode it")
		}
	}
	if strings.IndexByte(raw, '#') >= 0 {
		return nil, invalid(RuleFragment, "the callback URL has a fragment, which is never sent")
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	if err := t.setAuthority(authority); err != nil {
		return nil, err
	}
	if err := checkTail(tail); err != nil {
		return nil, err
	}
	t.requestURI = tail
	if !strings.HasPrefix(tail, "/") {
		t.requestURI = "/" + tail
	}
	return t, nil
}

func (t *Target) cutScheme(raw string) (string, *URLError) {
	scheme, rest, ok := strings.Cut(raw, ":")
	if !ok || strings.ContainsAny(scheme, "/?#") {
		return "", invalid(RuleSyntax, "the callback URL is not absolute: it must begin with https://")
	}
	t.tls = strings.EqualFold(scheme, "https")
	if !t.tls && !strings.EqualFold(scheme, "http") {
		return "", invalid(RuleScheme, "the callback URL's scheme must be https or http")
	}
	rest, ok = strings.CutPrefix(rest, "//")
	if !ok {
		return "", invalid(RuleSyntax, "the callback URL needs two slashes behind its scheme")
	}
	return rest, nil
}

func (t *Target) setAuthority(authority string) *URLError {
	if strings.IndexByte(authority, '@') >= 0 {
		return invalid(RuleUserinfo, "the callback URL holds a user name or password, which is not allowed")
	}
	host, port := authority, ""
	if strings.HasPrefix(authority, "[") {
		if i := strings.IndexByte(authority, ']'); i >= 0 {
			host, port = authority[:i+1], authority[i+1:]
		}
		if port != "" && port[0] != ':' {
			return invalid(RuleHost, "the callback URL has something between host and port")
		}
		port = strings.TrimPrefix(port, ":")
	} else if i := strings.IndexByte(authority, ':'); i >= 0 {
		host, port = authority[:i], authority[i+1:]
	}
	defaultPort, scheme := uint16(80), "http://"
	if t.tls {
		defaultPort, scheme = 443, "https://"
	}
	var err *URLError
	if t.host, t.literal, err = parseHost(host); err != nil {
		return err
	}
	if t.port, err = parsePort(port, defaultPort); err != nil {
		return err
	}
	t.origin = scheme + t.host
	if t.literal.Is6() {
		t.origin = scheme + "[" + t.host + "]"
	}
	if t.port != defaultPort {
		t.origin += ":" + strconv.Itoa(int(t.port))
	}
	return nil
}

// parsePort reads digits without leading zeros; nothing at all is the default.
func parsePort(s string, defaultPort uint16) (uint16, *URLError) {
	if s == "" {
		return defaultPort, nil
	}
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || s[0] == '0' {
		return 0, invalid(RulePort, "the callback URL's port must be a number from 1 to 65535")
	}
	return uint16(port), nil
}

// hostProfile maps as browsers do (UTS 46, non-transitional), so that the name
// that is checked is the name that is resolved.
var hostProfile = idna.New(idna.MapForLookup(), idna.BidiRule(), idna.Transitional(false),
	idna.StrictDomainName(false), idna.CheckHyphens(false))

// parseHost returns the name in ASCII, and the address where it is a literal.
func parseHost(s string) (string, netip.Addr, *URLError) {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		inner, closed := strings.CutSuffix(inner, "]")
		addr, err := netip.ParseAddr(inner)
		if !closed || err != nil || addr.Is4() || addr.Zone() != "" {
			return "", netip.Addr{}, invalid(RuleHost, "the callback URL has brackets around something that is not an IPv6 address without a zone")
		}
		return addr.String(), addr, nil
	}
	name, ok := toASCII(s)
	if !ok {
		return "", netip.Addr{}, invalid(RuleHost, "the callback URL's host is not a valid name")
	}
	if addr, err := netip.ParseAddr(name); err == nil {
		return name, addr, nil
	}
	if err := checkName(name); err != nil {
		return "", netip.Addr{}, err
	}
	return name, netip.Addr{}, nil
}

func toASCII(s string) (string, bool) {
	if !utf8.ValidString(s) {
		return "", false
	}
	name := strings.ToLower(s)
	ascii := true
	for i := range len(s) {
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if !ascii || strings.Contains(name, "xn--") {
		mapped, err := hostProfile.ToASCII(s)
		if err != nil {
			return "", false
		}
		name = mapped
	}
	return strings.TrimSuffix(name, "."), true
}

// checkName wants letters, digits, hyphens and underscores in labels of 1 to 63,
// and a last label that no C library takes for part of an IPv4 address.
func checkName(name string) *URLError {
	bad := invalid(RuleHost, "the callback URL's host is not a valid name")
	if len(name) > 253 {
		return bad
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return bad
		}
		for i := range len(label) {
			if b := label[i]; (b < 'a' || b > 'z') && (b < '0' || b > '9') && b != '-' && b != '_' {
				return bad
			}
		}
		last = label
	}
	if strings.Trim(last, "0123456789") == "" || strings.HasPrefix(last, "0x") {
		return invalid(RuleHost, "the callback URL's host ends in a number but is not an IPv4 address in four decimal parts")
	}
	return nil
}

// checkTail looks at path and query, which go onto the wire as they are.
func checkTail(tail string) *URLError {
	path, _, _ := strings.Cut(tail, "?")
	for i := range len(tail) {
		if tail[i] >= utf8.RuneSelf {
			return invalid(RuleSyntax, "the callback URL's path or query holds characters that must be percent-encoded")
		}
		if i < len(path) && path[i] == '%' && (i+2 >= len(path) || !isHex(path[i+1]) || !isHex(path[i+2])) {
			return invalid(RuleSyntax, "the callback URL's path has a % without two hexadecimal digits")
		}
	}
	return nil
}

func isHex(b byte) bool {
	return '0' <= b && b <= '9' || 'a' <= b && b <= 'f' || 'A' <= b && b <= 'F'
}
