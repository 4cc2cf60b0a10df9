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
	fs   FS
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
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("open body folder: %w", err)
	}
	return OpenDirOn(osFS{}, path)
}

// OpenDirOn opens the folder on a file system of the caller's, which holds the
// folder above it.
func OpenDirOn(fsys FS, path string) (*Dir, error) {
	d := &Dir{fs: fsys, root: path, generation: randomHex(generationBytes)}
	err := d.mkdir(path)
	for i := 0; i < 256 && err == nil; i++ {
		err = d.mkdir(filepath.Join(path, fmt.Sprintf("%02x", i)))
	}
	// Folders that are there already may be what a crash left before they were synced.
	for _, name := range []string{path, filepath.Dir(path)} {
		if err == nil {
			err = fsys.SyncDir(name)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open body folder: %w", err)
	}
	return d, nil
}

func (d *Dir) mkdir(name string) error {
	err := d.fs.Mkdir(name, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// ErrForeign is returned for a folder that belongs to another store. Its files
// would look like leftovers, and be swept.
var ErrForeign = errors.New("the body folder belongs to another store")

const ownerFile = "owner"

// Claim makes the folder the owner's, or finds that it is already. Bodies may be
// swept only in a folder that was claimed.
func (d *Dir) Claim(owner string) error {
	path := filepath.Join(d.root, ownerFile)
	is, err := d.readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = d.writeFile(path, owner)
	case err == nil && is != owner:
		return fmt.Errorf("%w: %s", ErrForeign, path)
	}
	if err != nil {
		return fmt.Errorf("claim body folder: %w", err)
	}
	return nil
}

func (d *Dir) readFile(path string) (string, error) {
	f, err := d.fs.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(io.LimitReader(f, 1024))
	return string(b), errors.Join(err, f.Close())
}

// writeFile makes a file that is there whole, or not at all.
func (d *Dir) writeFile(path, content string) error {
	f, err := d.fs.OpenFile(path+partSuffix, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(path+partSuffix, path); err != nil {
		return err
	}
	return d.fs.SyncDir(filepath.Dir(path))
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
	f, err := d.fs.OpenFile(path+partSuffix, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	defer func() {
		_ = f.Close() // what counts is synced
		if err != nil {
			// What cannot be removed is swept after the next start.
			_ = d.fs.Remove(path + partSuffix)
			_ = d.fs.Remove(path)
		}
	}()
	if size, err = copyBounded(ctx, f, r, limit); err != nil {
		return "", 0, err
	}
	if err = errors.Join(f.Sync(), f.Close()); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if err = d.fs.Rename(path+partSuffix, path); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	if err = d.fs.SyncDir(filepath.Dir(path)); err != nil {
		return "", 0, fmt.Errorf("%w: %w", ErrStorage, err)
	}
	return ref, size, nil
}

// copyBounded copies at most limit bytes, and tells the reader's errors from the
// file's.
func copyBounded(ctx context.Context, f io.Writer, r io.Reader, limit int64) (int64, error) {
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
	return d.fs.OpenFile(path, os.O_RDONLY, 0)
}

// Delete implements Storage.
func (d *Dir) Delete(ref string) error {
	path, err := d.path(ref)
	if err != nil {
		return nil
	}
	if err := d.fs.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("delete body: %w", err)
	}
	return nil
}

// Sweep implements Storage.
func (d *Dir) Sweep(ctx context.Context, known func(context.Context, []string) ([]bool, error)) (int, error) {
	deleted := 0
	for i := range 256 {
		folder := filepath.Join(d.root, fmt.Sprintf("%02x", i))
		entries, err := d.fs.ReadDir(folder)
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
		if err := d.fs.Remove(filepath.Join(folder, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return deleted, err
		}
		deleted++
	}
	return deleted, nil
}
