package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/ringback/ringback/internal/browsertest"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/demo"
)

// testDemo starts a demo on free ports that ends with the test. Its scanner waits
// until scan is closed.
func testDemo(t *testing.T, schedule ...time.Duration) (d *demoRun, scan chan struct{}) {
	t.Helper()
	scan = make(chan struct{})
	pause := func(ctx context.Context) error {
		select {
		case <-scan:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	free := demoAddress{chosen: true}
	d, err := startDemo(t.Context(), demoOptions{gateway: free, shop: free, pause: pause, schedule: schedule,
		log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	if err != nil {
		t.Fatalf("%v: run scripts/setup.sh clamd if clamd is missing", err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil {
			t.Error(err)
		}
	})
	return d, scan
}

func TestDemoLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	d, _ := testDemo(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(d.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	for _, url := range []string{d.shopURL, d.gateway.URL()} {
		if conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://")); err == nil {
			conn.Close()
			t.Errorf("somebody still listens at %s", url)
		}
	}
}

func TestDemoTakesAnotherPortOnlyWhereNoneWasChosen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	start := func(chosen bool) error {
		address := demoAddress{port: port, chosen: chosen}
		d, err := startDemo(t.Context(), demoOptions{gateway: address, shop: address, pause: demoPause, log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		return d.close()
	}
	if err := start(false); err != nil {
		t.Error(err)
	}
	if err := start(true); err == nil || explain(err).hint != "--shop-port takes another port" {
		t.Errorf("error %v", err)
	}
}

// browse opens a page in a real browser.
func browse(t *testing.T, url string, javaScript bool) context.Context {
	t.Helper()
	return browsertest.Open(t, url, browsertest.Options{Width: 360, Height: 740, NoJavaScript: !javaScript})
}

func do(ctx context.Context, t *testing.T, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	browsertest.Do(ctx, t, steps...)
}

func shows(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.WaitVisible(chromedp.CSS(selector))
}

func click(selector string) chromedp.Action[chromedp.Void] {
	return chromedp.Click(chromedp.CSS(selector))
}

func evaluate[T any](ctx context.Context, t *testing.T, script string) T {
	t.Helper()
	return browsertest.Evaluate[T](ctx, t, script)
}

// wantWire compares the first lines of the messages on the page with patterns.
func wantWire(ctx context.Context, t *testing.T, patterns ...string) {
	t.Helper()
	lines := evaluate[[]string](ctx, t, `[...document.querySelectorAll("#wire .start")].map((line) => line.textContent)`)
	text := strings.Join(lines, "\n")
	if !regexp.MustCompile("^" + strings.Join(patterns, "\n") + "$").MatchString(text) {
		t.Errorf("on the wire:\n%s\nwant:\n%s", text, strings.Join(patterns, "\n"))
	}
}

const (
	letterLine   = `POST /scan\?callbackURL=http://127\.0\.0\.1:\d+/callbacks/scan&callbackState=document-\d+ HTTP/1\.1`
	receiptLine  = `HTTP/1\.1 202 Accepted`
	envelopeLine = `POST /callbacks/scan HTTP/1\.1`
	thanksLine   = `HTTP/1\.1 200 OK`
	failureLine  = `HTTP/1\.1 500 Internal Server Error`
)

func TestDemoPageShowsProcessingAndThenTheVerdicts(t *testing.T) {
	t.Parallel()
	d, scan := testDemo(t)
	ctx := browse(t, d.shopURL, true)
	// Not by way of a file, which this machine's own scanner could object to.
	evaluate[bool](ctx, t, fmt.Sprintf(`{
		const data = new DataTransfer();
		data.items.add(new File([%q], "letter.txt"));
		document.querySelector(".drop").dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }))
	}`, clamd.EICAR()))
	do(ctx, t, shows("#document-1.processing"), shows("#wire .wait"))
	wantWire(ctx, t, letterLine, receiptLine)
	file := filepath.Join(t.TempDir(), "white.txt")
	if err := os.WriteFile(file, clamd.Clean(), 0o600); err != nil {
		t.Fatal(err)
	}
	do(ctx, t, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}, chromedp.NodeReady), shows("#document-2.processing"))
	close(scan)

	do(ctx, t, shows("#document-1.infected"), shows("#document-2.clean"), shows("#end-2"))
	wantWire(ctx, t, letterLine, receiptLine, envelopeLine, thanksLine)
	do(ctx, t, click("#document-1 a[data-select]"), shows("#end-1"))
	wantWire(ctx, t, letterLine, receiptLine, envelopeLine, thanksLine)
	wire := evaluate[string](ctx, t, `document.querySelector("#wire").textContent`)
	for _, part := range []string{"Webhook-Id: cb_", "Webhook-Signature: v1,", `"infected": true`, `"state": "document-1"`} {
		if !strings.Contains(wire, part) {
			t.Errorf("%q is missing on the wire:\n%s", part, wire)
		}
	}
	if said := evaluate[string](ctx, t, `document.querySelector("#sentence").textContent`); said != "letter.txt is infected: Eicar-Test-Signature.UNOFFICIAL." {
		t.Errorf("a screen reader hears %q", said)
	}
	if evaluate[bool](ctx, t, `document.documentElement.scrollWidth > innerWidth`) {
		t.Error("at 360 px the page is wider than the window")
	}
	if evaluate[bool](ctx, t, `getComputedStyle(document.querySelector("#documents")).overflowY !== "visible"`) {
		t.Error("at 360 px the documents scroll in a box of their own")
	}
}

func TestDemoPageShowsTheRetries(t *testing.T) {
	t.Parallel()
	d, scan := testDemo(t, 5*time.Second, 100*time.Millisecond, 100*time.Millisecond)
	close(scan)
	ctx := browse(t, d.shopURL, true)
	do(ctx, t, click("#fail"), click(`button[value="eicar.txt"]`), shows("#document-1.processing"), shows("#wire [data-due]"))
	wantWire(ctx, t, letterLine, receiptLine, envelopeLine, failureLine)
	do(ctx, t, shows("#document-1.infected"), shows("#end-1"))
	wantWire(ctx, t, letterLine, receiptLine, envelopeLine, failureLine, envelopeLine, failureLine, envelopeLine, failureLine, envelopeLine, thanksLine)
	ids := evaluate[[]string](ctx, t, `[...document.querySelector("#wire").textContent.matchAll(/Webhook-Id: (cb_[a-z0-9]+)/g)].map((match) => match[1])`)
	for _, id := range ids {
		if id != ids[0] {
			t.Errorf("the attempts of one callback have the ids %v", ids)
		}
	}
}

func TestDemoPageWorksWithoutJavaScript(t *testing.T) {
	t.Parallel()
	d, scan := testDemo(t)
	ctx := browse(t, d.shopURL, false)
	do(ctx, t, click(`button[value="clean.txt"]`), shows("#document-1.processing"))
	close(scan)
	do(ctx, t, shows("#document-1.clean"), shows("#end-1"))
}

func TestDemoPageSaysThatADocumentIsTooLarge(t *testing.T) {
	t.Parallel()
	d, _ := testDemo(t)
	ctx := browse(t, d.shopURL, true)
	file := filepath.Join(t.TempDir(), "large.bin")
	if err := os.WriteFile(file, make([]byte, demo.MaxDocumentBytes+1), 0o600); err != nil {
		t.Fatal(err)
	}
	do(ctx, t, chromedp.SetUploadFiles(chromedp.CSS("#file"), []string{file}, chromedp.NodeReady), shows("#document-1.refused"))
	wantWire(ctx, t, letterLine, "HTTP/1.1 413 Request Entity Too Large")
}
