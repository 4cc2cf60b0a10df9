package api

import (
	"sync/atomic"

	"github.com/ringback/ringback/internal/body"
)

// gate bounds the memory of the calls that are being taken in. A call that does
// not fit is answered with 503 at once: it must not queue up in memory.
type gate struct {
	free atomic.Int64
}

const (
	// intakeBytes is for all calls between their header and their commit.
	intakeBytes = 64 << 20
	// callBytes is about what a call takes beside its body.
	callBytes = 16 << 10
)

func newGate() *gate {
	g := &gate{}
	g.free.Store(intakeBytes)
	return g
}

// cost is the memory that a call with a body of so many bytes takes; -1 is a body
// of unknown length.
func cost(contentLength int64) int64 {
	if contentLength < 0 || contentLength > body.MaxInlineBytes {
		return callBytes + 2*body.MaxInlineBytes // the inline part, and a copy buffer
	}
	return callBytes + contentLength
}

// enter takes room for a call. It is false where there is none.
func (g *gate) enter(bytes int64) bool {
	if g.free.Add(-bytes) >= 0 {
		return true
	}
	g.free.Add(bytes)
	return false
}

func (g *gate) leave(bytes int64) { g.free.Add(bytes) }
