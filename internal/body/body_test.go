package body

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/ringback/ringback/job"
)

func setup(t testing.TB) (*Dir, string) {
	t.Helper()
	root := filepath.Join(t.TempDir(), "new", "bodies")
	return reopen(t, root), root
}

func reopen(t testing.TB, root string) *Dir {
	t.Helper()
	d, err := OpenDir(root)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// files are the names of all files below root.
func files(t testing.TB, root string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, entry.Name())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func content(t testing.TB, s Storage, b job.Body) []byte {
	t.Helper()
	r, err := Open(s, b)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func octets(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func put(t testing.TB, d *Dir, b []byte) string {
	t.Helper()
	ref, size, err := d.Put(t.Context(), bytes.NewReader(b), int64(len(b)))
	if err != nil || size != int64(len(b)) {
		t.Fatalf("Put = %q, %d, %v", ref, size, err)
	}
	return ref
}

func TestBodyComesBackWhole(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	inFiles := 0
	for _, size := range []int{0, 1, MaxInlineBytes - 1, MaxInlineBytes, MaxInlineBytes + 1, 3 << 20} {
		want := octets(size)
		for name, r := range map[string]io.Reader{
			"at once":         bytes.NewReader(want),
			"in odd pieces":   iotest.HalfReader(bytes.NewReader(want)),
			"data with error": iotest.DataErrReader(bytes.NewReader(want)),
		} {
			b, err := Read(t.Context(), d, r, 1<<62)
			if err != nil {
				t.Fatalf("%d %s: %v", size, name, err)
			}
			if got := content(t, d, b); !bytes.Equal(got, want) || b.Size != int64(size) {
				t.Errorf("%d %s: got %d octets, size %d", size, name, len(got), b.Size)
			}
			if isFile := b.Ref != ""; isFile != (size > MaxInlineBytes) || isFile && b.Inline != nil {
				t.Errorf("%d %s: inline %d, ref %q", size, name, len(b.Inline), b.Ref)
			}
			if b.Ref != "" {
				inFiles++
			}
		}
	}
	if n := len(files(t, root)); n != inFiles {
		t.Errorf("%d files for %d bodies", n, inFiles)
	}
}

func TestInlineBodyIsNotOverwrittenByTheNext(t *testing.T) {
	t.Parallel()
	d, _ := setup(t)
	first, err := Read(t.Context(), d, strings.NewReader("first"), 10)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), d, strings.NewReader("other"), 10); err != nil {
		t.Fatal(err)
	}
	if got := content(t, d, first); string(got) != "first" {
		t.Errorf("got %q", got)
	}
}

func TestLimitIsExact(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	for _, limit := range []int64{0, 1, 100, MaxInlineBytes - 1, MaxInlineBytes, MaxInlineBytes + 1, 1 << 20} {
		b, err := Read(t.Context(), d, bytes.NewReader(octets(int(limit))), limit)
		if err != nil || b.Size != limit {
			t.Errorf("%d at the limit: %d, %v", limit, b.Size, err)
		}
		before := len(files(t, root))
		for _, over := range []int{1, 100_000} {
			if _, err := Read(t.Context(), d, bytes.NewReader(octets(int(limit)+over)), limit); !errors.Is(err, ErrTooLarge) || errors.Is(err, ErrStorage) {
				t.Errorf("%d over %d: err = %v", over, limit, err)
			}
		}
		if n := len(files(t, root)); n != before {
			t.Errorf("%d files left behind at %d", n-before, limit)
		}
	}
}

func TestNoMoreIsReadThanTheLimitNeeds(t *testing.T) {
	t.Parallel()
	d, _ := setup(t)
	for _, limit := range []int64{10, 1 << 20} {
		r := &io.LimitedReader{R: iotest.OneByteReader(neverEnding{}), N: 1 << 40}
		if limit > MaxInlineBytes {
			r.R = neverEnding{}
		}
		if _, err := Read(t.Context(), d, r, limit); !errors.Is(err, ErrTooLarge) {
			t.Errorf("err = %v", err)
		}
		if taken := 1<<40 - r.N; taken > limit+MaxInlineBytes+1 {
			t.Errorf("%d octets were taken, limit %d", taken, limit)
		}
	}
}

type neverEnding struct{}

func (neverEnding) Read(b []byte) (int, error) { return len(b), nil }

func TestFailingReaderLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	for _, broken := range []error{errors.New("gone"), io.ErrUnexpectedEOF, fmt.Errorf("client: %w", io.EOF)} {
		for _, size := range []int{0, 100, MaxInlineBytes, MaxInlineBytes + 1, 1 << 20} {
			r := io.MultiReader(bytes.NewReader(octets(size)), iotest.ErrReader(broken))
			if b, err := Read(t.Context(), d, r, 1<<30); !errors.Is(err, broken) || errors.Is(err, ErrStorage) {
				t.Errorf("%d octets, then %v: %d octets, err = %v", size, broken, b.Size, err)
			}
		}
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestCanceledPutLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(octets(200_000)), readerFunc(func([]byte) (int, error) {
		cancel()
		return 0, nil
	}))
	if _, _, err := d.Put(ctx, r, 1<<30); !errors.Is(err, context.Canceled) || errors.Is(err, ErrStorage) {
		t.Errorf("err = %v", err)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

// TestStorageFailureIsTold puts something in the way of each step, from within
// the reader: that is when the file is there and not yet whole.
func TestStorageFailureIsTold(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(root, part string) error{
		"file cannot be renamed": func(_, part string) error {
			return os.MkdirAll(filepath.Join(strings.TrimSuffix(part, partSuffix), "in the way"), 0o700)
		},
		"folder is gone": func(_, part string) error { return os.RemoveAll(filepath.Dir(part)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, root := setup(t)
			r := io.MultiReader(bytes.NewReader(octets(100_000)), readerFunc(func([]byte) (int, error) {
				parts, err := filepath.Glob(filepath.Join(root, "*", "*"+partSuffix))
				if err != nil || len(parts) != 1 {
					t.Errorf("parts %v, %v", parts, err)
					return 0, io.EOF
				}
				if err := spoil(root, parts[0]); err != nil {
					t.Error(err)
				}
				return 0, io.EOF
			}))
			if _, _, err := d.Put(t.Context(), r, 1<<30); !errors.Is(err, ErrStorage) {
				t.Errorf("err = %v", err)
			}
			if left := files(t, root); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestMissingSubfolderIsAStorageFailure(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	if err := os.RemoveAll(root); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), d, bytes.NewReader(octets(100_000)), 1<<30); !errors.Is(err, ErrStorage) {
		t.Errorf("err = %v", err)
	}
	if _, err := d.Sweep(t.Context(), nil); err == nil {
		t.Error("a folder that is gone was swept")
	}
}

func TestFolderThatCannotBeMadeIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDir(path); err == nil {
		t.Error("a file was opened as a folder")
	}
}

func TestDeletedBodyIsGoneAndMayBeDeletedAgain(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	ref := put(t, d, octets(10))
	for range 2 {
		if err := d.Delete(ref); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Open(ref); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestBodyOfAnotherSizeIsNotOpened(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	b, err := Read(t.Context(), d, bytes.NewReader(octets(100_000)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, b.Ref[len(b.Ref)-2:], b.Ref)
	for _, size := range []int64{99_999, 0, 100_001} {
		if err := os.Truncate(path, size); err != nil {
			t.Fatal(err)
		}
		if r, err := Open(d, b); !errors.Is(err, ErrDamaged) || r != nil {
			t.Errorf("%d octets: err = %v", size, err)
		}
	}
}

// none knows no body; it wants names that a store can be asked for.
func none(_ context.Context, names []string) ([]bool, error) { return make([]bool, len(names)), nil }

func TestSweepDeletesWhatACrashLeftBehind(t *testing.T) {
	t.Parallel()
	before, root := setup(t)
	kept, orphan := put(t, before, octets(10)), put(t, before, octets(10))
	// A crash in the middle of Put leaves a part.
	part := strings.Repeat("0", len(orphan)) + partSuffix
	if err := os.WriteFile(filepath.Join(root, "00", part), octets(5), 0o600); err != nil {
		t.Fatal(err)
	}
	after := reopen(t, root)
	fresh := put(t, after, octets(10)) // stored, and its row not committed yet

	var asked []string
	n, err := after.Sweep(t.Context(), func(_ context.Context, names []string) ([]bool, error) {
		known := make([]bool, len(names))
		for i, name := range names {
			known[i] = name == kept
		}
		asked = append(asked, names...)
		return known, nil
	})
	if err != nil || n != 2 {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if slices.Contains(asked, fresh) {
		t.Error("asked for a body of this process, whose row may come yet")
	}
	left, want := files(t, root), []string{kept, fresh}
	slices.Sort(left)
	slices.Sort(want)
	if !slices.Equal(left, want) {
		t.Errorf("left %v, want %v", left, want)
	}
	if _, err := before.Open(orphan); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestSweepLeavesAloneWhatIsNoBody(t *testing.T) {
	t.Parallel()
	_, root := setup(t)
	for _, name := range []string{"notes.txt", "backup.part", strings.Repeat("g", 40), ".part"} {
		if err := os.WriteFile(filepath.Join(root, "ab", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := reopen(t, root).Sweep(t.Context(), none); n != 0 || err != nil {
		t.Errorf("Sweep = %d, %v", n, err)
	}
	if left := files(t, root); len(left) != 4 {
		t.Errorf("left %v", left)
	}
}

func TestSweepDeletesNothingThatItCannotAskFor(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	put(t, d, octets(10))
	gone := errors.New("no store")
	n, err := reopen(t, root).Sweep(t.Context(), func(context.Context, []string) ([]bool, error) { return nil, gone })
	if n != 0 || !errors.Is(err, gone) || len(files(t, root)) != 1 {
		t.Errorf("Sweep = %d, %v; %v left", n, err, files(t, root))
	}
}

func TestSweepBearsWhatIsDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	ref := put(t, d, octets(10))
	_, err := reopen(t, root).Sweep(t.Context(), func(_ context.Context, names []string) ([]bool, error) {
		return make([]bool, len(names)), d.Delete(ref)
	})
	if err != nil {
		t.Errorf("err = %v", err)
	}
}

func TestBodiesAreWrittenAtOnce(t *testing.T) {
	t.Parallel()
	d, root := setup(t)
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			want := bytes.Repeat([]byte{byte(i)}, 70_000+i)
			b, err := Read(t.Context(), d, bytes.NewReader(want), 1<<30)
			if err != nil {
				t.Error(err)
				return
			}
			r, err := Open(d, b)
			if err != nil {
				t.Error(err)
				return
			}
			defer r.Close()
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
				t.Errorf("body %d: %d octets, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
	if n := len(files(t, root)); n != 20 {
		t.Errorf("%d files", n)
	}
}

func FuzzReferenceStaysInItsFolder(f *testing.F) {
	d := &Dir{root: "/bodies", generation: "00000000"}
	for _, ref := range []string{"", strings.Repeat("0", 40), "../../etc/passwd", strings.Repeat("0", 37) + "/..",
		strings.Repeat("a", 38) + "..", strings.Repeat("0", 40) + partSuffix, strings.Repeat("A", 40), strings.Repeat("0", 39) + "\x00"} {
		f.Add(ref)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		path, err := d.path(ref)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%q: %v", ref, err)
			}
			return
		}
		if want := "/bodies/" + ref[38:] + "/" + ref; path != want || filepath.Clean(path) != path {
			t.Fatalf("%q leads to %q", ref, path)
		}
	})
}
