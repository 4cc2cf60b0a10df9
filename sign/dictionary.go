package sign

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// The bounds of a dictionary that a stranger sent.
const (
	maxDictionaryBytes   = 16 << 10
	maxDictionaryMembers = maxSignatures
	maxListItems         = 64
	maxParams            = 16
)

// member is one of a dictionary of structured fields (RFC 9651 §3.2), of the kinds
// that signatures and digests have: a list of strings, or bytes.
type member struct {
	label  string
	isList bool
	list   []string
	bytes  []byte
	params map[string]any // string, int64, bool or []byte
	raw    string         // the value, as it was written
}

// parseDictionary reads the fields of one name as one dictionary. Unlike RFC 9651 it
// refuses a label that is there twice, and parameters of what is in a list: neither
// is in a signature of ours. The error is an ErrHeader.
func parseDictionary(header http.Header, name string) ([]member, error) {
	values := header[name]
	if len(values) == 0 {
		return nil, fmt.Errorf("%w: %s is missing", ErrHeader, name)
	}
	s := &fieldScanner{rest: strings.Trim(strings.Join(values, ","), " \t")}
	if len(s.rest) > maxDictionaryBytes {
		return nil, fmt.Errorf("%w: %s has more than %d bytes", ErrHeader, name, maxDictionaryBytes)
	}
	seen := map[string]bool{}
	var members []member
	for {
		m, ok := s.member()
		if !ok || seen[m.label] || len(members) == maxDictionaryMembers {
			return nil, fmt.Errorf("%w: %s is malformed, or has a label twice, or more than %d members", ErrHeader, name, maxDictionaryMembers)
		}
		seen[m.label] = true
		members = append(members, m)
		s.skip(" \t")
		if s.rest == "" {
			return members, nil
		}
		if !s.take(",") {
			return nil, fmt.Errorf("%w: %s is malformed", ErrHeader, name)
		}
		s.skip(" \t")
	}
}

// fieldScanner reads a structured field from its front.
type fieldScanner struct{ rest string }

func (s *fieldScanner) skip(set string) { s.rest = strings.TrimLeft(s.rest, set) }

func (s *fieldScanner) take(prefix string) bool {
	rest, ok := strings.CutPrefix(s.rest, prefix)
	s.rest = rest
	return ok
}

func (s *fieldScanner) member() (m member, ok bool) {
	if m.label, ok = s.key(); !ok || !s.take("=") {
		return m, false
	}
	from := s.rest
	if strings.HasPrefix(s.rest, "(") {
		m.isList = true
		m.list, ok = s.list()
	} else {
		m.bytes, ok = s.byteSequence()
	}
	if ok {
		m.params, ok = s.params()
	}
	m.raw = from[:len(from)-len(s.rest)]
	return m, ok
}

// key is lcalpha or "*", then also digits, "_", "-" and ".".
func (s *fieldScanner) key() (string, bool) {
	n := 0
	for n < len(s.rest) {
		b := s.rest[n]
		first := 'a' <= b && b <= 'z' || b == '*'
		later := n > 0 && ('0' <= b && b <= '9' || b == '_' || b == '-' || b == '.')
		if !first && !later {
			break
		}
		n++
	}
	key := s.rest[:n]
	s.rest = s.rest[n:]
	return key, n > 0
}

func (s *fieldScanner) list() ([]string, bool) {
	items := []string{}
	s.take("(")
	for {
		s.skip(" ")
		if s.take(")") {
			return items, true
		}
		item, ok := s.quoted()
		if !ok || len(items) == maxListItems || s.rest == "" || s.rest[0] != ' ' && s.rest[0] != ')' {
			return nil, false
		}
		items = append(items, item)
	}
}

func (s *fieldScanner) quoted() (string, bool) {
	if !s.take(`"`) {
		return "", false
	}
	var out strings.Builder
	for i := 0; i < len(s.rest); i++ {
		b := s.rest[i]
		switch {
		case b == '"':
			s.rest = s.rest[i+1:]
			return out.String(), true
		case b == '\\':
			i++
			if i == len(s.rest) || s.rest[i] != '"' && s.rest[i] != '\\' {
				return "", false
			}
			b = s.rest[i]
		case b < ' ' || b > '~':
			return "", false
		}
		out.WriteByte(b)
	}
	return "", false
}

func (s *fieldScanner) byteSequence() ([]byte, bool) {
	if !s.take(":") {
		return nil, false
	}
	encoded, rest, ok := strings.Cut(s.rest, ":")
	if !ok || strings.ContainsAny(encoded, "\r\n") {
		return nil, false
	}
	s.rest = rest
	raw, err := base64.StdEncoding.Strict().DecodeString(encoded)
	return raw, err == nil
}

func (s *fieldScanner) params() (map[string]any, bool) {
	params := map[string]any{}
	for s.take(";") {
		s.skip(" ")
		name, ok := s.key()
		if !ok || params[name] != nil || len(params) == maxParams {
			return nil, false
		}
		params[name] = true
		if !s.take("=") {
			continue
		}
		if params[name], ok = s.bareItem(); !ok {
			return nil, false
		}
	}
	return params, true
}

// bareItem is a string, bytes, an integer, a boolean or a token.
func (s *fieldScanner) bareItem() (any, bool) {
	if s.rest == "" {
		return nil, false
	}
	switch b := s.rest[0]; {
	case b == '"':
		return s.quoted()
	case b == ':':
		return s.byteSequence()
	case b == '?':
		value := strings.HasPrefix(s.rest, "?1")
		return value, s.take("?1") || s.take("?0")
	case b == '-' || '0' <= b && b <= '9':
		digits := s.rest[:len(s.rest)-len(strings.TrimLeft(s.rest, "-0123456789"))]
		s.rest = s.rest[len(digits):]
		n, err := strconv.ParseInt(digits, 10, 64)
		return n, err == nil && len(digits) <= 16
	default:
		const end = " \t,;()\"=:"
		i := strings.IndexAny(s.rest, end)
		if i < 0 {
			i = len(s.rest)
		}
		token := s.rest[:i]
		s.rest = s.rest[i:]
		// A token is no string: `tag=ringback` is not our tag.
		return []byte(token), token != ""
	}
}
