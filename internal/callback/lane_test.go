package callback

import (
	"testing"
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// laneBench is a lane, and a clock.
type laneBench struct {
	*lanes
	at time.Time
	k  window.Key
}

func newLaneBench() *laneBench {
	b := &laneBench{at: at, k: window.Key{Share: "shop", Name: "https://my.server"}}
	opt := Options{Now: func() time.Time { return b.at }, MaxConcurrency: 100}
	b.lanes = newLanes(newPlaces(opt), &opt)
	return b
}

// try makes n attempts, all at once, that end after a while.
func (b *laneBench) try(n int, took time.Duration, o outcome) (last told, began int) {
	o.began, o.took = b.at, took
	for range n {
		if waiting, _ := b.enter(b.k, b.at); waiting == "" {
			began++
		}
	}
	b.at = b.at.Add(took)
	for range began {
		if t := b.leave(b.k, o); t.opened || t.closed {
			last = t
		}
	}
	return last, began
}

var (
	good     = outcome{answered: true}
	broken   = outcome{failed: true}
	mute     = outcome{failed: true, mute: true, overload: true}
	refusing = outcome{answered: true, overload: true}
)

func TestALaneThatFailsRestsEverLongerAndIsProbed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name string
		how  outcome
		run  int
	}{{"no answer", mute, 10}, {"500", broken, 20}} {
		b := newLaneBench()
		if told, _ := b.try(test.run-1, 0, test.how); told.opened {
			t.Fatalf("%s: open after %d", test.name, test.run-1)
		}
		told, _ := b.try(1, 0, test.how)
		for i, rest := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
			if told.opened != (i == 0) {
				t.Errorf("%s: told of opening %v at rest %d", test.name, told.opened, i)
			}
			if waiting, until := b.waits(b.k, b.at); waiting != job.WaitingBreaker || until.Sub(b.at) != rest*time.Second {
				t.Fatalf("%s: waits for %q, %v, want %d s", test.name, waiting, until.Sub(b.at), rest)
			}
			if _, began := b.try(1, 0, good); began != 0 {
				t.Fatalf("%s: sent while it rests", test.name)
			}
			b.at = b.at.Add(rest * time.Second)
			if f := b.flow(b.k); f.Limit != 1 || f.Caps[1] != classFailing {
				t.Fatalf("%s: %+v to probe it", test.name, f)
			}
			told, _ = b.try(1, 0, test.how)
		}
		b.at = b.at.Add(time.Minute)
		if told, _ := b.try(1, 0, good); !told.closed || b.flow(b.k).Limit != afterRest {
			t.Errorf("%s: %+v, %+v after an answer", test.name, told, b.flow(b.k))
		}
	}
}

func TestAnswersAboutAMessageOpenNoBreaker(t *testing.T) {
	t.Parallel()
	b := newLaneBench()
	for range 200 {
		if told, _ := b.try(1, time.Millisecond, good); told.opened { // a 4xx is an answer
			t.Fatal("open")
		}
	}
	// Half of the attempts fail, and no run is long.
	for range 200 {
		b.try(1, time.Millisecond, mute)
		if told, _ := b.try(1, time.Millisecond, good); told.opened {
			t.Fatal("open at half of the attempts")
		}
	}
	opened := false
	for range 40 {
		for range 5 {
			told, _ := b.try(1, 100*time.Millisecond, mute)
			opened = opened || told.opened
		}
		b.try(1, 100*time.Millisecond, good)
	}
	if !opened {
		t.Error("still closed with five of six failing")
	}
}

func TestConcurrencyFollowsWhatAReceiverBears(t *testing.T) {
	t.Parallel()
	b := newLaneBench()
	limit := func() int { return b.flow(b.k).Limit }
	if limit() != startConcurrency {
		t.Fatalf("begins with %d", limit())
	}
	b.try(8, 10*time.Millisecond, good)
	if limit() != startConcurrency {
		t.Errorf("%d, though a quarter was used", limit())
	}
	for range 6000 {
		b.try(limit(), 10*time.Millisecond, good)
	}
	if limit() != 100 {
		t.Errorf("grew to %d", limit())
	}
	b.try(100, 10*time.Millisecond, refusing)
	if limit() != 50 {
		t.Errorf("%d after they were refused together", limit())
	}
	for range 20 {
		b.try(limit(), time.Second, good)
	}
	if limit() != 50 {
		t.Errorf("%d, though answers became slow", limit())
	}
	for range 20 {
		b.try(1, 10*time.Millisecond, refusing)
	}
	if limit() != 1 {
		t.Errorf("shrank to %d", limit())
	}
}

func TestRetryAfterHoldsALaneWithinBounds(t *testing.T) {
	t.Parallel()
	for after, want := range map[time.Duration]time.Duration{time.Minute: time.Minute, 10 * 365 * 24 * time.Hour: longestHold, 0: 0, -time.Hour: 0} {
		b := newLaneBench()
		b.try(1, 0, outcome{answered: true, overload: true, after: after})
		waiting, until := b.waits(b.k, b.at)
		if want == 0 && waiting != "" || want > 0 && (waiting != job.WaitingRate || until.Sub(b.at) != want) {
			t.Errorf("%v: waits for %q, %v", after, waiting, until.Sub(b.at))
		}
		if other := (window.Key{Share: "bank", Name: b.k.Name}); b.rest(other).After(b.at) {
			t.Error("another app's lane is held, too")
		}
		b.at = b.at.Add(-2 * time.Hour) // the clock is set back
		if b.rest(b.k).After(b.at) {
			t.Errorf("%v: held by a clock that was set back", after)
		}
	}
}

func TestARateSpreadsWhatBegins(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"50/s": 500, "100/m": 17, "7/h": 1} {
		b := newLaneBench()
		b.k.Name = "main"
		r, err := job.ParseRate(text)
		if err != nil || r.String() != text {
			t.Fatalf("%s: %v, %v", text, r, err)
		}
		e := job.Endpoint{Name: "main", URL: "https://my.server/x", Rate: r}
		b.places.settings[b.k] = b.places.laneOfEndpoint(&e)
		began := 0
		for end := b.at.Add(10 * time.Second); b.at.Before(end); {
			if until := b.begin(b.k); until.IsZero() {
				began++
			} else {
				b.at = until
			}
		}
		if began < want || began > want+6 {
			t.Errorf("%s: %d began in 10 s", text, began)
		}
	}
	for _, text := range []string{"50", "/s", "0/s", "-1/s", "50/day", "1000001/s", "99999999999999999999/s", "+5/s", "05/s", "50/s "} {
		if _, err := job.ParseRate(text); err == nil {
			t.Errorf("%q is a rate", text)
		}
	}
}

func TestTheNumberOfLanesIsBounded(t *testing.T) {
	t.Parallel()
	b := newLaneBench()
	for n := range 3 * maxLanes {
		k := window.Key{Share: "shop", Name: "https://" + string(rune('a'+n%26)) + time.Duration(n).String()}
		b.enter(k, b.at)
		b.leave(k, outcome{began: b.at, answered: true})
	}
	if known, _, _, _, _ := b.count(); known > maxLanes {
		t.Errorf("%d lanes are known", known)
	}
}
