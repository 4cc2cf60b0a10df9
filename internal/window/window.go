// Package window holds the part of the work that is in memory: bounded by count
// and bytes, taken from disk in order, and handed to workers fairly. Executor
// and callbacks each have one; a group is an operation for the one, a lane for
// the other.
//
// Fresh work comes in by Reserve, before it is stored, and Start, once it is:
// no query is needed to find it. What finds no place, or would overtake what
// waits on disk, is stored only, announced by Due, and loaded in its turn.
package window

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Options configure a Window. Load, Run and Limit are required.
type Options[T any] struct {
	MaxItems      int   // in memory at once: reserved, queued and running
	MaxGroupItems int   // of one group
	MaxBytes      int64 // of all items together; one item always fits an empty window
	Workers       int   // running at once
	// Limit is how many of a group may run at once, at least 1.
	Limit func(group string) int
	// Load claims up to limit due items of a group from disk. next is when the
	// following one is due, zero for none.
	Load func(ctx context.Context, group string, limit int) (items []T, next time.Time, err error)
	// Size is how many bytes an item holds.
	Size func(T) int64
	// Run does the work of an item. Its context is done when the window closes. It may
	// give its turn to another item before it returns, and so wait for a commit or an
	// answer without holding anybody up; the item's place it keeps until the end.
	Run func(ctx context.Context, item T, turn *Turn[T])
	// Failed hears of errors of Load, which is then repeated.
	Failed func(group string, err error)
	Now    func() time.Time
}

const (
	loaders   = 4
	loadBatch = 128
	// retryLoad is how long a group waits after a Load that failed.
	retryLoad = time.Second
)

// Window is made by New and works from Open to Close.
type Window[T any] struct {
	opt     Options[T]
	mu      sync.Mutex
	groups  map[string]*group[T]
	ready   []*group[T] // have a queued item and may run it, each once
	due     dueHeap[T]  // have something on disk
	items   int
	bytes   int64
	running int
	closed  bool
	wake    chan struct{}
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
}

// group is an operation or a lane with something in memory or due on disk.
type group[T any] struct {
	name     string
	queue    []T
	back     []*Turn[T] // those that gave their turn away, and want it again
	items    int        // reserved, queued and running
	running  int
	isReady  bool
	loading  bool
	next     time.Time // when to look for due work on disk; zero: there is none
	paused   time.Time // until when nothing is loaded or taken in
	heapItem int       // index in due + 1; 0: not in it
}

