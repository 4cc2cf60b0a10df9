package callback

import (
	"sync"
	"time"
)

// breakers keep lanes whose receiver cannot be reached from costing more than a
// try now and then: after a run of attempts without an answer a lane rests, its
// callbacks wait on disk, and each rest ends with a single attempt. An answer, of
// any status, closes it. What waits uses up no attempts.
type breakers struct {
	mu    *sync.Mutex
	lanes map[string]*breaker // those with failures only
}

type breaker struct {
	failures int // without an answer, one after the other
	rests    int
	until    time.Time // the end of its rest
}

const (
	// breakerFailures is more than one lost connection costs, and less than the
	// attempts that a lane has in flight at once.
	breakerFailures = 10
	firstRest       = time.Second
	longestRest     = time.Minute
	// maxBreakers bounds the memory; above it all lanes start afresh.
	maxBreakers = 100_000
)

func newBreakers() breakers { return breakers{mu: &sync.Mutex{}, lanes: map[string]*breaker{}} }

// resting tells until when a lane rests; zero: it does not.
func (b breakers) resting(lane string, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.lanes[lane]; l != nil && now.Before(l.until) {
		return l.until
	}
	return time.Time{}
}

// open tells a lane that rests, or is being tried after a rest.
func (b breakers) open(lane string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	return l != nil && l.rests > 0
}

// answered notes that the lane's receiver is there.
func (b breakers) answered(lane string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.lanes, lane)
}

// failed notes an attempt without an answer. It returns the end of the rest that
// the lane takes now, zero if it takes none.
func (b breakers) failed(lane string, now time.Time) time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.lanes[lane]
	if l == nil {
		if len(b.lanes) >= maxBreakers {
			clear(b.lanes)
		}
		l = &breaker{}
		b.lanes[lane] = l
	}
	l.failures++
	// Those that were in flight when the rest began say nothing new.
	if l.failures < breakerFailures || now.Before(l.until) {
		return time.Time{}
	}
	l.until = now.Add(min(firstRest<<min(l.rests, 10), longestRest))
	l.rests++
	return l.until
}
