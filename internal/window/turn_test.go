package window

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// stages are items that free their turn when they begin, take it again when they may,
// and end when they may.
type stages struct {
	mu    sync.Mutex
	began []int
	again []int
	take  map[int]chan struct{}
	end   map[int]chan struct{}
	errs  map[int]error
}

func newStages(items ...int) *stages {
	s := &stages{take: map[int]chan struct{}{}, end: map[int]chan struct{}{}, errs: map[int]error{}}
	for _, n := range items {
		s.take[n], s.end[n] = make(chan struct{}), make(chan struct{})
	}
	return s
}

func (s *stages) run(ctx context.Context, it item, turn *Turn[item]) {
	s.mu.Lock()
	s.began = append(s.began, it.n)
	s.mu.Unlock()
	turn.Free()
	turn.Free() // once is enough
	<-s.take[it.n]
	err := turn.Take(ctx)
	s.mu.Lock()
	s.again, s.errs[it.n] = append(s.again, it.n), err
	s.mu.Unlock()
	<-s.end[it.n]
}

func (s *stages) is(t *testing.T, what string, began, again []int) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.began, began) || !slices.Equal(s.again, again) {
		t.Fatalf("%s: began %v, again %v, want %v, %v", what, s.began, s.again, began, again)
	}
}

func TestAFreedTurnIsTakenAgainInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStages(1, 2, 3)
		w, d, _ := setup(t, func(o *Options[item]) { o.Flow, o.Run = limit(1), s.run })
		for n := 1; n <= 2; n++ {
			d.store(w, item{group: "g", n: n, at: time.Now()})
		}
		s.is(t, "both have begun, though one may run", []int{1, 2}, nil)
		close(s.take[2])
		s.is(t, "the second goes on", []int{1, 2}, []int{2})
		close(s.take[1])
		d.store(w, item{group: "g", n: 3, at: time.Now()})
		s.is(t, "the first waits, and so does the new one", []int{1, 2}, []int{2})
		if _, running, _ := w.Counts(); running != 1 {
			t.Errorf("%d run", running)
		}
		close(s.end[2])
		s.is(t, "the first comes before the new one", []int{1, 2}, []int{2, 1})
		close(s.end[1])
		s.is(t, "then that", []int{1, 2, 3}, []int{2, 1})
		close(s.take[3])
		close(s.end[3])
		synctest.Wait()
		if items, running, _ := w.Counts(); items+running != 0 {
			t.Errorf("left behind: %d items, %d running", items, running)
		}
	})
}

func TestATurnIsTakenByNobodyAfterTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, end := make(chan *Turn[item], 2), make(chan struct{})
		w, d, _ := setup(t, func(o *Options[item]) {
			o.Flow = limit(1)
			o.Run = func(_ context.Context, it item, turn *Turn[item]) {
				if it.n == 1 {
					turn.Free()
				}
				turns <- turn
				<-end
			}
		})
		d.store(w, item{group: "g", n: 1, at: time.Now()})
		first := <-turns
		d.store(w, item{group: "g", n: 2, at: time.Now()})
		second := <-turns // holds the only slot
		impatient, cancel := context.WithCancel(t.Context())
		cancel()
		if err := first.Take(impatient); !errors.Is(err, context.Canceled) {
			t.Errorf("a wait that was ended: %v", err)
		}
		waiting := make(chan error)
		go func() { waiting <- first.Take(t.Context()) }()
		synctest.Wait()
		if err := second.Take(t.Context()); err != nil {
			t.Errorf("a turn that is held: %v", err)
		}
		end <- struct{}{}
		end <- struct{}{} // both are over, whoever was first
		if err := <-waiting; err != nil && !errors.Is(err, ErrOver) {
			t.Errorf("%v", err)
		}
		synctest.Wait()
		if err := first.Take(t.Context()); !errors.Is(err, ErrOver) {
			t.Errorf("after the run: %v", err)
		}
		if items, running, _ := w.Counts(); items+running != 0 {
			t.Errorf("left behind: %d items, %d running", items, running)
		}
	})
}

func TestWhatHasBegunGoesOnInAWindowThatCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStages(1)
		w, d, _ := setup(t, func(o *Options[item]) { o.Run = s.run })
		d.store(w, item{group: "g", n: 1, at: time.Now()})
		s.is(t, "it has begun", []int{1}, nil)
		closed := make(chan error)
		go func() { closed <- w.Close(t.Context()) }()
		synctest.Wait()
		close(s.take[1])
		s.is(t, "it goes on", []int{1}, []int{1})
		close(s.end[1])
		if err := <-closed; err != nil || s.errs[1] != nil {
			t.Errorf("closed with %v, went on with %v", err, s.errs[1])
		}
	})
}
