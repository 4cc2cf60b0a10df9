package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// heap is the live heap, after a collection.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMoreThanItCanDoWaitsOnDiskAndNotInMemory(t *testing.T) {
	// Not parallel: it looks at the heap of the process.
	const documents, size = 2500, 48 << 10
	release := make(chan struct{})
	work := ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	g := setup(t, operation("work", "POST /work", work))
	var seen sync.Map
	var delivered, twice atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, again := seen.LoadOrStore(r.Header.Get("webhook-id"), true); again {
			twice.Add(1)
			return
		}
		delivered.Add(1)
	}))
	t.Cleanup(receiver.Close)
	body := bytes.Repeat([]byte("overload"), size/8)
	before := heap()
	var accepted, refused atomic.Int64
	var callers sync.WaitGroup
	for range 32 {
		callers.Go(func() {
			for accepted.Load() < documents {
				_, err := g.app.Call(t.Context(), client.Call{Path: "/work", CallbackURL: receiver.URL, Body: bytes.NewReader(body)})
				var problem *client.Problem
				switch {
				case err == nil:
					accepted.Add(1)
				case errors.As(err, &problem) && problem.Status == http.StatusServiceUnavailable && problem.RetryAfter > 0:
					refused.Add(1)
				default:
					t.Errorf("neither accepted nor told to come again: %v", err)
					return
				}
			}
		})
	}
	callers.Wait()
	// 120 MB of documents wait; the window holds 64 MiB of them at the most.
	if grown := heap() - before; grown > 96<<20 {
		t.Errorf("the heap has grown by %d MiB while %d calls waited", grown>>20, accepted.Load())
	}
	close(release)
	eventually(t, "all are called back", func() bool { return delivered.Load() == accepted.Load() })
	if n := twice.Load(); n > 0 {
		t.Errorf("%d callbacks came twice", n)
	}
	t.Logf("%d accepted, %d refused", accepted.Load(), refused.Load())
}

func TestAClockThatJumpsLosesAndDoublesNothing(t *testing.T) {
	t.Parallel()
	var offset atomic.Int64
	now := func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), func(op *job.Operation) {
			op.Callback.Schedule = []time.Duration{20 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond, 50 * time.Millisecond}
		})}
		o.Now = now
	})
	g.join(t)
	var mu sync.Mutex
	tries, taken := map[string]int{}, map[string]int{}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		id := r.Header.Get("webhook-id")
		// Every third one fails twice: were it all of them, their lane would rest.
		if _, known := tries[id]; !known && len(tries)%3 > 0 {
			tries[id] = 2
		}
		if tries[id]++; tries[id] <= 2 {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		taken[id]++
	}))
	t.Cleanup(receiver.Close)
	jobs := map[string]bool{}
	for i := range 60 {
		switch i {
		case 20:
			offset.Store(int64(time.Hour))
		case 40:
			offset.Store(-int64(time.Hour))
		}
		a := g.call(t, client.Call{Path: "/relay", CallbackURL: receiver.URL})
		if jobs[a.ID] {
			t.Fatalf("the id %s was given twice", a.ID)
		}
		jobs[a.ID] = true
	}
	// What was to be repeated before the clock was set back waits for its time.
	offset.Store(int64(2 * time.Hour))
	eventually(t, "all are taken", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(taken) == len(jobs)
	})
	mu.Lock()
	defer mu.Unlock()
	for id, n := range taken {
		if n != 1 {
			t.Errorf("%s was taken %d times", id, n)
		}
	}
}
