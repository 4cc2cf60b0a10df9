package body

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Dir keeps bodies as files in 256 subfolders of one folder.
type Dir struct {
	root string
	// generation begins the name of every file of this process; files of others
	// that no row names are leftovers.
	generation string
}

const (
	partSuffix      = ".part"
	generationBytes = 4
	nameBytes       = 16
)

// OpenDir opens the folder, which it makes where it is missing.
func OpenDir(path string) (*Dir, error) {
	d := &Dir{root: path, generation: randomHex(generationBytes)}
	_, err := os.Stat(path)
	missing := errors.Is(err, fs.ErrNotExist)
	for i := range 256 {
		if err := os.MkdirAll(filepath.Join(path, fmt.Sprintf("%02x", i)), 0o700); err != nil {
			return nil, fmt.Errorf("open body folder: %w", err)
		}
	}
	if err := syncDir(path); err != nil {
		return nil, fmt.Errorf("open body folder: %w", err)
	}
	if missing {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, fmt.Errorf("open body folder: %w", err)
		}
	}
	return d, nil
}

// ErrForeign is returned for a folder that belongs to another store. Its files
// would look like leftovers, and be swept.
var ErrForeign = errors.New("the body folder belongs to another store")

const ownerFile = "owner"

// Claim makes the folder the owner's, or finds that it is already. Bodies may be
// swept only in a folder that was claimed.
func (d *Dir) Claim(owner string) error {
	path := filepath.Join(d.root, ownerFile)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("claim body folder: %w", err)
	}
	defer f.Close()
	is, err := io.ReadAll(io.LimitReader(f, 1024))
	switch {
	case err != nil:
		return fmt.Errorf("claim body folder: %w", err)
	case string(is) == owner:
		return nil
	case !strings.HasPrefix(owner, string(is)): // else empty, or cut short by a crash
		return fmt.Errorf("%w: %s", ErrForeign, path)
	}
	_, err = f.WriteAt([]byte(owner), 0)
	if err = errors.Join(err, f.Sync(), syncDir(d.root)); err != nil {
		return fmt.Errorf("claim body folder: %w", err)
	}
	return nil
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// path is where a reference's file is. The name's last two digits choose the
// subfolder.
func (d *Dir) path(ref string) (string, error) {
	if !isRef(ref) {
		return "", fmt.Errorf("body reference %q: %w", ref, fs.ErrNotExist)
	}
	return filepath.Join(d.root, ref[len(ref)-2:], ref), nil
}

func isRef(name string) bool {
	return len(name) == 2*(generationBytes+nameBytes) && strings.Trim(name, "0123456789abcdef") == ""
}

// Put implements Storage: write, sync, rename, sync the folder.
func (d *Dir) Put(ctx context.Context, r io.Reader, limit int64) (ref string, size int64, err error) {
	ref = d.generation + randomHex(nameBytes)
	path, err := d.path(ref)
	if err != nil {
		return "", 0, err
	}
	f, err := os.OpenFile(path+partSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	defer func() {
		f.Close()
		if err != nil {
			// What cannot be removed is swept after the next start.
			_ = os.Remove(path + partSuffix)
			_ = os.Remove(path)
		}
	}()
	if size, err = copyBounded(ctx, f, r, limit); err != nil {
		return "", 0, err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if err = os.Rename(path+partSuffix, path); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if err = syncDir(filepath.Dir(path)); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return ref, size, nil
}

// copyBounded copies at most limit bytes, and tells the reader's errors from the
// file's.
func copyBounded(ctx context.Context, f *os.File, r io.Reader, limit int64) (int64, error) {
	buf := make([]byte, 64<<10)
	var size int64
	for {
		if err := ctx.Err(); err != nil {
			return size, err
		}
		n, err := r.Read(buf)
		if size += int64(n); size > limit {
			return size, ErrTooLarge
		}
		if _, werr := f.Write(buf[:n]); werr != nil {
			return size, fmt.Errorf("%w: %w", ErrStorage, werr)
		}
		if err == io.EOF {
			return size, nil
		}
		if err != nil {
			return size, err
		}
	}
}

// Open implements Storage.
func (d *Dir) Open(ref string) (io.ReadCloser, error) {
	path, err := d.path(ref)
	if err != nil {
		return nil, err
	}
	return os.Open(path)
}

// Delete implements Storage.
func (d *Dir) Delete(ref string) error {
	path, err := d.path(ref)
	if err != nil {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete body: %w", err)
	}
	return nil
}

// Sweep implements Storage.
func (d *Dir) Sweep(ctx context.Context, known func(context.Context, []string) ([]bool, error)) (int, error) {
	deleted := 0
	for i := range 256 {
		folder := filepath.Join(d.root, fmt.Sprintf("%02x", i))
		entries, err := os.ReadDir(folder)
		if err != nil {
			return deleted, fmt.Errorf("sweep bodies: %w", err)
		}
		var names []string
		for _, e := range entries {
			name := e.Name()
			if isRef(strings.TrimSuffix(name, partSuffix)) && !strings.HasPrefix(name, d.generation) {
				names = append(names, name)
			}
		}
		n, err := d.sweepFolder(ctx, folder, names, known)
		deleted += n
		if err != nil {
			return deleted, fmt.Errorf("sweep bodies: %w", err)
		}
	}
	return deleted, nil
}

func (d *Dir) sweepFolder(ctx context.Context, folder string, names []string, known func(context.Context, []string) ([]bool, error)) (int, error) {
	if len(names) == 0 {
		return 0, nil
	}
	keep, err := known(ctx, names)
	if err != nil {
		return 0, err
	}
	deleted := 0
	for i, name := range names {
		if keep[i] {
			continue
		}
		if err := os.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
