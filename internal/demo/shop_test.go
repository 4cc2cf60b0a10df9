package demo

import (
	"bufio"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/sign"
)

func want(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in:\n%s", part, text)
		}
	}
}

func wantNot(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if strings.Contains(text, part) {
			t.Errorf("%q stands in:\n%s", part, text)
		}
	}
}

func TestDocumentIsProcessingUntilItsVerdictComes(t *testing.T) {
	t.Parallel()
	g := open(t)
	want(t, g.see(), "Nothing handed in yet.", "The return envelope")

	page := g.handIn("", "", "sample", "eicar.txt")
	want(t, page, `class="stamp">processing`, "job_1", "Nobody waits on the line",
		"POST /scan?callbackURL=<mark>"+g.page.URL+"/callbacks/scan</mark><wbr>&amp;callbackState=document-1 HTTP/1.1",
		"<b>Content-Length:</b> 68", "HTTP/1.1 <mark>202 Accepted</mark>", "<b>Location:</b> <mark>/v1/jobs/job_1</mark>")
	if g.bodies[0] != string(clamd.EICAR()) {
		t.Errorf("the gateway got %q", g.bodies[0])
	}
	if got := g.calls[0].Header.Get("Ringback-Key"); got != gatewayKey {
		t.Errorf("the gateway got the key %q", got)
	}

	if status := g.callback(g.secret, "cb_1", 1, isInfected); status != 200 {
		t.Errorf("the callback was answered with %d", status)
	}
	page = g.see()
	want(t, page, `class="stamp">infected`, "Eicar-Test-Signature", "POST <mark>/callbacks/scan</mark><wbr> HTTP/1.1",
		"<b>Webhook-Id:</b> <mark>cb_1</mark>", "<b>Webhook-Signature:</b> <mark>v1,", "HTTP/1.1 <mark>200 OK</mark>",
		"<mark>&#34;infected&#34;: true</mark>", "That was all")
	wantNot(t, page, gatewayKey, "processing<")
	if got := g.kinds(1); got != "letter receipt envelope thanks" {
		t.Errorf("on the wire: %s", got)
	}
}

func TestUploadedFilesAreScannedEach(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("one.txt", "first")
	g.handIn("two.txt", "second")
	g.callback(g.secret, "cb_2", 2, isClean)
	page := g.see()
	want(t, page, "two.txt", `class="stamp">clean`, "one.txt", `class="stamp">processing`)
	if got := strings.Join(g.bodies, ","); got != "first,second" {
		t.Errorf("the gateway got %s", got)
	}
	if got := g.kinds(1); got != "letter receipt" {
		t.Errorf("on the other document's wire: %s", got)
	}
}

func TestForgedCallbackChangesNothing(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt")
	if status := g.callback(sign.NewSecret(), "cb_1", 1, isInfected); status != 403 {
		t.Errorf("the forged callback was answered with %d", status)
	}
	want(t, g.see(), `class="stamp">processing`)
	if got := g.kinds(1); got != "letter receipt" {
		t.Errorf("on the wire: %s", got)
	}
}

func TestShopFailsThreeTimesWhereItIsToldTo(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt", "fail", "1")
	for i, wanted := range []int{500, 500, 500, 200, 200} {
		if status := g.callback(g.secret, "cb_1", 1, isClean); status != wanted {
			t.Errorf("attempt %d was answered with %d, want %d", i+1, status, wanted)
		}
	}
	want(t, g.see(), "The return envelope, try 4", "500 Internal Server Error", `class="stamp">clean`)
	// The fifth was a duplicate, which changes nothing.
	if got := g.kinds(1); got != "letter receipt envelope failure envelope failure envelope failure envelope thanks" {
		t.Errorf("on the wire: %s", got)
	}
}

func TestNextAttemptIsCountedDown(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt", "fail", "1")
	g.events <- client.Job{ID: "job_1", Status: client.StatusRunning, Error: &client.JobError{Message: "the scanner gave no answer"}}
	g.await("That did not work: the scanner gave no answer.")
	g.callback(g.secret, "cb_1", 1, isClean)
	g.events <- client.Job{ID: "job_1", Status: client.StatusSucceeded, Callbacks: []client.JobCallbackStatus{
		{Attempts: 1, Status: client.CallbackPending, NextAttemptAt: client.At(time.Now().Add(time.Hour))}}}
	g.await(`data-due="`)
	if page := g.see(); !regexp.MustCompile(`in 3[56]\d\d s</strong>`).MatchString(page) {
		t.Errorf("no countdown in:\n%s", page)
	}
	// What is overtaken by a callback says nothing about the time after it.
	g.callback(g.secret, "cb_1", 1, isClean)
	_, changed := g.shop.counter.latest()
	g.events <- client.Job{ID: "job_1", Status: client.StatusSucceeded, Callbacks: []client.JobCallbackStatus{
		{Attempts: 1, Status: client.CallbackPending, NextAttemptAt: client.At(time.Now().Add(time.Hour))}}}
	<-changed
	wantNot(t, g.see(), `data-due="`)
}

