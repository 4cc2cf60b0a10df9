package api

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// preferences are what a Prefer header asks for (RFC 7240) and the gateway does.
type preferences struct {
	respondAsync bool
	minimal      bool          // return=minimal: a 202 without a body
	waits        bool          // wait was given; wait may be 0
	wait         time.Duration // at most the gateway's limit
}

// readPrefer reads all Prefer headers. What is unknown, malformed or makes no
// sense is ignored (RFC 7240 §2), and of a name that is repeated the first counts.
func readPrefer(headers []string, limit time.Duration) (p preferences) {
	var representation, waitSeen, asyncSeen bool
	for _, header := range headers {
		for header != "" {
			var name, value string
			name, value, header = nextPreference(header)
			switch {
			case strings.EqualFold(name, "respond-async") && !asyncSeen:
				p.respondAsync, asyncSeen = value == "", true
			case strings.EqualFold(name, "wait") && !waitSeen:
				p.wait, p.waits = waitDuration(value, limit)
				waitSeen = true
			case strings.EqualFold(name, "return"):
				// The two contradict each other: both together are neither.
				p.minimal = p.minimal || value == "minimal"
				representation = representation || value == "representation"
			}
		}
	}
	p.minimal = p.minimal && !representation
	return p
}

// waitDuration reads seconds; more than the limit, or than fits a number, is the limit.
func waitDuration(digits string, limit time.Duration) (time.Duration, bool) {
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(math.MaxInt64/time.Second) {
		return limit, true
	}
	return min(time.Duration(n)*time.Second, limit), true
}

// nextPreference cuts the first preference off a header: its name, empty for a
// malformed one, its value without quotes, and what follows the next comma.
// Parameters behind a semicolon are skipped.
func nextPreference(s string) (name, value, rest string) {
	item, rest := cutOutsideQuotes(s, ',')
	item, _ = cutOutsideQuotes(item, ';')
	name, value, _ = strings.Cut(item, "=")
	name, value = strings.Trim(name, " \t"), strings.Trim(value, " \t")
	if !isToken(name) {
		return "", "", rest
	}
	if strings.HasPrefix(value, `"`) {
		unquoted, ok := unquote(value)
		if !ok {
			return "", "", rest
		}
		value = unquoted
	}
	return name, value, rest
}

// cutOutsideQuotes cuts s at the first sep that is in no quoted string (RFC 9110
// §5.6.4). An unclosed quote takes the rest.
func cutOutsideQuotes(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

func unquote(s string) (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), i == len(s)-1
		case '\\':
			if i++; i == len(s) {
				return "", false
			}
		}
		b.WriteByte(s[i])
	}
	return "", false
}

// isToken tells a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return s != ""
}

// setApplied says which preferences were honoured (RFC 7240 §3).
func (p preferences) setApplied(h http.Header, asynchronous bool) {
	var applied []string
	if p.respondAsync && asynchronous {
		applied = append(applied, "respond-async")
	}
	if p.waits {
		applied = append(applied, "wait="+strconv.Itoa(int(p.wait/time.Second)))
	}
	if p.minimal && asynchronous {
		applied = append(applied, "return=minimal")
	}
	if applied != nil {
		h["Preference-Applied"] = []string{strings.Join(applied, ", ")}
	}
}
