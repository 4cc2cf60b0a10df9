package window

import (
	"container/heap"
	"time"
)

// fifo is a queue that keeps its memory while it is small.
type fifo[E any] struct {
	elems []E
	head  int
}

// keepElems is how much memory an empty queue keeps, in elements.
const keepElems = 32

func (q *fifo[E]) len() int { return len(q.elems) - q.head }

func (q *fifo[E]) push(e E) {
	if q.head > keepElems && q.head > len(q.elems)/2 {
		n := copy(q.elems, q.elems[q.head:])
		clear(q.elems[n:])
		q.elems, q.head = q.elems[:n], 0
	}
	q.elems = append(q.elems, e)
}

func (q *fifo[E]) pop() (e E, ok bool) {
	if q.len() == 0 {
		return e, false
	}
	var none E
	e, q.elems[q.head] = q.elems[q.head], none
	if q.head++; q.head == len(q.elems) {
		q.elems, q.head = q.elems[:0], 0
		if cap(q.elems) > keepElems {
			q.elems = nil
		}
	}
	return e, true
}

// pool keeps a few things to use them again.
type pool[E any] struct{ free []*E }

func (p *pool[E]) get() *E {
	if n := len(p.free); n > 0 {
		e := p.free[n-1]
		p.free = p.free[:n-1]
		return e
	}
	return new(E)
}

func (p *pool[E]) put(e *E) {
	if len(p.free) < keepElems {
		p.free = append(p.free, e)
	}
}

// line is what waits of one share.
type line[T any] struct {
	share  *share[T]
	groups fifo[*group[T]]
}

// turns are groups that wait for something: shares take turns, and then the groups of
// each.
type turns[T any] struct{ lines fifo[*line[T]] }

// add puts a group, which is in no other turns, at the end of its share's line.
func (t *turns[T]) add(l *line[T], g *group[T]) {
	if l.groups.len() == 0 {
		t.lines.push(l)
	}
	l.groups.push(g)
}

// next takes the group whose turn it is, of the shares that may; nil: there is none.
func (t *turns[T]) next(may func(*share[T]) bool) *group[T] {
	for range t.lines.len() {
		l, _ := t.lines.pop()
		if may != nil && !may(l.share) {
			t.lines.push(l)
			continue
		}
		g, _ := l.groups.pop()
		if l.groups.len() > 0 {
			t.lines.push(l)
		}
		return g
	}
	return nil
}

// capacity is what groups of several shares have in common.
type capacity[T any] struct {
	name    string
	running int
	woken   int // groups that it made ready, and that had no turn since
	waiting turns[T]
	lines   map[*share[T]]*line[T] // those in waiting
}

func (w *Window[T]) cap(name string) *capacity[T] {
	c := w.caps[name]
	if c == nil {
		c = w.oldCaps.get()
		c.name = name
		w.caps[name] = c
	}
	return c
}

// wait puts a group behind the others that wait for the cap.
func (c *capacity[T]) wait(g *group[T]) {
	l := c.lines[g.share]
	if l == nil {
		l = &line[T]{share: g.share}
		if c.lines == nil {
			c.lines = map[*share[T]]*line[T]{}
		}
		c.lines[g.share] = l
	}
	c.waiting.add(l, g)
}

// wakeOne makes ready the next group that waits for a cap that has room.
func (w *Window[T]) wakeOne(c *capacity[T]) {
	if c.waiting.lines.len() > 0 && c.running < w.opt.CapLimit(c.name) {
		g := c.waiting.next(w.mayRun)
		if g == nil {
			g = c.waiting.next(nil)
		}
		if c.lines[g.share].groups.len() == 0 {
			delete(c.lines, g.share)
		}
		g.woke = c
		c.woken++
		w.ready.add(&g.share.ready, g)
	}
	if c.running == 0 && c.woken == 0 && c.waiting.lines.len() == 0 {
		delete(w.caps, c.name)
		w.oldCaps.put(c)
	}
}

