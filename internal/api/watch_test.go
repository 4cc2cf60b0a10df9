package api

import (
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func newIDs(n int) []job.ID {
	var ids job.IDs
	out := make([]job.ID, n)
	for i := range out {
		out[i] = ids.New(time.UnixMilli(1_790_000_000_000))
	}
	return out
}

func awake(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestWatcherHearsOfItsJobAndOfItsCallbacksOnly(t *testing.T) {
	t.Parallel()
	ids := newIDs(200)
	w := newWatchers()
	changed, cancel := w.subscribe(ids[0])
	defer cancel()
	for _, id := range ids[1:] {
		w.committed(job.Change{Kind: job.JobStarted, Job: &job.Job{ID: id}})
	}
	w.committed(job.Change{Kind: job.AppChanged, App: "a"})
	if awake(changed) {
		t.Fatal("woken by another job")
	}
	w.committed(job.Change{Kind: job.JobFinished, Job: &job.Job{ID: ids[0]}})
	w.committed(job.Change{Kind: job.JobFinished, Job: &job.Job{ID: ids[0]}})
	if !awake(changed) || awake(changed) {
		t.Fatal("two changes before the first look must be one signal")
	}
	w.committed(job.Change{Kind: job.CallbackSettled, Callback: &job.Callback{ID: ids[1], JobID: ids[0]}})
	if !awake(changed) {
		t.Fatal("not woken by a callback of the job")
	}
}

func TestWatchersAreForgottenWhenTheyGo(t *testing.T) {
	t.Parallel()
	id := newIDs(1)[0]
	w := newWatchers()
	first, cancelFirst := w.subscribe(id)
	second, cancelSecond := w.subscribe(id)
	cancelFirst()
	cancelFirst()
	w.committed(job.Change{Job: &job.Job{ID: id}})
	if awake(first) || !awake(second) {
		t.Fatal("the one who went is woken, or the one who stayed is not")
	}
	cancelSecond()
	if s := w.shard(id); len(s.by) != 0 || s.watched.Load() != 0 {
		t.Fatalf("%d jobs, %d watchers are left", len(s.by), s.watched.Load())
	}
}

func TestDrainWakesEverybodyForGood(t *testing.T) {
	t.Parallel()
	id := newIDs(1)[0]
	w := newWatchers()
	before, cancel := w.subscribe(id)
	w.close()
	w.close()
	w.committed(job.Change{Job: &job.Job{ID: id}})
	after, cancelAfter := w.subscribe(id)
	for _, ch := range []<-chan struct{}{before, after} {
		if _, open := <-ch; open {
			t.Fatal("a subscription is open after close")
		}
	}
	cancel()
	cancelAfter()
	if !w.draining() {
		t.Fatal("draining() = false")
	}
}

func TestWatchersStandConcurrentUse(t *testing.T) {
	t.Parallel()
	ids := newIDs(8)
	w := newWatchers()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 200 {
				changed, cancel := w.subscribe(ids[i])
				w.committed(job.Change{Job: &job.Job{ID: ids[i]}})
				<-changed
				cancel()
			}
		})
		wg.Go(func() {
			for n := range 1000 {
				w.committed(job.Change{Job: &job.Job{ID: ids[n%8]}})
			}
		})
	}
	wg.Wait()
}

func TestUnwatchedChangesAllocateNothing(t *testing.T) {
	w := newWatchers()
	ids := newIDs(2)
	_, cancel := w.subscribe(ids[0])
	defer cancel()
	ch := job.Change{Kind: job.JobFinished, Job: &job.Job{ID: ids[1]}}
	if n := testing.AllocsPerRun(1000, func() { w.committed(ch) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

func BenchmarkCommitted(b *testing.B) {
	w := newWatchers()
	ids := newIDs(256)
	for _, id := range ids[:16] {
		_, cancel := w.subscribe(id)
		defer cancel()
	}
	changes := make([]job.Change, len(ids)-16)
	for i := range changes {
		changes[i] = job.Change{Kind: job.JobFinished, Job: &job.Job{ID: ids[16+i]}}
	}
	for i := 0; b.Loop(); i++ {
		w.committed(changes[i%len(changes)])
	}
}
