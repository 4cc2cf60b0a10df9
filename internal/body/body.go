// Package body keeps the bodies of requests and results. Small ones are part of
// their row; larger ones are files of their own, written and synced before the
// row that names them is committed, and unlinked after its deletion is.
package body

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"

	"github.com/ringback/ringback/job"
)

// MaxInlineBytes is the size up to which a body stays in its row.
const MaxInlineBytes = 64 << 10

// ErrTooLarge is returned where a body exceeds its limit.
var ErrTooLarge = errors.New("body too large")

// ErrDamaged is wrapped where a stored body is not as long as it was.
var ErrDamaged = errors.New("stored body has another size")

// ErrStorage is wrapped by failures to write a body, as opposed to failures of
// the one who sends it.
var ErrStorage = errors.New("body storage")

// Storage keeps bodies by reference. Implementations are safe for concurrent use.
type Storage interface {
	// Put stores what r yields, at most max bytes, and returns only after it is
	// durable. It MUST leave nothing behind when it fails. An error of r is
	// returned as it is; one of the storage wraps ErrStorage; too much is ErrTooLarge.
	Put(ctx context.Context, r io.Reader, max int64) (ref string, size int64, err error)
	// Open reads a body. A reference that is not there is fs.ErrNotExist.
	Open(ref string) (io.ReadCloser, error)
	// Delete removes a body; one that is not there is no error.
	Delete(ref string) error
	// Claim makes the storage one store's; that of another one is ErrForeign. It
	// MUST come before Sweep.
	Claim(owner string) error
	// Sweep deletes what was written before the storage was opened and what known
	// does not know: the leftovers of a crash. It leaves alone what is no body. It
	// returns how many it deleted.
	Sweep(ctx context.Context, known func(context.Context, []string) ([]bool, error)) (int, error)
}

var inlineBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Read takes a body of at most max bytes from r, into memory or into s.
func Read(ctx context.Context, s Storage, r io.Reader, max int64) (job.Body, error) {
	buf := inlineBuffers.Get().(*bytes.Buffer)
	defer func() { buf.Reset(); inlineBuffers.Put(buf) }()
	_, err := io.CopyN(buf, r, min(max, MaxInlineBytes)+1)
	switch {
	case err == io.EOF: //nolint:errorlint // a wrapped EOF is a failure of r, not its end
		if buf.Len() == 0 {
			return job.Body{}, nil
		}
		return Inline(slices.Clone(buf.Bytes())), nil
	case err != nil:
		return job.Body{}, err
	case int64(buf.Len()) > max:
		return job.Body{}, ErrTooLarge
	}
	ref, size, err := s.Put(ctx, io.MultiReader(bytes.NewReader(buf.Bytes()), r), max)
	if err != nil {
		return job.Body{}, err
	}
	return job.Body{Ref: ref, Size: size}, nil
}

// Inline is a body in memory.
func Inline(b []byte) job.Body { return job.Body{Inline: b, Size: int64(len(b))} }

// Open reads a body from memory or from s. One that s has no more is
// fs.ErrNotExist, one that was cut short ErrDamaged.
func Open(s Storage, b job.Body) (io.ReadCloser, error) {
	if b.Ref == "" {
		return io.NopCloser(bytes.NewReader(b.Inline)), nil
	}
	r, err := s.Open(b.Ref)
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", b.Ref, err)
	}
	// A document that was cut short must not pass for the whole one.
	if f, ok := r.(fs.File); ok {
		info, err := f.Stat()
		if err == nil && info.Size() != b.Size {
			err = fmt.Errorf("%w: %d bytes, not %d", ErrDamaged, info.Size(), b.Size)
		}
		if err != nil {
			r.Close()
			return nil, fmt.Errorf("open body %s: %w", b.Ref, err)
		}
	}
	return r, nil
}
