package api

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"net/http"
	"strings"
)

// maxKeyChars is the longest Idempotency-Key there may be.
const maxKeyChars = 255

// readIdempotencyKey reads the key of a request, empty for none
// (draft-ietf-httpapi-idempotency-key-header-06 §2.1). It is a string of RFC 9651
// §3.3.3; the same text without the quotes is the same key.
func readIdempotencyKey(h http.Header) (string, *Problem) {
	values := h["Idempotency-Key"]
	if len(values) == 0 {
		return "", nil
	}
	where := place{"Idempotency-Key", true}
	if len(values) > 1 {
		return "", kindKeyInvalid.at(where, "was sent more than once")
	}
	key, ok := parseIdempotencyKey(values[0])
	switch {
	case !ok:
		return "", kindKeyInvalid.at(where, "is malformed").
			withHint(`send printable ASCII in double quotes, or without quotes if it has no space, comma, semicolon, quote or backslash`)
	case key == "":
		return "", kindKeyInvalid.at(where, "is empty")
	case len(key) > maxKeyChars:
		return "", kindKeyInvalid.at(where, "is longer than 255 characters")
	}
	return key, nil
}

func parseIdempotencyKey(s string) (key string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		for i := range len(s) {
			if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\",;\\", c) >= 0 {
				return "", false
			}
		}
		return s, true
	}
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c < ' ' || c >= 0x7f:
			return "", false
		case c == '\\':
			// Unlike in other quoted strings only these two may be escaped.
			if i++; i == len(s) || s[i] != '"' && s[i] != '\\' {
				return "", false
			}
		}
	}
	return unquote(s)
}

// newFingerprint begins the digest by which a repeated request is known for the
// same: method, path, query, the headers that choose the callback, Content-Type;
// the body is to be written behind them.
func (op *operation) newFingerprint(r *http.Request, path string) hash.Hash {
	h := sha256.New()
	write := func(parts ...string) {
		var length [8]byte
		for _, s := range parts {
			binary.BigEndian.PutUint64(length[:], uint64(len(s)))
			h.Write(length[:])
			h.Write([]byte(s))
		}
	}
	write(r.Method, path, r.URL.RawQuery, r.Header.Get("Content-Type"))
	for i := range choices {
		write(r.Header.Get(choices[i].header))
	}
	for _, name := range op.readHeaders {
		write(strings.Join(r.Header[name], ", "))
	}
	return h
}
