package api

import "testing"

func TestTheGateLetsInWhatFitsAndForgetsWhoLeft(t *testing.T) {
	t.Parallel()
	g := newGate()
	large, n := cost(-1), 0
	for g.enter(large) {
		n++
	}
	if int64(n) != intakeBytes/large {
		t.Errorf("%d calls of %d bytes were let in", n, large)
	}
	for range n {
		g.leave(large)
	}
	if free := g.free.Load(); free != intakeBytes {
		t.Errorf("%d bytes are free in the end", free)
	}
	if !g.enter(cost(0)) || cost(500) <= cost(0) || cost(1<<40) != large {
		t.Error("the cost of a call does not follow its body")
	}
}
