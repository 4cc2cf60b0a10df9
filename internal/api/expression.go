package api

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"
)

// template is a text with runtime expressions of OpenAPI in it (3.1.2, Runtime
// Expressions): "{$request.query.callbackURL}", or "https://a.example/{$method}".
type template struct {
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
	kind   expressionKind
	answer bool     // it looks at our 202, not at the request
	name   string   // of the header (canonical), query or path parameter
	tokens []string // of the JSON pointer into the body, unescaped
}

type expressionKind uint8

const (
	exprURL expressionKind = iota + 1
	exprMethod
	exprStatus
	exprHeader
	exprQuery
	exprPath
	exprBody
)

// parseTemplate reads a text with expressions in braces, or a lone expression
// without them.
func parseTemplate(text string) (*template, error) {
	t := &template{text: text}
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
		return &expression{kind: exprURL}, nil
	case "$method":
		return &expression{kind: exprMethod}, nil
	case "$statusCode":
		return &expression{kind: exprStatus}, nil
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

// Headers that carry the caller's secrets never become part of a URL.
var secretHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "Ringback-Key"}

func (e *expression) parseSource(source string) (err error) {
	word, name, named := strings.Cut(source, ".")
	switch {
	case named && word == "header":
		e.kind, e.name = exprHeader, http.CanonicalHeaderKey(name)
		if !isToken(name) {
			return fmt.Errorf("%q is not a header's name", name)
		}
		if slices.Contains(secretHeaders, e.name) {
			return fmt.Errorf("the header %s holds a secret", e.name)
		}
		return nil
	case named && word == "query":
		e.kind, e.name = exprQuery, name
	case named && word == "path":
		e.kind, e.name = exprPath, name
	case source == "body" || strings.HasPrefix(source, "body#"):
		e.kind = exprBody
		e.tokens, err = parsePointer(strings.TrimPrefix(source[len("body"):], "#"))
		return err
	default:
		return errors.New("the source must be header.NAME, query.NAME, path.NAME, body or body#POINTER")
	}
	if e.answer {
		return errors.New("an answer has headers and a body only")
	}
	if strings.ContainsFunc(name, isControl) {
		return errors.New("the name holds a control character")
	}
	return nil
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

// literal tells a text without expressions.
func (t *template) literal() bool { return len(t.parts) == 1 && t.parts[0].expr == nil }

// lone returns the expression that is the whole template, or nil.
func (t *template) lone() *expression {
	if len(t.parts) != 1 {
		return nil
	}
	return t.parts[0].expr
}

// needsBody tells whether the request's body has to be looked into.
func (t *template) needsBody() bool {
	return slices.ContainsFunc(t.parts, func(p part) bool {
		return p.expr != nil && p.expr.kind == exprBody && !p.expr.answer
	})
}

// reads tells whether the template looks at a parameter or header of the request.
func (t *template) reads(where place) bool {
	kind := exprQuery
	if where.header {
		kind = exprHeader
	}
	return slices.ContainsFunc(t.parts, func(p part) bool {
		return p.expr != nil && !p.expr.answer && p.expr.kind == kind && p.expr.name == where.name
	})
}

// names lists what the template's expressions of a kind look at in the request.
func (t *template) names(kind expressionKind) []string {
	var names []string
	for _, p := range t.parts {
		if p.expr != nil && !p.expr.answer && p.expr.kind == kind {
			names = append(names, p.expr.name)
		}
	}
	return names
}
