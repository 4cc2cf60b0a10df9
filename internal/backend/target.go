package backend

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/ringback/ringback/job"
)

// target is where the requests of an HTTP backend go: an origin, and behind it
// either a path of its own, with placeholders, or the path of each job.
type target struct {
	scheme, host string
	segments     []segment // nil: the job's own path
	query        string    // precedes the caller's
}

// segment is one part of a path between slashes: literal text, percent-encoded
// already, and names of path parameters, alternating, beginning with a text.
type segment []string

// parseTarget reads a URL as it stands in the configuration.
func parseTarget(text string) (*target, error) {
	scheme, rest, _ := strings.Cut(text, "://")
	if scheme != "http" && scheme != "https" {
		return nil, errors.New("must begin with http:// or https://")
	}
	rest, query, _ := strings.Cut(rest, "?")
	host, path, hasPath := strings.Cut(rest, "/")
	if strings.Contains(text, "#") {
		return nil, errors.New("must have no fragment")
	}
	if strings.Contains(host, "@") {
		return nil, errors.New("must have no user name; set headers: {Authorization: …} instead")
	}
	if u, err := url.Parse(scheme + "://" + host); err != nil || u.Hostname() == "" || u.Host != host {
		return nil, errors.New("has no valid host and port")
	}
	if strings.ContainsAny(query, "{}") {
		return nil, errors.New("may hold {parameters} in its path only")
	}
	if !sendable(path) || !sendable(query) {
		return nil, errors.New("holds a blank, a control character or a letter that is not ASCII; percent-encode it")
	}
	t := &target{scheme: scheme, host: host, query: query}
	if !hasPath {
		return t, nil
	}
	for text := range strings.SplitSeq(path, "/") {
		s, err := parseSegment(text)
		if err != nil {
			return nil, err
		}
		t.segments = append(t.segments, s)
	}
	return t, nil
}

func parseSegment(text string) (segment, error) {
	var s segment
	for {
		literal, rest, found := strings.Cut(text, "{")
		if _, err := url.PathUnescape(literal); err != nil || strings.Contains(literal, "}") {
			return nil, errors.New("has a path with a stray % or }")
		}
		s = append(s, literal)
		if !found {
			return s, nil
		}
		name, rest, found := strings.Cut(rest, "}")
		if !found || !isName(name) {
			return nil, errors.New("has a path with a { that begins no {parameter}")
		}
		s, text = append(s, name), rest
	}
}

// isName tells whether text can be the name of a path parameter: those of
// net/http's patterns are Go identifiers, and these are the ASCII ones.
func isName(text string) bool {
	return text != "" && !strings.ContainsFunc(text, func(r rune) bool {
		return r != '_' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// sendable tells whether text can stand in a request line as it is.
func sendable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// params are the names of the path parameters that the target needs.
func (t *target) params() []string {
	var names []string
	for _, s := range t.segments {
		for i := 1; i < len(s); i += 2 {
			names = append(names, s[i])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// url is where the request of a job goes. Parameters stay within their segment.
func (t *target) url(r *job.Request) (*url.URL, error) {
	u := &url.URL{Scheme: t.scheme, Host: t.host, RawQuery: t.query}
	if r.RawQuery != "" {
		u.RawQuery = strings.TrimPrefix(t.query+"&"+r.RawQuery, "&")
	}
	path := r.Path
	if t.segments != nil {
		var b strings.Builder
		for _, s := range t.segments {
			text, err := s.fill(r.Params)
			if err != nil {
				return nil, err
			}
			b.WriteString("/" + text)
		}
		path = b.String()
	}
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "?") || !sendable(path) || !sendable(u.RawQuery) {
		return nil, refused("the request's path or query cannot be passed on")
	}
	return u, setPath(u, path)
}

// setPath makes path, escaped as it is, the one that is sent: byte for byte.
func setPath(u *url.URL, path string) error {
	plain, err := url.PathUnescape(path)
	if err != nil {
		return refused("the request's path cannot be passed on")
	}
	u.Path, u.RawPath = plain, path
	// Package url would escape what should have been escaped: an opaque part goes
	// round that. One that begins with two slashes it takes for an authority, so
	// there alone the upstream gets, say, %22 for a quotation mark.
	if u.EscapedPath() != path && !strings.HasPrefix(path, "//") {
		u.Opaque = path
	}
	return nil
}

// fill puts the parameters in. A value may not climb out of its segment, nor may
// it where the backend decodes a path before it splits it, as many do.
func (s segment) fill(params map[string]string) (string, error) {
	if len(s) == 1 {
		return s[0], nil
	}
	text := s[0]
	for i := 1; i < len(s); i += 2 {
		value, ok := params[s[i]]
		if !ok {
			return "", refused("the route has no parameter " + s[i])
		}
		text += url.PathEscape(value) + s[i+1]
	}
	plain, err := url.PathUnescape(text)
	if err != nil || plain == "" {
		return "", refused("a path parameter cannot be passed on")
	}
	for part := range strings.FieldsFuncSeq(plain, func(r rune) bool { return r == '/' || r == '\\' }) {
		if part == "." || part == ".." {
			return "", refused("a path parameter cannot be passed on: it would lead elsewhere")
		}
	}
	return text, nil
}

func refused(why string) error {
	return &Failure{Code: job.CodeBackendError, Message: why, Final: true}
}

// origin is scheme, host and port.
func (t *target) origin() string { return t.scheme + "://" + t.host }

// hopByHop are the header fields that concern one connection (RFC 9110 §7.6.1).
var hopByHop = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// endToEnd is a copy of h without what concerns one connection only.
func endToEnd(h http.Header) http.Header {
	out := h.Clone()
	if out == nil {
		out = http.Header{}
	}
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			out.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range hopByHop {
		out.Del(name)
	}
	return out
}
