package sign

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Keys are what a sender signs with: a shared secret (v1, RFC 9421's hmac-sha256)
// and a private key (v1a, RFC 9421's ed25519). Own is the receiver's own secret for
// legacy schemes, zero unless it was brought along from another sender: without it
// those use the text of Shared.
type Keys struct {
	Shared, Private, Own Secret
}

// prefixOwn begins the third part of a text of Keys; nobody but us ever sees it.
const prefixOwn = "own_"

// NewKeys makes a shared secret and a private key.
func NewKeys() Keys {
	_, private, _ := ed25519.GenerateKey(rand.Reader) // never fails: see crypto/rand
	return Keys{Shared: NewSecret(), Private: seal(&key{
		text:     prefixPrivate + base64.StdEncoding.EncodeToString(private),
		verifier: ed25519Verifier{private.Public().(ed25519.PublicKey)},
		signer:   ed25519Signer{private},
	})}
}

// The bounds of a secret that a receiver brings along, in bytes.
const (
	minOwnBytes = 8
	maxOwnBytes = 512
)

// WithOwn returns k with a secret that the receiver has already. One that begins
// with whsec_ and is a whole secret is the shared one from then on; any other text
// of 8 to 512 printable ASCII characters is for legacy schemes alone. The error is
// an ErrSecret and does not quote the text.
func (k Keys) WithOwn(text string) (Keys, error) {
	if s, err := ParseSecret(text); err == nil {
		if !strings.HasPrefix(text, prefixShared) {
			return Keys{}, fmt.Errorf("%w: only a shared secret can be brought along; a private key is made by the gateway", ErrSecret)
		}
		k.Shared, k.Own = s, Secret{}
		return k, nil
	}
	own, err := TextSecret(text)
	if err != nil {
		return Keys{}, err
	}
	k.Own = own
	return k, nil
}

// TextSecret makes a secret of any text, 8 to 512 printable ASCII characters, for
// Legacy.Verify: the bytes of the text are the key. Sign and Verify take it for a
// key of a scheme that they do not know. The error is an ErrSecret.
func TextSecret(text string) (Secret, error) {
	if len(text) < minOwnBytes || len(text) > maxOwnBytes {
		return Secret{}, fmt.Errorf("%w: it must have %d to %d characters", ErrSecret, minOwnBytes, maxOwnBytes)
	}
	for i := range len(text) {
		if text[i] < ' ' || text[i] > '~' {
			return Secret{}, fmt.Errorf("%w: it must be printable ASCII; is there a line break?", ErrSecret)
		}
	}
	return seal(&key{text: text, verifier: noScheme{}}), nil
}

// noScheme verifies nothing.
type noScheme struct{}

func (noScheme) version() string             { return "" }
func (noScheme) verify(content, string) bool { return false }

// Reveal returns the text that ParseKeys reads: the parts with a space between.
func (k Keys) Reveal() string {
	text := k.Shared.Reveal() + " " + k.Private.Reveal()
	if !k.Own.IsZero() {
		text += " " + prefixOwn + base64.StdEncoding.EncodeToString([]byte(k.Own.Reveal()))
	}
	return text
}

// ParseKeys reads what Keys.Reveal returns. The error is an ErrSecret.
func ParseKeys(text string) (Keys, error) {
	parts := strings.Split(text, " ")
	if len(parts) < 2 || len(parts) > 3 || !strings.HasPrefix(parts[0], prefixShared) || !strings.HasPrefix(parts[1], prefixPrivate) {
		return Keys{}, fmt.Errorf("parse keys: %w: must be %s… and %s…", ErrSecret, prefixShared, prefixPrivate)
	}
	var k Keys
	var err error
	if k.Shared, err = ParseSecret(parts[0]); err != nil {
		return Keys{}, fmt.Errorf("parse keys: %w", err)
	}
	if k.Private, err = ParseSecret(parts[1]); err != nil {
		return Keys{}, fmt.Errorf("parse keys: %w", err)
	}
	if len(parts) == 2 {
		return k, nil
	}
	encoded, ok := strings.CutPrefix(parts[2], prefixOwn)
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if !ok || err != nil {
		return Keys{}, fmt.Errorf("parse keys: %w: the third part is malformed", ErrSecret)
	}
	if k.Own, err = TextSecret(string(raw)); err != nil {
		return Keys{}, fmt.Errorf("parse keys: %w", err)
	}
	return k, nil
}

// legacy is the secret that legacy schemes sign with.
func (k Keys) legacy() Secret {
	if k.Own.IsZero() {
		return k.Shared
	}
	return k.Own
}

// Public returns the public half (whpk_) of a private or public key. It is an
// ErrSecret for others.
func (s Secret) Public() (Secret, error) {
	if k := s.key(); k != nil {
		if v, ok := k.verifier.(ed25519Verifier); ok {
			return seal(&key{text: prefixPublic + base64.StdEncoding.EncodeToString(v.public), verifier: v}), nil
		}
	}
	return Secret{}, fmt.Errorf("%w: it has no public half", ErrSecret)
}

// KeyID names the key without telling anything of it: the thumbprint of an Ed25519
// key (RFC 7638, RFC 8037 appendix A.3), 16 characters made of a shared secret, ""
// for others.
func (s Secret) KeyID() string {
	if k := s.key(); k != nil {
		if named, ok := k.verifier.(interface{ keyID() string }); ok {
			return named.keyID()
		}
	}
	return ""
}

func (k *hmacKey) keyID() string {
	state := k.states.Get().(*hmacState)
	defer k.states.Put(state)
	state.mac.Reset()
	// No message of a scheme is this text: those hold a dot or a line break.
	_, _ = state.mac.Write([]byte("ringback key id"))
	state.sum = state.mac.Sum(state.sum[:0])
	return base64.RawURLEncoding.EncodeToString(state.sum[:12])
}

func (k ed25519Verifier) keyID() string {
	sum := sha256.Sum256([]byte(`{"crv":"Ed25519","kty":"OKP","x":"` + base64.RawURLEncoding.EncodeToString(k.public) + `"}`))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// JWK is an Ed25519 public key as a JSON Web Key (RFC 8037 §2).
type JWK struct {
	KeyType   string `json:"kty"` // OKP
	Curve     string `json:"crv"` // Ed25519
	X         string `json:"x"`   // the key, base64url without padding
	KeyID     string `json:"kid"`
	Use       string `json:"use"` // sig
	Algorithm string `json:"alg"` // EdDSA
}

// JWK is the public half of a private or public key. It is an ErrSecret for others.
func (s Secret) JWK() (JWK, error) {
	public, err := s.Public()
	if err != nil {
		return JWK{}, err
	}
	v := public.key().verifier.(ed25519Verifier)
	return JWK{KeyType: "OKP", Curve: "Ed25519", X: base64.RawURLEncoding.EncodeToString(v.public), KeyID: v.keyID(), Use: "sig", Algorithm: "EdDSA"}, nil
}

// maxJWKSBytes and maxJWKs bound what ParseJWKS reads.
const (
	maxJWKSBytes = 64 << 10
	maxJWKs      = 16
)

// ParseJWKS reads the Ed25519 keys of a JSON Web Key Set (RFC 7517 §5), each a
// public Secret; keys of other kinds or uses are skipped. It is an ErrSecret where
// none is left, or where the set is too large or malformed.
func ParseJWKS(data []byte) ([]Secret, error) {
	if len(data) > maxJWKSBytes {
		return nil, fmt.Errorf("parse JWKS: %w: it is larger than %d bytes", ErrSecret, maxJWKSBytes)
	}
	var set struct {
		Keys []JWK `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("parse JWKS: %w: it is not a JSON object with keys", ErrSecret)
	}
	var found []Secret
	for _, k := range set.Keys {
		if k.KeyType != "OKP" || k.Curve != "Ed25519" || k.Use != "" && k.Use != "sig" {
			continue
		}
		raw, err := base64.RawURLEncoding.Strict().DecodeString(k.X)
		if err != nil || len(raw) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("parse JWKS: %w: x is not 32 bytes in base64url", ErrSecret)
		}
		if len(found) == maxJWKs {
			return nil, fmt.Errorf("parse JWKS: %w: more than %d keys", ErrSecret, maxJWKs)
		}
		found = append(found, seal(&key{text: prefixPublic + base64.StdEncoding.EncodeToString(raw), verifier: ed25519Verifier{raw}}))
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("parse JWKS: %w: there is no Ed25519 key", ErrSecret)
	}
	return found, nil
}
