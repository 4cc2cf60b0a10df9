package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

func sealer(t testing.TB, fill byte) *Sealer {
	t.Helper()
	s, err := New(bytes.Repeat([]byte{fill}, KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealedValueOpensForItsUseOnly(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	for _, plain := range []string{"", "whsec_secret", strings.Repeat("x", 10_000)} {
		sealed := s.Seal([]byte(plain), "endpoint")
		if len(plain) > 0 && bytes.Contains(sealed, []byte(plain)) {
			t.Error("the value can be read")
		}
		if got, err := s.Open(sealed, "endpoint"); err != nil || string(got) != plain {
			t.Errorf("Open = %q, %v", got, err)
		}
		if got, err := s.Open(sealed, "authorization"); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("for another use: %q, %v", got, err)
		}
		if got, err := sealer(t, 2).Open(sealed, "endpoint"); !errors.Is(err, ErrOpen) || got != nil {
			t.Errorf("with another key: %q, %v", got, err)
		}
	}
}

func TestSameValueIsNeverSealedTheSame(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	seen := map[string]bool{}
	for range 1000 {
		seen[string(s.Seal([]byte("secret"), "endpoint"))] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d different of 1000", len(seen))
	}
}

func TestEveryChangedByteIsNoticed(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	sealed := s.Seal([]byte("secret"), "endpoint")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if _, err := s.Open(changed, "endpoint"); !errors.Is(err, ErrOpen) {
			t.Errorf("byte %d changed: err = %v", i, err)
		}
		if _, err := s.Open(sealed[:i], "endpoint"); !errors.Is(err, ErrOpen) {
			t.Errorf("cut at %d: err = %v", i, err)
		}
	}
}

func TestKeyOfAnotherSizeIsRefused(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 24, 31, 33} {
		if s, err := New(make([]byte, n)); err == nil || s != nil {
			t.Errorf("%d bytes: err = %v", n, err)
		}
	}
}

func TestLinkTokenIsForOneName(t *testing.T) {
	t.Parallel()
	s := sealer(t, 1)
	token := s.LinkToken("job_1")
	if len(token) != 43 || strings.ContainsAny(token, "+/=") || !s.CheckLink("job_1", token) {
		t.Errorf("token %q", token)
	}
	for _, wrong := range []string{"", token[:42], token + "A", token + "=", strings.ToLower(token)} {
		if s.CheckLink("job_1", wrong) {
			t.Errorf("%q passes", wrong)
		}
	}
	if s.CheckLink("job_2", token) || sealer(t, 2).CheckLink("job_1", token) {
		t.Error("the token passes for another name or key")
	}
}

func TestKeyFileIsMadeOnceForItsOwnerOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	key, err := MakeKeyFile(path)
	if err != nil {
		t.Fatal(err)
	}
	again, err := MakeKeyFile(path)
	if err != nil || !bytes.Equal(key[0], again[0]) || len(key) != 1 || len(key[0]) != KeyBytes {
		t.Errorf("%d keys, then %d, %v", len(key), len(again), err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	wantAlone(t, path)
}

// wantAlone checks that nothing but the key is in its folder.
func wantAlone(t testing.TB, path string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("folder has %v, %v", entries, err)
	}
}

func TestWhoeverMakesTheKeyAtTheSameTimeGetsTheSame(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	keys := make([][]byte, 16)
	var all sync.WaitGroup
	for i := range keys {
		all.Go(func() {
			key, err := MakeKeyFile(path)
			if err != nil {
				t.Error(err)
				return
			}
			keys[i] = key[0]
		})
	}
	all.Wait()
	for i, key := range keys {
		if !bytes.Equal(key, keys[0]) {
			t.Errorf("key %d is another one", i)
		}
	}
	wantAlone(t, path)
}

func TestBrokenKeyFileIsNotReplaced(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "seal.key")
	for _, text := range []string{"", "c2hvcnQ=\n", strings.Repeat("!", 44)} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if key, err := MakeKeyFile(path); err == nil || key != nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: key %x, %v", text, key, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != text {
			t.Errorf("%q became %q, %v", text, got, err)
		}
	}
}

func TestKeyFileInAMissingFolderIsAnError(t *testing.T) {
	t.Parallel()
	if key, err := MakeKeyFile(filepath.Join(t.TempDir(), "no", "seal.key")); err == nil || key != nil {
		t.Errorf("key %x, %v", key, err)
	}
}

func TestErrorAboutAKeyDoesNotShowIt(t *testing.T) {
	t.Parallel()
	text := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, KeyBytes+1))
	if _, err := ParseKey(text); err == nil || strings.Contains(err.Error(), text) {
		t.Errorf("err = %v", err)
	}
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, KeyBytes))
	if key, err := ParseKey(" " + good + "\n"); err != nil || len(key) != KeyBytes {
		t.Errorf("ParseKey = %x, %v", key, err)
	}
}

func FuzzOpen(f *testing.F) {
	s := sealer(f, 1)
	f.Add(s.Seal([]byte("secret"), "endpoint"), "endpoint")
	f.Add([]byte{version}, "")
	f.Fuzz(func(t *testing.T, sealed []byte, use string) {
		plain, err := s.Open(sealed, use)
		if err != nil && (plain != nil || !errors.Is(err, ErrOpen)) {
			t.Fatalf("%x, %v", plain, err)
		}
	})
}

func TestNoKeyIsLostWhereSeveralChangeTheFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key")
	if _, err := MakeKeyFile(path); err != nil {
		t.Fatal(err)
	}
	const added = 10
	ids := make(chan KeyID, added)
	var changes sync.WaitGroup
	for range added {
		changes.Go(func() {
			id, err := AddKey(path)
			if err != nil {
				t.Error(err)
			}
			ids <- id
		})
		changes.Go(func() {
			if gone, err := KeepKeys(path, func(KeyID) bool { return true }); err != nil || len(gone) > 0 {
				t.Error(gone, err)
			}
		})
	}
	changes.Wait()
	close(ids)
	keys, err := KeyFile(path)
	if err != nil || len(keys) != added+1 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	for id := range ids {
		if !slices.ContainsFunc(keys, func(key []byte) bool { return IDOf(key) == id }) {
			t.Errorf("the key %s is lost", id)
		}
	}
}
