package body

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/ringback/ringback/job"
)

// Holder is a Storage whose deletions can be put off, so that a backup finds the
// bodies of the moment that it is of.
type Holder struct {
	Storage

	mu      sync.Mutex
	holds   int
	waiting []string
}

// Delete implements Storage. While deletions are held it only notes what to delete;
// what a crash keeps it from is swept after the next start.
func (h *Holder) Delete(ref string) error {
	h.mu.Lock()
	held := h.holds > 0
	if held {
		h.waiting = append(h.waiting, ref)
	}
	h.mu.Unlock()
	if held {
		return nil
	}
	return h.Storage.Delete(ref)
}

// Hold keeps every body whose row is there now, until release is called. That does
// what was put off, once nobody else holds.
func (h *Holder) Hold() (release func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.holds++
	return sync.OnceValue(h.release)
}

func (h *Holder) release() error {
	h.mu.Lock()
	h.holds--
	var due []string
	if h.holds == 0 {
		due, h.waiting = h.waiting, nil
	}
	h.mu.Unlock()
	var errs []error
	for _, ref := range due {
		errs = append(errs, h.Storage.Delete(ref))
	}
	return errors.Join(errs...)
}

// Copy copies bodies from one folder to a new one: by a second name for the same
// file where the file system can do that, since bodies never change.
type Copy struct {
	from, to Dir
	made     map[string]bool // subfolders
	link     func(from, to string) error
	// Linked are how many bodies went the short way.
	Linked int64
}

// NewCopy begins a copy into a folder, which it makes.
func NewCopy(from, to string) (*Copy, error) {
	if err := os.Mkdir(to, 0o700); err != nil {
		return nil, fmt.Errorf("copy bodies: %w", err)
	}
	return &Copy{from: Dir{root: from}, to: Dir{root: to}, made: map[string]bool{}, link: os.Link}, nil
}

// Add copies a body.
func (c *Copy) Add(ctx context.Context, b job.Body) error {
	from, err := c.from.path(b.Ref)
	if err != nil {
		return err
	}
	to, err := c.to.path(b.Ref)
	if err != nil {
		return err
	}
	folder := filepath.Dir(to)
	if !c.made[folder] {
		if err := os.Mkdir(folder, 0o700); err != nil {
			return fmt.Errorf("copy body %s: %w", b.Ref, err)
		}
		c.made[folder] = true
	}
	if c.link(from, to) == nil {
		c.Linked++
		return nil
	}
	if err := copyFile(ctx, from, to); err != nil {
		return fmt.Errorf("copy body %s: %w", b.Ref, err)
	}
	return nil
}

// syncBytes are copied at a time: much that is unsynced at once would hold up the
// syncs of others.
const syncBytes = 4 << 20

func copyFile(ctx context.Context, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for err == nil {
		_, err = io.CopyN(out, in, syncBytes)
		if serr := errors.Join(out.Sync(), ctx.Err()); serr != nil {
			err = serr
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return errors.Join(err, out.Close())
}

// Close syncs the names of what was added.
func (c *Copy) Close() error {
	errs := []error{syncFolder(c.to.root)}
	for folder := range c.made {
		errs = append(errs, syncFolder(folder))
	}
	return errors.Join(errs...)
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Verify tells whether a body is in the folder, in its full size: else it is
// fs.ErrNotExist or ErrDamaged.
func Verify(folder string, b job.Body) error {
	d := Dir{root: folder}
	path, err := d.path(b.Ref)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
		return fmt.Errorf("body %s: %w", b.Ref, err)
	case !info.Mode().IsRegular() || info.Size() != b.Size:
		return fmt.Errorf("body %s: %w: %d bytes, not %d", b.Ref, ErrDamaged, info.Size(), b.Size)
	}
	return nil
}

// Leftovers counts the bodies in a folder that known does not know: what Sweep
// would delete at the next start. A folder that is not there has none.
func Leftovers(ctx context.Context, folder string, known func(context.Context, []string) ([]bool, error)) (n int, err error) {
	for i := range 256 {
		entries, err := os.ReadDir(filepath.Join(folder, fmt.Sprintf("%02x", i)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return n, fmt.Errorf("look for leftovers: %w", err)
		}
		var names []string
		for _, e := range entries {
			if isRef(strings.TrimSuffix(e.Name(), partSuffix)) {
				names = append(names, e.Name())
			}
		}
		named, err := known(ctx, names)
		if err != nil {
			return n, fmt.Errorf("look for leftovers: %w", err)
		}
		for _, is := range named {
			if !is {
				n++
			}
		}
	}
	return n, nil
}
