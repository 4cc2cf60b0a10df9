package body

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestHeldDeletionsAreDoneWhenTheLastHoldEnds(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	h := &Holder{Storage: d}
	refs := []string{put(t, d, octets(10)), put(t, d, octets(20)), put(t, d, octets(30))}
	remove := func(ref string, left int) {
		t.Helper()
		if err := h.Delete(ref); err != nil {
			t.Error(err)
		}
		if got := files(t, root); len(got) != left {
			t.Errorf("left: %v", got)
		}
	}
	remove(refs[0], 2)
	first, second := h.Hold(), h.Hold()
	remove(refs[1], 2)
	for range 2 { // a hold ends once, however often that is said
		if err := first(); err != nil {
			t.Error(err)
		}
	}
	remove(refs[1], 2)
	if err := second(); err != nil {
		t.Error(err)
	}
	if got := files(t, root); len(got) != 1 || got[0] != refs[2] {
		t.Errorf("left: %v", got)
	}
	remove(refs[2], 0)
}

func TestBodiesAreCopiedWhereTheyCannotBeLinked(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	document := octets(syncBytes + 100_000)
	ref := put(t, d, document)
	for name, link := range map[string]func(string, string) error{
		"linked": os.Link,
		"copied": func(string, string) error { return errors.ErrUnsupported },
	} {
		to := filepath.Join(t.TempDir(), "copy")
		c, err := NewCopy(root, to)
		if err != nil {
			t.Fatal(err)
		}
		c.link = link
		if err := errors.Join(c.Add(t.Context(), job.Body{Ref: ref, Size: int64(len(document))}), c.Close()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got, err := os.ReadFile(filepath.Join(to, ref[len(ref)-2:], ref))
		if err != nil || !bytes.Equal(got, document) || (c.Linked == 1) != (name == "linked") {
			t.Errorf("%s: %d octets, %v", name, len(got), err)
		}
	}
}

func TestCopyStopsWhenItIsGivenUp(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	ref := put(t, d, octets(100_000))
	c, err := NewCopy(root, filepath.Join(t.TempDir(), "copy"))
	if err != nil {
		t.Fatal(err)
	}
	c.link = func(string, string) error { return errors.ErrUnsupported }
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.Add(ctx, job.Body{Ref: ref, Size: 100_000}); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if err := c.Add(t.Context(), job.Body{Ref: "../../etc/passwd", Size: 1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is no reference: %v", err)
	}
	if _, err := NewCopy(root, filepath.Join(root, "00")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a folder that is there: %v", err)
	}
}

func TestVerifyFindsWhatIsMissingOrCutShort(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	ref := put(t, d, octets(10))
	gone := put(t, d, octets(10))
	if err := d.Delete(gone); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		body job.Body
		want error
	}{
		{job.Body{Ref: ref, Size: 10}, nil},
		{job.Body{Ref: ref, Size: 11}, ErrDamaged},
		{job.Body{Ref: gone, Size: 10}, fs.ErrNotExist},
		{job.Body{Ref: "../" + ref, Size: 10}, fs.ErrNotExist},
	} {
		if err := Verify(root, tt.body); !errors.Is(err, tt.want) {
			t.Errorf("%+v: %v", tt.body, err)
		}
	}
}

func TestLeftoversAreWhatNothingNames(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	kept := put(t, d, octets(10))
	put(t, d, octets(10))
	for _, name := range []string{strings.Repeat("0", 40) + partSuffix, "notes.txt"} {
		if err := os.WriteFile(filepath.Join(root, "00", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	known := func(_ context.Context, names []string) ([]bool, error) {
		is := make([]bool, len(names))
		for i, name := range names {
			is[i] = name == kept
		}
		return is, nil
	}
	if n, err := Leftovers(t.Context(), root, known); n != 2 || err != nil {
		t.Errorf("Leftovers = %d, %v", n, err)
	}
	if n, err := Leftovers(t.Context(), filepath.Join(root, "nowhere"), known); n != 0 || err != nil {
		t.Errorf("of no folder: %d, %v", n, err)
	}
	broken := errors.New("no store")
	if _, err := Leftovers(t.Context(), root, func(context.Context, []string) ([]bool, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
}