// await returns when the page shows a text, as its event stream tells.
func (g *gateway) await(text string) {
	g.t.Helper()
	for {
		p, changed := g.shop.look(0)
		event, err := p.event()
		if err != nil {
			g.t.Fatal(err)
		}
		var parts map[string]string
		if err := json.Unmarshal(event, &parts); err != nil {
			g.t.Fatal(err)
		}
		if strings.Contains(parts["wire"], text) {
			return
		}
		select {
		case <-changed:
		case <-time.After(20 * time.Second):
			g.t.Fatalf("%q does not come up in:\n%s", text, parts["wire"])
		}
	}
}

func TestRefusedDocumentSaysWhy(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.instead(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 413, client.Problem{Title: "The body is too large", Detail: "at most 8 octets", Hint: "send less"})
	})
	page := g.handIn("", "", "sample", "clean.txt")
	want(t, page, `class="stamp">refused`, "The body is too large: at most 8 octets", "send less", "Returned to sender", "413 Request Entity Too Large")
	wantNot(t, page, "Nobody waits")
	if got := g.kinds(1); got != "letter refusal" {
		t.Errorf("on the wire: %s", got)
	}
}

func TestGatewayThatDoesNotAnswerIsShown(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.instead(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	want(t, g.handIn("", "", "sample", "clean.txt"), `class="stamp">refused`, "cannot be reached", "No answer", "Is the gateway still running?")
	if got := g.kinds(1); got != "letter silence" {
		t.Errorf("on the wire: %s", got)
	}
}

func TestFailedScanIsShown(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt")
	g.callback(g.secret, "cb_1", 1, notScanned)
	want(t, g.see(), `class="stamp">not scanned`, "the scanner gave no answer")
}

func TestTooLargeDocumentIsRefusedInTheWordsOfThePage(t *testing.T) {
	t.Parallel()
	g := open(t)
	want(t, g.see(), "up to 8 MB")
	g.instead(func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 413, client.Problem{Title: "The body is too large", Detail: "at most 8000000 octets", Code: "body_too_large"})
	})
	want(t, g.handIn("", "", "sample", "clean.txt"), "too large: the API takes up to 8 MB")
}

func TestCallbackBeforeTheAnswerComesBehindIt(t *testing.T) {
	t.Parallel()
	g := open(t)
	came, called := make(chan struct{}), make(chan struct{})
	takes := g.page.Config.Handler
	g.page.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == callbackPath {
			close(came)
		}
		takes.ServeHTTP(w, r)
	})
	g.instead(func(w http.ResponseWriter, _ *http.Request) {
		go func() {
			defer close(called)
			g.callback(g.secret, "cb_1", 1, isClean)
		}()
		<-came
		accept(w)
	})
	g.handIn("", "", "sample", "clean.txt")
	<-called
	if got := g.kinds(1); got != "letter receipt envelope thanks" {
		t.Errorf("on the wire: %s", got)
	}
	want(t, g.see(), `class="stamp">clean`)
}

func TestWhatStrangersWriteIsEscaped(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn(`<script>alert(1)</script>"' onload=x.txt`, "x")
	g.callback(g.secret, "cb_1", 1, `"content_type":"application/json","result":{"infected":true,"signature":"<img src=x onerror=alert(1)>"}`)
	page := g.see()
	wantNot(t, page, "<script>", "<img src=x")
	want(t, page, "&lt;img src=x")
	p, _ := g.shop.look(1)
	event, err := p.event()
	if err != nil {
		t.Fatal(err)
	}
	wantNot(t, string(event), "<script>", "<img src=x", "\n")
}

