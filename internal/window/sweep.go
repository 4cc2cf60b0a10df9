package window

import (
	"container/heap"
	"context"
	"slices"
	"time"
)

// sweep finds the groups again that are due on disk and not known here, for there are
// too many of them. It goes through those on disk page by page, in their order, and
// takes what is due as far as there is room; a share that has no room is left for the
// next pass, which goes on where this one stopped.
type sweep struct {
	beyond time.Time         // when the first of those that are not known is due; zero: all are
	rest   time.Time         // no pass begins before
	busy   bool              // a page is being read
	began  time.Time         // a time not after the beginning of the pass that is under way; zero: none is
	after  Key               // the page's beginning
	resume map[string]string // by share, where the last pass left it
}

const (
	sweepBatch = 512
	// sweepRest is the time between two passes, which may read much.
	sweepRest = 5 * time.Second
	// lastName is behind every name of a share.
	lastName = "\U0010FFFF"
)

// Look begins a pass over all groups on disk, as Open does: what was not loaded for a
// reason of Load's own may be loaded now.
func (w *Window[T]) Look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sweep.rest = time.Time{}
	w.sweep.missed(w.opt.Now())
	w.signal()
}

// missed notes that a group is not known. It is true where a pass is to begin earlier.
func (s *sweep) missed(at time.Time) bool {
	if s.beyond.IsZero() || at.Before(s.beyond) {
		s.beyond = at
		return true
	}
	return false
}

// at is when there is something to do; zero: never. A pass goes on to its end, whatever
// it has found so far.
func (s *sweep) at() time.Time {
	switch {
	case !s.began.IsZero():
		return s.began
	case s.beyond.IsZero(), s.beyond.After(s.rest):
		return s.beyond
	}
	return s.rest
}

// mayKnow tells whether a group that has nothing in memory may be known for what it has
// due. Where there are too many, those that are due last are forgotten first.
func (w *Window[T]) mayKnow(share string, at time.Time) bool {
	if w.opt.Groups == nil || w.roomFor(share) {
		return true
	}
	now := w.opt.Now()
	if at.After(now) {
		return false
	}
	w.comeDue(now) // what is due now is not forgotten, though no loader has seen it yet
	if len(w.due) < w.opt.MaxGroups/4 {
		return false
	}
	w.forgetLater()
	return w.roomFor(share)
}

func (w *Window[T]) roomFor(share string) bool {
	s := w.shares[share]
	return len(w.groups) < w.opt.MaxGroups && (s == nil || s.groups < spare*(w.opt.MaxGroups-len(w.groups)))
}

// forgetLater forgets the later half of what is not due yet.
func (w *Window[T]) forgetLater() {
	slices.SortFunc(w.due, func(a, b *group[T]) int { return a.next.Compare(b.next) })
	half := len(w.due) / 2
	later := slices.Clone(w.due[half:])
	clear(w.due[half:])
	w.due = w.due[:half]
	for i, g := range w.due {
		g.heapItem = i + 1
	}
	for _, g := range later {
		g.heapItem = 0
		if g.items > 0 || g.loading || g.paused.After(g.next) {
			heap.Push(&w.due, g)
			continue
		}
		w.sweep.missed(g.next)
		g.next = time.Time{}
		w.forget(g)
	}
}

// maySweep tells whether a page may be read: nobody else does, and what is known is
// being worked off.
func (w *Window[T]) maySweep() bool {
	return !w.sweep.busy && (w.overdue.lines.len() == 0 || len(w.groups) <= w.opt.MaxGroups/2)
}

// sweeps tells whether the caller is to read a page, and keeps others from it.
func (w *Window[T]) sweeps() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := w.sweep.at()
	if w.closed || at.IsZero() || at.After(w.opt.Now()) || !w.maySweep() {
		return false
	}
	w.sweep.busy = true
	return true
}

// sweepPage reads a page, of a new pass if none is under way, and tells whether there
// are more.
func (w *Window[T]) sweepPage(ctx context.Context) (more bool, err error) {
	s := &w.sweep
	w.mu.Lock()
	if s.began.IsZero() {
		s.began, s.after, s.beyond = s.beyond, Key{}, time.Time{}
	}
	after := s.after
	w.mu.Unlock()
	page, err := w.opt.Groups(ctx, after, sweepBatch)
	w.mu.Lock()
	defer w.mu.Unlock()
	s.busy = false
	now := w.opt.Now()
	switch {
	case err != nil: // it begins again; what was read before is known
		s.began, s.rest = time.Time{}, now.Add(retryLoad)
		s.missed(now)
		return false, err
	case len(page) == 0:
		s.began, s.rest = time.Time{}, now.Add(sweepRest)
		return false, nil
	}
	for _, d := range page {
		if !w.found(d, now) {
			break
		}
	}
	return true, nil
}

// found takes in what is due of a group. It is false where the pass leaves its share.
func (w *Window[T]) found(d Due, now time.Time) bool {
	s := &w.sweep
	before := s.after
	if left, ok := s.resume[d.Share]; ok && before.Share != d.Share {
		delete(s.resume, d.Share)
		if left >= d.Name {
			s.after = Key{d.Share, left}
			s.missed(now) // those before it are for the next pass
			return false
		}
	}
	isDue := !d.At.After(now)
	switch {
	case w.groups[d.Key] != nil, isDue && w.mayKnow(d.Share, d.At),
		!isDue && w.roomFor(d.Share) && len(w.groups) < w.opt.MaxGroups/2:
		w.know(d.Key, d.At)
	case isDue:
		if before.Share == d.Share {
			w.leave(before)
		}
		s.after = Key{d.Share, lastName}
		s.missed(now)
		return false
	default:
		s.missed(d.At)
	}
	s.after = d.Key
	return true
}

// leave notes where the next pass goes on with a share.
func (w *Window[T]) leave(at Key) {
	s := &w.sweep
	if s.resume == nil || len(s.resume) > w.opt.MaxGroups {
		s.resume = map[string]string{} // they begin anew
	}
	s.resume[at.Share] = at.Name
}
