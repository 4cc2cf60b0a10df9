package api

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// guessing is a gateway with a clock, behind a proxy that is trusted: every caller
// has the address that X-Forwarded-For says.
func guessing(t *testing.T) (g *gateway, clock *atomic.Int64) {
	t.Helper()
	clock = &atomic.Int64{}
	began := time.Now()
	g = setup(t, func(o *Options) {
		o.Now = func() time.Time { return began.Add(time.Duration(clock.Load())) }
		o.Proxies.Prefixes = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	})
	return g, clock
}

func TestGuessesAreThrottledAndNobodyIsLockedOut(t *testing.T) {
	t.Parallel()
	g, clock := guessing(t)
	const from = "X-Forwarded-For"
	used, unused := g.app("used"), g.app("unused")
	g.call("GET", "/v1/jobs", used, "", from, "192.0.2.1").want(t, 200, "")
	g.call("GET", "/v1/apps", adminKey, "", from, "192.0.2.1").want(t, 200, "")
	for i := range guessBurst {
		key := NewKey()
		if i%2 == 0 {
			key = fmt.Sprint("some-admin-key-", i)
		}
		g.call("GET", []string{"/v1/jobs", "/v1/apps"}[i%2], key, "", from, "192.0.2.1").want(t, 401, "unauthenticated")
	}
	for range 3 {
		for _, path := range []string{"/v1/jobs", "/v1/apps"} {
			a := g.call("GET", path, NewKey(), "", from, "192.0.2.1")
			a.want(t, 429, "too_many_attempts")
			if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 || time.Duration(after)*time.Second > guessInterval {
				t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
			}
		}
	}
	g.call("POST", "/scan", NewKey(), "{}", from, "192.0.2.1").want(t, 429, "too_many_attempts")
	// The right ones pass, and do not pay for the others.
	g.call("GET", "/v1/jobs", used, "", from, "192.0.2.1").want(t, 200, "")
	g.call("GET", "/v1/jobs", unused, "", from, "192.0.2.1").want(t, 200, "")
	g.call("GET", "/v1/apps", adminKey, "", from, "192.0.2.1").want(t, 200, "")
	late := g.app("late")
	g.call("GET", "/v1/jobs", late, "", from, "192.0.2.1").want(t, 200, "")
	// Nobody else is concerned.
	g.call("GET", "/v1/jobs", NewKey(), "", from, "192.0.2.2").want(t, 401, "unauthenticated")
	// And there is a next attempt soon.
	clock.Add(int64(guessInterval))
	g.call("GET", "/v1/jobs", NewKey(), "", from, "192.0.2.1").want(t, 401, "unauthenticated")
	g.call("GET", "/v1/jobs", NewKey(), "", from, "192.0.2.1").want(t, 429, "too_many_attempts")
}

func TestRightAdminKeyFromAGuessersAddressIsAGuessToo(t *testing.T) {
	t.Parallel()
	g, clock := guessing(t)
	const from = "X-Forwarded-For"
	g.app("shop") // the admin key is used from another address
	for range guessBurst {
		g.call("GET", "/v1/apps", NewKey(), "", from, "192.0.2.1")
	}
	g.call("GET", "/v1/apps", adminKey, "", from, "192.0.2.1").want(t, 429, "too_many_attempts")
	clock.Add(int64(guessInterval))
	g.call("GET", "/v1/apps", adminKey, "", from, "192.0.2.1").want(t, 200, "")
}

func TestIPv6NetworkIsOneGuesser(t *testing.T) {
	t.Parallel()
	g, _ := guessing(t)
	const from = "X-Forwarded-For"
	for i := range guessBurst {
		g.call("GET", "/v1/jobs", NewKey(), "", from, fmt.Sprintf("2001:db8:0:1::%x", i)).want(t, 401, "")
	}
	g.call("GET", "/v1/jobs", NewKey(), "", from, "2001:db8:0:1:ffff::1").want(t, 429, "too_many_attempts")
	g.call("GET", "/v1/jobs", NewKey(), "", from, "2001:db8:0:2::1").want(t, 401, "")
}

