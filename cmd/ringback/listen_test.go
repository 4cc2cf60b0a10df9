package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/sign"
)

// newTestListener returns a listener and what it prints.
func newTestListener(t *testing.T, o listenOptions, format string) (*listener, *bytes.Buffer) {
	t.Helper()
	out := &bytes.Buffer{}
	l, err := newListener(&cli{term: &term{out: out, err: io.Discard}, output: format}, o)
	if err != nil {
		t.Fatal(err)
	}
	return l, out
}

// sendTo sends a callback and returns the answer.
func sendTo(t *testing.T, l *listener, id, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest("PUT", "/bar?token=1", strings.NewReader(body))
	r.Header.Set("Content-Type", "text/plain")
	r.Header.Set("X-Tenant", "7")
	secret, err := sign.ParseSecret(secretText)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.Sign(r.Header, sign.Message{ID: id, Timestamp: time.Now(), Body: []byte(body)}, secret); err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	return w
}

func TestListenFailsTheFirstAttemptsOfEachCallback(t *testing.T) {
	t.Parallel()
	l, _ := newTestListener(t, listenOptions{failFirst: 2}, "table")
	var got []int
	for _, id := range []string{"cb_1", "cb_2", "cb_1", "cb_1", "cb_2", "cb_2"} {
		got = append(got, sendTo(t, l, id, "x").Code)
	}
	if want := "[500 500 500 200 500 200]"; fmt.Sprint(got) != want {
		t.Errorf("answered %v, want %s", got, want)
	}
}

func TestListenFailsAShareOfTheAttempts(t *testing.T) {
	t.Parallel()
	for fail, want := range map[string][2]int{"0%": {0, 0}, "30%": {200, 400}, "100%": {1000, 1000}} {
		l, _ := newTestListener(t, listenOptions{fail: fail, status: 503}, "table")
		failed := 0
		for i := range 1000 {
			switch code := sendTo(t, l, fmt.Sprint("cb_", i), "x").Code; code {
			case 503:
				failed++
			case 200:
			default:
				t.Fatalf("answered %d", code)
			}
		}
		// For 30% the bounds are seven standard deviations away.
		if failed < want[0] || failed > want[1] {
			t.Errorf("%s: %d of 1000 failed", fail, failed)
		}
	}
}

func TestListenAnswersAlwaysWithAStatusThatStandsAlone(t *testing.T) {
	t.Parallel()
	l, _ := newTestListener(t, listenOptions{status: 410}, "table")
	if code := sendTo(t, l, "cb_1", "x").Code; code != 410 {
		t.Errorf("answered %d", code)
	}
}

func TestListenForwardsWhatIsVerifiedAndAnswersTheAnswer(t *testing.T) {
	t.Parallel()
	received := make(chan string, 1)
	behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- fmt.Sprintf("%s %s %s %s %s %s", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Tenant"), r.Header.Get("Webhook-Id"), body)
		w.Header().Set("X-Behind", "yes")
		http.Error(w, "thanks", http.StatusAccepted)
	}))
	t.Cleanup(behind.Close)
	l, out := newTestListener(t, listenOptions{forward: behind.URL + "/hook?a=%2f", secret: secretText}, "jsonl")
	w := sendTo(t, l, "cb_1", "a letter")
	if w.Code != http.StatusAccepted || w.Body.String() != "thanks\n" || w.Header().Get("X-Behind") != "yes" {
		t.Errorf("answered %d %q", w.Code, w.Body)
	}
	if got, want := <-received, "PUT /hook?a=%2f&token=1 "+strings.TrimPrefix(behind.URL, "http://")+" 7 cb_1 a letter"; got != want {
		t.Errorf("forwarded %s, want %s", got, want)
	}
	if !strings.Contains(out.String(), `"verified":true,"status":202,"content_type":"text/plain","body_text":"a letter"}`) {
		t.Errorf("printed %s", out)
	}

	r := httptest.NewRequest("POST", "/bar", strings.NewReader("forged"))
	refused := httptest.NewRecorder()
	l.ServeHTTP(refused, r)
	if refused.Code != http.StatusBadRequest || len(received) > 0 {
		t.Errorf("an unsigned request is answered %d, forwarded %d times", refused.Code, len(received))
	}
}

