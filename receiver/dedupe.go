package receiver

import (
	"container/list"
	"context"
	"sync"
	"time"
)

// Deduper remembers which messages have been handled, and with what answer. A sender
// repeats a message under the same webhook-id whenever it cannot know what became of
// it, and takes the answer that it hears.
//
// An implementation on a database can run handle within a transaction that also
// stores the id, and pass the transaction on in the context: then the effect of a
// message and the memory of it are one.
type Deduper interface {
	// Once returns the answer that handle has returned for this id, now or earlier;
	// it calls handle unless it has returned without an error for this id before. It
	// MUST return handle's error, wrapped or not. It MUST remember id and answer before
	// it returns them, MUST NOT remember them if handle fails or panics, MUST NOT call
	// handle more than once per call of Once, and MUST NOT let two calls of handle for
	// one id overlap: the later one waits, or fails. An answer is opaque, and nil for
	// a handler that says no more than 200.
	Once(ctx context.Context, id string, handle func(ctx context.Context) (answer []byte, err error)) (answer []byte, err error)
}

// What a zero Memory keeps.
const (
	DefaultMaxIDs = 100_000
	// DefaultTTL outlasts the three days for which the gateway repeats a callback.
	DefaultTTL = 96 * time.Hour
)

// maxAnswerBytes bounds the answers that a Memory keeps, all together.
const maxAnswerBytes = 32 << 20

// Memory is a Deduper within one process. Its zero value is ready; with the default
// limits it takes up to about 20 MB, and 32 MiB more where handlers answer with a
// body. A concurrent duplicate waits for the first one's outcome, and has its own try
// if that one fails.
type Memory struct {
	// MaxIDs is how many handled messages are remembered: beyond it the oldest is
	// forgotten. 0 is DefaultMaxIDs.
	MaxIDs int
	// TTL is how long each is remembered; 0 is DefaultTTL.
	TTL time.Duration

	mu      sync.Mutex
	running map[string]chan struct{} // closed when the call is over
	handled map[string][]byte        // the answers
	bytes   int                      // of all answers
	oldest  list.List                // the handled ones as memory, in the order of expiry
}

type memory struct {
	id      string
	expires time.Time
}

// Once implements Deduper. It returns ctx's error if ctx ends while it waits.
func (m *Memory) Once(ctx context.Context, id string, handle func(ctx context.Context) ([]byte, error)) ([]byte, error) {
	for {
		answer, known, other := m.begin(id)
		switch {
		case known:
			return answer, nil
		case other == nil:
			return m.run(ctx, id, handle)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// begin tells whether id has been handled or else, if it is being handled, when
// that is over. With neither, id is the caller's to run.
func (m *Memory) begin(id string) (answer []byte, known bool, other chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forget(time.Now())
	if answer, ok := m.handled[id]; ok {
		return answer, true, nil
	}
	if over, ok := m.running[id]; ok {
		return nil, false, over
	}
	if m.running == nil {
		m.running = map[string]chan struct{}{}
		m.handled = map[string][]byte{}
	}
	m.running[id] = make(chan struct{})
	return nil, false, nil
}

func (m *Memory) run(ctx context.Context, id string, handle func(ctx context.Context) ([]byte, error)) (answer []byte, err error) {
	settled := false
	// Deferred, so that a panic in handle releases the id.
	defer func() { m.end(id, answer, settled) }()
	answer, err = handle(ctx)
	settled = err == nil
	return answer, err
}

func (m *Memory) end(id string, answer []byte, settled bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	close(m.running[id])
	delete(m.running, id)
	if !settled {
		return
	}
	ttl := m.TTL
	if ttl == 0 {
		ttl = DefaultTTL
	}
	now := time.Now()
	m.handled[id] = answer
	m.bytes += len(answer)
	m.oldest.PushBack(memory{id: id, expires: now.Add(ttl)})
	m.forget(now)
}

// forget drops what is too old or too much.
func (m *Memory) forget(now time.Time) {
	limit := m.MaxIDs
	if limit == 0 {
		limit = DefaultMaxIDs
	}
	for e := m.oldest.Front(); e != nil; e = m.oldest.Front() {
		first := e.Value.(memory)
		if m.oldest.Len() <= limit && m.bytes <= maxAnswerBytes && now.Before(first.expires) {
			return
		}
		m.oldest.Remove(e)
		m.bytes -= len(m.handled[first.id])
		delete(m.handled, first.id)
	}
}