// makeReady puts a group that may run an item in line.
func (w *Window[T]) makeReady(g *group[T]) {
	if g.isReady || g.queue.len()+len(g.back) == 0 {
		return
	}
	if g.flow = w.opt.Flow(g.key); g.running < g.flow.Limit {
		g.isReady = true
		w.ready.add(&g.share.ready, g)
	}
}

// dispatch starts workers while there is work that may run.
func (w *Window[T]) dispatch() {
	for {
		turn, item, ok := w.take()
		if !ok {
			return
		}
		w.work.Add(1)
		go w.worker(turn, item)
	}
}

// take picks the next item, of shares and groups in turn.
func (w *Window[T]) take() (turn *Turn[T], item T, ok bool) {
	for w.running < w.opt.Workers {
		g := w.ready.next(w.mayRun)
		if g == nil {
			break
		}
		turn, item, ok = w.begin(g)
		if c := g.woke; c != nil {
			g.woke = nil
			c.woken--
			w.wakeOne(c) // it may have room for more, or this one has not used it
		}
		if ok {
			return turn, item, true
		}
	}
	return nil, item, false
}

// mayRun keeps slots free for shares that have none.
func (w *Window[T]) mayRun(s *share[T]) bool {
	return !w.opt.Spare || s.running < max(spare*(w.opt.Workers-w.running), 1)
}

// begin gives a turn to what comes next of a group that was ready: a Turn that waits
// for it, or an item, which it returns.
func (w *Window[T]) begin(g *group[T]) (turn *Turn[T], item T, ok bool) {
	g.isReady = false
	if len(g.back) == 0 && (w.closed || g.queue.len() == 0) {
		return nil, item, false // nothing new begins any more, or what wanted to has ended
	}
	for _, name := range g.flow.Caps {
		if name == "" {
			continue
		}
		if c := w.caps[name]; c != nil && c.running >= w.opt.CapLimit(name) {
			g.isReady = true
			c.wait(g)
			return nil, item, false
		}
	}
	if g.flow.Rated && len(g.back) == 0 {
		if at := w.opt.Begin(g.key); !at.IsZero() {
			g.isReady, g.until = true, at
			heap.Push(&w.held, g)
			w.signal()
			return nil, item, false
		}
	}
	if len(g.back) > 0 {
		g.resume().enter()
		w.makeReady(g)
		return nil, item, false
	}
	item, _ = g.queue.pop()
	turn = &Turn[T]{w: w, g: g}
	turn.enter()
	w.makeReady(g)
	return turn, item, true
}

// worker runs an item, and then others as long as there are some.
func (w *Window[T]) worker(turn *Turn[T], item T) {
	defer w.work.Done()
	for ok := true; ok; {
		size := w.opt.Size(item)
		w.opt.Run(w.ctx, item, turn)
		w.mu.Lock()
		turn.end()
		w.vacate(turn.g, size)
		turn, item, ok = w.take()
		if ok {
			w.dispatch() // a cap or a share may have room for more than one
		}
		w.mu.Unlock()
	}
}

// release makes those ready whose time has come since Begin told it, and returns when
// the next one's will.
func (w *Window[T]) release(now time.Time) (next time.Time) {
	for len(w.held) > 0 {
		g := w.held[0]
		if g.until.After(now) {
			return g.until
		}
		heap.Pop(&w.held)
		g.isReady, g.until = false, time.Time{}
		w.makeReady(g)
	}
	w.dispatch()
	return time.Time{}
}

// heldHeap orders groups by when they may run again.
type heldHeap[T any] []*group[T]

func (h heldHeap[T]) Len() int           { return len(h) }
func (h heldHeap[T]) Less(i, j int) bool { return h[i].until.Before(h[j].until) }
func (h heldHeap[T]) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heldHeap[T]) Push(x any)        { *h = append(*h, x.(*group[T])) }

func (h *heldHeap[T]) Pop() any {
	old := *h
	g := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return g
}

// fix puts a group in its place whose time has changed. It is for Resume, and so may
// look for it.
func (h *heldHeap[T]) fix(g *group[T]) {
	for i, other := range *h {
		if other == g {
			heap.Fix(h, i)
			return
		}
	}
}
