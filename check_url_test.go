package ringback_test

import (
	"errors"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

func TestTheGatewaySaysWhatWouldHappenToAURL(t *testing.T) {
	t.Parallel()
	registered := func(op *job.Operation) { op.Callback.Policy.Registered = true }
	g := start(t, t.TempDir(), func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay()), operation("strict", "POST /strict", ringback.Relay(), registered)}
		o.Resolver = leadsInside{}
	})
	g.join(t)
	if _, err := g.admin.UpdateApp(t.Context(), "shop", client.AppPatch{Policy: &client.Policy{Prefixes: []string{"http://127.0.0.1/hooks/"}}}); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		check client.URLCheck
		last  client.URLStep
	}{
		"permitted":        {client.URLCheck{URL: "http://127.0.0.1/hooks/a", App: "shop", Operation: "relay"}, client.URLStep{Step: "route", OK: true, Detail: "directly"}},
		"by the app":       {client.URLCheck{URL: "http://127.0.0.1/x", App: "shop"}, client.URLStep{Step: "app shop", Detail: "the callback URL is below none of the prefixes that are allowed (rule: prefixes)"}},
		"by the operation": {client.URLCheck{URL: "http://127.0.0.1/x", Operation: "strict"}, client.URLStep{Step: "operation strict", Detail: "only registered endpoints are permitted, no URL that comes with a call"}},
		"by its address":   {client.URLCheck{URL: "http://inside.example/x"}, client.URLStep{Step: "address 10.0.0.5", Detail: "not public: 10.0.0.0/8"}},
		"no URL":           {client.URLCheck{URL: "nonsense"}, client.URLStep{Step: "syntax", Detail: "the callback URL is not absolute: it must begin with https://"}},
	} {
		got, err := g.admin.CheckURL(t.Context(), test.check)
		if err != nil {
			t.Fatal(err)
		}
		if last := got.Steps[len(got.Steps)-1]; last != test.last || got.Allowed != test.last.OK || got.Allowed != (len(got.Addresses) > 0) {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for _, check := range []client.URLCheck{{URL: "http://127.0.0.1/", App: "none"}, {URL: "http://127.0.0.1/", Operation: "none"}} {
		var p *client.Problem
		if _, err := g.admin.CheckURL(t.Context(), check); !errors.As(err, &p) || p.Status != 404 {
			t.Errorf("%+v: %v", check, err)
		}
	}
	var p *client.Problem
	if _, err := g.app.CheckURL(t.Context(), client.URLCheck{URL: "http://127.0.0.1/"}); !errors.As(err, &p) || p.Status != 403 {
		t.Errorf("with an app's key: %v", err)
	}
}