func TestListenSaysWhenNobodyIsBehindForward(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.NotFoundHandler())
	behind.Close()
	l, out := newTestListener(t, listenOptions{forward: behind.URL}, "table")
	if w := sendTo(t, l, "cb_1", "x"); w.Code != http.StatusBadGateway || !strings.Contains(out.String(), "answered 502 Bad Gateway") {
		t.Errorf("answered %d, printed %s", w.Code, out)
	}
}

func TestListenPrintsNoMoreThanTheBeginningOfABody(t *testing.T) {
	t.Parallel()
	l, out := newTestListener(t, listenOptions{}, "table")
	sendTo(t, l, "cb_1", strings.Repeat("漢", shownBytes))
	if out.Len() > shownBytes+1000 || !strings.Contains(out.String(), fmt.Sprintf("… and %d bytes more", 2*shownBytes)) || strings.Contains(out.String(), `\x`) {
		t.Errorf("printed %d bytes, ending %q", out.Len(), out.String()[out.Len()-100:])
	}
	out.Reset()
	sendTo(t, l, "cb_2", "\x00\x01\x02")
	if !strings.Contains(out.String(), "  3 bytes of text/plain\n") {
		t.Errorf("printed %s", out)
	}
}

func TestListenRemembersABoundedNumberOfCallbacks(t *testing.T) {
	t.Parallel()
	l, _ := newTestListener(t, listenOptions{}, "table")
	for i := range 3 * maxRemembered {
		l.count(fmt.Sprint(i))
	}
	if len(l.attempts) > maxRemembered {
		t.Errorf("%d are remembered", len(l.attempts))
	}
}

const asked = `{"type":"scan.ask","data":{"job":{"id":"job_1"},"question_key":"password","question":{"wants":"password"}}}`

func TestListenAnswersQuestions(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]string{
		`{"password":"x"}`: "application/json",
		"x":                "text/plain; charset=utf-8",
	} {
		l, out := newTestListener(t, listenOptions{answer: answer, secret: secretText}, "table")
		w := sendTo(t, l, "cb_1", asked)
		if w.Code != 200 || w.Body.String() != answer || w.Header().Get("Content-Type") != want {
			t.Errorf("answered %d %q %v", w.Code, w.Body, w.Header())
		}
		if !strings.HasSuffix(out.String(), "  answered 200 OK\n  to the question: "+answer+"\n") {
			t.Errorf("printed %s", out)
		}
		out.Reset()
		if w := sendTo(t, l, "cb_2", `{"type":"scan.succeeded","data":{"job":{"id":"job_1"}}}`); w.Body.Len() > 0 || strings.Contains(out.String(), "question") {
			t.Errorf("what is no question was answered %q, printed %s", w.Body, out)
		}
	}
}

func TestListenSaysThatAQuestionWasAnsweredWithNothing(t *testing.T) {
	t.Parallel()
	for _, status := range []int{0, 200} {
		l, out := newTestListener(t, listenOptions{status: status}, "table")
		if w := sendTo(t, l, "cb_1", asked); w.Code != 200 || w.Body.Len() > 0 || !strings.Contains(out.String(), "answered with nothing: --answer TEXT answers\n") {
			t.Errorf("answered %d %q, printed %s", w.Code, w.Body, out)
		}
	}
	l, out := newTestListener(t, listenOptions{status: 202, answer: "x"}, "table")
	if w := sendTo(t, l, "cb_1", asked); w.Code != 202 || w.Body.Len() > 0 || !strings.Contains(out.String(), "may come later, to the reply_url\n") {
		t.Errorf("answered %d %q, printed %s", w.Code, w.Body, out)
	}
	l, out = newTestListener(t, listenOptions{failFirst: 1, answer: "x"}, "table")
	if w := sendTo(t, l, "cb_1", asked); w.Code != 500 || strings.Contains(out.String(), "to the question") {
		t.Errorf("answered %d, printed %s", w.Code, out)
	}
}

func TestListenKnowsTheQuestionInACloudEvent(t *testing.T) {
	t.Parallel()
	body := `{"question_key":"k","question":7}`
	for _, c := range []struct {
		ceType, body string
		want         bool
	}{
		{"scan.ask", body, true},
		{"", `{"specversion":"1.0","type":"scan.ask","data":` + body + `}`, true},
		{"scan.succeeded", body, false},
		{"", `{"type":"scan.ask","data":{"of":"a result"}}`, false},
		{"", `{"type":7}`, false},
	} {
		if got := asks(http.Header{"Ce-Type": {c.ceType}}, []byte(c.body)); got != c.want {
			t.Errorf("%s %s: %v", c.ceType, c.body, got)
		}
	}
}