func TestPageNeedsNothingInline(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt")
	page := g.see()
	if found := regexp.MustCompile(`(?i)<style|\sstyle=|\son\w+=|<script[^>]*>[^<]|//(?:cdn|fonts)`).FindString(page); found != "" {
		t.Errorf("the page holds %q", found)
	}
	req, _ := http.NewRequestWithContext(t.Context(), "GET", g.page.URL+"/", nil)
	resp, err := g.page.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	want(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'", "script-src 'self'", "form-action 'self'")
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		req, _ := http.NewRequestWithContext(t.Context(), "GET", g.page.URL+"/assets/"+name, nil)
		if status, _ := g.do(req); status != 200 {
			t.Errorf("%s: %d", name, status)
		}
	}
}

func TestUploadsThatAreNone(t *testing.T) {
	t.Parallel()
	g := open(t)
	crossSite := g.formOf("", "", "sample", "clean.txt")
	crossSite.Header.Set("Sec-Fetch-Site", "cross-site")
	noForm := g.formOf("", "")
	noForm.Header.Set("Content-Type", "text/plain")
	for name, tc := range map[string]struct {
		req    *http.Request
		status int
		says   string
	}{
		"nothing chosen":       {g.formOf("", "", "fail", "1"), 400, "Choose a file first."},
		"an unknown sample":    {g.formOf("", "", "sample", "../clean.txt"), 400, "no such sample"},
		"no form":              {noForm, 400, "not a form"},
		"from another site":    {crossSite, 403, ""},
		"more than it takes":   {g.formOf("big", strings.Repeat("x", maxUploadBytes)), 413, "up to 67.1 MB"},
		"a job that is none":   {get(t, g.page.URL+"/documents/7/job"), 404, ""},
		"the latest job's job": {get(t, g.page.URL+"/documents/0/job"), 404, ""},
	} {
		status, body := g.do(tc.req)
		if status != tc.status || !strings.Contains(body, tc.says) {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if _, ok := g.shop.counter.look(0); ok {
		t.Error("a document was taken")
	}
}

func get(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestJobIsAskedFor(t *testing.T) {
	t.Parallel()
	g := open(t)
	g.handIn("", "", "sample", "clean.txt")
	if status, body := g.do(get(t, g.page.URL+"/documents/1/job")); status != 200 || !strings.Contains(body, `"id": "job_1"`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestEventsTellWhatHasChanged(t *testing.T) {
	t.Parallel()
	g := open(t)
	resp, err := g.page.Client().Do(get(t, g.page.URL+"/events"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stream := bufio.NewScanner(resp.Body)
	stream.Buffer(nil, 1<<20)
	await := func(text string) {
		t.Helper()
		for stream.Scan() {
			if strings.Contains(stream.Text(), text) {
				return
			}
		}
		t.Fatalf("the stream ended before %q: %v", text, stream.Err())
	}
	await("Nothing handed in yet.")
	g.handIn("", "", "sample", "clean.txt")
	await("clean.txt is being scanned: processing.")
	g.callback(g.secret, "cb_1", 1, isClean)
	await("clean.txt is clean.")
}

func TestOnlyTheLatestDocumentsAreKept(t *testing.T) {
	t.Parallel()
	g := open(t)
	for range maxDocuments + 1 {
		d := g.shop.counter.add("x", 1, 0)
		for range maxMessages + 1 {
			g.shop.counter.record(d, message{Kind: letter})
		}
	}
	if n := len(g.shop.counter.documents); n != maxDocuments {
		t.Errorf("%d documents are kept", n)
	}
	if d, _ := g.shop.counter.look(2); len(d.wire) != maxMessages {
		t.Errorf("%d messages are kept", len(d.wire))
	}
	// There is nobody left to tell, and no reason for the gateway to repeat it.
	if status := g.callback(g.secret, "cb_1", 1, isClean); status != 200 {
		t.Errorf("a forgotten document's callback was answered with %d", status)
	}
}

func TestTexts(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]string{
		bytesText(0): "0 bytes", bytesText(1): "1 byte", bytesText(999): "999 bytes", bytesText(1500): "1.5 kB", bytesText(9e6): "9 MB", bytesText(9.5e6): "9.5 MB",
		elapsedText(0): "0 ms", elapsedText(time.Microsecond): "+1 ms", elapsedText(20 * time.Millisecond): "+20 ms", elapsedText(3100 * time.Millisecond): "+3.1 s",
		dueText(-1): "now", dueText(1): "in 1 s", dueText(1500 * time.Millisecond): "in 2 s",
		shorten(strings.Repeat("é", 101)): strings.Repeat("é", 99) + "…",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
