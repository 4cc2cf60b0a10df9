package callback

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

func TestEveryStatusIsJudged(t *testing.T) {
	t.Parallel()
	for status := 200; status < 1000; status++ {
		want := retry
		switch {
		case status < 300:
			want = settled
		case status == 410, status == 415:
			want = giveUp
		}
		var a job.Attempt
		if got := judge(&a, &outbound.Answer{Status: status, Header: http.Header{}}, nil); got.kind != want {
			t.Errorf("%d: judged %d, want %d", status, got.kind, want)
		}
		_, known := a.Error.Info()
		if wrong := (a.Error == "") != (want == settled) || known == (want == settled); wrong || a.Status != status {
			t.Errorf("%d: noted as %q, %d", status, a.Error, a.Status)
		}
	}
}

func TestEveryErrorClassIsJudged(t *testing.T) {
	t.Parallel()
	for _, class := range outbound.Classes() {
		want := retry
		if class == outbound.ClassPolicy || class == outbound.ClassRequest {
			want = giveUp
		}
		var a job.Attempt
		if got := judge(&a, nil, fmt.Errorf("wrapped: %w", &outbound.Error{Class: class})); got.kind != want || a.Error != job.Class(class) {
			t.Errorf("%s: judged %d and noted %q, want %d", class, got.kind, a.Error, want)
		}
	}
	for _, class := range outbound.Classes() {
		if _, ok := job.Class(class).Info(); !ok {
			t.Errorf("%s is none of job.Classes", class)
		}
	}
	var a job.Attempt
	if got := judge(&a, nil, errors.New("unheard of")); got.kind != retry || a.Error == "" {
		t.Errorf("an unknown error: judged %d, noted %q", got.kind, a.Error)
	}
}

func TestRetryAfterIsReadAsRFC9110Says(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                  0,
		"0":                                 0,
		"120":                               2 * time.Minute,
		" 120 ":                             2 * time.Minute,
		"-1":                                0,
		"1.5":                               0,
		"soon":                              0,
		"99999999999999999999":              (1<<31 - 1) * time.Second,
		"Wed, 04 Mar 2026 05:07:07 GMT":     time.Minute,
		"Wednesday, 04-Mar-26 05:07:07 GMT": time.Minute,
		"Wed Mar  4 05:07:07 2026":          time.Minute,
		"Wed, 04 Mar 2020 05:07:07 GMT":     0,
	} {
		h := http.Header{"Retry-After": {value}}
		for _, status := range []int{429, 503} {
			if got := retryAfter(h, status, now); got != want {
				t.Errorf("%d %q: %v, want %v", status, value, got, want)
			}
		}
		if got := retryAfter(h, 500, now); got != 0 {
			t.Errorf("500 %q: %v", value, got)
		}
	}
}

// next is asked for a callback of an operation with this schedule.
func sender(schedule ...time.Duration) *Sender {
	return &Sender{opt: Options{Now: func() time.Time { return at }, Log: discard}, contracts: map[string]job.Contract{
		"scan": {Schedule: schedule}}}
}

func TestTheScheduleIsKeptWithJitter(t *testing.T) {
	t.Parallel()
	s := sender(5*time.Second, time.Minute)
	cb := &job.Callback{Operation: "scan", GiveUpAt: at.Add(72 * time.Hour)}
	for n, base := range []time.Duration{5 * time.Second, time.Minute} {
		least, most := time.Hour, time.Duration(0)
		for range 200 {
			st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: n + 1}, verdict{kind: retry})
			if st.State != job.Pending || st.Waiting != "backoff" {
				t.Fatalf("attempt %d: %+v", n+1, st)
			}
			delay := st.DueAt.Sub(at)
			least, most = min(least, delay), max(most, delay)
		}
		if least < base*8/10 || most > base*12/10 || most-least < base/10 {
			t.Errorf("attempt %d: delays from %v to %v", n+1, least, most)
		}
	}
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 3}, verdict{kind: retry}); st.State != job.Dead {
		t.Errorf("after the last attempt: %+v", st)
	}
	resent := &job.Callback{Operation: "scan", GiveUpAt: at.Add(72 * time.Hour), Round: 3, Attempts: 3}
	if st := s.next(job.Delivery{Callback: resent}, &job.Attempt{N: 4}, verdict{kind: retry}); st.State != job.Pending {
		t.Errorf("the first attempt after a resend: %+v", st)
	}
}

