package storetest

import (
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/ringback/ringback/job"
)

// modelLine is a line of callbacks that are sent one after the other.
type modelLine struct{ lane, key string }

// lastNumber is the last one that was given in a line.
type lastNumber struct {
	n  int64
	at time.Time
}

func lineOf(cb *modelCallback) modelLine { return modelLine{cb.Lane(), cb.OrderKey} }

// schedule makes callbacks to the second URL ordered, and some of all wait or expire.
func (m *model) schedule(cb *job.Callback) {
	if cb.URL == modelURLs[1] {
		cb.Ordered, cb.OrderKey = true, rapid.SampledFrom([]string{"", "7"}).Draw(m.rt, "order key")
	}
	switch rapid.IntRange(0, 5).Draw(m.rt, "schedule") {
	case 0:
		cb.DeliverAt = m.now().Add(time.Duration(rapid.IntRange(1, 4).Draw(m.rt, "delay")) * time.Second)
		cb.DueAt, cb.Waiting = cb.DeliverAt, job.WaitingScheduled
	case 1:
		cb.ExpiresAt = m.now().Add(time.Duration(rapid.IntRange(1, 4).Draw(m.rt, "expires")) * time.Second)
	}
}

// joinLine gives a callback its number, and tells whether others are before it.
func (m *model) joinLine(cb *modelCallback) bool {
	if !cb.Ordered {
		return false
	}
	last, ok := m.lines[lineOf(cb)]
	if !ok {
		last.n = m.floors[cb.Lane()]
	}
	cb.Sequence = last.n + 1
	m.lines[lineOf(cb)] = lastNumber{cb.Sequence, cb.CreatedAt}
	return m.behindInLine(cb)
}

// inLine are the pending callbacks of the same line but for cb itself.
func (m *model) inLine(cb *modelCallback) (others []*modelCallback) {
	for _, o := range m.callbacks {
		if o.Ordered && o.ID != cb.ID && o.State == job.Pending && lineOf(o) == lineOf(cb) {
			others = append(others, o)
		}
	}
	return others
}

// behindInLine tells whether another callback of its line has its turn, or comes first.
func (m *model) behindInLine(cb *modelCallback) bool {
	return cb.Ordered && slices.ContainsFunc(m.inLine(cb), func(o *modelCallback) bool {
		return o.Waiting != job.WaitingOrder || o.Sequence < cb.Sequence
	})
}

func (m *model) comeToTurn(cb *modelCallback) {
	due := m.now()
	cb.Waiting = ""
	if cb.DeliverAt.After(due) {
		due, cb.Waiting = cb.DeliverAt, job.WaitingScheduled
	}
	owed := cb.CreatedAt
	if cb.DeliverAt.After(owed) {
		owed = cb.DeliverAt
	}
	if cb.Ordered && cb.Round == 0 {
		cb.GiveUpAt = cb.GiveUpAt.Add(due.Sub(owed))
	}
	cb.DueAt = due
}

// discardOne skips a callback.
func (m *model) discardOne() {
	cb := pick(m, "callback", m.callbacks, func(*modelCallback) bool { return true })
	if cb == nil {
		return
	}
	_, err := m.DiscardCallback(m.ctx, cb.App, cb.ID, job.ReasonSkipped, m.now())
	if cb.State != job.Pending {
		m.is(err, job.ErrTerminal)
		return
	}
	m.no(err)
	if cb.claimed {
		cb.unwanted = true
		return
	}
	cb.discard(m.now())
	cb.Reason = job.ReasonSkipped
	m.release()
}

// expireSome discards what nobody wants any more.
func (m *model) expireSome() {
	n, err := m.ExpireCallbacks(m.ctx, m.now(), forever)
	m.no(err)
	want := 0
	for _, cb := range m.callbacks {
		if cb.State == job.Pending && !cb.claimed && !cb.ExpiresAt.IsZero() && !cb.ExpiresAt.After(m.now()) {
			cb.discard(m.now())
			cb.Reason = job.ReasonExpired
			want++
		}
	}
	m.equal("expired", n, want)
	m.release()
}

// forgetLines is what a purge does to lines that are long unused.
func (m *model) forgetLines(before time.Time) {
	for line, last := range m.lines {
		pending := func(cb *modelCallback) bool { return cb.Ordered && cb.State == job.Pending && lineOf(cb) == line }
		if last.at.Before(before) && !slices.ContainsFunc(m.callbacks, pending) {
			m.floors[line.lane] = max(m.floors[line.lane], last.n)
			delete(m.lines, line)
		}
	}
}

// compareTurns checks what lines are for: of each line one callback at most has its turn,
// and what waits is told what for.
func (m *model) compareTurns() {
	turns := map[modelLine]*modelCallback{}
	var all []*job.Callback
	for _, cb := range m.callbacks {
		got := m.readCallback(cb.Callback)
		all = append(all, got)
		if !cb.Ordered || got.State != job.Pending || got.Waiting == job.WaitingOrder {
			continue
		}
		if other := turns[lineOf(cb)]; other != nil {
			m.t.Fatalf("two callbacks of a line have their turn: %d and %d", other.Sequence, got.Sequence)
		}
		turns[lineOf(cb)] = cb
	}
	before, err := m.WaitsFor(m.ctx, all)
	m.no(err)
	for i, cb := range all {
		if (cb.Waiting == job.WaitingOrder) != !before[i].IsZero() {
			m.t.Fatalf("a callback %q waits for %v", cb.Waiting, before[i])
		}
	}
}
