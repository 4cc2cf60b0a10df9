// Package window holds the part of the work that is in memory: bounded by count
// and bytes, taken from disk in order, and handed to workers fairly. Executor
// and callbacks each have one.
//
// Work belongs to a group (a lane, or an app's jobs of one operation), and a group to
// a share (the app). Shares take turns, and the groups within a share: in slots, in
// loading from disk, and in places, of which no share takes the last. Caps (an origin, an
// operation) bound how many run at once across groups and shares.
//
// Fresh work comes in by Reserve, before it is stored, and Start, once it is:
// no query is needed to find it. What finds no place, or would overtake what
// waits on disk, is stored only, announced by Due, and loaded in its turn.
package window

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Key names a group: its share, and its name within that.
type Key struct{ Share, Name string }

// Flow is what a group may do now.
type Flow struct {
	Limit  int // how many may run at once, at least 1
	Places int // how many may be in memory; 0: MaxGroupItems
	// Caps name what the group shares with others; empty: nothing.
	Caps [2]string
	// Rated says that Options.Begin is asked before an item begins.
	Rated bool
}

// Options configure a Window. Load, Run, Size, Flow and Now are required, and with
// caps CapLimit.
type Options[T any] struct {
	MaxItems      int   // in memory at once: reserved, queued, running, and being loaded
	MaxGroupItems int   // of one group
	MaxBytes      int64 // of all items together; one item always fits an empty window
	MaxGroups     int   // known at once, beside those with items in memory; 32768
	Workers       int   // running at once
	// Spare keeps slots free for shares that have none: one share never has more than
	// twice what is free.
	Spare bool
	// Flow is asked before an item of a group runs, CapLimit for how many of a cap may
	// run at once. None of the functions here may call the window.
	Flow     func(Key) Flow
	CapLimit func(string) int
	// Begin lets an item of a group that is Rated begin now, which counts, or says when
	// to ask again. Nil: nothing is rated.
	Begin func(Key) time.Time
	// Rest tells until when a group is neither loaded nor taken in; zero: it is. Nil:
	// none rests.
	Rest func(Key) time.Time
	// Load claims up to limit due items of a group from disk. next is when the
	// following one is due, zero for none.
	Load func(ctx context.Context, group Key, limit int) (items []T, next time.Time, err error)
	// Groups lists up to limit groups that have unclaimed work on disk, those behind
	// after, share by share and in order of their names. Nil: there are none but those
	// that Due tells of, and no more than MaxGroups.
	Groups func(ctx context.Context, after Key, limit int) ([]Due, error)
	// Size is how many bytes an item holds.
	Size func(T) int64
	// Run does the work of an item. Its context is done when the window closes. It may
	// give its turn to another item before it returns, and so wait for a commit or an
	// answer without holding anybody up; the item's place it keeps until the end.
	Run func(ctx context.Context, item T, turn *Turn[T])
	// Failed hears of errors of Load, which is then repeated; of Groups with no key.
	Failed func(group Key, err error)
	Now    func() time.Time
}

// Due says when the first unclaimed item of a group is due.
type Due struct {
	Key
	At time.Time
}

const (
	loaders = 4
	// loadBatch is how many items a load brings at most. The next share waits for a load
	// to end: with 128 for 70 ms beside one that has much, with 32 for about 25.
	loadBatch = 32
	// retryLoad is how long a group waits after a Load that failed.
	retryLoad = time.Second
	// spare is how many times of what is free one share may have, of places and slots:
	// two thirds where it is alone, and as much as the others where they want all they
	// can get. The next one always finds some.
	spare = 2
)

// Window is made by New and works from Open to Close.
type Window[T any] struct {
	opt     Options[T]
	mu      sync.Mutex
	groups  map[Key]*group[T]
	shares  map[string]*share[T]
	caps    map[string]*capacity[T]
	ready   turns[T]    // have a queued item and may run it
	overdue turns[T]    // have something on disk that may be loaded now
	due     dueHeap[T]  // will have
	held    heldHeap[T] // may run none now, for Begin said so
	starved bool        // something overdue found no room
	sweep   sweep
	// What was forgotten lately is used again: one lane with one callback after the other
	// is the most common load.
	oldGroups pool[group[T]]
	oldShares pool[share[T]]
	oldCaps   pool[capacity[T]]
	items     int
	bytes     int64
	running   int
	closed    bool
	wake      chan struct{}
	ctx       context.Context
	cancel    context.CancelFunc
	work      sync.WaitGroup
}

