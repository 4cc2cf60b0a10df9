package callback

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

func TestWhatWaitsForALaneIsGivenUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(string) int { return 200 })
		lane := window.Key{Share: "shop", Name: "http://127.0.0.1:80"}
		b.lanes.leave(lane, outcome{began: time.Now(), answered: true, after: time.Hour})
		now := time.Now()
		j := &job.Job{ID: b.store.NewID(now), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: now, DueAt: now,
			Targets: []job.Target{{URL: "http://127.0.0.1:80/bar"}}}
		owed := b.OweAccepted(j)
		j.Early, owed[0].Callback.GiveUpAt = true, now.Add(10*time.Minute)
		if _, err := b.store.Accept(t.Context(), job.Acceptance{Job: j, Claimed: true, Callbacks: owed}); err != nil {
			t.Fatal(err)
		}
		if heard := b.after(9 * time.Minute); len(heard) != 0 {
			t.Fatalf("heard %v while the lane is held", heard)
		}
		cb, err := b.store.Callback(t.Context(), "shop", owed[0].Callback.ID)
		if err != nil {
			t.Fatal(err)
		}
		if waiting, until := b.Waits(cb); waiting != job.WaitingRate || !until.Equal(now.Add(time.Hour)) || cb.Attempts != 0 {
			t.Errorf("waits for %q until %v, %d attempts", waiting, until, cb.Attempts)
		}
		b.after(2 * time.Minute)
		if cb, err = b.store.Callback(t.Context(), "shop", cb.ID); err != nil {
			t.Fatal(err)
		}
		if cb.State != job.Dead || cb.LastError != job.ClassGaveUp || cb.Attempts != 0 {
			t.Errorf("%s with %q after %d attempts", cb.State, cb.LastError, cb.Attempts)
		}
		if waiting, _ := b.Waits(cb); waiting != "" {
			t.Errorf("a dead one waits for %q", waiting)
		}
	})
}
