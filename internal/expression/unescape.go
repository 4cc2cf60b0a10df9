package expression

import (
	"errors"
	"unicode/utf8"
)

// What is wrong with a name or value of a query.
var (
	ErrNotEncoded = errors.New("holds octets that must be percent-encoded")
	ErrEscape     = errors.New("has a % without two hexadecimal digits")
	ErrNotUTF8    = errors.New("is not UTF-8 when decoded")
)

// Unescape decodes a name or value of a query, or of a form, once. Unlike net/url it
// takes a semicolon for what it is, and only well-formed text. The error is
// ErrNotEncoded, ErrEscape or ErrNotUTF8.
func Unescape(s string) (string, error) {
	plain := true
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c <= ' ' || c >= 0x7f:
			return "", ErrNotEncoded
		case c == '%':
			if i+2 >= len(s) || !isHexDigit(s[i+1]) || !isHexDigit(s[i+2]) {
				return "", ErrEscape
			}
			plain = false
		case c == '+':
			plain = false
		}
	}
	if plain {
		return s, nil
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '%':
			out = append(out, hexValue(s[i+1])<<4|hexValue(s[i+2]))
			i += 2
		case '+':
			out = append(out, ' ')
		default:
			out = append(out, s[i])
		}
	}
	if !utf8.Valid(out) {
		return "", ErrNotUTF8
	}
	return string(out), nil
}

func isHexDigit(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c&7 + 9
}
