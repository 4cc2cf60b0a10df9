// Package expression is the language in which an operation says where in a call
// something stands: the runtime expressions of OpenAPI (3.1.2, Runtime
// Expressions), alone or in braces within a text.
package expression

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// Template is a text with expressions in it: "{$request.query.callbackURL}", or
// "https://a.example/{$method}".
type Template struct {
	text  string // as configured
	parts []part
}

// part is a piece of a template: text, or an expression.
type part struct {
	text string
	expr *expression // nil: text
}

// expression is a parsed runtime expression.
type expression struct {
	kind   Kind
	answer bool     // it looks at the answer to the call, not at the request
	name   string   // of the header (canonical), query or path parameter
	tokens []string // of the JSON pointer into the body, unescaped
}

// Kind says what an expression looks at.
type Kind uint8

// The kinds of expression.
const (
	URL Kind = iota + 1
	Method
	Status
	Header
	Query
	Path
	Body
)

// Parse reads a text with expressions in braces, or a lone expression without them.
func Parse(text string) (*Template, error) {
	t := &Template{text: text}
	if !utf8.ValidString(text) {
		return nil, errors.New("it is not UTF-8")
	}
	if strings.HasPrefix(text, "$") {
		e, err := parseExpression(text)
		t.parts = []part{{expr: e}}
		return t, err
	}
	for rest := text; rest != ""; {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			t.parts = append(t.parts, part{text: rest})
			break
		}
		if rest[i] == '}' || !strings.HasPrefix(rest[i+1:], "$") {
			return nil, errors.New("a brace must open or close an expression such as {$request.query.callbackURL}")
		}
		end := strings.IndexByte(rest[i:], '}')
		if end < 0 {
			return nil, errors.New("the brace of an expression is not closed")
		}
		if i > 0 {
			t.parts = append(t.parts, part{text: rest[:i]})
		}
		e, err := parseExpression(rest[i+1 : i+end])
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, part{expr: e})
		rest = rest[i+end+1:]
	}
	return t, nil
}

func parseExpression(s string) (*expression, error) {
	switch s {
	case "$url":
		return &expression{kind: URL}, nil
	case "$method":
		return &expression{kind: Method}, nil
	case "$statusCode":
		return &expression{kind: Status}, nil
	}
	source, ok := strings.CutPrefix(s, "$request.")
	e := &expression{}
	if !ok {
		if source, ok = strings.CutPrefix(s, "$response."); !ok {
			return nil, fmt.Errorf("%q is none of $url, $method, $statusCode, $request.… and $response.…", s)
		}
		e.answer = true
	}
	if err := e.parseSource(source); err != nil {
		return nil, fmt.Errorf("%q: %w", s, err)
	}
	return e, nil
}

var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "Ringback-Key"}

// IsSecret tells a header, by its canonical name, that carries the caller's secrets: no
// callback repeats it.
func IsSecret(name string) bool { return slices.Contains(secretHeaders, name) }

func (e *expression) parseSource(source string) (err error) {
	word, name, named := strings.Cut(source, ".")
	switch {
	case named && word == "header":
		e.kind, e.name = Header, http.CanonicalHeaderKey(name)
		if !isToken(name) {
			return fmt.Errorf("%q is not a header's name", name)
		}
		if IsSecret(e.name) {
			return fmt.Errorf("the header %s holds a secret", e.name)
		}
		return nil
	case named && word == "query":
		e.kind, e.name = Query, name
	case named && word == "path":
		e.kind, e.name = Path, name
	case source == "body" || strings.HasPrefix(source, "body#"):
		e.kind = Body
		e.tokens, err = parsePointer(strings.TrimPrefix(source[len("body"):], "#"))
		return err
	default:
		return errors.New("the source must be header.NAME, query.NAME, path.NAME, body or body#POINTER")
	}
	if e.answer {
		return errors.New("an answer has headers and a body only")
	}
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return errors.New("the name holds a control character")
	}
	return nil
}

// isToken tells a token of RFC 9110 §5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}

// parsePointer splits a JSON pointer (RFC 6901 §3) into its unescaped tokens.
func parsePointer(s string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	if s[0] != '/' {
		return nil, errors.New("a JSON pointer begins with a slash")
	}
	tokens := strings.Split(s[1:], "/")
	for i, token := range tokens {
		for j := range len(token) {
			if token[j] == '~' && (j+1 == len(token) || token[j+1] != '0' && token[j+1] != '1') {
				return nil, errors.New("a ~ in a JSON pointer is written ~0, a slash ~1")
			}
		}
		tokens[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return tokens, nil
}

// String is the template as it was written.
func (t *Template) String() string { return t.text }

// Literal tells a text without expressions.
func (t *Template) Literal() bool {
	return !slices.ContainsFunc(t.parts, func(p part) bool { return p.expr != nil })
}

// Lone tells a template that is one expression, and nothing else.
func (t *Template) Lone() bool { return len(t.parts) == 1 && t.parts[0].expr != nil }

// NeedsBody tells whether the request's body has to be looked into.
func (t *Template) NeedsBody() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool { return p.expr != nil && p.expr.kind == Body && !p.expr.answer })
}

// Reads tells whether the template looks at something of the request by its name.
func (t *Template) Reads(kind Kind, name string) bool { return slices.Contains(t.Names(kind), name) }

// Names lists what the template's expressions of a kind look at in the request.
func (t *Template) Names(kind Kind) []string {
	var names []string
	for _, p := range t.parts {
		if p.expr != nil && !p.expr.answer && p.expr.kind == kind {
			names = append(names, p.expr.name)
		}
	}
	return names
}

// Pointers lists the JSON pointers at which the template looks into the request's body.
func (t *Template) Pointers() []string {
	var pointers []string
	for _, p := range t.parts {
		if p.expr != nil && !p.expr.answer && p.expr.kind == Body {
			pointers = append(pointers, p.expr.pointer())
		}
	}
	return pointers
}

// pointer is that of an expression that looks into a body.
func (e *expression) pointer() string {
	var text string
	for _, token := range e.tokens {
		text += "/" + strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
	}
	return text
}

// String is the expression as it is written.
func (e *expression) String() string {
	text := "$request."
	if e.answer {
		text = "$response."
	}
	switch e.kind {
	case URL:
		return "$url"
	case Method:
		return "$method"
	case Status:
		return "$statusCode"
	case Header:
		return text + "header." + e.name
	case Query:
		return text + "query." + e.name
	case Path:
		return text + "path." + e.name
	}
	if text += "body"; len(e.tokens) > 0 {
		text += "#" + e.pointer()
	}
	return text
}
