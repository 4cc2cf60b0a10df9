package window

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestSharesTakeTurnsWhateverTheyHave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) { o.Workers = 1 })
		l.gate = make(chan struct{})
		// One app with a hundred lanes and a backlog in each, one with three items.
		for g := range 100 {
			for n := range 20 {
				d.store(w, item{group: fmt.Sprintf("big/%d", g), n: n, at: time.Now()})
			}
		}
		synctest.Wait()
		for n := range 3 {
			d.store(w, item{group: "small/x", n: n, at: time.Now()})
		}
		synctest.Wait()
		close(l.gate)
		synctest.Wait()
		l.mu.Lock()
		defer l.mu.Unlock()
		last := 0
		for i, it := range l.ran {
			if it.group == "small/x" {
				last = i
			}
		}
		if len(l.ran) != 2003 || last > 12 {
			t.Fatalf("%d ran, the last of the small app as number %d", len(l.ran), last)
		}
	})
}

func TestNoShareTakesTheLastPlaceOrSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) {
			o.MaxItems, o.MaxGroupItems, o.Workers, o.Spare = 300, 300, 30, true
			o.Flow = limit(100)
		})
		l.gate = make(chan struct{})
		for n := range 2000 {
			d.store(w, item{group: fmt.Sprintf("big/%d", n%40), n: n, at: time.Now()})
		}
		synctest.Wait()
		items, running, _ := w.Counts()
		if running < 18 || running > 21 || items < 190 || items > 200+loadBatch {
			t.Errorf("a share alone has %d slots and %d places", running, items)
		}
		if !w.Reserve(key("small/x"), 1) {
			t.Fatal("no place for another share")
		}
		w.Start(key("small/x"), item{group: "small/x"})
		synctest.Wait()
		if _, now, _ := w.Counts(); now != running+1 {
			t.Errorf("%d run, %d before another share came", now, running)
		}
		close(l.gate)
		synctest.Wait()
		if items, running, bytes := w.Counts(); items != 0 || running != 0 || bytes != 0 || len(l.ran) != 2001 {
			t.Errorf("in the end %d ran, left: %d, %d, %d", len(l.ran), items, running, bytes)
		}
	})
}

func TestLoadsHoldThePlacesTheyMayNeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		w, d, l := setup(t, func(o *Options[item]) {
			o.MaxItems = 40
			o.Flow = limit(100)
			load := o.Load
			o.Load = func(ctx context.Context, k Key, limit int) ([]item, time.Time, error) {
				<-gate
				return load(ctx, k, limit)
			}
		})
		for n := range 10 {
			d.store(w, item{group: fmt.Sprintf("%d/x", n), at: time.Now()})
		}
		synctest.Wait()
		if items, _, _ := w.Counts(); items != 40 {
			t.Errorf("%d places are held", items)
		}
		if w.Reserve(key("new/x"), 1) {
			t.Error("a place that is held was given away")
		}
		// Each brings one item, and so makes room for others.
		close(gate)
		synctest.Wait()
		if items, _, bytes := w.Counts(); items != 0 || bytes != 0 || len(l.ran) != 10 || len(w.groups) != 0 {
			t.Errorf("%d ran, left: %d, %d, %d groups", len(l.ran), items, bytes, len(w.groups))
		}
	})
}

func TestGroupsFullForALoadGoOnWhenItBringsLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gate := make(chan struct{})
		w, d, _ := setup(t, func(o *Options[item]) {
			o.MaxItems = 28
			o.Flow = limit(3)
			load := o.Load
			o.Load = func(ctx context.Context, k Key, limit int) ([]item, time.Time, error) {
				if k.Name == "y" {
					<-gate
				}
				return load(ctx, k, limit)
			}
		})
		for range 5 {
			if !w.Reserve(key("s/x"), 1) {
				t.Fatal("no place")
			}
		}
		d.items["s/x"] = []item{{group: "s/x"}}
		w.Due(key("s/y"), time.Time{})
		synctest.Wait() // its load holds 12 places, and leaves 5 to the share
		w.Due(key("s/x"), time.Time{})
		synctest.Wait()
		if n := w.shares["s"].full.len(); n != 1 || d.loads != 0 {
			t.Fatalf("%d groups are full after %d loads", n, d.loads)
		}
		close(gate) // brings nothing
		synctest.Wait()
		if d.loads != 2 || len(d.items["s/x"]) != 0 {
			t.Errorf("%d loads, %d items are left on disk", d.loads, len(d.items["s/x"]))
		}
		for range 5 {
			w.Release(key("s/x"), 1)
		}
		if items, _, bytes := w.Counts(); items != 0 || bytes != 0 || len(w.groups) != 0 || len(w.shares) != 0 {
			t.Errorf("left: %d, %d, %d groups, %d shares", items, bytes, len(w.groups), len(w.shares))
		}
	})
}

