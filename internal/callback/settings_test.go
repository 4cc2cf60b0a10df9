package callback

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// oweTo has eight callbacks due to an endpoint, begins to send them, and changes another one.
func (b *bench) oweTo(t *testing.T, e job.Endpoint) {
	t.Helper()
	app, err := b.store.App(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	e.App, e.URL, e.Secrets = "shop", "http://127.0.0.1:80/bar", app.Secrets
	for _, name := range []string{"main", "other"} {
		if e.Name = name; b.store.CreateEndpoint(t.Context(), e) != nil {
			t.Fatal("an endpoint cannot be stored")
		}
	}
	for range 8 {
		now := time.Now()
		j := &job.Job{ID: b.store.NewID(now), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: now, DueAt: now,
			Targets: []job.Target{{Endpoint: "main"}}}
		if _, err := b.store.Accept(t.Context(), job.Acceptance{Job: j, Callbacks: b.OweAccepted(j)}); err != nil {
			t.Fatal(err)
		}
	}
	b.after(time.Second)
	e.Name, e.Concurrency, e.Rate = "other", 0, job.Rate{}
	if err := b.store.UpdateEndpoint(t.Context(), e); err != nil {
		t.Fatal(err)
	}
}

func TestARateHoldsWhileAnotherEndpointOfTheAppIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(string) int { return 200 })
		b.oweTo(t, job.Endpoint{Rate: job.Rate{Count: 6, Per: time.Minute}})
		if heard := b.after(34 * time.Second); len(heard) != 4 {
			t.Errorf("heard %v in 35 s, want one each 10 s", heard)
		}
		if heard := b.after(40 * time.Second); len(heard) != 8 {
			t.Errorf("heard %v in 75 s, want one each 10 s", heard)
		}
	})
}

func TestAConcurrencyHoldsWhileAnotherEndpointOfTheAppIsChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most atomic.Int64
		b := newBench(t, func(string) int {
			most.Store(max(most.Load(), running.Add(1)))
			time.Sleep(5 * time.Second)
			running.Add(-1)
			return 200
		})
		b.oweTo(t, job.Endpoint{Concurrency: 2})
		if heard := b.after(25 * time.Second); len(heard) != 8 || most.Load() != 2 {
			t.Errorf("heard %v, %d at once, want 2", heard, most.Load())
		}
	})
}

func TestALaneKeepsItsPlaceInARateForLong(t *testing.T) {
	t.Parallel()
	b := newLaneBench()
	b.k.Name = "main"
	b.places.settings[b.k] = laneSettings{interval: time.Hour}
	if until := b.begin(b.k); !until.IsZero() {
		t.Fatalf("the first waits until %v", until)
	}
	for minute := range 59 {
		b.at = b.at.Add(time.Minute)
		b.enter(window.Key{Share: "shop", Name: time.Duration(minute).String()}, b.at) // others come and go
	}
	if until := b.begin(b.k); !until.Equal(at.Add(time.Hour)) {
		t.Errorf("the next waits until %v, want %v", until, at.Add(time.Hour))
	}
}
