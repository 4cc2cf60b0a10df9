package expression

import (
	"errors"
	"strings"
)

// Call is what expressions look at: a request, and the answer that it gets. An
// error of its methods comes back from Template.URL and Text as it is.
type Call interface {
	URL() string
	Method() string
	// Header, Query and Path find what the request says by a name. Header's name is
	// canonical. What stands there several times is an error.
	Header(name string) (value string, ok bool, err error)
	Query(name string) (value string, ok bool, err error)
	Path(name string) string
	// Body is the request's body, nil for none. It is an error where it cannot be read.
	Body() (*Document, error)
	AnswerHeader(name string) (value string, ok bool)
	AnswerBody() *Document
}

// Error says that what an expression looks at is there and cannot be used.
type Error struct {
	Expression string // as it is written
	Err        error  // ErrEmpty, ErrNoText, ErrRepeated
}

func (e *Error) Error() string { return e.Expression + " " + e.Err.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

// Why something that is there cannot be used.
var (
	ErrEmpty    = errors.New("is empty")
	ErrNoText   = errors.New("is an object or array, where a text is needed")
	ErrRepeated = errors.New("stands there more than once")
)

// URL replaces the template's expressions to make a URL. ok is false where one of
// them has no value; one that is empty is an error. The start of a template is
// taken as it is, so that it can be a whole URL; behind it all but unreserved
// characters are percent-encoded.
func (t *Template) URL(c Call) (text string, ok bool, err error) {
	return t.replace(func(i int, e *expression) (string, bool, error) {
		value, ok, err := e.value(c)
		if err == nil && ok && value == "" {
			err = &Error{Expression: e.String(), Err: ErrEmpty}
		}
		if i > 0 {
			value = Escape(value)
		}
		return value, ok, err
	})
}

// Text replaces the template's expressions by what they stand for, as it is. ok is
// false where one of them has no value.
func (t *Template) Text(c Call) (text string, ok bool, err error) {
	return t.replace(func(_ int, e *expression) (string, bool, error) { return e.value(c) })
}

func (t *Template) replace(value func(i int, e *expression) (string, bool, error)) (string, bool, error) {
	var b strings.Builder
	for i, piece := range t.parts {
		if piece.expr == nil {
			b.WriteString(piece.text)
			continue
		}
		text, ok, err := value(i, piece.expr)
		if err != nil || !ok {
			return "", false, err
		}
		if len(t.parts) == 1 {
			return text, true, nil
		}
		b.WriteString(text)
	}
	return b.String(), true, nil
}

// value is what the expression stands for. Nothing at all is no value.
func (e *expression) value(c Call) (value string, ok bool, err error) {
	switch e.kind {
	case URL:
		return c.URL(), true, nil
	case Method:
		return c.Method(), true, nil
	case Status:
		return "202", true, nil
	case Header:
		if e.answer {
			value, ok = c.AnswerHeader(e.name)
			return value, ok, nil
		}
		return c.Header(e.name)
	case Query:
		return c.Query(e.name)
	case Path:
		return c.Path(e.name), true, nil
	}
	var document *Document
	if e.answer {
		document = c.AnswerBody()
	} else if document, err = c.Body(); err != nil || document == nil {
		return "", false, err
	}
	value, ok, err = document.lookUp(e.tokens)
	if err != nil {
		return "", false, &Error{Expression: e.String(), Err: err}
	}
	return value, ok, nil
}

// Escape percent-encodes all but the unreserved characters of RFC 3986.
func Escape(s string) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if c|0x20 >= 'a' && c|0x20 <= 'z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}
