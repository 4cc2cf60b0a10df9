package api

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/ringback/ringback/job"
)

// watchers wakes those who wait for changes of a job. Nearly all commits concern
// jobs that nobody watches; for those committed costs one atomic read.
type watchers struct {
	shards [64]watchShard
	closed atomic.Bool
}

type watchShard struct {
	watched atomic.Int64 // subscriptions, so that an empty shard need not be locked
	mu      sync.Mutex
	by      map[job.ID][]chan struct{}
	closed  bool
	_       [64]byte // each shard has cache lines of its own
}

func newWatchers() *watchers { return &watchers{} }

func (w *watchers) shard(id job.ID) *watchShard {
	return &w.shards[id[len(id)-1]%byte(len(w.shards))] // the last byte is random
}

// subscribe begins to watch a job. changed receives after every commit about the
// job or its callbacks that follows the call; several may be received as one. It
// is closed when the gateway drains. cancel ends it and may be called again.
func (w *watchers) subscribe(id job.ID) (changed <-chan struct{}, cancel func()) {
	s := w.shard(id)
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		close(ch)
		return ch, func() {}
	}
	if s.by == nil {
		s.by = map[job.ID][]chan struct{}{}
	}
	s.by[id] = append(s.by[id], ch)
	s.watched.Add(1)
	return ch, func() { s.remove(id, ch) }
}

func (s *watchShard) remove(id job.ID, ch chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.by[id], ch)
	if i < 0 {
		return
	}
	if s.by[id] = slices.Delete(s.by[id], i, i+1); len(s.by[id]) == 0 {
		delete(s.by, id)
	}
	s.watched.Add(-1)
}

// committed wakes those who watch the job that a change is about.
func (w *watchers) committed(ch job.Change) {
	switch {
	case ch.Job != nil:
		w.shard(ch.Job.ID).wake(ch.Job.ID)
	case ch.Callback != nil:
		w.shard(ch.Callback.JobID).wake(ch.Callback.JobID)
	}
}

func (s *watchShard) wake(id job.ID) {
	// Whoever subscribes after this read reads the store after our commit.
	if s.watched.Load() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.by[id] {
		select {
		case ch <- struct{}{}:
		default: // it has not yet looked at the change before
		}
	}
}

// close ends all subscriptions, and those to come at once.
func (w *watchers) close() {
	w.closed.Store(true)
	for i := range w.shards {
		w.shards[i].close()
	}
}

func (s *watchShard) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, chs := range s.by {
		for _, ch := range chs {
			close(ch)
		}
	}
	s.by = nil
	s.watched.Store(0)
}

// draining tells whether close was called.
func (w *watchers) draining() bool { return w.closed.Load() }
