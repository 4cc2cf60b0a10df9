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
	"slices"
	"sync"

	"github.com/ringback/ringback/job"
)

// MaxInlineBytes is the size up to which a body stays in its row.
const MaxInlineBytes = 64 << 10

// ErrTooLarge is returned where a body exceeds its limit.
var ErrTooLarge = errors.New("body too large")

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
	// Sweep deletes what was written before the storage was opened and what known
	// does not know: the leftovers of a crash. It returns how many it deleted.
	Sweep(ctx context.Context, known func(context.Context, []string) ([]bool, error)) (int, error)
}

var inlineBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// Read takes a body of at most max bytes from r, into memory or into s.
func Read(ctx context.Context, s Storage, r io.Reader, max int64) (job.Body, error) {
	buf := inlineBuffers.Get().(*bytes.Buffer)
	defer func() { buf.Reset(); inlineBuffers.Put(buf) }()
	_, err := io.CopyN(buf, r, min(max, MaxInlineBytes)+1)
	switch {
	case errors.Is(err, io.EOF):
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

// Open reads a body from memory or from s.
func Open(s Storage, b job.Body) (io.ReadCloser, error) {
	if b.Ref == "" {
		return io.NopCloser(bytes.NewReader(b.Inline)), nil
	}
	r, err := s.Open(b.Ref)
	if err != nil {
		return nil, fmt.Errorf("open body %s: %w", b.Ref, err)
	}
	return r, nil
}
