package seal

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// MakeKeyFile reads the keys in a file, which it makes with one, with mode 0600 and
// synced, where it is missing. Whoever makes it at the same time gets the same key.
func MakeKeyFile(path string) ([][]byte, error) {
	keys, err := KeyFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return keys, err
	}
	key := newKey()
	err = writeOnce(path, fileText([][]byte{key}))
	if errors.Is(err, fs.ErrExist) {
		return KeyFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	return [][]byte{key}, nil
}

func newKey() []byte {
	key := make([]byte, KeyBytes)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	return key
}

// fileText is how keys are written, a line each.
func fileText(keys [][]byte) string {
	var b strings.Builder
	for _, key := range keys {
		b.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	}
	return b.String()
}

// KeyFile reads the keys in a file. The error is fs.ErrNotExist where it is missing.
func KeyFile(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFileBytes))
	if err != nil {
		return nil, fmt.Errorf("seal key: %w", err)
	}
	keys, err := ParseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

const maxKeyFileBytes = 64 << 10

// AddKey puts a new key in the first place of a key file, in front of those that are
// there, which still open. A crash leaves the file as it was, or as it is to be.
func AddKey(path string) (id KeyID, err error) {
	err = alone(path, func() error {
		keys, err := KeyFile(path)
		if err != nil {
			return err
		}
		if len(keys) >= MaxKeys {
			return fmt.Errorf("%s has %d keys already: remove those that nothing is sealed with", path, len(keys))
		}
		key := newKey()
		id = IDOf(key)
		return replaceFile(path, fileText(append([][]byte{key}, keys...)))
	})
	return id, err
}

// alone changes a key file while nobody else does, who might write what was read before:
// a key that is lost in that way is gone for good. It locks the folder, for the file is
// replaced.
func alone(path string, change func() error) error {
	if at, err := filepath.EvalSymlinks(path); err == nil {
		path = at
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	defer dir.Close()
	if err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX); err != nil {
		return fmt.Errorf("seal key: lock its folder: %w", err)
	}
	return change()
}

// KeepKeys removes from a key file the keys that keep does not want, but never the
// first, and returns the ids of those that are gone.
func KeepKeys(path string, keep func(KeyID) bool) (gone []KeyID, err error) {
	err = alone(path, func() error {
		keys, err := KeyFile(path)
		if err != nil {
			return err
		}
		kept := keys[:1:1]
		for _, key := range keys[1:] {
			if id := IDOf(key); keep(id) {
				kept = append(kept, key)
			} else {
				gone = append(gone, id)
			}
		}
		if len(gone) == 0 {
			return nil
		}
		return replaceFile(path, fileText(kept))
	})
	return gone, err
}

// replaceFile replaces a file as a whole, synced with its folder, with its mode. What
// is a link stays one.
func replaceFile(path, text string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.part")
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there any more, unless something fails
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("seal key: %w", err)
	}
	return errors.Join(dir.Sync(), dir.Close())
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
