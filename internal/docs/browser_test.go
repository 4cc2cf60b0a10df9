package docs_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/ringback/ringback/internal/browsertest"
)

var (
	desk  = browsertest.Options{Width: 1280, Height: 900}
	phone = browsertest.Options{Width: 390, Height: 844}
)

func shows(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(selector))
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

func TestOperationIsTriedOnThePage(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ctx := browsertest.Open(t, g.url+"/docs", desk)
	browsertest.Do(ctx, t, click("#notify form.try button"), shows("#notify .arrived.genuine"))
	wire := browsertest.Evaluate[string](ctx, t, `document.querySelector("#notify .wire").innerText`)
	for _, part := range []string{"POST /notify?callbackURL=http://127.0.0.1:", "/docs/inbox/", "HTTP/1.1 202 Accepted", "signature verified: Standard Webhooks",
		`"type": "notify.succeeded"`, `"state": "order-7"`, `"order": 7`, "The inbox answers 200."} {
		if !strings.Contains(wire, part) {
			t.Errorf("%q is missing on the wire:\n%s", part, wire)
		}
	}
	if order := browsertest.Evaluate[[]string](ctx, t, `[...document.querySelectorAll("#notify .wire > li")].map((item) => item.classList[0])`); strings.Join(order, " ") != "sent answer arrived" {
		t.Errorf("on the wire in this order: %v", order)
	}
}

func TestInboxRefusesTheFirstCallbackWhereItIsTold(t *testing.T) {
	t.Parallel()
	g := start(t, quick)
	ctx := browsertest.Open(t, g.url+"/docs", phone)
	browsertest.Do(ctx, t, click(`#notify input[name="fail"]`), click("#notify form.try button"), shows(`#notify .arrived[data-n="2"]`))
	answers := browsertest.Evaluate[[]string](ctx, t, `[...document.querySelectorAll("#notify .answered b")].map((answer) => answer.textContent)`)
	ids := browsertest.Evaluate[[]string](ctx, t, `[...document.querySelector("#notify .wire").textContent.matchAll(/Webhook-Id: (cb_[a-z0-9]+)/g)].map((match) => match[1])`)
	if strings.Join(answers, " ") != "500 200" || len(ids) != 2 || ids[0] != ids[1] {
		t.Errorf("answers %v to the callbacks %v", answers, ids)
	}
}

func TestPageWorksWithoutJavaScript(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	o := phone
	o.NoJavaScript = true
	ctx := browsertest.Open(t, g.url+"/docs", o)
	browsertest.Do(ctx, t, shows("#notify .panel:nth-of-type(1)"), shows("#notify noscript"))
	for _, step := range []struct{ click, shown string }{
		{`#notify .format[open] label:nth-of-type(2)`, `#notify pre[aria-label="notify.failed as envelope"]`},
		{`#report .format:nth-of-type(4) summary`, `#report .format:nth-of-type(4) .panel`},
		{`#verify label:nth-of-type(3)`, `#verify pre[aria-label="Python"]`},
	} {
		browsertest.Do(ctx, t, click(step.click), shows(step.shown))
	}
}

// What a reader who uses a keyboard or a screen reader needs, as far as a script can tell.
const faults = `(() => {
	const faults = [];
	const note = (what, element) => faults.push(what + ": " + element.outerHTML.slice(0, 120));
	const name = (e) => (e.getAttribute("aria-label") || document.getElementById(e.getAttribute("aria-labelledby"))?.textContent || e.textContent || "").trim();
	if (document.documentElement.lang === "") faults.push("the page has no language");
	if (document.querySelectorAll("h1").length !== 1) faults.push("there is not one h1");
	let level = 1;
	for (const h of document.querySelectorAll("h1, h2, h3, h4")) {
		if (+h.tagName[1] > level + 1) note("a heading leaves a level out", h);
		level = +h.tagName[1];
	}
	for (const e of document.querySelectorAll("input, textarea, select")) if (!e.labels?.length) note("no label", e);
	for (const e of document.querySelectorAll("a, button, summary, section, form ol, pre")) if (!name(e) && !e.closest("section.intro")) note("no name", e);
	for (const e of document.querySelectorAll("img")) if (!e.hasAttribute("alt")) note("no alt", e);
	for (const e of document.querySelectorAll("fieldset")) if (!e.querySelector("legend")) note("no legend", e);
	for (const e of document.querySelectorAll("th")) if (!e.scope) note("no scope", e);
	for (const e of document.querySelectorAll("pre, .scroll")) if (e.scrollWidth > e.clientWidth && e.clientWidth && e.tabIndex < 0) note("scrolls, and cannot be reached", e);
	const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
	if (new Set(ids).size !== ids.length) faults.push("an id stands twice");
	for (const a of document.querySelectorAll('a[href^="#"]')) if (!document.getElementById(a.hash.slice(1))) note("leads nowhere", a);

	const rgb = (color) => { const m = color.match(/[\d.]+/g).map(Number); return m.length < 4 || m[3] > 0 ? m : null; };
	const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
	const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c) return c; } return [255, 255, 255]; };
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest("noscript")) continue;
		const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground(e))];
		if ((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5) note("too little contrast", e);
	}
	if (document.documentElement.scrollWidth > innerWidth) faults.push("the page is wider than the window");
	return [...new Set(faults)];
})()`

