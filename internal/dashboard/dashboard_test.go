package dashboard_test

import (
	"context"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/browsertest"
	"github.com/ringback/ringback/internal/gatewaytest"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T) *gatewaytest.Gateway {
	t.Helper()
	g, err := gatewaytest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// called makes a call whose callback goes to a URL, and returns the callback.
func called(t *testing.T, g *gatewaytest.Gateway, url string) client.Callback {
	t.Helper()
	c, err := client.New(g.URL, g.Key, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	answer, err := c.Call(t.Context(), client.Call{Path: "/notify", CallbackURL: url, Body: strings.NewReader(`{"n":1}`), ContentType: "application/json"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		for cb, err := range c.Callbacks(ctx, client.CallbackQuery{JobID: answer.Job.ID}) {
			if err != nil {
				t.Fatal(err)
			}
			if cb.LastStatus != 0 || cb.LastError != "" {
				return cb
			}
		}
	}
}

// receiver answers with a status and what no page may take for its own.
func receiver(t *testing.T, status *atomic.Int32) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "text/html")
		w.Header().Set("X-Odd", "<script>document.title='owned'</script>")
		w.WriteHeader(int(status.Load()))
		_, _ = io.WriteString(w, "<script>document.title='owned'</script><img src=x onerror=alert(1)>\x1b[31m\u202e")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestWhyACallbackHasNotArrivedIsSeenInTheBrowserAndMended(t *testing.T) {
	t.Parallel()
	g := start(t)
	var status atomic.Int32
	status.Store(410)
	cb := called(t, g, receiver(t, &status)+"/bar")
	ctx := browsertest.Open(t, g.URL+"/dashboard", browsertest.Options{Width: 1280, Height: 900})
	browsertest.Do(ctx, t, chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.SendKeys(chromedp.CSS("#key"), g.Key), chromedp.Click(chromedp.CSS("main button")),
		chromedp.WaitVisible(chromedp.CSS("td .status.dead")), chromedp.Click(chromedp.CSS("td a[href*='/callbacks/']")), chromedp.WaitVisible(chromedp.CSS(".why")))
	text := browsertest.Evaluate[string](ctx, t, "document.body.innerText")
	for _, part := range []string{cb.ID, "gone", "What to do:", "410"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing on the page:\n%s", part, text)
		}
	}
	browsertest.Do(ctx, t, chromedp.Click(chromedp.CSS("details summary")), chromedp.WaitVisible(chromedp.CSS("details pre")))
	if shown := browsertest.Evaluate[string](ctx, t, "document.querySelector('details pre').textContent"); !strings.Contains(shown, "<script>document.title='owned'</script>") || !strings.Contains(shown, `\u{1b}`) || !strings.Contains(shown, `\u{202e}`) {
		t.Errorf("what came back is shown as %q", shown)
	}
	if title := browsertest.Evaluate[string](ctx, t, "document.title"); title != cb.ID+" · Ringback" {
		t.Errorf("the title is %q", title)
	}
	status.Store(200)
	browsertest.Do(ctx, t, chromedp.Click(chromedp.CSS(".actions button")), chromedp.WaitVisible(chromedp.CSS("[role=status]")))
	c, err := client.New(g.URL, g.Key, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	awaitDelivered(t, c, cb.ID)
	browsertest.Do(ctx, t, chromedp.Navigate(g.URL+"/dashboard/callbacks/"+cb.ID), chromedp.WaitVisible(chromedp.CSS("h1 .status.delivered")),
		chromedp.Click(chromedp.CSS("header form button")), chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.Navigate(g.URL+"/dashboard/callbacks/"+cb.ID), chromedp.WaitVisible(chromedp.CSS("#key")))
}

func TestDeadLettersAreSentAgainFromThePage(t *testing.T) {
	t.Parallel()
	g := start(t)
	var status atomic.Int32
	status.Store(410)
	cb := called(t, g, receiver(t, &status)+"/bar")
	ctx := browsertest.Open(t, g.URL+"/dashboard/dead", browsertest.Options{Width: 390, Height: 844, NoJavaScript: true})
	status.Store(200)
	browsertest.Do(ctx, t, chromedp.WaitVisible(chromedp.CSS("#key")), chromedp.SendKeys(chromedp.CSS("#key"), g.Key), chromedp.Click(chromedp.CSS("main button")),
		chromedp.WaitVisible(chromedp.CSS("td .status.dead")), chromedp.Click(chromedp.CSS("nav a[href$='/dead']")),
		chromedp.Click(chromedp.CSS("td form button")), chromedp.WaitVisible(chromedp.CSS("#plan")), chromedp.Click(chromedp.CSS(".why button")), chromedp.WaitVisible(chromedp.CSS("h1")))
	c, err := client.New(g.URL, g.Key, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	awaitDelivered(t, c, cb.ID)
}

func awaitDelivered(t *testing.T, c *client.Client, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		cb, err := c.Callback(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if cb.Status == client.CallbackDelivered {
			return
		}
	}
}

// browser is a client that keeps cookies and follows no redirect.
func browser(t *testing.T) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{DisableKeepAlives: true}}
}

func get(t *testing.T, c *http.Client, method, target string, header http.Header, form url.Values) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPagesAreForThoseWhoHaveSignedIn(t *testing.T) {
	t.Parallel()
	g := start(t)
	var status atomic.Int32
	status.Store(410)
	cb := called(t, g, receiver(t, &status)+"/bar")
	c := browser(t)
	for _, path := range []string{"/callbacks", "/callbacks/" + cb.ID, "/jobs/" + cb.JobID, "/dead"} {
		if resp, body := get(t, c, "GET", g.URL+"/dashboard"+path, nil, nil); resp.StatusCode != 303 || resp.Header.Get("Location") != "/dashboard/signin" || strings.Contains(body, cb.ID) {
			t.Errorf("%s: %d to %q", path, resp.StatusCode, resp.Header.Get("Location"))
		}
	}
	for _, key := range []string{"", "rb_wrong", strings.Repeat("x", 600), "a b"} {
		if resp, body := get(t, c, "POST", g.URL+"/dashboard/signin", nil, url.Values{"key": {key}}); resp.StatusCode < 400 || !strings.Contains(body, `role="alert"`) || len(resp.Cookies()) > 0 {
			t.Errorf("key %.20q: %d, cookies %v", key, resp.StatusCode, resp.Cookies())
		}
	}
	resp, _ := get(t, c, "POST", g.URL+"/dashboard/signin", nil, url.Values{"key": {g.Key}})
	cookies := resp.Cookies()
	if resp.StatusCode != 303 || len(cookies) != 1 || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode || strings.Contains(cookies[0].Value, g.Key) {
		t.Fatalf("signed in: %d, cookies %v", resp.StatusCode, cookies)
	}
	for path, wanted := range map[string]int{"/callbacks": 200, "/callbacks/" + cb.ID: 200, "/jobs/" + cb.JobID: 200, "/dead": 200, "/callbacks/cb_nonsense": 404, "/dashboard.css": 200} {
		resp, body := get(t, c, "GET", g.URL+"/dashboard"+path, nil, nil)
		if resp.StatusCode != wanted || strings.Contains(body, "<script") {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, wanted)
		}
		h := resp.Header
		if policy := h.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
			t.Errorf("%s: the policy is %q", path, policy)
		}
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") == "" || h.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: headers %v", path, h)
		}
	}
	// What another site makes the browser send does nothing.
	for _, header := range []http.Header{{"Sec-Fetch-Site": {"cross-site"}}, {"Sec-Fetch-Site": {"same-site"}}, {"Origin": {"https://evil.example"}}} {
		if resp, _ := get(t, c, "POST", g.URL+"/dashboard/callbacks/"+cb.ID+"/resend", header, url.Values{}); resp.StatusCode != http.StatusForbidden {
			t.Errorf("%v: %d", header, resp.StatusCode)
		}
	}
	if resp, _ := get(t, c, "POST", g.URL+"/dashboard/callbacks/"+cb.ID+"/resend", http.Header{"Sec-Fetch-Site": {"same-origin"}}, url.Values{}); resp.StatusCode != 303 {
		t.Errorf("from the page itself: %d", resp.StatusCode)
	}
	if resp, _ := get(t, c, "POST", g.URL+"/dashboard/signout", nil, url.Values{}); resp.StatusCode != 303 {
		t.Errorf("sign out: %d", resp.StatusCode)
	}
	if resp, _ := get(t, c, "GET", g.URL+"/dashboard/callbacks", nil, nil); resp.StatusCode != 303 {
		t.Errorf("after signing out: %d", resp.StatusCode)
	}
}
