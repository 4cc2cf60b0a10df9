package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
)

// Token is a text, fit for a URL's path, that holds payload and that nobody else can
// make. use names what it is for: one made for one use is none for another.
func (s *Sealer) Token(use string, payload []byte) string {
	return base64.RawURLEncoding.EncodeToString(append(s.mac(use, payload), payload...))
}

// OpenToken returns what Token was given for the same use, in constant time. It is
// false for every other text.
func (s *Sealer) OpenToken(use, token string) (payload []byte, ok bool) {
	b, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(b) < sha256.Size {
		return nil, false
	}
	payload = b[sha256.Size:]
	return payload, hmac.Equal(b[:sha256.Size], s.mac(use, payload))
}

// mac never is that of a link: no name of a link holds a zero octet.
func (s *Sealer) mac(use string, payload []byte) []byte {
	mac := hmac.New(sha256.New, *s.link.Load())
	mac.Write([]byte(use + "\x00"))
	mac.Write(payload)
	return mac.Sum(nil)
}

// Veil is what may be stored in the place of a token: nobody can guess it, and it is
// no token itself. It is 43 characters of unpadded base64url.
func (s *Sealer) Veil(token string) string {
	return base64.RawURLEncoding.EncodeToString(s.mac("veil", []byte(token)))
}
