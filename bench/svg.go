package main

import (
	"fmt"
	"html"
	"math"
	"strings"
)

// The colours of the pictures. Ringback and limit differ in lightness, verdicts in
// their shape, too.
const (
	ink         = "#1f2328"
	faint       = "#656d76"
	grid        = "#d8dee4"
	ringbackInk = "#0550ae"
	limitInk    = "#9a9fa5"
	verdictGood = "#1a7f37"
	verdictFair = "#9a6700"
	verdictMiss = "#cf222e"
)

const (
	anchorMiddle = ` text-anchor="middle"`
	anchorEnd    = ` text-anchor="end"`
)

const svgHead = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" font-family="system-ui, sans-serif" font-size="13">
<title>%[3]s</title>
<rect width="100%%" height="100%%" fill="#ffffff"/>
`

// picture is an SVG that is being drawn.
type picture struct{ strings.Builder }

func newPicture(width, height int, title string) *picture {
	p := &picture{}
	fmt.Fprintf(p, svgHead, width, height, html.EscapeString(title))
	return p
}

func (p *picture) text(x, y float64, colour, attributes, s string) {
	fmt.Fprintf(p, `<text x="%.1f" y="%.1f" fill="%s"%s>%s</text>`+"\n", x, y, colour, attributes, html.EscapeString(s))
}

func (p *picture) line(x1, y1, x2, y2 float64, colour string) {
	fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s"/>`+"\n", x1, y1, x2, y2, colour)
}

func (p *picture) done() string { return p.String() + "</svg>\n" }

// tableSVG draws the table: what was measured, between must and aim.
func (r *results) tableSVG() string {
	const (
		width, row, top = 1080, 28, 40
		must, aim       = 660, 790
		measured, span  = 880, 1040
		longest         = 84 // runes of what is measured
	)
	lines := r.lines()
	p := newPicture(width, top+len(lines)*row+50, "What must be reached, what is aimed at, and what was measured")
	p.text(must, 24, faint, anchorEnd, "must")
	p.text(aim, 24, faint, anchorEnd, "aim")
	p.text(measured, 24, faint, anchorEnd, "measured")
	p.text(span, 24, faint, anchorEnd, "min – max")
	for i, l := range lines {
		y := float64(top + i*row)
		p.line(16, y-8, width-16, y-8, grid)
		what := []rune(l.what)
		if len(what) > longest {
			what = append(what[:longest-1], '…')
		}
		p.text(16, y+11, ink, "", string(what))
		if !l.reported {
			p.text(must, y+11, faint, anchorEnd, l.bound(l.must))
			p.text(aim, y+11, faint, anchorEnd, l.aimShort())
		}
		p.text(measured, y+11, ink, anchorEnd+` font-weight="600"`, l.measured())
		p.text(span, y+11, faint, anchorEnd, l.spread())
		p.mark(l.verdict, y+6)
	}
	bottom := float64(top + len(lines)*row + 18)
	p.text(16, bottom, faint, ` font-size="12"`, fmt.Sprintf("%s, %d cores, Linux %s, %s, %s. Ringback %s, %s.", r.Machine.CPU, r.Machine.Cores, r.Machine.Kernel, r.Machine.Filesystem, r.Machine.Go, r.Version, r.Date.Format("2006-01-02")))
	p.text(16, bottom+18, faint, ` font-size="12"`, "● aim reached   ◐ must reached   ○ missed")
	return p.done()
}

// mark draws a verdict by shape and colour.
func (p *picture) mark(v verdict, y float64) {
	shapes := map[verdict][2]string{aimReached: {"●", verdictGood}, mustReached: {"◐", verdictFair}, missed: {"○", verdictMiss}}
	if s, ok := shapes[v]; ok {
		p.text(1060, y+6, s[1], anchorMiddle+` font-size="16"`, s[0])
	}
}

func (l line) aimShort() string {
	if l.name == "accept_p99" {
		return "≤ 3 syncs"
	}
	return l.bound(l.aim)
}

// plot maps logarithms of values to places in a picture.
type plot struct{ left, right, top, bottom, xMin, xMax, yMin, yMax float64 }

func (a plot) x(v float64) float64 {
	return a.left + (a.right-a.left)*math.Log(v/a.xMin)/math.Log(a.xMax/a.xMin)
}

func (a plot) y(v float64) float64 {
	return a.bottom - (a.bottom-a.top)*math.Log(max(v, a.yMin)/a.yMin)/math.Log(a.yMax/a.yMin)
}

// curveLine is a line of the latency picture.
type curveLine struct {
	name, colour, dash string
	of                 func(point) (ms float64, ok bool)
}

func latencyOf(system func(point) *sample, value func(*sample) float64) func(point) (float64, bool) {
	return func(p point) (float64, bool) {
		s := system(p)
		if s == nil {
			return 0, false
		}
		return value(s), true
	}
}

func curveLines() []curveLine {
	limit := func(p point) *sample { return p.Limit }
	ringback := func(p point) *sample { return p.Ringback }
	p50 := func(s *sample) float64 { return s.P50 }
	p99 := func(s *sample) float64 { return s.P99 }
	return []curveLine{
		{"limit p50", limitInk, "", latencyOf(limit, p50)},
		{"limit p99", limitInk, "5 4", latencyOf(limit, p99)},
		{"Ringback p50", ringbackInk, "", latencyOf(ringback, p50)},
		{"Ringback p99", ringbackInk, "5 4", latencyOf(ringback, p99)},
	}
}

// latencySVG draws latency against offered load, up to the knee.
func (r *results) latencySVG() string {
	const width, height = 900, 480
	p := newPicture(width, height, "Latency from submission to callback against offered load")
	a := plot{left: 70, right: width - 130, top: 40, bottom: height - 60, xMin: 100, xMax: 12000, yMin: 0.2, yMax: 2000}
	for _, v := range []float64{100, 200, 500, 1000, 2000, 5000, 10000} {
		p.line(a.x(v), a.top, a.x(v), a.bottom, grid)
		p.text(a.x(v), a.bottom+20, faint, anchorMiddle, thousands(v))
	}
	for _, v := range []float64{0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000} {
		p.line(a.left, a.y(v), a.right, a.y(v), grid)
		p.text(a.left-8, a.y(v)+4, faint, anchorEnd, fmt.Sprintf("%g", v))
	}
	p.text((a.left+a.right)/2, height-14, faint, anchorMiddle, "offered load, messages of 500 bytes a second")
	p.text(16, 22, faint, "", "milliseconds from submission to callback")
	for i, l := range curveLines() {
		p.curve(a, r.Curve, l)
		y := a.top + 14 + float64(i)*22
		fmt.Fprintf(p, `<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", a.right+10, y, a.right+34, y, l.colour, l.dash)
		p.text(a.right+40, y+4, ink, "", l.name)
	}
	return p.done()
}

// curve draws a line through the points that have a value; what is above the
// picture ends at its edge.
func (p *picture) curve(a plot, points []point, l curveLine) {
	var path strings.Builder
	for _, pt := range points {
		v, ok := l.of(pt)
		if !ok {
			break
		}
		fmt.Fprintf(&path, "%.1f,%.1f ", a.x(pt.X), a.y(min(v, a.yMax)))
		fmt.Fprintf(p, `<circle cx="%.1f" cy="%.1f" r="2.5" fill="%s"/>`+"\n", a.x(pt.X), a.y(min(v, a.yMax)), l.colour)
	}
	fmt.Fprintf(p, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2" stroke-dasharray="%s"/>`+"\n", strings.TrimSpace(path.String()), l.colour, l.dash)
}
