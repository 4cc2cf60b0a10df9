package api

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

func TestCutQueryLeavesTheRestAsItIs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"":                                  "",
		"a=1":                               "a=1",
		"callbackURL=x":                     "",
		"callbackURL":                       "",
		"callbackURL=x&a=1":                 "a=1",
		"a=1&callbackURL=x":                 "a=1",
		"a=1&callbackURL=x&b=2":             "a=1&b=2",
		"callback=n&a=1&callbackState=s":    "a=1",
		"&&callbackURL=x&&":                 "&&&",
		"a=%zz&callbackURL=x&b=%2f;c+d&%zz": "a=%zz&b=%2f;c+d&%zz",
		"callback%55RL=x&a":                 "a",
		"CallbackURL=x":                     "CallbackURL=x",
		"callbackURL%00=x":                  "callbackURL%00=x",
		"xcallbackURL=x&callbackURLs=y":     "xcallbackURL=x&callbackURLs=y",
		"a=callbackURL=x":                   "a=callbackURL=x",
		"callbackURL=x;a=1":                 "",
		"\xff=1&callbackURL=x":              "\xff=1",
	} {
		got := cutQuery(raw, func(name, _ string) bool { return choiceOfParameter(name) >= 0 })
		if got != want {
			t.Errorf("%q leaves %q, want %q", raw, got, want)
		}
	}
}

func FuzzCutQuery(f *testing.F) {
	for _, s := range []string{"a=1&callbackURL=x&b", "&&callbackURL&", "callback%55RL=%zz", "=&=callback"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		// The same by the simplest means there are.
		var want []string
		parts := strings.Split(raw, "&")
		for _, part := range parts {
			name, _, _ := strings.Cut(part, "=")
			if name, err := expression.Unescape(name); err != nil || choiceOfParameter(name) < 0 {
				want = append(want, part)
			}
		}
		got := cutQuery(raw, func(name, _ string) bool { return choiceOfParameter(name) >= 0 })
		if got != strings.Join(want, "&") {
			t.Fatalf("%q leaves %q, want %q", raw, got, strings.Join(want, "&"))
		}
		if again := cutQuery(got, func(name, _ string) bool { return choiceOfParameter(name) >= 0 }); again != got {
			t.Fatalf("%q leaves %q, and that leaves %q", raw, got, again)
		}
	})
}

// askedOf reads the choices of a request to an operation.
func askedOf(t *testing.T, contract job.Contract, target string, headers ...string) (asked, string, *Problem) {
	t.Helper()
	a := &API{opt: Options{CheckURL: func(string) error { return nil }}}
	op, err := a.newOperation(job.Operation{Name: "scan", Route: "POST /scan", Callback: contract})
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(http.MethodPost, target, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Add(headers[i], headers[i+1])
	}
	return op.readAsked(r)
}

func TestChoicesComeFromQueryOrHeader(t *testing.T) {
	t.Parallel()
	got, rest, p := askedOf(t, job.Contract{}, "/scan?x=%zz&callbackURL=https%3A%2F%2Fa.example&callbackState=a%20b", "X-Callback-Events", "failed, succeeded,failed")
	if p != nil || rest != "x=%zz" {
		t.Fatal(p, rest)
	}
	if state, p := got.state(); state != "a b" || p != nil {
		t.Errorf("state %q, %v", state, p)
	}
	if events, p := got.events(); !slices.Equal(events, []job.Event{job.EventFailed, job.EventSucceeded}) || p != nil {
		t.Errorf("events %q, %v", events, p)
	}
	if got[chooseURL].value != "https://a.example" || got[chooseEndpoint].place != (place{}) {
		t.Errorf("%+v", got)
	}
}

func TestRepeatedOrForbiddenChoiceIsRefused(t *testing.T) {
	t.Parallel()
	little := job.Contract{CallerMay: []string{"state"}}
	for _, test := range []struct {
		name     string
		contract job.Contract
		target   string
		headers  []string
		code     string
	}{
		{"twice in the query", job.Contract{}, "/scan?callbackURL=a&callbackURL=a", nil, "parameter_repeated"},
		{"twice, once encoded", job.Contract{}, "/scan?callbackURL=a&callback%55RL=a", nil, "parameter_repeated"},
		{"twice as header", job.Contract{}, "/scan", []string{"X-Callback-State", "a", "X-Callback-State", "a"}, "parameter_repeated"},
		{"query and header", job.Contract{}, "/scan?callbackState=a", []string{"X-Callback-State", "a"}, "parameter_repeated"},
		{"broken escape", job.Contract{}, "/scan?callbackURL=%zz", nil, "callback_url_invalid"},
		{"broken state", job.Contract{}, "/scan?callbackState=%ff", nil, "invalid_parameter"},
		{"a method", job.Contract{}, "/scan?callbackMethod=PUT", nil, "callback_choice_not_allowed"},
		{"a format", job.Contract{}, "/scan", []string{"X-Callback-Format", "raw"}, "callback_choice_not_allowed"},
		{"url not left to the caller", little, "/scan?callbackURL=a", nil, "callback_choice_not_allowed"},
		{"endpoint not left to the caller", little, "/scan?callback=a", nil, "callback_choice_not_allowed"},
		{"events not left to the caller", little, "/scan?callbackEvents=failed", nil, "callback_choice_not_allowed"},
		{"url in the wrong place", job.Contract{URL: []string{"{$request.query.callbackURL}"}}, "/scan", []string{"X-Callback-Url", "a"}, "callback_choice_not_allowed"},
		{"url of a fixed one", job.Contract{URL: []string{"https://a.example"}}, "/scan?callbackURL=a", nil, "callback_choice_not_allowed"},
	} {
		if got, _, p := askedOf(t, test.contract, test.target, test.headers...); p == nil || p.Code != test.code {
			t.Errorf("%s: %+v, %v; want %s", test.name, got, p, test.code)
		}
	}
	if _, _, p := askedOf(t, little, "/scan?callbackState=a"); p != nil {
		t.Errorf("what is left to the caller is refused: %v", p)
	}
}

func TestStateAndEventsHaveBounds(t *testing.T) {
	t.Parallel()
	for _, state := range []string{strings.Repeat("s", maxStateBytes+1), "a\r\nb", "\x00", "\xff", "\u007f"} {
		var got asked
		got[chooseState].value, got[chooseState].place = state, place{name: "callbackState"}
		if _, p := got.state(); p == nil || p.Code != "invalid_parameter" {
			t.Errorf("state %.20q is taken", state)
		}
	}
	for _, events := range []string{"", "done", "succeeded,", "Succeeded", "succeeded;failed"} {
		var got asked
		got[chooseEvents].value, got[chooseEvents].place = events, place{name: "callbackEvents"}
		if _, p := got.events(); p == nil || p.Code != "invalid_parameter" {
			t.Errorf("events %q are taken", events)
		}
	}
}
