package outbound

import (
	"errors"
	"testing"
)

func TestPrefixIsMatchedByWhatAURLMeans(t *testing.T) {
	t.Parallel()
	c, err := New(Policy{HTTP: true}, Limits{}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	below := func(prefixes ...string) Scope { return Scope{Prefixes: prefixes} }
	hooks := below("https://a.example/hooks/")
	for _, test := range []struct {
		scope Scope
		url   string
		rule  string // empty: permitted
	}{
		{hooks, "https://a.example/hooks/x", ""},
		{hooks, "https://A.EXAMPLE:443/hooks/x?y=/../", ""},
		{hooks, "https://a.example./hooks/", ""},
		{hooks, "https://a.example/%68ooks/x", ""},
		{hooks, "https://a.example/hooks/a..b/.x", ""},
		{hooks, "https://a.example/hooks", RulePrefix},
		{hooks, "https://a.example/hooksy/x", RulePrefix},
		{hooks, "https://a.example/HOOKS/x", RulePrefix},
		{hooks, "https://a.example//hooks/x", RulePrefix},
		{hooks, "https://a.example", RulePrefix},
		{hooks, "https://a.example?/hooks/x", RulePrefix},
		{hooks, "http://a.example/hooks/x", RulePrefix},
		{hooks, "https://a.example:8443/hooks/x", RulePrefix},
		{hooks, "https://a.example.evil.example/hooks/x", RulePrefix},
		{hooks, "https://b.a.example/hooks/x", RulePrefix},
		{hooks, "https://a.example/hooks/../admin", RulePrefix},
		{hooks, "https://a.example/hooks/./x", RulePrefix},
		{hooks, "https://a.example/hooks/%2e%2E/admin", RulePrefix},
		{hooks, "https://a.example/hooks/%252e%252e/admin", RulePrefix},
		{hooks, "https://a.example/hooks/..;x=1/admin", RulePrefix},
		{hooks, "https://a.example/hooks/..%2fadmin", RulePrefix},
		{hooks, "https://a.example/hooks%2f../admin", RulePrefix},
		{hooks, "https://a.example/hooks%2Fx", RulePrefix},
		{hooks, "https://a.example/hooks/..%5cadmin", RulePrefix},
		{below("https://a.example/hooks"), "https://a.example/hooks", ""},
		{below("https://a.example/hooks"), "https://a.example/hooks/x", ""},
		{below("https://a.example/hooks"), "https://a.example/hooksy", RulePrefix},
		{below("https://a.example"), "https://a.example/any/../where", ""},
		{below("https://a.example/"), "https://a.example?q", ""},
		{below("https://a.example:8443/x/y"), "https://a.example:8443/x/y/z", ""},
		{below("https://b.example", "https://xn--bcher-kva.example/"), "https://bücher.example/x", ""},
		{below("http://a.example/x"), "http://a.example:80/x", ""},
		{Scope{HTTPS: true}, "https://a.example", ""},
		{Scope{HTTPS: true}, "http://a.example", RuleScheme},
		{Scope{Ports: []uint16{443, 8443}}, "https://a.example:8443/", ""},
		{Scope{Ports: []uint16{443, 8443}}, "http://a.example/", RulePort},
		{Scope{}, "http://a.example:8080/..", ""},
	} {
		target, err := c.Check(test.url)
		if err != nil {
			t.Fatalf("%s: %v", test.url, err)
		}
		err = test.scope.Permit(target)
		var refused *URLError
		switch {
		case err == nil && test.rule == "":
		case errors.As(err, &refused) && refused.Forbidden() && refused.Rule == test.rule:
		default:
			t.Errorf("%v, %s: %v, want %q", test.scope, test.url, err, test.rule)
		}
	}
}

func TestScopeThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for _, s := range []Scope{
		{Prefixes: []string{""}}, {Prefixes: []string{"a.example"}}, {Prefixes: []string{"https://a.example/?x"}},
		{Prefixes: []string{"https://u@a.example/"}}, {Prefixes: []string{"https://a.example/x/../y"}}, {Prefixes: []string{"https://a.example/a%2fb"}},
		{Prefixes: []string{"https://a.example/#f"}}, {Prefixes: []string{"https://*.example/"}}, {Prefixes: make([]string, 65)},
		{Ports: []uint16{0}}, {Ports: make([]uint16, 65)},
	} {
		if s.Validate() == nil {
			t.Errorf("%.3v is taken", s)
		}
	}
	if err := (Scope{Prefixes: []string{"https://a.example", "http://b.example:8080/x/"}, Ports: []uint16{1}, HTTPS: true}).Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzPrefixNeverHoldsAnotherOrigin(f *testing.F) {
	for _, s := range []string{"https://a.example/hooks/x", "https://a.example@b/hooks/x", "https://a.example/hooks/%2e%2e/x"} {
		f.Add(s)
	}
	c, err := New(Policy{HTTP: true}, Limits{}, Options{})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(c.Close)
	p, err := parsePrefix("https://a.example/hooks/")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, url string) {
		target, err := c.Check(url)
		if err != nil || !p.holds(target) {
			return
		}
		if target.Origin() != "https://a.example" || target.port != 443 || !target.tls {
			t.Fatalf("%q", url)
		}
	})
}
