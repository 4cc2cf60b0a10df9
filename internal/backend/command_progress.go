package backend

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"unicode/utf8"
)

// progressPrefix begins a line of a command's stderr that says how far it is. What
// follows is JSON, or any text, which counts as a JSON string.
const progressPrefix = "::progress "

// maxProgressLine bounds such a line; a longer one is a line like any other.
const maxProgressLine = 4 << 10

// progressLines takes the lines that tell of progress out of a stderr, and passes the
// rest on.
type progressLines struct {
	to     io.Writer
	report func(json.RawMessage)
	line   []byte // the line that has begun, while it may be such a one
	passed bool   // it is not: its begin was passed on
}

// Write implements io.Writer. It never fails.
func (p *progressLines) Write(b []byte) (int, error) {
	for rest := b; len(rest) > 0; {
		part, whole := rest, false
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			part, whole = rest[:i+1], true
		}
		rest = rest[len(part):]
		p.take(part, whole)
	}
	return len(b), nil
}

// take takes a part of a line, up to its end where whole.
func (p *progressLines) take(part []byte, whole bool) {
	if !p.passed {
		p.line = append(p.line, part...)
		begin := min(len(p.line), len(progressPrefix))
		switch {
		case string(p.line[:begin]) != progressPrefix[:begin] || len(p.line) > maxProgressLine:
			part, p.passed = p.line, true
		case !whole:
			return
		default:
			p.tell(p.line[len(progressPrefix):])
			p.line = p.line[:0]
			return
		}
	}
	_, _ = p.to.Write(part) // it keeps what it can
	p.line, p.passed = p.line[:0], !whole
}

// tell reports the rest of a line.
func (p *progressLines) tell(text []byte) {
	text = bytes.TrimSpace(text)
	if !utf8.Valid(text) || !json.Valid(text) {
		// A string always has a JSON form.
		text, _ = json.Marshal(readable([]byte(strings.ToValidUTF8(string(text), "?"))))
	}
	p.report(bytes.Clone(text))
}

// end passes on a last line without an end.
func (p *progressLines) end() {
	if len(p.line) > 0 {
		p.take([]byte("\n"), true)
	}
}
