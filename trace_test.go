package ringback_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

func TestACallbackContinuesTheTraceOfItsCall(t *testing.T) {
	t.Parallel()
	const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03" // sampled, and its id is random
	dir := t.TempDir()
	change := func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
	}
	g := start(t, dir, change)
	g.join(t)
	url, messages := listen(t, func() sign.Secret { return g.secret }, answers(500, 500))
	seen := map[string]bool{parent: true}
	check := func(m message) {
		t.Helper()
		got := m.header.Get("Traceparent")
		if len(got) != len(parent) || !strings.HasPrefix(got, parent[:36]) || !strings.HasSuffix(got, "-03") || seen[got] {
			t.Errorf("traceparent %q, after %v", got, seen)
		}
		if state := m.header["Tracestate"]; len(state) != 1 || state[0] != "a=b,c=d" {
			t.Errorf("tracestate %q", state)
		}
		seen[got] = true
	}
	traced := g.call(t, client.Call{Path: "/relay", CallbackURL: url, Header: http.Header{"Traceparent": {parent}, "Tracestate": {"a=b", "c=d"}}})
	for range 3 {
		check(next(t, messages))
	}
	callback := g.settled(t, traced.ID).ID
	g.call(t, client.Call{Path: "/relay", CallbackURL: url})
	if h := next(t, messages).header; h["Traceparent"] != nil || h["Tracestate"] != nil {
		t.Errorf("a callback of a call without a trace has one: %v", h)
	}
	key, secret := g.key, g.secret
	g.stop()

	g = start(t, dir, change) // the trace is stored with the job
	g.key, g.secret, g.app = key, secret, g.client(t, key)
	if _, err := g.app.Resend(t.Context(), callback); err != nil {
		t.Fatal(err)
	}
	check(next(t, messages))
}
