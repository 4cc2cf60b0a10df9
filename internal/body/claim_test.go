package body

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAFolderHasOneOwner(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "bodies")
	for range 2 {
		d, err := OpenDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Claim("one"); err != nil {
			t.Errorf("the owner: %v", err)
		}
		for _, other := range []string{"two", "on", "once", ""} {
			if err := d.Claim(other); !errors.Is(err, ErrForeign) {
				t.Errorf("%q: %v", other, err)
			}
		}
	}
}

func TestAClaimThatACrashCutShortIsMadeAgain(t *testing.T) {
	t.Parallel()
	d, err := OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.root, ownerFile+partSuffix), make([]byte, 7), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim("owner-1"); err != nil {
		t.Fatal(err)
	}
	if err := d.Claim("owner-2"); !errors.Is(err, ErrForeign) {
		t.Errorf("another owner: %v", err)
	}
}
