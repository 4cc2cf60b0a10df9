package window

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key is the group that is written as share/name, or as a name that is both.
func key(group string) Key {
	share, name, two := strings.Cut(group, "/")
	if !two {
		name = share
	}
	return Key{share, name}
}

// groupOf is a group as key reads it.
func groupOf(k Key) string {
	if k.Share == k.Name {
		return k.Name
	}
	return k.Share + "/" + k.Name
}

// limit is a flow that bounds nothing but how many of a group run.
func limit(n int) func(Key) Flow { return func(Key) Flow { return Flow{Limit: n} } }

// disk plays what is stored: items by group, each due at a time.
type disk struct {
	mu    sync.Mutex
	items map[string][]item
	loads int
	fail  error
}

type item struct {
	group string
	n     int
	at    time.Time
}

func (d *disk) store(w *Window[item], it item) {
	d.mu.Lock()
	d.items[it.group] = append(d.items[it.group], it)
	d.mu.Unlock()
	w.Due(key(it.group), it.at)
}

func (d *disk) load(_ context.Context, of Key, limit int) (got []item, next time.Time, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	group := groupOf(of)
	d.loads++
	if d.fail != nil {
		err, d.fail = d.fail, nil
		return nil, time.Time{}, err
	}
	var rest []item
	for _, it := range d.items[group] {
		if len(got) < limit && !it.at.After(time.Now()) {
			got = append(got, it)
		} else {
			rest = append(rest, it)
			if next.IsZero() || it.at.Before(next) {
				next = it.at
			}
		}
	}
	d.items[group] = rest
	return got, next, nil
}

// log keeps what ran, in order, and can hold it up.
type log struct {
	mu      sync.Mutex
	ran     []item
	running map[string]int
	most    map[string]int
	gate    chan struct{} // nil: nothing is held up
}

func (l *log) run(ctx context.Context, it item, _ *Turn[item]) {
	l.mu.Lock()
	l.running[it.group]++
	l.most[it.group] = max(l.most[it.group], l.running[it.group])
	l.mu.Unlock()
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-ctx.Done():
		}
	}
	l.mu.Lock()
	l.running[it.group]--
	l.ran = append(l.ran, it)
	l.mu.Unlock()
}

func setup(t *testing.T, change func(*Options[item])) (*Window[item], *disk, *log) {
	t.Helper()
	d := &disk{items: map[string][]item{}}
	l := &log{running: map[string]int{}, most: map[string]int{}}
	opt := Options[item]{MaxItems: 1000, MaxGroupItems: 100, MaxBytes: 1 << 20, Workers: 1000,
		Flow: limit(10), Load: d.load, Size: func(item) int64 { return 1 }, Run: l.run, Now: time.Now}
	if change != nil {
		change(&opt)
	}
	w := New(opt)
	if err := w.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close(context.Background()) })
	return w, d, l
}

func (l *log) of(group string) (ns []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range l.ran {
		if it.group == group {
			ns = append(ns, it.n)
		}
	}
	return ns
}

func TestReservedWorkRunsWithoutALoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, nil)
		if !w.Reserve(key("g"), 1) {
			t.Fatal("an empty window has no place")
		}
		w.Start(key("g"), item{group: "g", n: 1})
		synctest.Wait()
		if got := l.of("g"); !slices.Equal(got, []int{1}) || d.loads != 0 {
			t.Fatalf("ran %v with %d loads", got, d.loads)
		}
		if items, running, bytes := w.Counts(); items+running != 0 || bytes != 0 {
			t.Fatalf("left behind: %d items, %d running, %d bytes", items, running, bytes)
		}
	})
}

func TestDueWorkIsLoadedWhenItsTimeComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, nil)
		d.store(w, item{group: "g", n: 2, at: time.Now().Add(time.Hour)})
		d.store(w, item{group: "g", n: 1, at: time.Now().Add(time.Minute)})
		synctest.Wait()
		if len(l.of("g")) != 0 {
			t.Fatal("ran before it was due")
		}
		<-time.After(61 * time.Second)
		synctest.Wait()
		if got := l.of("g"); !slices.Equal(got, []int{1}) {
			t.Fatalf("after a minute ran %v", got)
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if got := l.of("g"); !slices.Equal(got, []int{1, 2}) {
			t.Fatalf("after an hour ran %v", got)
		}
	})
}

func TestFreshWorkDoesNotOvertakeABacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) { o.Flow = limit(1) })
		l.gate = make(chan struct{})
		for n := range 300 {
			d.store(w, item{group: "g", n: n, at: time.Now()})
		}
		synctest.Wait()
		if w.Reserve(key("g"), 1) {
			t.Fatal("fresh work got a place before the backlog")
		}
		if !w.Reserve(key("other"), 1) {
			t.Fatal("a group without backlog got no place")
		}
		w.Release(key("other"), 1)
		close(l.gate)
		synctest.Wait()
		got := l.of("g")
		if len(got) != 300 || !slices.IsSorted(got) {
			t.Fatalf("ran %d, in order: %v", len(got), slices.IsSorted(got))
		}
		if !w.Reserve(key("g"), 1) {
			t.Fatal("no place after the backlog was worked off")
		}
		w.Release(key("g"), 1)
	})
}

func TestGroupsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) { o.Workers = 1 })
		l.gate = make(chan struct{})
		for n := range 50 {
			d.store(w, item{group: "big", n: n, at: time.Now()})
		}
		synctest.Wait()
		d.store(w, item{group: "small", n: 0, at: time.Now()})
		synctest.Wait()
		close(l.gate)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		if at := slices.IndexFunc(l.ran, func(it item) bool { return it.group == "small" }); at > 3 {
			t.Fatalf("the small group waited for %d items of the big one", at)
		}
	})
}

func TestBoundsHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) {
			o.MaxItems, o.MaxGroupItems, o.Workers = 20, 8, 5
			o.Flow = limit(3)
		})
		l.gate = make(chan struct{})
		for n := range 40 {
			for _, g := range []string{"a", "b", "c", "d"} {
				d.store(w, item{group: g, n: n, at: time.Now()})
			}
		}
		synctest.Wait()
		if items, running, _ := w.Counts(); items > 20 || running != 5 {
			t.Fatalf("%d items in memory, %d running", items, running)
		}
		close(l.gate)
		synctest.Wait()
		for _, g := range []string{"a", "b", "c", "d"} {
			if got := l.of(g); len(got) != 40 || l.most[g] > 3 {
				t.Errorf("%s: %d ran, %d at once", g, len(got), l.most[g])
			}
		}
	})
}

func TestReservationsAreBoundedByCountAndBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := setup(t, func(o *Options[item]) { o.MaxItems, o.MaxGroupItems, o.MaxBytes = 5, 3, 100 })
		for range 3 {
			if !w.Reserve(key("a"), 10) {
				t.Fatal("refused within the bounds")
			}
		}
		if w.Reserve(key("a"), 10) {
			t.Error("a group got more than its share")
		}
		if w.Reserve(key("b"), 71) {
			t.Error("more bytes than there may be")
		}
		if !w.Reserve(key("b"), 70) {
			t.Error("refused bytes within the bounds")
		}
		w.Release(key("b"), 70)
		for range 3 {
			w.Release(key("a"), 10)
		}
		if items, _, bytes := w.Counts(); items != 0 || bytes != 0 {
			t.Errorf("%d items, %d bytes after all were released", items, bytes)
		}
	})
}

func TestWhatIsFreedHoldsNobodyUpAndStaysBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		commit := make(chan struct{})
		var mu sync.Mutex
		began := 0
		w, d, _ := setup(t, func(o *Options[item]) {
			o.Workers, o.MaxItems, o.MaxGroupItems = 1, 10, 10
			o.Run = func(_ context.Context, _ item, turn *Turn[item]) {
				mu.Lock()
				began++
				mu.Unlock()
				turn.Free()
				<-commit
			}
		})
		for n := range 30 {
			d.store(w, item{group: "g", n: n, at: time.Now()})
		}
		synctest.Wait()
		// A group is loaded again when it has less than half of what it may have.
		if items, running, _ := w.Counts(); began < 5 || began > 10 || items != began || running != 0 {
			t.Errorf("%d began, %d items, %d running", began, items, running)
		}
		close(commit)
		synctest.Wait()
		if items, running, _ := w.Counts(); began != 30 || items != 0 || running != 0 {
			t.Errorf("in the end %d began, %d items, %d running", began, items, running)
		}
	})
}

func TestAPausedGroupStaysOnDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, nil)
		l.gate = make(chan struct{})
		d.store(w, item{group: "g", n: 0, at: time.Now()})
		synctest.Wait()
		w.Pause(key("g"), time.Now().Add(time.Minute))
		for n := 1; n < 1000; n++ {
			d.store(w, item{group: "g", n: n, at: time.Now()})
		}
		close(l.gate)
		synctest.Wait()
		if w.Reserve(key("g"), 1) {
			t.Error("a paused group took fresh work in")
		}
		d.mu.Lock()
		loads := d.loads
		d.mu.Unlock()
		if got := l.of("g"); len(got) != 1 || loads != 1 {
			t.Errorf("%d ran, %d loads while the group is paused", len(got), loads)
		}
		<-time.After(61 * time.Second)
		synctest.Wait()
		if got := l.of("g"); len(got) != 1000 {
			t.Errorf("%d ran after the pause", len(got))
		}
	})
}

func TestAResumedGroupRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, nil)
		w.Resume(key("nobody"))
		l.gate = make(chan struct{})
		d.store(w, item{group: "g", n: 0, at: time.Now()})
		synctest.Wait()
		w.Pause(key("g"), time.Now().Add(time.Minute))
		for n := 1; n < 1000; n++ {
			d.store(w, item{group: "g", n: n, at: time.Now()})
		}
		close(l.gate)
		synctest.Wait()
		began := time.Now()
		w.Resume(key("g"))
		synctest.Wait()
		if got := l.of("g"); len(got) != 1000 || time.Since(began) != 0 {
			t.Errorf("%d ran %v after the pause was ended", len(got), time.Since(began))
		}
		if !w.Reserve(key("g"), 1) {
			t.Error("a resumed group takes no fresh work in")
		}
		w.Release(key("g"), 1)
	})
}

func TestAFailedLoadIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []error
		w, d, l := setup(t, func(o *Options[item]) { o.Failed = func(_ Key, err error) { heard = append(heard, err) } })
		d.mu.Lock()
		d.fail = errors.New("disk on fire")
		d.mu.Unlock()
		d.store(w, item{group: "g", n: 1, at: time.Now()})
		<-time.After(2 * retryLoad)
		synctest.Wait()
		if got := l.of("g"); !slices.Equal(got, []int{1}) || len(heard) != 1 {
			t.Fatalf("ran %v, heard %v", got, heard)
		}
	})
}

func TestCloseWaitsForWhatRunsThenCancelsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, l := setup(t, func(o *Options[item]) { o.Flow = limit(1) })
		l.gate = make(chan struct{})
		for n := range 3 {
			w.Reserve(key("g"), 1)
			w.Start(key("g"), item{group: "g", n: n})
		}
		synctest.Wait()
		start := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := w.Close(ctx); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took != time.Minute {
			t.Errorf("closed after %v", took)
		}
		if got := l.of("g"); !slices.Equal(got, []int{0}) {
			t.Errorf("ran %v, want the first only", got)
		}
		if w.Reserve(key("g"), 1) {
			t.Error("a closed window gave a place")
		}
	})
}

func TestCloseDoesNotWaitForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		deaf := make(chan struct{})
		w, _, _ := setup(t, func(o *Options[item]) { o.Run = func(context.Context, item, *Turn[item]) { <-deaf } })
		w.Reserve(key("g"), 1)
		w.Start(key("g"), item{group: "g"})
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		start := time.Now()
		if err := w.Close(ctx); !errors.Is(err, ErrStillRunning) || time.Since(start) != time.Minute+closeGrace {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		close(deaf)
	})
}

func TestDueWithoutATimeLeaksNoPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, _, _ := setup(t, nil)
		for range 100 {
			if !w.Reserve(key("g"), 1) {
				t.Fatal("no place")
			}
			w.Due(key("g"), time.Time{})
			w.Release(key("g"), 1)
			synctest.Wait()
		}
		if items, _, bytes := w.Counts(); items != 0 || bytes != 0 || len(w.groups) != 0 || len(w.shares) != 0 || len(w.caps) != 0 || len(w.due) != 0 {
			t.Errorf("left behind: %d items, %d bytes, %d groups, %d due", items, bytes, len(w.groups), len(w.due))
		}
	})
}

func TestManyGroupsLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, nil)
		for n := range 5000 {
			d.store(w, item{group: fmt.Sprint(n), n: n, at: time.Now().Add(time.Duration(n) * time.Millisecond)})
		}
		<-time.After(6 * time.Second)
		synctest.Wait()
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(l.ran) != 5000 || len(w.groups) != 0 || len(w.shares) != 0 || len(w.caps) != 0 || len(w.due) != 0 {
			t.Fatalf("%d ran, %d groups and %d due left", len(l.ran), len(w.groups), len(w.due))
		}
	})
}

func BenchmarkReserveStart(b *testing.B) {
	done := make(chan struct{}, 1024)
	w := New(Options[item]{MaxItems: 1 << 20, MaxGroupItems: 1 << 20, MaxBytes: 1 << 30, Workers: 64, Flow: limit(64),
		Load: (&disk{}).load, Size: func(item) int64 { return 1 }, Run: func(context.Context, item, *Turn[item]) { done <- struct{}{} }, Now: time.Now})
	_ = w.Open(b.Context())
	defer w.Close(context.Background())
	b.ReportAllocs()
	for b.Loop() {
		w.Reserve(key("g"), 1)
		w.Start(key("g"), item{})
		<-done
	}
}
