package window

import (
	"container/heap"
	"time"
)

// longestWait is how long the loaders do not look at the clock, which may be set.
const longestWait = 10 * time.Second

// load brings due work in from disk until the window closes.
func (w *Window[T]) load() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g, n, wait, open := w.pickDue()
		switch {
		case !open:
			w.signal() // the other loaders are to see it, too
			return
		case g != nil:
			w.signal() // there may be more for another loader
			items, next, err := w.opt.Load(w.ctx, g.key, n)
			if err != nil && w.opt.Failed != nil {
				w.opt.Failed(g.key, err)
			}
			w.loaded(g, n, items, next, err)
		case w.sweeps():
			if _, err := w.sweepPage(w.ctx); err != nil && w.opt.Failed != nil && w.ctx.Err() == nil {
				w.opt.Failed(Key{}, err)
			}
			w.signal()
		default:
			timer.Reset(wait)
			select {
			case <-w.wake:
			case <-timer.C:
			}
		}
	}
}

// pickDue chooses a group to load n items of, or says how long there is none.
func (w *Window[T]) pickDue() (g *group[T], n int, wait time.Duration, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, 0, 0, false
	}
	now := w.opt.Now()
	wait = longestWait
	soon := func(at time.Time) {
		if !at.IsZero() {
			wait = min(wait, at.Sub(now))
		}
	}
	soon(w.release(now))
	w.comeDue(now)
	if w.maySweep() {
		soon(w.sweep.at())
	}
	if g, n = w.pickOverdue(now); g != nil {
		return g, n, 0, true
	}
	// Who vacates a place signals then.
	w.starved = w.overdue.lines.len() > 0
	if len(w.due) > 0 {
		soon(w.due[0].next) // those that rest are there again
	}
	return nil, 0, wait, true
}

// comeDue puts in line what was due later and is so now.
func (w *Window[T]) comeDue(now time.Time) {
	for len(w.due) > 0 && !w.due[0].next.After(now) {
		g := w.due[0]
		heap.Pop(&w.due)
		g.isOverdue = true
		w.overdue.add(&g.share.overdue, g)
	}
}

// pickOverdue takes the next overdue group that has room.
func (w *Window[T]) pickOverdue(now time.Time) (g *group[T], n int) {
	for w.items < w.opt.MaxItems && w.bytes < w.opt.MaxBytes {
		if g = w.overdue.next(w.mayLoad); g == nil {
			return nil, 0
		}
		g.isOverdue = false
		if g.loading {
			continue // what is due then will be told by its end
		}
		if until := w.rests(g); until.After(now) {
			w.setNext(g, until)
			continue
		}
		g.flow = w.opt.Flow(g.key)
		n = min(loadBatch, 4*g.flow.Limit, w.places(g)-g.items, w.left(g.share), w.opt.MaxItems-w.items)
		if w.isFull(g) {
			g.isOverdue = true
			g.share.full.push(g)
			continue
		}
		g.loading = true
		g.next = time.Time{}
		n = max(n, 1)
		w.hold(g, n) // other loaders choose before this one has ended
		return g, n
	}
	return nil, 0
}

// rests is until when a group is not loaded.
func (w *Window[T]) rests(g *group[T]) time.Time {
	until := g.paused
	if w.opt.Rest != nil {
		if rest := w.opt.Rest(g.key); rest.After(until) {
			until = rest
		}
	}
	return until
}

// mayLoad keeps places free for shares that have none.
func (w *Window[T]) mayLoad(s *share[T]) bool {
	return s.items == 0 || w.left(s) > 0 && s.bytes < spare*(w.opt.MaxBytes-w.bytes)
}

// loaded takes in what a load has brought, and gives back what it had no use for of the
// places that were held for it.
func (w *Window[T]) loaded(g *group[T], held int, items []T, next time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g.loading = false
	w.hold(g, -held)
	for _, item := range items {
		w.occupy(g, w.opt.Size(item))
		g.queue.push(item)
	}
	w.freed(g.share, held-len(items))
	if err != nil {
		next = w.opt.Now().Add(retryLoad)
	}
	if !g.next.IsZero() && (next.IsZero() || g.next.Before(next)) {
		next = g.next // told meanwhile
	}
	if !next.IsZero() {
		if next.Before(g.paused) {
			next = g.paused
		}
		w.setNext(g, next)
	}
	w.makeReady(g)
	w.dispatch()
	w.forget(g)
	w.signal()
}

// setNext says when to look for due work of a group. One that is overdue already stays
// where it is, and is put off when its turn comes.
func (w *Window[T]) setNext(g *group[T], at time.Time) {
	g.next = at
	switch {
	case g.isOverdue:
	case g.heapItem > 0:
		heap.Fix(&w.due, g.heapItem-1)
	default:
		heap.Push(&w.due, g)
	}
}

// dueHeap orders groups by when their first item on disk is due.
type dueHeap[T any] []*group[T]

func (h dueHeap[T]) Len() int           { return len(h) }
func (h dueHeap[T]) Less(i, j int) bool { return h[i].next.Before(h[j].next) }
func (h dueHeap[T]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].heapItem, h[j].heapItem = i+1, j+1
}

func (h *dueHeap[T]) Push(x any) {
	g := x.(*group[T])
	*h = append(*h, g)
	g.heapItem = len(*h)
}

func (h *dueHeap[T]) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	g.heapItem = 0
	return g
}
