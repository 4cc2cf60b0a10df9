package api

import (
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// all collects a list.
func all[T any](t *testing.T, list iter.Seq2[T, error]) []T {
	t.Helper()
	var out []T
	for member, err := range list {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, member)
	}
	return out
}

func TestGoClientManagesEndpoints(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	ctx := t.Context()
	c := g.client(g.app("a"))
	made, err := c.CreateEndpoint(ctx, client.EndpointCreate{Name: "shop", URL: "https://a.example/", Default: true,
		Events: []string{"succeeded"}, Headers: map[string]string{"X-Tenant": "7"}})
	if err != nil || made.CreatedAt.IsZero() {
		t.Fatal(made, err)
	}
	disabled := true
	changed, err := c.UpdateEndpoint(ctx, "shop", client.EndpointPatch{Disabled: &disabled, Events: []string{}})
	if err != nil || !changed.Disabled || len(changed.Events) != 0 || !changed.Default {
		t.Errorf("%+v, %v", changed, err)
	}
	for _, name := range []string{"", "shop"} {
		before, err := c.Secret(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if after, err := c.RotateSecret(ctx, name); err != nil || after.Secret == before.Secret || after.PreviousUntil.IsZero() {
			t.Errorf("%q: rotated: %v", name, err)
		}
	}
	if list := all(t, c.Endpoints(ctx)); len(list) != 1 || list[0].Name != "shop" {
		t.Errorf("listed %+v", list)
	}
	if err := c.DeleteEndpoint(ctx, "shop"); err != nil {
		t.Error(err)
	}
	var p *client.Problem
	if _, err := c.Endpoint(ctx, "shop"); !errors.As(err, &p) || p.Code != "not_found" {
		t.Errorf("deleted: %v", err)
	}
	if apps := all(t, g.client(adminKey).Apps(ctx)); len(apps) != 1 || apps[0].Name != "a" {
		t.Errorf("apps %+v", apps)
	}
}

func TestGoClientFollowsAJob(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	ctx := t.Context()
	c := g.client(g.app("a"))
	j := g.job("a", nil)
	if result, err := c.Result(ctx, j.ID.Job()); result != nil || err != nil {
		t.Errorf("not ready: %v, %v", result, err)
	}
	var names []string
	for e, err := range c.Events(ctx, j.ID.Job()) {
		if err != nil {
			t.Fatal(err)
		}
		switch names = append(names, e.Name); e.Name {
		case "accepted":
			g.finish(j, job.Succeeded, &job.Result{Status: 200, ContentType: "text/plain", Body: body.Inline([]byte("clean"))}, nil)
		case "succeeded":
			g.settle(j)
		}
	}
	// How many looks it takes to see the callback settled is a matter of luck.
	if got := strings.Join(slices.Compact(names), " "); got != "accepted succeeded callback" {
		t.Errorf("events %q", got)
	}
	if done, err := c.WaitJob(ctx, j.ID.Job()); err != nil || !done.Settled() {
		t.Errorf("%+v, %v", done, err)
	}
	var p *client.Problem
	if err := c.Cancel(ctx, j.ID.Job()); !errors.As(err, &p) || p.Status != 409 {
		t.Errorf("cancel: %v", err)
	}
	callbacks := all(t, c.Callbacks(ctx, client.CallbackQuery{JobID: j.ID.Job(), PageSize: 1}))
	if len(callbacks) != 1 || len(all(t, c.Attempts(ctx, callbacks[0].ID))) != 1 {
		t.Fatalf("callbacks %+v", callbacks)
	}
	if again, err := c.Resend(ctx, callbacks[0].ID); err != nil || again.Status != client.CallbackPending {
		t.Errorf("resent: %+v, %v", again, err)
	}
}

func (g *gateway) client(key string) *client.Client {
	g.t.Helper()
	c, err := client.New(g.server.URL, key, client.Options{Transport: g.server.Client().Transport})
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}
