package sign

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// What the text of a secret begins with.
const (
	prefixShared  = "whsec_"
	prefixPrivate = "whsk_"
	prefixPublic  = "whpk_"
)

// redacted is what a Secret says of itself.
const redacted = "[secret]"

// kinds is the table of secrets: what their text begins with, and what the bytes
// behind it make.
var kinds = []struct {
	prefix string
	parse  func(raw []byte) (verifier, signer, error)
}{
	{prefixShared, parseShared},
	{prefixPrivate, parsePrivate},
	{prefixPublic, parsePublic},
}

// Secret is a parsed key of one scheme, ready for any number of calls of Sign and
// Verify, also at the same time. It never prints itself, whatever it is formatted,
// logged or marshalled with; Reveal is the one way to its text. The zero Secret is
// refused by Sign and Verify.
type Secret struct {
	// A function, since fmt looks into the unexported fields of a struct that holds
	// a Secret, past our methods; of a function it knows only the address.
	open func() *key
}

// key is what a Secret hides. signer is nil for a public key.
type key struct {
	text     string
	verifier verifier
	signer   signer
}

// NewSecret makes a shared secret (whsec_) of 32 random bytes.
func NewSecret() Secret {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails: see its documentation
	v := newHMACKey(raw)
	return seal(&key{
		text:     prefixShared + base64.StdEncoding.EncodeToString(raw),
		verifier: v,
		signer:   v,
	})
}

// ParseSecret reads the text of a secret: a prefix and padded standard base64.
//
//   - whsec_: 24 to 64 bytes, shared by both sides (v1)
//   - whsk_: 64 bytes, an Ed25519 seed and its public key (v1a)
//   - whpk_: 32 bytes, an Ed25519 public key, which only verifies (v1a)
//
// The error is an ErrSecret and does not quote the text.
func ParseSecret(text string) (Secret, error) {
	for _, kind := range kinds {
		encoded, ok := strings.CutPrefix(text, kind.prefix)
		if !ok {
			continue
		}
		raw, err := base64.StdEncoding.DecodeString(encoded)
		// The decoder overlooks line breaks and stray bits at the end.
		if err != nil || base64.StdEncoding.EncodeToString(raw) != encoded {
			return Secret{}, fmt.Errorf("parse secret: %w: no padded base64 after %s; is it cut off, or is there a line break?", ErrSecret, kind.prefix)
		}
		v, s, err := kind.parse(raw)
		if err != nil {
			return Secret{}, fmt.Errorf("parse secret: %w: %s %w", ErrSecret, kind.prefix, err)
		}
		return seal(&key{text: text, verifier: v, signer: s}), nil
	}
	return Secret{}, fmt.Errorf("parse secret: %w: %s", ErrSecret, prefixHint(text))
}

// prefixHint says what stands where a secret's prefix should.
func prefixHint(text string) string {
	switch trimmed := strings.Trim(text, " \t\r\n\"'"); {
	case trimmed == "":
		return "it is empty; is the variable or the file that holds it set?"
	case trimmed != text && !strings.HasPrefix(text, trimmed):
		return "it begins with a space or a quote; take it away"
	case strings.HasPrefix(text, "rb_"):
		return "it is an API key; ask with it for the signing secret (GET /v1/secret)"
	}
	return fmt.Sprintf("it begins with none of %s, %s, %s; give it whole, with its prefix",
		prefixShared, prefixPrivate, prefixPublic)
}

func seal(k *key) Secret {
	return Secret{open: func() *key { return k }}
}

func (s Secret) key() *key {
	if s.open == nil {
		return nil
	}
	return s.open()
}

// IsZero tells whether s is the zero Secret.
func (s Secret) IsZero() bool { return s.open == nil }

// Reveal returns the text that ParseSecret reads, for handing it to its owner or
// sealing it in a store; "" for the zero Secret.
func (s Secret) Reveal() string {
	if k := s.key(); k != nil {
		return k.text
	}
	return ""
}

// String returns "[secret]".
func (Secret) String() string { return redacted }

// Format writes "[secret]" for every verb and flag.
func (Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is "[secret]".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "[secret]", for JSON, YAML and XML alike.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
