package outbound

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/ringback/ringback/internal/hostile"
)

func TestAllowOpensWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		allow      []string
		host, addr string
		port       uint16
		want       bool
	}{
		{nil, "a.example", "93.184.216.34", 443, true},
		{nil, "a.example", "93.184.216.34", 22, false},
		{nil, "a.example", "10.1.2.3", 443, false},
		{[]string{"10.20.0.0/16"}, "a.example", "10.20.0.1", 443, true},
		{[]string{"10.20.0.0/16"}, "a.example", "10.21.0.1", 443, false},
		{[]string{"10.20.0.0/16"}, "a.example", "10.20.0.1", 22, false},
		{[]string{"10.1.2.3"}, "10.1.2.3", "10.1.2.3", 8080, true},
		{[]string{"10.1.2.3"}, "10.1.2.4", "10.1.2.4", 8080, false},
		{[]string{"10.1.2.3:22"}, "10.1.2.3", "10.1.2.3", 22, true},
		{[]string{"10.1.2.3:22"}, "10.1.2.3", "10.1.2.3", 443, false},
		{[]string{"fd00::1"}, "a.example", "fd00::1", 443, true},
		{[]string{"[fd00::1]:22"}, "a.example", "fd00::1", 22, true},
		{[]string{"Hooks.Internal."}, "hooks.internal", "10.1.2.3", 8443, true},
		{[]string{"hooks.internal"}, "hooks.internal", "10.1.2.3", 22, false},
		{[]string{"hooks.internal"}, "evil.hooks.internal", "10.1.2.3", 443, false},
		{[]string{"hooks.internal:8443"}, "hooks.internal", "10.1.2.3", 8443, true},
		{[]string{"hooks.internal:8443"}, "hooks.internal", "10.1.2.3", 443, false},
		{[]string{"hooks.internal:22"}, "hooks.internal", "10.1.2.3", 22, true},
		{[]string{"64:ff9b::/96"}, "a.example", "64:ff9b::93.184.216.34", 443, true},
		{[]string{"64:ff9b::/96"}, "a.example", "64:ff9b::10.0.0.1", 443, false},
		{[]string{"64:ff9b::/96", "10.0.0.0/8"}, "a.example", "64:ff9b::10.0.0.1", 443, true},
		{[]string{"64:ff9b:1::/48"}, "a.example", "64:ff9b:1:7f00:0:100::", 443, false},
		{[]string{"64:ff9b:1::/48"}, "a.example", "64:ff9b:1:5db8:d8:2200::", 443, true},
		{[]string{"2002::/16"}, "a.example", "2002:5db8:d822::1", 443, true},
		{[]string{"2002::/16"}, "a.example", "2002:a00:1::", 443, false},
		{[]string{"::ffff:0:0/96"}, "a.example", "::ffff:127.0.0.1", 443, false},
		{[]string{"0.0.0.0/0", "::/0"}, "a.example", "fe80::1%eth0", 443, false},
	} {
		rules, err := Policy{Allow: test.allow}.compile()
		if err != nil {
			t.Fatal(err)
		}
		if got := rules.mayCall(test.host, netip.MustParseAddr(test.addr), test.port); got != test.want {
			t.Errorf("%v: %s (%s) port %d: %v", test.allow, test.host, test.addr, test.port, got)
		}
	}
}

func TestAllowEntryThatCannotBeReadIsAnError(t *testing.T) {
	t.Parallel()
	for _, entry := range []string{"", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.1:0", "a.example:http", "a b", "https://a.example", "fe80::1%eth0", "a..example", "256.1.1.1", "a:b:c", ":80"} {
		err := Policy{Allow: []string{"10.0.0.0/8", entry}}.Validate()
		if err == nil || !strings.Contains(err.Error(), `"`+entry+`"`) {
			t.Errorf("%q: %v", entry, err)
		}
	}
}

// TestEveryDeniedRangeIsDenied holds the table against the list that it was made
// from, which also has the ranges that need no entry.
func TestEveryDeniedRangeIsDenied(t *testing.T) {
	t.Parallel()
	list := `0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24
		192.0.2.0/24 192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15
		198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4 255.255.255.255/32 168.63.129.16/32
		::/96 ::ffff:0:0/96 ::ffff:0:0:0/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23
		2001::/32 2001:db8::/32 2002::/16 2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8`
	rules, err := Policy{}.compile()
	if err != nil {
		t.Fatal(err)
	}
	for text := range strings.FieldsSeq(list) {
		prefix := netip.MustParsePrefix(text)
		last := prefix.Addr().AsSlice()
		for bit := prefix.Bits(); bit < len(last)*8; bit++ {
			last[bit/8] |= 1 << (7 - bit%8)
		}
		end, _ := netip.AddrFromSlice(last)
		for _, addr := range []netip.Addr{prefix.Addr(), end} {
			if rules.mayCall("a.example", addr, 443) {
				t.Errorf("%s of %s may be called", addr, prefix)
			}
		}
	}
}

func TestLoopbackMayBeCalledOnAnyPortInDevelopment(t *testing.T) {
	t.Parallel()
	c := newClient(t, Policy{Loopback: true}, Limits{}, Options{})
	for _, url := range []string{"http://127.0.0.1:22/", "http://[::1]:6000/", "http://localhost:1/", "http://shop.localhost:25/", "http://a.example/"} {
		if _, err := c.Check(url); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	for url, rule := range map[string]string{"http://10.0.0.1/": RuleAddress, "http://a.example:22/": RulePort, "http://93.184.216.34:22/": RulePort} {
		var urlError *URLError
		if _, err := c.Check(url); !errors.As(err, &urlError) || urlError.Rule != rule || urlError.Code != CodeForbidden {
			t.Errorf("%s: %v, want rule %s", url, err, rule)
		}
	}
	resolver := resolverFunc(func(context.Context) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("93.184.216.34")}, nil
	})
	c = newClient(t, Policy{Loopback: true}, Limits{}, Options{Resolver: resolver})
	_, err := post(t, c, "http://localhost:22/", testTimeout)
	wantClass(t, err, ClassPolicy)
}

func TestCheckNamesTheRuleAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	c := newClient(t, Policy{}, Limits{}, Options{})
	for url, want := range map[string]URLError{
		"":                                   {Code: CodeInvalid, Rule: RuleLength},
		"/cb?token=secret":                   {Code: CodeInvalid, Rule: RuleSyntax},
		"ftp://a.example/secret":             {Code: CodeInvalid, Rule: RuleScheme},
		"http://a.example/secret":            {Code: CodeForbidden, Rule: RuleScheme},
		"https://u:secret@a.example/":        {Code: CodeInvalid, Rule: RuleUserinfo},
		"https://a.example/#secret":          {Code: CodeInvalid, Rule: RuleFragment},
		"https://a..example/secret":          {Code: CodeInvalid, Rule: RuleHost},
		"https://a.example:secret/":          {Code: CodeInvalid, Rule: RulePort},
		"https://a.example:25/secret":        {Code: CodeForbidden, Rule: RulePort},
		"https://10.0.0.1/secret":            {Code: CodeForbidden, Rule: RuleAddress},
		"https://a.example/secret\u00e9":     {Code: CodeInvalid, Rule: RuleSyntax},
		"https://a.example/cb?secret=\u202e": {Code: CodeInvalid, Rule: RuleSyntax},
	} {
		_, err := c.Check(url)
		var got *URLError
		if !errors.As(err, &got) || got.Code != want.Code || got.Rule != want.Rule || strings.Contains(got.Error(), "secret") {
			t.Errorf("%q: %#v, want %s %s", url, got, want.Code, want.Rule)
		}
	}
}

func TestOriginIsNormalAndAllThatATargetShows(t *testing.T) {
	t.Parallel()
	c := newClient(t, Policy{HTTP: true}, Limits{}, Options{})
	for url, want := range map[string]string{
		"HTTPS://A.Example.:443/p?token=secret":  "https://a.example",
		"http://a.example:80":                    "http://a.example",
		"http://a.example:443/":                  "http://a.example:443",
		"https://[2606:4700:4700:0::1111]:8443/": "https://[2606:4700:4700::1111]:8443",
		"https://b\u00fccher.example/":           "https://xn--bcher-kva.example",
	} {
		if got := target(t, c, url); got.Origin() != want || got.String() != want || got.URL() != url {
			t.Errorf("%s: origin %s, want %s", url, got.Origin(), want)
		}
	}
}

func TestExplainShowsWhatWouldBeDialled(t *testing.T) {
	t.Parallel()
	found := []netip.Addr{netip.MustParseAddr("93.184.216.34"), netip.MustParseAddr("::ffff:1.1.1.1")}
	c := newClient(t, Policy{}, Limits{}, Options{
		Resolver: resolverFunc(func(context.Context) ([]netip.Addr, error) { return slices.Clone(found), nil }),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			t.Error("dialled")
			return nil, net.ErrClosed
		},
	})
	got := c.Explain(t.Context(), "https://a.example:8443/")
	want := []netip.AddrPort{netip.MustParseAddrPort("93.184.216.34:8443"), netip.MustParseAddrPort("1.1.1.1:8443")}
	if !got.Allowed || got.Err != nil || got.Origin != "https://a.example:8443" || !slices.Equal(got.Addresses, want) {
		t.Errorf("%+v", got)
	}
	found = append(found, netip.MustParseAddr("169.254.169.254"))
	got = c.Explain(t.Context(), "https://a.example/")
	last := got.Steps[len(got.Steps)-1]
	if got.Allowed || got.Err == nil || len(got.Addresses) > 0 || last.OK || last.Name != "address 169.254.169.254" || last.Detail != "not public: 169.254.0.0/16" {
		t.Errorf("%+v", got)
	}
	found = nil
	if got = c.Explain(t.Context(), "https://a.example/"); got.Allowed || wantClass(t, got.Err, ClassDNSNotFound).Detail == "" {
		t.Errorf("%+v", got)
	}
}

// Explain must say what an attempt would find, for every URL there is.
func TestExplainAgreesWithCheckAndDo(t *testing.T) {
	t.Parallel()
	refused := func(_ context.Context, _, _ string) (net.Conn, error) { return nil, syscall.ECONNREFUSED }
	for _, row := range hostile.URLs() {
		c := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: row.Resolver(), Dial: refused})
		got := c.Explain(t.Context(), row.URL)
		asked := newClient(t, Policy{HTTP: true}, Limits{}, Options{Resolver: row.Resolver(), Dial: refused})
		target, err := asked.Check(row.URL)
		permitted := err == nil
		if permitted {
			_, err = asked.Do(t.Context(), &Request{Target: target})
			permitted = wantClass(t, err, ClassPolicy, ClassRefused).Class == ClassRefused
		}
		last := got.Steps[len(got.Steps)-1]
		if got.Allowed != permitted || got.Allowed != (got.Err == nil) || got.Allowed && !last.OK || last.Detail == "" {
			t.Errorf("line %d (%s): explained as %+v, and %v", row.Line, row.Why, got, err)
		}
	}
}
