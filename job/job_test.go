package job

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

func TestATraceGoesOnUnderANewParent(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]string{"00": "00", "01": "01", "03": "03", "ff": "03"} {
		parent := Trace{Parent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-" + flags, State: "a=b"}
		child := parent.Child()
		form := regexp.MustCompile(`^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-` + want + `$`)
		if !form.MatchString(child.Parent) || child.Parent == parent.Parent || child.State != "a=b" {
			t.Errorf("child of %v: %v", parent, child)
		}
	}
}

func TestNoTraceStaysNone(t *testing.T) {
	t.Parallel()
	for _, parent := range []string{"", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-xx"} {
		if got := (Trace{Parent: parent, State: "a=b"}).Child(); got != (Trace{}) {
			t.Errorf("%q: %v", parent, got)
		}
	}
}

func TestWordsOfStatesGoRound(t *testing.T) {
	t.Parallel()
	for s := Accepted; s <= Expired; s++ {
		if back, ok := ParseState(s.String()); !ok || back != s {
			t.Errorf("%d: %q reads as %d", s, s, back)
		}
	}
	for s := Pending; s <= Discarded; s++ {
		if back, ok := ParseCallbackState(s.String()); !ok || back != s {
			t.Errorf("%d: %q reads as %d", s, s, back)
		}
	}
	for _, word := range []string{"", "Accepted", "nonsense"} {
		if s, ok := ParseState(word); ok {
			t.Errorf("%q reads as job state %d", word, s)
		}
		if s, ok := ParseCallbackState(word); ok {
			t.Errorf("%q reads as callback state %d", word, s)
		}
	}
}

// What Standard Webhooks recommends of an operation that says nothing itself.
func TestCallbacksAreTriedForDaysUnlessConfigured(t *testing.T) {
	t.Parallel()
	c := Operation{}.WithDefaults().Callback
	var all time.Duration
	for _, delay := range c.Schedule {
		all += delay
	}
	if !slices.IsSorted(c.Schedule) || c.Schedule[0] > 5*time.Second || all < 24*time.Hour || c.GiveUpAfter < all {
		t.Errorf("the schedule is %v, given up after %v", c.Schedule, c.GiveUpAfter)
	}
	if c.Timeout < 15*time.Second || c.Timeout > 30*time.Second {
		t.Errorf("an attempt may take %v", c.Timeout)
	}
}