func TestPageIsAccessible(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	dark := phone
	dark.Dark = true
	for name, o := range map[string]browsertest.Options{"desk": desk, "phone": phone, "dark": dark} {
		ctx := browsertest.Open(t, g.url+"/docs", o)
		for _, fault := range browsertest.Evaluate[[]string](ctx, t, faults) {
			t.Errorf("%s: %s", name, fault)
		}
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ctx := browsertest.Open(t, g.url+"/docs", desk)
	browsertest.Do(ctx, t, click("#notify form.try button"), shows("#notify .arrived.genuine"))
	loaded := browsertest.Evaluate[[]string](ctx, t, `performance.getEntriesByType("resource").map((entry) => entry.name)`)
	if len(loaded) < 4 {
		t.Errorf("loaded: %v", loaded)
	}
	for _, url := range loaded {
		if !strings.HasPrefix(url, g.url+"/") {
			t.Errorf("the page loads %s", url)
		}
	}
}

func TestKeyboardReachesWhatCanBeDone(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	ctx := browsertest.Open(t, g.url+"/docs", desk)
	browsertest.Evaluate[bool](ctx, t, `(document.querySelector("#notify form.try input[name=target]").focus(), true)`)
	for range 4 {
		browsertest.Do(ctx, t, chromedp.KeyEvent("\t"))
	}
	browsertest.Do(ctx, t, chromedp.KeyEvent("\r"), shows("#notify .arrived.genuine"))
}

// TestForeignPageCanDoNothing opens a page of another origin that tries to use a gateway
// which asks for no key, in each way that a page has.
func TestForeignPageCanDoNothing(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, `<!doctype html><title>foreign</title><body>
<iframe name="into"></iframe><iframe id="framed" src="%[1]s/docs"></iframe><img src="%[1]s/notify?callbackURL=http://127.0.0.1:10101/">
<form method="post" enctype="text/plain" target="into" action="%[1]s/notify?callbackURL=http://127.0.0.1:10101/"><input name="a" value="b"></form>
<form method="post" enctype="text/plain" target="into" action="%[1]s/v1/endpoints"><input name='{"name":"evil","url":"http://127.0.0.1:10101/","a":"' value='"}'></form>
<script>
const tried = [];
const attempt = (path, options) => fetch("%[1]s" + path, options).then(() => tried.push(path + " answered"), () => tried.push(path + " refused"));
(async () => {
	for (const form of document.forms) form.submit();
	const json = {method: "POST", headers: {"Content-Type": "application/json"}, body: '{"name":"evil","url":"http://127.0.0.1:10101/"}'};
	await attempt("/v1/endpoints", json);
	await attempt("/v1/endpoints", {method: "POST", mode: "no-cors", body: json.body});
	await attempt("/notify?callbackURL=http://127.0.0.1:10101/", {method: "POST", mode: "no-cors", body: "x"});
	await attempt("/docs/inbox", {method: "POST", mode: "no-cors"});
	await attempt("/v1/secret", {});
	await attempt("/v1/jobs", {});
	document.body.insertAdjacentHTML("beforeend", "<p id=done>" + tried.join(", ") + "</p>");
})();
</script>`, g.url)
	}))
	t.Cleanup(foreign.Close)
	// localhost and 127.0.0.1 are two sites.
	o := desk
	o.Refused = true
	ctx := browsertest.Open(t, strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1), o)
	browsertest.Do(ctx, t, shows("#done"))
	said := browsertest.Evaluate[string](ctx, t, `document.querySelector("#done").textContent`)
	for _, want := range []string{"/v1/endpoints refused", "/v1/secret refused", "/v1/jobs refused"} {
		if !strings.Contains(said, want) {
			t.Errorf("the foreign page was told: %s", said)
		}
	}
	for _, list := range []string{"/v1/endpoints", "/v1/jobs", "/v1/audit?action=endpoint.create"} {
		resp, err := http.Get(g.url + list)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !strings.Contains(string(body), `"data":[]`) {
			t.Errorf("%s: %s, %v", list, body, err)
		}
	}
}

func TestPagesHaveTheirHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	for _, path := range []string{"/docs", "/docs/", "/docs/page.js", "/docs/page.css", "/openapi.json", "/v1/jobs", "/metrics", "/healthz", "/v1/nothing"} {
		resp, err := http.Get(g.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		policy := resp.Header.Get("Content-Security-Policy")
		for _, want := range []string{"default-src 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(policy, want) || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
				t.Errorf("%s: policy %q", path, policy)
			}
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cross-Origin-Resource-Policy": "same-origin"} {
			if got := resp.Header.Get(name); got != want {
				t.Errorf("%s: %s is %q", path, name, got)
			}
		}
		if strings.HasPrefix(path, "/docs") && (resp.Header.Get("Cross-Origin-Opener-Policy") != "same-origin" || resp.Header.Get("Cross-Origin-Embedder-Policy") != "require-corp") {
			t.Errorf("%s: %v", path, resp.Header)
		}
	}
}
