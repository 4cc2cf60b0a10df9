package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
)

// print writes the table for a terminal.
func (r *results) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s\n", r.about())
	if r.Quick {
		fmt.Fprintf(w, "A quick run: %d jobs in the stores in place of 1,000,000. Its numbers say nothing.\n", r.Stored)
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(table, "\nwhat\tmust\taim\tmeasured\tmin – max\tverdict\n")
	for _, l := range r.lines() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", l.what, l.bound(l.must), l.aimText(), l.measured(), l.spread(), l.verdict)
	}
	if len(r.Profile) > 0 {
		fmt.Fprint(table, "\nwhere the CPU of a message goes\tshare\tµs\n")
	}
	for _, s := range r.Profile {
		fmt.Fprintf(table, "%s\t%.0f %%\t%.1f\n", s.Part, 100*s.Share, s.Micros)
	}
	// A terminal that is gone needs no table.
	_ = table.Flush()
}

// about says what the numbers were measured on.
func (r *results) about() string {
	m, sync := r.Machine, ""
	if len(r.Syncs) > 0 {
		sync = fmt.Sprintf(" A sync of 4 KiB takes %.2f ms (p50) and %.2f ms (p99).", r.sync().P50, r.sync().P99)
	}
	return fmt.Sprintf("%s, %d cores, %s of memory, Linux %s, %s, %s.%s Ringback %s, %s, %d rounds of %g s.",
		m.CPU, m.Cores, m.Memory, m.Kernel, m.Filesystem, m.Go, sync, r.Version, r.Date.Format("2 January 2006"), r.Repeats, r.During)
}

// draw writes the pictures into the folder docs, and the parts of performance.md
// that stand between markers.
func (r *results) draw(docs string) error {
	path := filepath.Join(docs, "performance.md")
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	page, err := r.fillIn(string(text))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	files := map[string]string{"performance.md": page, "performance-table.svg": r.tableSVG(), "performance-latency.svg": r.latencySVG()}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(docs, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// fillIn replaces what stands between <!-- name --> and <!-- /name -->.
func (r *results) fillIn(page string) (string, error) {
	parts := []struct{ name, content string }{
		{"about", r.about() + "\n"},
		{"table", r.tableMarkdown()},
		{"profile", profileMarkdown(r.Profile)},
		{"backends", series("backend", r.Backends)},
		{"sizes", series("body", r.Sizes)},
		{"connections", series("connections", r.Connections)},
		{"curve", curveMarkdown(r.Curve)},
	}
	for _, p := range parts {
		open, shut := "<!-- "+p.name+" -->\n", "<!-- /"+p.name+" -->"
		before, rest, ok := strings.Cut(page, open)
		_, after, closed := strings.Cut(rest, shut)
		if !ok || !closed {
			return "", fmt.Errorf("no part %s", p.name)
		}
		page = before + open + p.content + shut + after
	}
	return page, nil
}

func (r *results) tableMarkdown() string {
	var b strings.Builder
	b.WriteString("| what | must | aim | measured | min – max | verdict |\n|---|---|---|---|---|---|\n")
	for _, l := range r.lines() {
		fmt.Fprintf(&b, "| %s | %s | %s | **%s** | %s | %s |\n", l.what, l.bound(l.must), l.aimText(), l.measured(), l.spread(), l.verdict)
	}
	return b.String()
}

// series is a table of delivered messages a second.
func series(of string, points []point) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s | limit /s | Ringback /s | share | CPU µs, limit | CPU µs | RSS MiB |\n|---|---|---|---|---|---|---|\n", of)
	for _, p := range points {
		limit, share, cpu := "–", "–", "–"
		if p.Limit != nil {
			limit, cpu = thousands(p.Limit.PerSecond), thousands(p.Limit.CPU)
			share = fmt.Sprintf("%.2f", p.Ringback.PerSecond/p.Limit.PerSecond)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", p.Label, limit, thousands(p.Ringback.PerSecond), share, cpu, thousands(p.Ringback.CPU), thousands(p.Ringback.RSS))
	}
	return b.String()
}

func curveMarkdown(points []point) string {
	var b strings.Builder
	b.WriteString("| offered /s | limit p50 / p99, ms | Ringback p50 / p99, ms | accept p50 / p99, ms | delivered /s |\n|---|---|---|---|---|\n")
	for _, p := range points {
		limit, ringback, accept, delivered := "–", "–", "–", "–"
		if p.Limit != nil {
			limit = fmt.Sprintf("%.2f / %.2f", p.Limit.P50, p.Limit.P99)
		}
		if s := p.Ringback; s != nil {
			ringback, accept = fmt.Sprintf("%.2f / %.2f", s.P50, s.P99), fmt.Sprintf("%.2f / %.2f", s.AcceptP50, s.AcceptP99)
			delivered = thousands(s.PerSecond)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", thousands(p.X), limit, ringback, accept, delivered)
	}
	return b.String()
}
