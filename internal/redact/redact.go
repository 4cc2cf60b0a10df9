// Package redact replaces parts of JSON documents that nobody is to read.
package redact

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/ringback/ringback/job"
)

// MaxBytes is the size up to which a body is looked into. A larger one is replaced whole.
const MaxBytes = 8 << 20

var mark = []byte(strconv.Quote(job.RedactedMark))

// Whole is what takes the place of a whole body: JSON.
func Whole() []byte { return slices.Clone(mark) }

// Pointers are the places in a document to redact. The zero value has none.
type Pointers struct {
	root      *node
	keepOther bool
}

type node struct {
	whole    bool
	children map[string]*node
}

// Parse reads JSON pointers (RFC 6901), in which * stands for every member or element.
// keepOther is as in job.Redaction.
func Parse(pointers []string, keepOther bool) (Pointers, error) {
	p := Pointers{keepOther: keepOther}
	for _, text := range pointers {
		if text != "" && text[0] != '/' {
			return Pointers{}, fmt.Errorf("%q is no JSON pointer: it must be empty or begin with /", text)
		}
		if p.root == nil {
			p.root = &node{}
		}
		at := p.root
		for _, token := range strings.Split(text, "/")[1:] {
			name, err := unescape(token)
			if err != nil {
				return Pointers{}, fmt.Errorf("%q is no JSON pointer: %w", text, err)
			}
			if at.children == nil {
				at.children = map[string]*node{}
			}
			if at.children[name] == nil {
				at.children[name] = &node{}
			}
			at = at.children[name]
		}
		at.whole = true
	}
	return p, nil
}

func unescape(token string) (string, error) {
	for i, c := range token {
		if c == '~' && !strings.HasPrefix(token[i+1:], "0") && !strings.HasPrefix(token[i+1:], "1") {
			return "", errors.New("~ must be followed by 0 or 1")
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~"), nil
}

// None tells that there is nothing to redact.
func (p Pointers) None() bool { return p.root == nil }

// Outcome says what was redacted.
type Outcome uint8

// The outcomes.
const (
	Unchanged Outcome = iota // nothing: the document is as it was
	Parts                    // the rest is as it was, byte for byte
	All                      // Whole took its place, since it is no JSON, too large, or to be so
)

// Apply returns the document without what is to be redacted. coded says that it is
// compressed, and nothing that can be looked into.
func (p Pointers) Apply(document []byte, coded bool) ([]byte, Outcome) {
	switch {
	case p.root == nil || len(document) == 0:
		return document, Unchanged
	case p.root.whole:
		return Whole(), All
	case p.keepOther && !looksLikeJSON(document):
		return document, Unchanged
	case coded || len(document) > MaxBytes:
		return Whole(), All
	}
	spans, err := p.find(document)
	if err != nil {
		return Whole(), All
	}
	if len(spans) == 0 {
		return document, Unchanged
	}
	out := make([]byte, 0, len(document)+len(spans)*len(mark))
	last := int64(0)
	for _, s := range spans {
		out = append(append(out, document[last:s.from]...), mark...)
		last = s.to
	}
	return append(out, document[last:]...), Parts
}

// Coded tells whether a body with this header is compressed.
func Coded(h http.Header) bool {
	for _, coding := range h["Content-Encoding"] {
		if !strings.EqualFold(strings.TrimSpace(coding), "identity") {
			return true
		}
	}
	return false
}

func looksLikeJSON(document []byte) bool {
	start := bytes.TrimLeft(document, "\ufeff \t\r\n")
	return len(start) > 0 && (start[0] == '{' || start[0] == '[')
}

type span struct{ from, to int64 }

type finder struct {
	dec   *jsontext.Decoder
	spans []span
}

// find reads the whole document: what is malformed anywhere is no JSON, and an object
// that has a name twice could be read in two ways.
func (p Pointers) find(document []byte) ([]span, error) {
	f := &finder{dec: jsontext.NewDecoder(bytes.NewReader(document))}
	if err := f.value([]*node{p.root}); err != nil {
		return nil, err
	}
	if _, err := f.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the JSON")
	}
	return f.spans, nil
}

// value reads a value that the nodes lead to.
func (f *finder) value(at []*node) error {
	if slices.ContainsFunc(at, func(n *node) bool { return n.whole }) {
		raw, err := f.dec.ReadValue()
		if err == nil {
			end := f.dec.InputOffset()
			f.spans = append(f.spans, span{end - int64(len(raw)), end})
		}
		return err
	}
	kind := f.dec.PeekKind()
	if len(at) == 0 || kind != '{' && kind != '[' {
		return f.dec.SkipValue()
	}
	if _, err := f.dec.ReadToken(); err != nil {
		return err
	}
	for i := 0; f.dec.PeekKind() != '}' && f.dec.PeekKind() != ']'; i++ {
		name := strconv.Itoa(i)
		if kind == '{' {
			token, err := f.dec.ReadToken()
			if err != nil {
				return err
			}
			name = token.String()
		}
		if err := f.value(below(at, name)); err != nil {
			return err
		}
	}
	_, err := f.dec.ReadToken()
	return err
}

func below(at []*node, name string) (found []*node) {
	for _, n := range at {
		if c := n.children[name]; c != nil {
			found = append(found, c)
		}
		if c := n.children["*"]; c != nil && name != "*" {
			found = append(found, c)
		}
	}
	return found
}

// Read is Apply for a body that is read. It reads no more than MaxBytes and one byte. A
// larger one that is Unchanged, since it is to be kept, is not returned.
func (p Pointers) Read(from io.Reader, coded bool) ([]byte, Outcome, error) {
	document, err := io.ReadAll(io.LimitReader(from, MaxBytes+1))
	if err != nil {
		return nil, Unchanged, err
	}
	redacted, outcome := p.Apply(document, coded)
	return redacted, outcome, nil
}
