package api

import (
	"sync"

	"github.com/ringback/ringback/internal/body"
)

// gate bounds the memory of the calls that are being taken in. A call that does
// not fit is answered with 503 at once: it must not queue up in memory. Uploads,
// which may last, have another pool than calls that are small, so that they do
// not keep those out.
type gate struct{ small, large pool }

const (
	// smallBytes and largeBytes are for all calls of a pool between their header and
	// their commit.
	smallBytes = 32 << 20
	largeBytes = 64 << 20
	// callBytes is about what a call takes beside its body.
	callBytes = 16 << 10
	// uploadBytes is what a large one takes: the inline part, and a copy buffer.
	uploadBytes = callBytes + 2*body.MaxInlineBytes
)

func newGate() *gate {
	return &gate{small: pool{free: smallBytes, held: map[string]int64{}}, large: pool{free: largeBytes, held: map[string]int64{}}}
}

// enter takes room for a call of an app with a body of so many bytes, -1 for an
// unknown number. It is false where there is none.
func (g *gate) enter(app string, contentLength int64) (room, bool) {
	r := room{pool: &g.large, app: app, bytes: uploadBytes}
	if contentLength >= 0 && contentLength <= body.MaxInlineBytes {
		r.pool, r.bytes = &g.small, callBytes+contentLength
	}
	return r, r.pool.take(app, r.bytes)
}

// room is a call's share of a pool.
type room struct {
	pool  *pool
	app   string
	bytes int64
}

// leave gives it back.
func (r room) leave() { r.pool.give(r.app, r.bytes) }

// pool is memory that apps share. None may hold more than it leaves free: one that
// takes all it can gets half, the next one half of what is left, and however many
// do so, another one finds room.
type pool struct {
	mu   sync.Mutex
	free int64
	held map[string]int64 // by app, of those who hold anything
}

func (p *pool) take(app string, bytes int64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[app]+bytes > p.free-bytes {
		return false
	}
	p.free -= bytes
	p.held[app] += bytes
	return true
}

func (p *pool) give(app string, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free += bytes
	if p.held[app] -= bytes; p.held[app] == 0 {
		delete(p.held, app)
	}
}
