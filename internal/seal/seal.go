// Package seal encrypts the secrets that a store keeps: signing secrets and
// stored Authorization values. It uses AES-256-GCM with a random nonce.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeyBytes is the size of a sealing key.
const KeyBytes = 32

// ErrOpen is returned for what this key did not seal, or sealed for another use.
var ErrOpen = errors.New("sealed value cannot be opened with the configured seal key")

// Sealer seals and opens with one key. It is safe for concurrent use.
type Sealer struct {
	aead cipher.AEAD
	link []byte
}

// version begins every sealed value, so that a later format can be told apart.
const version = 1

// New makes a Sealer of a key of KeyBytes bytes.
func New(key []byte) (*Sealer, error) {
	if len(key) != KeyBytes {
		return nil, fmt.Errorf("seal key has %d bytes, want %d", len(key), KeyBytes)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte("ringback result link"))
	return &Sealer{aead: aead, link: mac.Sum(nil)}, nil
}

// Seal encrypts plain. use names what it is for ("endpoint", "authorization"):
// a value sealed for one use does not open for another.
func (s *Sealer) Seal(plain []byte, use string) []byte {
	out := make([]byte, 1+s.aead.NonceSize(), 1+s.aead.NonceSize()+len(plain)+s.aead.Overhead())
	out[0] = version
	rand.Read(out[1:])
	return s.aead.Seal(out, out[1:], plain, []byte(use))
}

// Open decrypts what Seal made for the same use.
func (s *Sealer) Open(sealed []byte, use string) ([]byte, error) {
	n := 1 + s.aead.NonceSize()
	if len(sealed) < n || sealed[0] != version {
		return nil, ErrOpen
	}
	plain, err := s.aead.Open(nil, sealed[1:n], sealed[n:], []byte(use))
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// LinkToken is the signature of a link to what name stands for: whoever has it
// may read that, and nothing else. It is 43 characters of unpadded base64url.
func (s *Sealer) LinkToken(name string) string {
	mac := hmac.New(sha256.New, s.link)
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

// MakeKeyFile reads the key in a file, which it makes, with mode 0600 and synced,
// where it is missing. Whoever makes it at the same time gets the same key.
func MakeKeyFile(path string) ([]byte, error) {
	key, err := KeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	key = make([]byte, KeyBytes)
	rand.Read(key)
	err = writeOnce(path, base64.StdEncoding.EncodeToString(key)+"\n")
	if errors.Is(err, fs.ErrExist) {
		return KeyFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return key, nil
}

// KeyFile reads the key in a file. The error is fs.ErrNotExist where it is missing.
func KeyFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	key, err := ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// writeOnce makes a new file of mode 0600, and none where there is one already.
// A crash leaves none or all of it: a key that is cut short, or that another one
// takes the place of, would make the store unreadable.
func writeOnce(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Unlike a rename, a link never replaces what is there.
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
