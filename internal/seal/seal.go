// Package seal encrypts the secrets that a store keeps: signing secrets, credentials
// of endpoints and stored Authorization values. It uses AES-256-GCM with a random
// nonce. There may be several keys: the first seals, all open.
package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

const (
	// KeyBytes is the size of a sealing key.
	KeyBytes = 32
	// MaxKeys bounds how many keys there may be at once.
	MaxKeys = 16
)

// ErrOpen is returned for what none of the keys sealed, or one for another use.
var ErrOpen = errors.New("sealed value cannot be opened with the configured seal key")

// KeyID names a key without telling anything of it. It stands in each sealed value.
type KeyID [4]byte

// String is the id as people see it: 8 hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// IDOf is the id of a key.
func IDOf(key []byte) KeyID { return KeyID(derive(key, "ringback seal key id")[:4]) }

// derive makes a key of another purpose, from which nothing can be told of key.
func derive(key []byte, purpose string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(purpose))
	return mac.Sum(nil)
}

// Sealer seals and opens. It is safe for concurrent use.
type Sealer struct {
	keys atomic.Pointer[keyRing]
	link atomic.Pointer[[]byte]
}

// keyRing is never changed.
type keyRing struct {
	ids   []KeyID // the one that seals first
	aeads map[KeyID]cipher.AEAD
}

// version begins every sealed value, so that a later format can be told apart. The
// id of the key follows, then the nonce.
const version = 2

const headBytes = 1 + len(KeyID{})

// New makes a Sealer of keys of KeyBytes bytes: the first seals, all open.
func New(keys ...[]byte) (*Sealer, error) {
	s := &Sealer{}
	if err := s.SetKeys(keys...); err != nil {
		return nil, err
	}
	s.SetLinkKey(derive(keys[0], "ringback result link"))
	return s, nil
}

// SetKeys takes other keys from now on. Links and tokens stay what they are. Keys that
// were there before still open: what is in memory may be sealed with them.
func (s *Sealer) SetKeys(keys ...[]byte) error {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return fmt.Errorf("there are %d seal keys, want 1 to %d", len(keys), MaxKeys)
	}
	ring := &keyRing{aeads: map[KeyID]cipher.AEAD{}}
	for _, key := range keys {
		if len(key) != KeyBytes {
			return fmt.Errorf("seal key has %d bytes, want %d", len(key), KeyBytes)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return fmt.Errorf("seal key: %w", err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			return fmt.Errorf("seal key: %w", err)
		}
		id := IDOf(key)
		if ring.aeads[id] == nil {
			ring.ids = append(ring.ids, id)
		}
		ring.aeads[id] = aead
	}
	if before := s.keys.Load(); before != nil {
		for id, aead := range before.aeads {
			if ring.aeads[id] == nil {
				ring.aeads[id] = aead
			}
		}
	}
	s.keys.Store(ring)
	return nil
}

// KeyIDs are the ids of the keys, that of the one that seals first.
func (s *Sealer) KeyIDs() []KeyID { return s.keys.Load().ids }

// SetLinkKey sets what links and tokens are signed with. It is a key of its own, so
// that they outlive the keys that seal.
func (s *Sealer) SetLinkKey(key []byte) { s.link.Store(&key) }

// Seal encrypts plain. use names what it is for ("endpoint", "authorization"):
// a value sealed for one use does not open for another.
func (s *Sealer) Seal(plain []byte, use string) []byte {
	ring := s.keys.Load()
	id := ring.ids[0]
	aead := ring.aeads[id]
	n := headBytes + aead.NonceSize()
	out := make([]byte, n, n+len(plain)+aead.Overhead())
	out[0] = version
	copy(out[1:], id[:])
	rand.Read(out[headBytes:])
	return aead.Seal(out, out[headBytes:], plain, []byte(use))
}

// Open decrypts what Seal made for the same use.
func (s *Sealer) Open(sealed []byte, use string) ([]byte, error) {
	id, ok := KeyOf(sealed)
	aead := s.keys.Load().aeads[id]
	if !ok || aead == nil {
		return nil, ErrOpen
	}
	n := headBytes + aead.NonceSize()
	if len(sealed) < n {
		return nil, ErrOpen
	}
	plain, err := aead.Open(nil, sealed[headBytes:n], sealed[n:], []byte(use))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// KeyOf is the id of the key that sealed a value. It is false for what is none.
func KeyOf(sealed []byte) (id KeyID, ok bool) {
	if len(sealed) < headBytes || sealed[0] != version {
		return id, false
	}
	return KeyID(sealed[1:headBytes]), true
}

// Reseal seals a value with the first key, where another one has sealed it. changed
// is false where there is nothing to do.
func (s *Sealer) Reseal(sealed []byte, use string) (again []byte, changed bool, err error) {
	if id, ok := KeyOf(sealed); ok && id == s.KeyIDs()[0] {
		return sealed, false, nil
	}
	plain, err := s.Open(sealed, use)
	if err != nil {
		return nil, false, err
	}
	return s.Seal(plain, use), true, nil
}

// LinkToken is the signature of a link to what name stands for: whoever has it
// may read that, and nothing else. It is 43 characters of unpadded base64url.
func (s *Sealer) LinkToken(name string) string {
	mac := hmac.New(sha256.New, *s.link.Load())
	mac.Write([]byte(name))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// CheckLink tells in constant time whether token is the one for name.
func (s *Sealer) CheckLink(name, token string) bool {
	return hmac.Equal([]byte(s.LinkToken(name)), []byte(token))
}

// ParseKey reads a key as it stands in a file or the configuration: base64.
func ParseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != KeyBytes {
		return nil, fmt.Errorf("seal key must be %d bytes in base64 (make one with: openssl rand -base64 %d)", KeyBytes, KeyBytes)
	}
	return key, nil
}

// ParseKeys reads keys as they stand in a file or the configuration, with white space
// between them.
func ParseKeys(text string) (keys [][]byte, err error) {
	for field := range strings.FieldsSeq(text) {
		key, err := ParseKey(field)
		if err != nil {
			return nil, err
		}
		if !contains(keys, key) {
			keys = append(keys, key)
		}
	}
	switch {
	case len(keys) == 0:
		_, err = ParseKey("")
	case len(keys) > MaxKeys:
		err = fmt.Errorf("there are %d seal keys, and may be %d", len(keys), MaxKeys)
	}
	if err != nil {
		return nil, err
	}
	return keys, nil
}

func contains(keys [][]byte, key []byte) bool {
	for _, k := range keys {
		if bytes.Equal(k, key) {
			return true
		}
	}
	return false
}
