package callback

import (
	"testing"
	"time"
)

func TestALaneWithoutAnswersRestsEverLonger(t *testing.T) {
	t.Parallel()
	b, now := newBreakers(), at
	for n := 1; n < breakerFailures; n++ {
		if until := b.failed("l", now); !until.IsZero() || b.open("l") {
			t.Fatalf("rests after %d failures", n)
		}
	}
	for _, rest := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		until := b.failed("l", now)
		if until.Sub(now) != rest*time.Second || !b.open("l") {
			t.Fatalf("rests for %v, want %v seconds", until.Sub(now), rest)
		}
		if !b.resting("l", now).Equal(until) || !b.failed("l", now).IsZero() {
			t.Fatal("a failure of before the rest prolongs it")
		}
		if now = until; !b.resting("l", now).IsZero() {
			t.Fatal("rests beyond its rest")
		}
	}
	b.answered("l")
	if b.open("l") || !b.failed("l", now).IsZero() {
		t.Error("an answer does not close it")
	}
	if b.open("other") || !b.resting("other", now).IsZero() {
		t.Error("another lane rests, too")
	}
}