func TestRetryAfterHoldsButNotForEver(t *testing.T) {
	t.Parallel()
	s := sender(5*time.Second, time.Hour)
	cb := &job.Callback{Operation: "scan", GiveUpAt: at.Add(72 * time.Hour)}
	for _, c := range []struct{ asked, least, most time.Duration }{
		{time.Minute, time.Minute, time.Minute},
		{time.Millisecond, 4 * time.Second, 6 * time.Second},
		{10 * 365 * 24 * time.Hour, time.Hour, time.Hour},
	} {
		st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1}, verdict{kind: retry, after: c.asked})
		if d := st.DueAt.Sub(at); d < c.least || d > c.most {
			t.Errorf("asked for %v: due in %v", c.asked, d)
		}
	}
}

func TestWhatIsOursIsPutOffButNotForEver(t *testing.T) {
	t.Parallel()
	s := sender(time.Hour)
	cb := &job.Callback{Operation: "scan", GiveUpAt: at.Add(time.Hour)}
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1}, verdict{kind: putOff}); st.State != job.Pending || st.Attempt != nil || !st.DueAt.After(at) {
		t.Errorf("before its end: %+v", st)
	}
	cb.GiveUpAt = at
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1}, verdict{kind: putOff}); st.State != job.Dead || st.Attempt.Error != job.ClassInternal {
		t.Errorf("at its end: %+v", st)
	}
}

func TestAnAttemptThatAShutdownCutsOffIsRecordedAndRepeated(t *testing.T) {
	t.Parallel()
	s := sender(time.Hour)
	cb := &job.Callback{Operation: "scan", GiveUpAt: at.Add(time.Hour)}
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1, Error: "canceled"}, verdict{kind: cutOff}); st.State != job.Pending || st.Attempt == nil || !st.DueAt.Equal(at) {
		t.Errorf("%+v", st)
	}
}

func TestNothingIsDueBeyondGiveUp(t *testing.T) {
	t.Parallel()
	s := sender(time.Hour, time.Hour)
	cb := &job.Callback{Operation: "scan", GiveUpAt: at.Add(time.Minute)}
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1}, verdict{kind: retry}); !st.DueAt.Equal(cb.GiveUpAt) {
		t.Errorf("due at %v, given up at %v", st.DueAt, cb.GiveUpAt)
	}
	cb.GiveUpAt = at
	if st := s.next(job.Delivery{Callback: cb}, &job.Attempt{N: 1}, verdict{kind: retry}); st.State != job.Dead {
		t.Errorf("at its end: %+v", st)
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"", "120", "-1", "99999999999999999999", "Wed, 04 Mar 2026 05:07:07 GMT", "1e3", "٣"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d := retryAfter(http.Header{"Retry-After": {value}}, 503, at); d < 0 {
			t.Errorf("%q: %v", value, d)
		}
	})
}

func TestEachAttemptHasItsOwnTimestampAndSignatureUnderOneID(t *testing.T) {
	t.Parallel()
	keys := sign.NewKeys()
	s := &Sender{}
	cb, j := fixture()
	p := &place{current: []sign.Keys{keys}}
	body := appendEnvelope(nil, cb, j)
	var headers []http.Header
	for n := range 2 {
		started := at.Add(time.Duration(n) * time.Minute)
		h, err := s.header(p, job.Delivery{Callback: cb, Job: j}, &job.Attempt{N: n + 1, StartedAt: started}, content{Type: typeJSON, Body: body})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sign.Verify(h, body, started, keys.Shared); err != nil {
			t.Errorf("attempt %d: %v", n+1, err)
		}
		headers = append(headers, h)
	}
	if headers[0].Get("webhook-id") != headers[1].Get("webhook-id") {
		t.Error("the attempts differ in their id")
	}
	for _, name := range []string{"webhook-timestamp", "webhook-signature"} {
		if headers[0].Get(name) == headers[1].Get(name) {
			t.Errorf("both attempts have the same %s", name)
		}
	}
}

func TestOfAnAnswersHeaderOnlyWhatMayBeKeptIsKept(t *testing.T) {
	t.Parallel()
	if got := keptHeader(http.Header{"Date": {"x"}, "Content-Length": {"0"}, "Content-Type": {"text/plain"}}); got != nil {
		t.Errorf("of nothing worth keeping %v is left", got)
	}
	got := keptHeader(http.Header{"Connection": {"close, x-hop"}, "X-Hop": {"1"}, "Set-Cookie": {"secret"}, "Transfer-Encoding": {"chunked"},
		"X-Ticket": {"7", "8"}, "Server": {"s"}})
	if want := (http.Header{"X-Ticket": {"7", "8"}, "Server": {"s"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	got = keptHeader(http.Header{"A": {"first"}, "B": {strings.Repeat("x", maxHeaderBytes)}, "C": {"last"}})
	if want := (http.Header{"A": {"first"}, "C": {"last"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("of one that is too long %v is kept, want %v", got, want)
	}
}