// group is work that is loaded and run together, with something in memory or due on disk.
type group[T any] struct {
	key       Key
	share     *share[T]
	flow      Flow // as it was told last
	queue     fifo[T]
	back      []*Turn[T] // those that gave their turn away, and want it again
	items     int        // reserved, queued, running, and being loaded
	running   int
	isReady   bool         // among the ready ones, or at a cap, or held
	woke      *capacity[T] // whose free slot made it ready
	until     time.Time    // when it may run again, while it is held
	loading   bool
	isOverdue bool      // among the overdue ones, or full
	next      time.Time // when to look for due work on disk; zero: there is none
	paused    time.Time // until when nothing is loaded or taken in
	heapItem  int       // index in due + 1; 0: not in it
}

// share is all groups of one app.
type share[T any] struct {
	name    string
	groups  int
	items   int
	bytes   int64
	running int
	ready   line[T]
	overdue line[T]
	full    fifo[*group[T]] // overdue, but have no room
	stale   bool            // a group that was forgotten is in line somewhere
}

// New makes a window that is still closed for work.
func New[T any](opt Options[T]) *Window[T] {
	if opt.MaxGroups == 0 {
		opt.MaxGroups = 32768
	}
	w := &Window[T]{opt: opt, groups: map[Key]*group[T]{}, shares: map[string]*share[T]{}, caps: map[string]*capacity[T]{}, wake: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Open looks for what is due on disk, as far as there is room, and begins to load and
// to work.
func (w *Window[T]) Open(ctx context.Context) error {
	if w.opt.Groups != nil {
		w.sweep.beyond = w.opt.Now()
		for more := true; more; {
			var err error
			if more, err = w.sweepPage(ctx); err != nil {
				return err
			}
		}
	}
	for range loaders {
		w.work.Go(w.load)
	}
	return nil
}

// closeGrace is how long what was canceled may take to end.
const closeGrace = 5 * time.Second

// ErrStillRunning is returned by Close for work that does not heed its context.
var ErrStillRunning = errors.New("work did not end when it was canceled")

// Close takes nothing new, lets what runs go on until ctx is done, then cancels
// it, and returns when all has ended, or closeGrace later. What is queued stays
// claimed on disk, and is found there at the next start.
func (w *Window[T]) Close(ctx context.Context) error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	ended := make(chan struct{})
	go func() {
		w.work.Wait()
		close(ended)
	}()
	defer w.cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	w.cancel()
	grace := time.NewTimer(closeGrace)
	defer grace.Stop()
	select {
	case <-ended:
		return nil
	case <-grace.C:
		return ErrStillRunning
	}
}

// Reserve takes a place for fresh work. It is false where there is none, or
// where the group has due work on disk that comes first.
func (w *Window[T]) Reserve(key Key, bytes int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[key]
	if w.closed || !w.room(w.shares[key.Share], g, bytes) {
		return false
	}
	now := w.opt.Now()
	if g != nil && (g.loading || g.paused.After(now) || !g.next.IsZero() && !g.next.After(now)) {
		return false
	}
	if w.opt.Rest != nil && w.opt.Rest(key).After(now) {
		return false
	}
	w.occupy(w.group(key), bytes)
	return true
}

// room tells whether an item may come into memory.
func (w *Window[T]) room(s *share[T], g *group[T], bytes int64) bool {
	switch {
	case w.items == 0:
		return true
	case w.items >= w.opt.MaxItems, w.bytes+bytes > w.opt.MaxBytes:
		return false
	case s == nil, s.items == 0:
		return true
	case s.bytes+bytes > spare*(w.opt.MaxBytes-w.bytes):
		return false
	}
	left := w.left(s)
	return left > 0 && (g == nil || g.items == 0 || g.items < min(w.places(g), left))
}

// isFull tells whether a group that is due has to wait until it has fewer items.
func (w *Window[T]) isFull(g *group[T]) bool {
	return g.items > 0 && (g.items > w.places(g)/2 || g.items >= w.left(g.share))
}

// left is how many places a share may have beside those that it has.
func (w *Window[T]) left(s *share[T]) int { return spare*(w.opt.MaxItems-w.items) - s.items }

func (w *Window[T]) places(g *group[T]) int {
	if g.flow.Places > 0 {
		return min(g.flow.Places, w.opt.MaxGroupItems)
	}
	return w.opt.MaxGroupItems
}

func (w *Window[T]) occupy(g *group[T], bytes int64) {
	w.hold(g, 1)
	g.share.bytes += bytes
	w.bytes += bytes
}

// hold takes places of items whose size is not known, or that have left.
func (w *Window[T]) hold(g *group[T], places int) {
	g.items += places
	g.share.items += places
	w.items += places
}

// Release gives back a place whose work was not stored.
func (w *Window[T]) Release(key Key, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.vacate(w.groups[key], bytes) // it has an item, so it is there
}

func (w *Window[T]) vacate(g *group[T], bytes int64) {
	s := g.share
	w.hold(g, -1)
	s.bytes -= bytes
	w.bytes -= bytes
	w.freed(s, 1)
	w.forget(g)
}

// freed puts in line groups that have room again, after so many places of their share
// were given back, and wakes a loader that found none.
func (w *Window[T]) freed(s *share[T], places int) {
	// While the share has items, those will leave and look at further groups.
	for n := s.full.len(); n > 0 && (places > 0 || s.items == 0); n-- {
		places--
		f, _ := s.full.pop()
		if w.isFull(f) {
			s.full.push(f)
		} else {
			w.overdue.add(&s.overdue, f)
			w.starved = true
		}
	}
	if w.starved {
		w.starved = false
		w.signal()
	}
}

// Start hands over work that has a place. It does not block.
func (w *Window[T]) Start(key Key, item T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.group(key)
	g.queue.push(item)
	w.makeReady(g)
	w.dispatch()
}

// Due tells that work of a group is on disk, unclaimed, and when it is due: at
// once for the zero time.
func (w *Window[T]) Due(key Key, at time.Time) {
	if at.IsZero() {
		at = w.opt.Now()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.know(key, at) {
		w.signal()
	}
}

// know notes that something of a group is due. It is true where that changes what the
// loaders do.
func (w *Window[T]) know(key Key, at time.Time) bool {
	g := w.groups[key]
	if g == nil {
		if !w.mayKnow(key.Share, at) {
			return w.sweep.missed(at)
		}
		g = w.group(key)
	}
	if at.Before(g.paused) {
		at = g.paused
	}
	if g.next.IsZero() || at.Before(g.next) {
		w.setNext(g, at)
		return true
	}
	return false
}

// Pause keeps work of a group on disk until then. What is in memory already runs.
func (w *Window[T]) Pause(key Key, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[key]
	if g == nil {
		return // nothing of it is known, so nothing is loaded
	}
	g.paused = until
	if !g.next.IsZero() && g.next.Before(until) {
		w.setNext(g, until)
	}
}

// Resume ends a Pause, and looks at once for what is due on disk. It also ends the wait for
// the time that Begin told.
func (w *Window[T]) Resume(key Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[key]
	if g == nil {
		return
	}
	g.paused = time.Time{}
	if !g.next.IsZero() {
		w.setNext(g, w.opt.Now())
	}
	if !g.until.IsZero() {
		g.until = w.opt.Now()
		w.held.fix(g)
	}
	w.signal()
}

// Counts tells how much is in memory, and how much of it runs.
func (w *Window[T]) Counts() (items, running int, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.items, w.running, w.bytes
}

// Gauges are metrics of what is in memory; what says what the items are.
func (w *Window[T]) Gauges(what string) []prometheus.Collector {
	gauge := func(name, help string, value func(items, running int, bytes int64) float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "ringback_memory_" + name, Help: help,
			ConstLabels: prometheus.Labels{"what": what}}, func() float64 { return value(w.Counts()) })
	}
	return []prometheus.Collector{
		gauge("items", "What is in memory: waiting, running, or being stored.", func(items, _ int, _ int64) float64 { return float64(items) }),
		gauge("running", "What of it runs.", func(_, running int, _ int64) float64 { return float64(running) }),
		gauge("bytes", "How much memory it takes, about.", func(_, _ int, bytes int64) float64 { return float64(bytes) }),
		gauge("groups", "How many lanes, or apps' operations, have something there, or due on disk.", func(int, int, int64) float64 {
			w.mu.Lock()
			defer w.mu.Unlock()
			return float64(len(w.groups))
		}),
	}
}

func (w *Window[T]) group(key Key) *group[T] {
	g := w.groups[key]
	if g == nil {
		s := w.shares[key.Share]
		if s == nil {
			s = w.oldShares.get()
			s.name, s.ready.share, s.overdue.share = key.Share, s, s
			w.shares[key.Share] = s
		}
		s.groups++
		g = w.oldGroups.get()
		g.key, g.share = key, s
		w.groups[key] = g
	}
	return g
}

// forget drops a group that has nothing more.
func (w *Window[T]) forget(g *group[T]) {
	if g.items > 0 || !g.next.IsZero() || g.loading {
		return
	}
	s := g.share
	delete(w.groups, g.key)
	if g.isReady {
		s.stale = true // it is in line still
	} else {
		*g = group[T]{queue: g.queue}
		w.oldGroups.put(g)
	}
	if s.groups--; s.groups > 0 {
		return
	}
	delete(w.shares, s.name)
	if !s.stale {
		*s = share[T]{ready: s.ready, overdue: s.overdue, full: s.full}
		w.oldShares.put(s)
	}
}

func (w *Window[T]) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
