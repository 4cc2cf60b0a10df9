package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
)

const (
	maxV1BodyBytes  = 1 << 20
	maxJSONDepth    = 32
	bodyReadTimeout = 10 * time.Second
	maxFaults       = 20  // shown of one request
	maxFaultChars   = 300 // of each
)

// strictRequest refuses what could be read in two ways, and reads the body.
func strictRequest(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, kindBadRequest.problem("the query is malformed")
	}
	for name, values := range query {
		if len(values) > 1 {
			p := kindParameterRepeated.problem("")
			p.Errors = []ProblemItem{{Detail: "sent more than once", Parameter: shorten(name)}}
			return nil, p
		}
	}
	if r.ContentLength > maxV1BodyBytes {
		return nil, bodyTooLarge()
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	body, p := readBody(w, r)
	if p != nil || len(body) == 0 {
		return nil, p
	}
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, kindUnsupportedMedia.problem("the body must be sent as application/json").
			withHint("curl: -H 'Content-Type: application/json'")
	}
	if err := strictJSON(body); err != nil {
		return nil, kindBadRequest.problem("the body is refused: " + err.Error())
	}
	return body, nil
}

func bodyTooLarge() *Problem {
	return kindTooLarge.problem(fmt.Sprintf("the body is larger than %d bytes", maxV1BodyBytes))
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, *Problem) {
	control := http.NewResponseController(w)
	limited := control.SetReadDeadline(time.Now().Add(bodyReadTimeout)) == nil
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxV1BodyBytes))
	if limited {
		// A deadline that stands would cancel the handler's context later.
		_ = control.SetReadDeadline(time.Time{})
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, bodyTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, kindTimeout.problem(fmt.Sprintf("the body did not arrive within %v", bodyReadTimeout))
	case err != nil:
		return nil, kindBadRequest.problem("the body did not arrive whole")
	}
	return body, nil
}

// strictJSON refuses JSON that two readers may read in two ways (duplicate
// names, several documents, text that is not Unicode), and JSON that is deep.
func strictJSON(data []byte) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var open []*object // what is open: nil for an array
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			return errors.New("it is not valid JSON")
		}
		switch t := token.(type) {
		case json.Delim:
			open = nest(open, t)
		case string:
			if strings.ContainsRune(t, utf8.RuneError) {
				return errors.New("a string is not Unicode")
			}
			if err := top(open).string(t); err != nil {
				return err
			}
		default:
			top(open).value()
		}
		switch {
		case len(open) > maxJSONDepth:
			return fmt.Errorf("it is nested more than %d deep", maxJSONDepth)
		case len(open) == 0 && len(bytes.TrimSpace(data[dec.InputOffset():])) > 0:
			return errors.New("something follows the JSON document")
		}
	}
	if len(open) > 0 {
		return errors.New("it is not valid JSON")
	}
	return nil
}

// object tracks which names an open JSON object has.
type object struct {
	names map[string]bool
	named bool // a name was read, and its value is next
}

func nest(open []*object, d json.Delim) []*object {
	switch d {
	case '{':
		top(open).value()
		return append(open, &object{names: map[string]bool{}})
	case '[':
		top(open).value()
		return append(open, nil)
	}
	return open[:len(open)-1]
}

func top(open []*object) *object {
	if len(open) == 0 {
		return nil
	}
	return open[len(open)-1]
}

func (o *object) value() {
	if o != nil {
		o.named = false
	}
}

func (o *object) string(s string) error {
	if o == nil || o.named {
		o.value()
		return nil
	}
	// encoding/json takes a name in any case for the field that it folds to.
	folded := strings.ToLower(strings.ToUpper(s))
	if o.names[folded] {
		return errors.New("an object has the same name twice")
	}
	o.names[folded], o.named = true, true
	return nil
}

type embedded huma.Context

// strictContext hands huma the body that was read, and sends the status of our
// own problem in place of huma's.
type strictContext struct {
	embedded
	body    []byte
	problem *Problem
}

// Unwrap leads to the adapter's context.
func (c *strictContext) Unwrap() huma.Context { return c.embedded }

// BodyReader reads the body that was checked.
func (c *strictContext) BodyReader() io.Reader { return bytes.NewReader(c.body) }

// SetReadDeadline does nothing: the body has been read.
func (c *strictContext) SetReadDeadline(time.Time) error { return nil }

// SetStatus sends the status line.
func (c *strictContext) SetStatus(code int) {
	if c.problem != nil {
		code = c.problem.Status
	}
	c.embedded.SetStatus(code)
}

// ownProblems turns the errors that huma makes into problems of ours. It is a
// transformer, not huma.NewError, since that belongs to the whole program.
func ownProblems(ctx huma.Context, _ string, v any) (any, error) {
	failed, ok := v.(huma.StatusError)
	if !ok {
		return v, nil
	}
	p, ok := v.(*Problem)
	if !ok {
		p = problemOf(failed)
	}
	if c, ok := ctx.(*strictContext); ok {
		c.problem = p
		c.SetHeader("Content-Type", p.ContentType(""))
	}
	return p, nil
}

// problemOf describes an error of huma. What the caller sent is not repeated.
func problemOf(err huma.StatusError) *Problem {
	if err.GetStatus() >= http.StatusInternalServerError {
		return kindInternal.problem("")
	}
	model, ok := err.(*huma.ErrorModel)
	if !ok {
		return kindBadRequest.problem("")
	}
	p := kindInvalidParameter.problem("")
	for _, e := range model.Errors[:min(len(model.Errors), maxFaults)] {
		item := ProblemItem{Detail: shorten(e.Message)}
		switch where, rest, _ := strings.Cut(e.Location, "."); where {
		case "body":
			p = faultyBody(p.Errors...)
			item.Pointer = "#" + shorten(pointer(rest))
		case "header":
			item.Header = shorten(rest)
		case "query", "path":
			item.Parameter = shorten(rest)
		}
		p.Errors = append(p.Errors, item)
	}
	return p
}

func faultyBody(items ...ProblemItem) *Problem {
	p := kindBadRequest.problem("the body is not what this route takes")
	p.Errors = items
	return p
}

// pointer makes a JSON pointer of huma's way to name a place: headers.X, operations[0].
func pointer(place string) string {
	if place == "" {
		return ""
	}
	return "/" + strings.NewReplacer("[", "/", "]", "", ".", "/").Replace(escapePointer(place))
}

// escapePointer makes a member's name a part of a JSON pointer (RFC 6901 §3).
func escapePointer(name string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

func shorten(s string) string {
	if len(s) <= maxFaultChars {
		return s
	}
	return strings.ToValidUTF8(s[:maxFaultChars], "") + "…"
}

// GetHeaders makes huma send the headers of a problem that say more than its body.
func (p *Problem) GetHeaders() http.Header {
	h := p.header()
	for name := range ownHeaders {
		h.Del(name)
	}
	h.Del("Content-Type")
	return h
}