func TestForwardedForOfAStrangerCountsNothing(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	for i := range guessBurst {
		g.call("GET", "/v1/jobs", NewKey(), "", "X-Forwarded-For", fmt.Sprintf("192.0.2.%d", i)).want(t, 401, "")
	}
	g.call("GET", "/v1/jobs", NewKey(), "", "X-Forwarded-For", "198.51.100.1").want(t, 429, "too_many_attempts")
}

func TestRemoteIsTheLastThatNoTrustedProxyHasWritten(t *testing.T) {
	t.Parallel()
	proxies := Proxies{Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}
	for name, c := range map[string]struct {
		peer, forwarded, want string
	}{
		"direct":                 {"192.0.2.1:77", "", "192.0.2.1"},
		"stranger says":          {"192.0.2.1:77", "198.51.100.1", "192.0.2.1"},
		"proxy says":             {"10.0.0.1:77", "198.51.100.1", "198.51.100.1"},
		"proxy says nothing":     {"10.0.0.1:77", "", "10.0.0.1"},
		"caller has written one": {"10.0.0.1:77", "203.0.113.9, 198.51.100.1", "198.51.100.1"},
		"two proxies":            {"10.0.0.1:77", "203.0.113.9, 198.51.100.1, 10.9.9.9", "198.51.100.1"},
		"all are proxies":        {"10.0.0.1:77", "10.0.0.3, 10.0.0.2", "10.0.0.3"},
		"nonsense":               {"10.0.0.1:77", "198.51.100.1, <script>", "10.0.0.1"},
		"with a port":            {"10.0.0.1:77", "198.51.100.1:5000", "198.51.100.1"},
		"IPv6":                   {"[fd00::1]:77", "2001:db8::7", "2001:db8::7"},
		"IPv6 in brackets":       {"[fd00::1]:77", "[2001:db8::7]:99", "2001:db8::7"},
		"zone":                   {"[fe80::1%eth0]:77", "", "fe80::1"},
		"mapped":                 {"[::ffff:10.0.0.1]:77", "::ffff:198.51.100.1", "198.51.100.1"},
		"socket":                 {"@", "198.51.100.1", "invalid IP"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = c.peer
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		if got := proxies.remote(r).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	proxies.Unix = true
	r := httptest.NewRequest("GET", "/", nil)
	r.RemoteAddr = "@"
	r.Header.Add("X-Forwarded-For", "203.0.113.9")
	r.Header.Add("X-Forwarded-For", "198.51.100.1")
	if got := proxies.remote(r).String(); got != "198.51.100.1" {
		t.Errorf("by a trusted socket: %s", got)
	}
}

func TestMemoryOfGuessersIsBounded(t *testing.T) {
	t.Parallel()
	var clock atomic.Int64
	began := time.Now()
	g := newGuesses(Options{Now: func() time.Time { return began.Add(time.Duration(clock.Load())) }})
	request := func(i int) *http.Request {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, byte(i >> 16), byte(i >> 8), byte(i)}), 1).String()
		return r
	}
	for i := range 2 * maxGuessers {
		g.wrong(request(i))
	}
	if len(g.by) > maxGuessers {
		t.Errorf("%d addresses are kept", len(g.by))
	}
	if wait := g.wait(neighbours(netip.MustParseAddr("203.0.113.1"))); wait <= 0 {
		t.Error("those without a place are not throttled")
	}
	clock.Store(int64(guessInterval * 2))
	g.wrong(request(1 << 20))
	if len(g.by) != 1 {
		t.Errorf("%d addresses are kept after all have stopped", len(g.by))
	}
	for i := range 3 * maxAdmins {
		g.right(request(i), [32]byte{1})
	}
	if len(g.admins) > maxAdmins {
		t.Errorf("%d addresses of the admin", len(g.admins))
	}
}