func TestACapHoldsAcrossSharesWhichTakeTurnsInIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, d, l := setup(t, func(o *Options[item]) {
			o.Flow = func(k Key) Flow { return Flow{Limit: 10, Caps: [2]string{k.Name, "all"}} }
			o.CapLimit = func(name string) int { return map[string]int{"all": 5}[name] + map[string]int{"o": 3, "free": 9}[name] }
		})
		l.gate = make(chan struct{})
		for n := range 100 {
			d.store(w, item{group: "a/o", n: n, at: time.Now()})
		}
		synctest.Wait()
		for n := range 4 {
			d.store(w, item{group: "b/o", n: n, at: time.Now()})
			d.store(w, item{group: "c/free", n: n, at: time.Now()})
		}
		synctest.Wait()
		l.mu.Lock()
		if l.running["a/o"] != 3 || l.running["b/o"] != 0 || l.running["c/free"] != 2 {
			t.Errorf("running: %v", l.running)
		}
		l.mu.Unlock()
		for range 20 { // one after the other
			l.gate <- struct{}{}
			synctest.Wait()
			l.mu.Lock()
			if o := l.running["a/o"] + l.running["b/o"]; o > 3 || o+l.running["c/free"] > 5 {
				t.Errorf("running: %v", l.running)
			}
			l.mu.Unlock()
		}
		if b, c := len(l.of("b/o")), len(l.of("c/free")); b != 4 || c != 4 {
			t.Errorf("after 20 ends %d of b, %d of c ran", b, c)
		}
		close(l.gate)
		synctest.Wait()
		if n := len(l.of("a/o")); n != 100 || len(w.caps) != 0 || len(w.groups) != 0 {
			t.Errorf("%d ran, %d caps and %d groups are left", n, len(w.caps), len(w.groups))
		}
	})
}

func TestARateHoldsItsGroupAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		next := time.Now()
		w, d, l := setup(t, func(o *Options[item]) {
			o.Flow = func(k Key) Flow { return Flow{Limit: 10, Rated: k.Name == "slow"} }
			o.Begin = func(Key) time.Time {
				if now := time.Now(); next.After(now) {
					return next
				}
				next = time.Now().Add(time.Second)
				return time.Time{}
			}
		})
		for n := range 10 {
			d.store(w, item{group: "a/slow", n: n, at: time.Now()})
			d.store(w, item{group: "a/fast", n: n, at: time.Now()})
		}
		synctest.Wait()
		for want := 1; want <= 10; want++ {
			if slow, fast := len(l.of("a/slow")), len(l.of("a/fast")); slow != want || fast != 10 {
				t.Fatalf("%d of the slow one, %d of the fast one", slow, fast)
			}
			<-time.After(time.Second)
			synctest.Wait()
		}
	})
}

// groups lists what is due on disk as a store does.
func (d *disk) groups(_ context.Context, after Key, limit int) (due []Due, _ error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, items := range d.items {
		k := key(name)
		if len(items) == 0 || k.Share < after.Share || k.Share == after.Share && k.Name <= after.Name {
			continue
		}
		at := items[0].at
		for _, it := range items {
			if it.at.Before(at) {
				at = it.at
			}
		}
		due = append(due, Due{k, at})
	}
	slices.SortFunc(due, func(a, b Due) int {
		if a.Share != b.Share {
			return compare(a.Share, b.Share)
		}
		return compare(a.Name, b.Name)
	})
	return due[:min(limit, len(due))], nil
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func TestMoreGroupsThanThereMayBeAreFoundAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{items: map[string][]item{}}
		var mu sync.Mutex
		ran, small, most := 0, 0, 0
		var w *Window[item]
		w = New(Options[item]{MaxItems: 50, MaxGroupItems: 10, MaxBytes: 1 << 20, MaxGroups: 100, Workers: 10, Flow: limit(2),
			Load: d.load, Groups: d.groups, Size: func(item) int64 { return 1 }, Now: time.Now,
			Run: func(_ context.Context, it item, _ *Turn[item]) {
				w.mu.Lock()
				known := len(w.groups)
				w.mu.Unlock()
				mu.Lock()
				defer mu.Unlock()
				ran, most = ran+1, max(most, known)
				if key(it.group).Share == "z" {
					small = ran
				}
			}})
		// Before the start, and announced after it; due now, and later.
		for n := range 3000 {
			g := fmt.Sprintf("a/%04d", n)
			d.items[g] = append(d.items[g], item{group: g, at: time.Now().Add(time.Duration(n%3) * time.Second)})
		}
		d.items["z/1"] = []item{{group: "z/1", at: time.Now()}}
		if err := w.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close(context.Background()) })
		for n := range 1000 {
			d.store(w, item{group: fmt.Sprintf("b/%04d", n), at: time.Now().Add(time.Duration(n%2) * time.Minute)})
		}
		<-time.After(time.Hour)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ran != 4001 {
			t.Errorf("%d of 4001 ran", ran)
		}
		if small == 0 || small > 500 {
			t.Errorf("the only item of an app ran as number %d", small)
		}
		if most > 100+50 {
			t.Errorf("%d groups were known at once", most)
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.groups)+len(w.shares)+len(w.due) != 0 {
			t.Errorf("left behind: %d groups, %d shares, %d due", len(w.groups), len(w.shares), len(w.due))
		}
	})
}

func TestALookFindsEverythingHoweverManyPagesItTakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{items: map[string][]item{}}
		var mu sync.Mutex
		ran, paused := 0, true
		w := New(Options[item]{MaxItems: 50, MaxGroupItems: 10, MaxBytes: 1 << 20, Workers: 10, Flow: limit(2),
			Load: d.load, Size: func(item) int64 { return 1 }, Now: time.Now,
			Groups: func(ctx context.Context, after Key, limit int) ([]Due, error) {
				mu.Lock()
				defer mu.Unlock()
				if paused {
					return nil, nil
				}
				return d.groups(ctx, after, limit)
			},
			Run: func(_ context.Context, it item, _ *Turn[item]) {
				mu.Lock()
				defer mu.Unlock()
				ran++
			}})
		const n = 3*sweepBatch + 1
		for i := range n {
			g := fmt.Sprintf("a/%04d", i)
			d.items[g] = append(d.items[g], item{group: g, at: time.Now()})
		}
		if err := w.Open(t.Context()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { w.Close(context.Background()) })
		mu.Lock()
		paused = false
		mu.Unlock()
		w.Look()
		<-time.After(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if ran != n {
			t.Errorf("%d of %d ran", ran, n)
		}
	})
}
