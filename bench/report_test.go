package main

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// made is what a run might come to.
func made() *results {
	r := newResults(settings{rounds: 3, during: time.Second})
	for _, v := range []float64{0.8, 0.6, 0.7} {
		r.add("relay_share", v)
	}
	r.add("cpu_ratio", 3)
	r.add("accept_p99", 1.2)
	r.add("written_full", 7310)
	r.add("p50_over", -0.01)
	r.Syncs = []syncTime{{P50: 0.5, P99: 2}, {P50: 0.3, P99: 1}, {P50: 0.4, P99: 4}}
	s := &sample{outcome: outcome{PerSecond: 6000, P50: 0.8, P99: 3}, CPU: 110}
	r.Curve = []point{{Label: "200", X: 200, Limit: s, Ringback: s}, {Label: "9000", X: 9000, Limit: s}}
	r.Profile = []share{{Part: "HTTP in", Share: 0.168, Micros: 20.83}}
	r.Sizes = []point{{Label: "1 MiB", X: mib, Ringback: s}}
	return r
}

func TestALineIsTheMedianAndItsVerdict(t *testing.T) {
	t.Parallel()
	want := map[string]struct {
		median, min, max float64
		verdict          verdict
	}{
		"relay_share":  {0.7, 0.6, 0.8, mustReached},
		"cpu_ratio":    {3, 3, 3, missed},
		"p50_over":     {-0.01, -0.01, -0.01, aimReached},
		"accept_p99":   {1.2, 1.2, 1.2, aimReached}, // three syncs of 0.4 ms
		"written_full": {7310, 7310, 7310, justSaid},
	}
	lines := made().lines()
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d: what was not measured has none", len(lines), len(want))
	}
	for _, l := range lines {
		w := want[l.name]
		if l.median != w.median || l.min != w.min || l.max != w.max || l.verdict != w.verdict {
			t.Errorf("%s: %v (%v – %v) %s, want %+v", l.name, l.median, l.min, l.max, l.verdict, w)
		}
	}
}

func TestNumbersAreReadable(t *testing.T) {
	t.Parallel()
	for value, want := range map[float64]string{0.754: "0.75", -0.123: "−0.12", 33.04: "33.0", 302: "302", 84675: "84,675", 1234567: "1,234,567"} {
		if got := digits(value); got != want {
			t.Errorf("%v is written %q, want %q", value, got, want)
		}
	}
	l := line{target: target{unit: "ms", must: 2, aim: 0.7}, median: 1.25, min: 1, max: 12}
	if got := []string{l.measured(), l.spread(), l.bound(l.must), l.aimText()}; !slices.Equal(got, []string{"1.25 ms", "1.00 – 12.0", "≤ 2 ms", "≤ 0.7 ms"}) {
		t.Errorf("a line is written %q", got)
	}
}

func TestPicturesAreXML(t *testing.T) {
	t.Parallel()
	r := made()
	r.Machine.CPU = `<"a" & b>`
	for name, picture := range map[string]string{"table": r.tableSVG(), "latency": r.latencySVG()} {
		d := xml.NewDecoder(strings.NewReader(picture))
		for {
			_, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", name, err, picture)
			}
		}
		if strings.Contains(picture, "NaN") || strings.Contains(picture, "Inf") {
			t.Errorf("%s has a point that is nowhere", name)
		}
	}
}

func TestADrawnPageIsDrawnTheSameAgain(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	page := filepath.Join(dir, "performance.md")
	if err := os.WriteFile(page, text, 0o600); err != nil {
		t.Fatal(err)
	}
	r := made()
	var first string
	for range 2 {
		if err := r.draw(dir); err != nil {
			t.Fatal(err)
		}
		drawn, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		if first != "" && string(drawn) != first {
			t.Error("the second drawing differs")
		}
		first = string(drawn)
	}
	for _, want := range []string{"| **0.70** | 0.60 – 0.80 | must |", "| HTTP in | 17 % | 20.8 |", "| 1 MiB | – | 6,000 |", "A sync of 4 KiB takes 0.40 ms"} {
		if !strings.Contains(first, want) {
			t.Errorf("the page has no %q:\n%s", want, first)
		}
	}
}

func TestThePageShowsTheResults(t *testing.T) {
	t.Parallel()
	r, err := readResults("results.json")
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	want, err := r.fillIn(string(page))
	if err != nil {
		t.Fatal(err)
	}
	if want != string(page) {
		t.Error("docs/performance.md shows other results than results.json: go run ./bench -draw")
	}
}

func TestAPageWithoutAPartIsNotDrawn(t *testing.T) {
	t.Parallel()
	if _, err := made().fillIn("<!-- about -->\n<!-- /about -->"); err == nil || !strings.Contains(err.Error(), "table") {
		t.Errorf("got %v", err)
	}
}

func TestTheInnermostMountCounts(t *testing.T) {
	t.Parallel()
	mounts := "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmpx xfs rw 0 0\n"
	for dir, want := range map[string]string{"/tmp/a": "tmpfs", "/tmp": "tmpfs", "/tmpx/a": "xfs", "/home": "ext4", "/tmpy": "ext4"} {
		if got := filesystem(mounts, dir); got != want {
			t.Errorf("%s is on %s, want %s", dir, got, want)
		}
	}
}
