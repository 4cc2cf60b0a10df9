package api

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestDurationsAreReadAsGoWritesThemWithDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0s": 0, "90s": 90 * time.Second, "2h30m": 150 * time.Minute, "7d": 7 * 24 * time.Hour, "1d12h": 36 * time.Hour, "-1s": -time.Second,
	} {
		if got, err := parseDuration(text); got != want || err != nil {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", " ", "7", "d", "1d1d", "1d-1h", "-1d", "1.5d", "P1D", "PT10M", "10 m", "1h ", "NaNs", "99999d", "9223372036854775808ns", "1y"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q is %v", text, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, text := range []string{"1d12h", "90s", "65535d2562047h", "d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got := asked{chooseRunDelay: {value: text, place: place{name: "runDelay"}}}
		var d time.Duration
		if p := got.duration(chooseRunDelay, 0, &d); p == nil && (d < 0 || d > maxDelay) {
			t.Errorf("%q is %v", text, d)
		}
	})
}

func TestUpstreamKeepsItsParametersThatBeginWithRun(t *testing.T) {
	t.Parallel()
	a := &API{opt: Options{CheckURL: func(string) error { return nil }, Upstream: &job.Operation{Name: "upstream"}}}
	op, err := a.newOperation(*a.opt.Upstream)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, "/x?runAt=7&callbackState=s&runDelay=1h", nil)
	r.Header.Set("X-Run-At", "7")
	_, rest, p := op.readAsked(r)
	if p != nil || rest != "runAt=7&runDelay=1h" {
		t.Errorf("%q is left, %v", rest, p)
	}
	if kept := op.endToEnd(r.Header); kept.Get("X-Run-At") != "7" {
		t.Errorf("the upstream gets %v", kept)
	}
	a.opt.Upstream = nil
	if kept := op.endToEnd(r.Header); kept.Get("X-Run-At") != "" {
		t.Errorf("a backend gets %v", kept)
	}
}

func TestScheduleOfAnOperationIsBounded(t *testing.T) {
	t.Parallel()
	for _, o := range []job.Operation{
		{Delay: 31 * 24 * time.Hour}, {ExpiresIn: -1},
		{Callback: job.Contract{Delay: 31 * 24 * time.Hour}}, {Callback: job.Contract{ExpiresIn: 31 * 24 * time.Hour}},
	} {
		o.Name, o.Route = "scan", "POST /scan"
		a := &API{opt: Options{CheckURL: func(string) error { return nil }}}
		if _, err := a.newOperation(o); err == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}
