package api

import (
	"net/http"
	"testing"
	"time"
)

func TestPreferIsReadAsRFC7240Says(t *testing.T) {
	t.Parallel()
	async := preferences{respondAsync: true}
	waits := func(seconds int) preferences {
		return preferences{waits: true, wait: time.Duration(seconds) * time.Second}
	}
	for _, test := range []struct {
		headers []string
		want    preferences
	}{
		{[]string{"respond-async, Wait=5", "wait=60"}, preferences{respondAsync: true, waits: true, wait: 5 * time.Second}},
		{[]string{`foo="a,wait=9", wait=3`}, waits(3)},
		{[]string{`foo="a\",wait=9", wait=3`}, waits(3)},
		{[]string{"wait=x, wait=5"}, preferences{}},
		{[]string{"return=Minimal"}, preferences{}},
		{[]string{"return=minimal"}, preferences{minimal: true}},
		{[]string{"return=minimal", "return=representation"}, preferences{}},
		{[]string{"RESPOND-ASYNC"}, async},
		{[]string{"respond-async; a=b , ,"}, async},
		{[]string{`respond-async=""`}, async},
		{[]string{"respond-async=yes"}, preferences{}},
		{[]string{`wait="10"`}, waits(10)},
		{[]string{"wait = 10"}, waits(10)},
		{[]string{"wait=0"}, waits(0)},
		{[]string{"wait=-1"}, preferences{}},
		{[]string{"wait=1.5"}, preferences{}},
		{[]string{"wait="}, preferences{}},
		{[]string{"wait"}, preferences{}},
		{[]string{"wait=999999"}, waits(60)},
		{[]string{"wait=9223372036854775807"}, waits(60)},
		{[]string{"wait=99999999999999999999999999"}, waits(60)},
		{[]string{`wait="10`, "wait=3"}, waits(3)},
		{[]string{"handling=lenient, b@d, respond-async"}, async},
		{[]string{""}, preferences{}},
		{nil, preferences{}},
	} {
		if got := readPrefer(test.headers, time.Minute); got != test.want {
			t.Errorf("Prefer %q: %+v, want %+v", test.headers, got, test.want)
		}
	}
}

func TestHonouredPreferencesAreNamed(t *testing.T) {
	t.Parallel()
	all := preferences{respondAsync: true, minimal: true, waits: true, wait: 5 * time.Second}
	for _, test := range []struct {
		preferences  preferences
		asynchronous bool
		want         string
	}{
		{all, true, "respond-async, wait=5, return=minimal"},
		{all, false, "wait=5"},
		{preferences{}, true, ""},
	} {
		h := http.Header{}
		test.preferences.setApplied(h, test.asynchronous)
		if got := h.Get("Preference-Applied"); got != test.want {
			t.Errorf("Preference-Applied %q, want %q", got, test.want)
		}
	}
}

func FuzzReadPrefer(f *testing.F) {
	for _, s := range []string{"respond-async, wait=5", `foo="a,wait=9", wait=3`, `a="\`, ";;,,==", "wait=99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p := readPrefer([]string{s}, time.Minute)
		if p.wait < 0 || p.wait > time.Minute {
			t.Fatalf("%q waits %v", s, p.wait)
		}
		if p.wait > 0 && !p.waits {
			t.Fatalf("%q waits, but was not asked to", s)
		}
	})
}
