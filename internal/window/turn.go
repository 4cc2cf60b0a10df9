package window

import (
	"context"
	"errors"
)

// Turn is an item's right to run, beside no more of its group and of all than may run
// at once. It has it when its Run begins. Its methods may be called by several goroutines.
type Turn[T any] struct {
	w *Window[T]
	g *group[T]
	// The mutex of w guards what follows.
	caps   [2]*capacity[T] // that it has a slot of, while it is held
	held   bool
	over   bool          // Run has returned
	ticket chan struct{} // not nil while it waits to have its turn again; closed then
}

// ErrOver is returned by Take when the item's Run has returned.
var ErrOver = errors.New("the item's run is over")

// Free gives the turn to another item, if it is held. The item keeps its place.
func (t *Turn[T]) Free() {
	t.w.mu.Lock()
	defer t.w.mu.Unlock()
	if t.held {
		t.leave()
		t.w.dispatch()
	}
}

// Take waits until the item has its turn again: those that come back go before those
// of their group that have not begun, and among each other in their order. Where ctx
// ends first, a later Take goes on waiting at the same place.
func (t *Turn[T]) Take(ctx context.Context) error {
	for {
		t.w.mu.Lock()
		if t.over {
			t.w.mu.Unlock()
			return ErrOver
		}
		if t.held {
			t.w.mu.Unlock()
			return nil
		}
		if t.ticket == nil {
			t.ticket = make(chan struct{})
			t.g.back = append(t.g.back, t)
			t.w.makeReady(t.g)
			t.w.dispatch()
		}
		ticket := t.ticket
		t.w.mu.Unlock()
		if ticket == nil {
			continue // it was its turn at once
		}
		select {
		case <-ticket:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// end gives the turn back for good; mu is held.
func (t *Turn[T]) end() {
	t.over = true
	if t.held {
		t.leave()
	}
	if t.ticket == nil {
		return
	}
	for i, waiting := range t.g.back {
		if waiting == t {
			t.g.back = append(t.g.back[:i], t.g.back[i+1:]...)
			break
		}
	}
	close(t.ticket)
	t.ticket = nil
}

// enter takes a slot for the turn, which is there; mu is held.
func (t *Turn[T]) enter() {
	t.held = true
	t.g.running++
	t.g.share.running++
	t.w.running++
	for i, name := range t.g.flow.Caps {
		if name != "" {
			t.caps[i] = t.w.cap(name)
			t.caps[i].running++
		}
	}
}

// leave gives the slot of the turn to another one; mu is held.
func (t *Turn[T]) leave() {
	t.held = false
	t.g.running--
	t.g.share.running--
	t.w.running--
	for i, c := range t.caps {
		if c != nil {
			t.caps[i] = nil
			c.running--
			t.w.wakeOne(c)
		}
	}
	t.w.makeReady(t.g)
}

// resume lets the first one of a group go on that waits for its turn; mu is held.
func (g *group[T]) resume() *Turn[T] {
	t := g.back[0]
	if g.back = g.back[1:]; len(g.back) == 0 {
		g.back = nil
	}
	close(t.ticket)
	t.ticket = nil
	return t
}