// New makes a window that is still closed for work.
func New[T any](opt Options[T]) *Window[T] {
	w := &Window[T]{opt: opt, groups: map[string]*group[T]{}, wake: make(chan struct{}, 1)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	return w
}

// Open begins to load and to work.
func (w *Window[T]) Open() {
	for range loaders {
		w.work.Go(w.load)
	}
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
func (w *Window[T]) Reserve(name string, bytes int64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[name]
	if w.closed || !w.roomLocked(g, bytes) {
		return false
	}
	if now := w.opt.Now(); g != nil && (g.loading || g.paused.After(now) || !g.next.IsZero() && !g.next.After(now)) {
		return false
	}
	w.occupy(w.group(name), bytes)
	return true
}

func (w *Window[T]) roomLocked(g *group[T], bytes int64) bool {
	if g != nil && g.items >= w.opt.MaxGroupItems {
		return false
	}
	return w.items < w.opt.MaxItems && (w.bytes+bytes <= w.opt.MaxBytes || w.items == 0)
}

func (w *Window[T]) occupy(g *group[T], bytes int64) {
	g.items++
	w.items++
	w.bytes += bytes
}

// Release gives back a place whose work was not stored.
func (w *Window[T]) Release(name string, bytes int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.vacate(w.groups[name], bytes) // it has an item, so it is there
}

func (w *Window[T]) vacate(g *group[T], bytes int64) {
	full := w.items >= w.opt.MaxItems || w.bytes >= w.opt.MaxBytes
	g.items--
	w.items--
	w.bytes -= bytes
	w.forget(g)
	if full || !g.next.IsZero() {
		w.signal()
	}
}

// Start hands over work that has a place. It does not block.
func (w *Window[T]) Start(name string, item T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.enqueue(w.group(name), item)
}

func (w *Window[T]) enqueue(g *group[T], item T) {
	g.queue = append(g.queue, item)
	w.makeReady(g)
	w.dispatch()
}

// Due tells that work of a group is on disk, unclaimed, and when it is due: at
// once for the zero time.
func (w *Window[T]) Due(name string, at time.Time) {
	if at.IsZero() {
		at = w.opt.Now()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.group(name)
	if at.Before(g.paused) {
		at = g.paused
	}
	if g.next.IsZero() || at.Before(g.next) {
		w.setNext(g, at)
		w.signal()
	}
}

// Pause keeps work of a group on disk until then. What is in memory already runs.
func (w *Window[T]) Pause(name string, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[name]
	if g == nil {
		return // nothing of it is known, so nothing is loaded
	}
	g.paused = until
	if !g.next.IsZero() && g.next.Before(until) {
		w.setNext(g, until)
	}
}

// Resume ends a Pause, and looks at once for what is due on disk.
func (w *Window[T]) Resume(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g := w.groups[name]
	if g == nil {
		return
	}
	g.paused = time.Time{}
	if !g.next.IsZero() {
		w.setNext(g, w.opt.Now())
		w.signal()
	}
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
	}
}

func (w *Window[T]) group(name string) *group[T] {
	g := w.groups[name]
	if g == nil {
		g = &group[T]{name: name}
		w.groups[name] = g
	}
	return g
}

// forget drops a group that has nothing more.
func (w *Window[T]) forget(g *group[T]) {
	if g.items == 0 && g.next.IsZero() && !g.loading {
		delete(w.groups, g.name)
	}
}

func (w *Window[T]) makeReady(g *group[T]) {
	if !g.isReady && len(g.queue)+len(g.back) > 0 && g.running < w.opt.Limit(g.name) {
		g.isReady = true
		w.ready = append(w.ready, g)
	}
}

// dispatch starts workers while there is work that may run.
func (w *Window[T]) dispatch() {
	for {
		g, item, ok := w.take()
		if !ok {
			return
		}
		w.work.Add(1)
		go w.worker(g, item)
	}
}

// take picks the next item, the groups in turn.
func (w *Window[T]) take() (g *group[T], item T, ok bool) {
	for len(w.ready) > 0 && w.running < w.opt.Workers {
		g = w.ready[0]
		w.ready[0] = nil
		if w.ready = w.ready[1:]; len(w.ready) == 0 {
			w.ready = nil
		}
		g.isReady = false
		if len(g.back) == 0 && (w.closed || len(g.queue) == 0) {
			continue // nothing new begins any more, or what wanted to has ended
		}
		g.running++
		w.running++
		if len(g.back) > 0 {
			g.resume()
			w.makeReady(g)
			continue
		}
		var none T
		item, g.queue[0] = g.queue[0], none
		if g.queue = g.queue[1:]; len(g.queue) == 0 {
			g.queue = nil
		}
		w.makeReady(g)
		return g, item, true
	}
	return nil, item, false
}

// worker runs an item, and then others as long as there are some.
func (w *Window[T]) worker(g *group[T], item T) {
	defer w.work.Done()
	for ok := true; ok; {
		size := w.opt.Size(item)
		turn := &Turn[T]{w: w, g: g, held: true}
		w.opt.Run(w.ctx, item, turn)
		w.mu.Lock()
		turn.end()
		w.vacate(g, size)
		g, item, ok = w.take()
		w.mu.Unlock()
	}
}

// free gives the turn of an item of g to another one.
func (w *Window[T]) free(g *group[T]) {
	g.running--
	w.running--
	w.makeReady(g)
}

func (w *Window[T]) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// load brings due work in from disk until the window closes.
func (w *Window[T]) load() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g, n, wait, open := w.pickDue()
		if !open {
			w.signal() // the other loaders are to see it, too
			return
		}
		if g == nil {
			timer.Reset(wait)
			select {
			case <-w.wake:
			case <-timer.C:
			}
			continue
		}
		w.signal() // there may be more for another loader
		items, next, err := w.opt.Load(w.ctx, g.name, n)
		if err != nil && w.opt.Failed != nil {
			w.opt.Failed(g.name, err)
		}
		w.loaded(g, items, next, err)
	}
}

// pickDue chooses a group to load n items of, or says how long there is none.
func (w *Window[T]) pickDue() (g *group[T], n int, wait time.Duration, open bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, 0, 0, false
	}
	if w.items >= w.opt.MaxItems || w.bytes >= w.opt.MaxBytes {
		return nil, 0, time.Hour, true // who vacates a full window signals
	}
	now := w.opt.Now()
	// Groups without room go back; they signal when they get some.
	var full []*group[T]
	defer func() {
		for _, f := range full {
			heap.Push(&w.due, f)
		}
	}()
	for len(w.due) > 0 {
		first := w.due[0]
		if first.next.After(now) {
			return nil, 0, min(first.next.Sub(now), time.Hour), true
		}
		heap.Pop(&w.due)
		if first.loading || first.items > w.opt.MaxGroupItems/2 {
			full = append(full, first)
			continue
		}
		first.loading = true
		first.next = time.Time{}
		return first, min(loadBatch, 4*w.opt.Limit(first.name), w.opt.MaxGroupItems-first.items, w.opt.MaxItems-w.items), 0, true
	}
	return nil, 0, time.Hour, true
}

func (w *Window[T]) loaded(g *group[T], items []T, next time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g.loading = false
	for _, item := range items {
		w.occupy(g, w.opt.Size(item))
		g.queue = append(g.queue, item)
	}
	if err != nil {
		next = w.opt.Now().Add(retryLoad)
	}
	if !next.IsZero() && next.Before(g.paused) {
		next = g.paused
	}
	if !next.IsZero() && (g.next.IsZero() || next.Before(g.next)) {
		w.setNext(g, next)
	}
	w.makeReady(g)
	w.dispatch()
	w.forget(g)
	w.signal()
}

func (w *Window[T]) setNext(g *group[T], at time.Time) {
	g.next = at
	if g.heapItem > 0 {
		heap.Fix(&w.due, g.heapItem-1)
		return
	}
	heap.Push(&w.due, g)
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
