package sign

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
)

// ed25519Verifier is the public half of scheme v1a: Ed25519.
type ed25519Verifier struct {
	public ed25519.PublicKey
}

// ed25519Signer is its private half.
type ed25519Signer struct {
	private ed25519.PrivateKey
}

func parsePrivate(raw []byte) (verifier, signer, error) {
	if len(raw) != ed25519.PrivateKeySize {
		return nil, nil, errors.New("does not hold 64 bytes, seed and public key")
	}
	// Signing with a foreign public half gives the private one away.
	private := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if !private.Equal(ed25519.PrivateKey(raw)) {
		return nil, nil, errors.New("holds a public key that does not belong to its seed")
	}
	public := ed25519.PublicKey(raw[ed25519.SeedSize:])
	return ed25519Verifier{public}, ed25519Signer{private}, nil
}

func parsePublic(raw []byte) (verifier, signer, error) {
	if len(raw) != ed25519.PublicKeySize {
		return nil, nil, errors.New("does not hold 32 bytes")
	}
	return ed25519Verifier{raw}, nil, nil
}

func (ed25519Verifier) version() string { return "v1a" }

func (k ed25519Verifier) verify(c content, signature string) bool {
	// As with v1, each signature has one spelling only: no stray bits, and no line
	// breaks, which the decoder overlooks.
	if len(signature) != base64.StdEncoding.EncodedLen(ed25519.SignatureSize) {
		return false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(signature)
	return err == nil && ed25519.Verify(k.public, c.bytes(), raw)
}

func (k ed25519Signer) sign(c content) string {
	return "v1a," + base64.StdEncoding.EncodeToString(ed25519.Sign(k.private, c.bytes()))
}

// bytes returns the signed bytes in one piece, which Ed25519 needs: it reads them twice.
func (c content) bytes() []byte {
	b := make([]byte, 0, len(c.id)+len(c.timestamp)+len(c.body)+2)
	return append(c.appendPrefix(b), c.body...)
}
