package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/ringback/ringback/internal/body"
)

// maxParsedBytes bounds a body that an expression looks into.
const maxParsedBytes = 1 << 20

// value replaces the template's expressions. ok is false where one of them has no
// value. The start of a template is taken as it is, so that it can be a whole URL;
// behind it all but unreserved characters are percent-encoded.
func (t *template) value(c *call) (text string, ok bool, p *Problem) {
	if e := t.lone(); e != nil {
		return e.value(c)
	}
	var b strings.Builder
	for i, piece := range t.parts {
		if piece.expr == nil {
			b.WriteString(piece.text)
			continue
		}
		value, ok, p := piece.expr.value(c)
		if p != nil || !ok {
			return "", false, p
		}
		if i > 0 {
			value = percentEncode(value)
		}
		b.WriteString(value)
	}
	return b.String(), true, nil
}

// value is what the expression stands for. Nothing at all is no value; what is
// there but empty, repeated or no text is the caller's mistake.
func (e *expression) value(c *call) (value string, ok bool, p *Problem) {
	switch e.kind {
	case exprURL:
		return c.requestURL(), true, nil
	case exprMethod:
		return c.r.Method, true, nil
	case exprStatus:
		return "202", true, nil
	case exprHeader:
		value, ok, p = c.headerValue(e)
	case exprQuery:
		value, ok, p = c.queryValue(e.name)
	case exprPath:
		value, ok = c.r.PathValue(e.name), true
	case exprBody:
		value, ok, p = c.bodyValue(e)
	}
	if p == nil && ok && value == "" {
		p = kindURLInvalid.problem(e.text() + " is empty").withHint("leave it out where there is no callback URL to choose")
	}
	return value, ok && p == nil, p
}

// text is the expression as it is written.
func (e *expression) text() string {
	text := "$request."
	if e.answer {
		text = "$response."
	}
	switch e.kind {
	case exprURL:
		return "$url"
	case exprMethod:
		return "$method"
	case exprStatus:
		return "$statusCode"
	case exprHeader:
		return text + "header." + e.name
	case exprQuery:
		return text + "query." + e.name
	case exprPath:
		return text + "path." + e.name
	}
	text += "body"
	for i, token := range e.tokens {
		if i == 0 {
			text += "#"
		}
		text += "/" + strings.ReplaceAll(strings.ReplaceAll(token, "~", "~0"), "/", "~1")
	}
	return text
}

// requestURL is the URL of the request. It names a host that the caller made up
// only where the gateway does not know its own.
func (c *call) requestURL() string {
	base := c.api.opt.PublicURL
	if base == "" {
		base = "http://" + c.r.Host
		if c.r.TLS != nil {
			base = "https://" + c.r.Host
		}
	}
	url := base + c.path
	if c.r.URL.RawQuery != "" {
		url += "?" + c.r.URL.RawQuery
	}
	return url
}

func (c *call) headerValue(e *expression) (string, bool, *Problem) {
	if e.answer {
		value, ok := c.acceptedHeader(e.name)
		return value, ok, nil
	}
	values := c.r.Header[e.name]
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", false, kindParameterRepeated.at(place{e.name, true}, "was sent more than once")
	}
	return values[0], true, nil
}

func (c *call) queryValue(name string) (value string, ok bool, p *Problem) {
	if i := choiceOfParameter(name); i >= 0 { // decoded already
		return c.asked[i].value, c.asked[i].place == place{name: name}, nil
	}
	where := place{name: name}
	cutQuery(c.r.URL.RawQuery, func(found, raw string) bool {
		if found != name || p != nil {
			return false
		}
		if ok {
			p = kindParameterRepeated.at(where, "was sent more than once")
			return false
		}
		var err error
		if value, err = decodeQuery(raw); err != nil {
			p = kindInvalidParameter.at(where, err.Error())
		}
		ok = true
		return false
	})
	return value, ok, p
}

func (c *call) bodyValue(e *expression) (string, bool, *Problem) {
	document := c.document
	if e.answer {
		document = c.appendAccepted(nil, c.api.jobURL(c.job.ID))
	} else if document == nil {
		var p *Problem
		if document, p = c.parseBody(); p != nil || document == nil {
			return "", false, p
		}
		c.document = document
	}
	value, ok, err := lookUp(document, e.tokens)
	if err != nil {
		return "", false, kindURLInvalid.problem(e.text() + " " + err.Error())
	}
	return value, ok, nil
}

// parseBody returns the request's body where it is JSON that can be read in one
// way only, nil where there is no body.
func (c *call) parseBody() ([]byte, *Problem) {
	b := c.job.Request.Body
	if b.Size == 0 {
		return nil, nil
	}
	if b.Size > maxParsedBytes {
		return nil, kindTooLarge.problem("the operation looks for the callback URL in the body, which may then have at most 1048576 octets")
	}
	if coding := c.r.Header["Content-Encoding"]; len(coding) > 0 && !slices.Equal(coding, []string{"identity"}) {
		return nil, kindUnsupportedMedia.problem("the operation looks for the callback URL in the body, which must not be compressed for that").
			withHint("send the body without Content-Encoding")
	}
	if !isJSON(c.r.Header.Get("Content-Type")) {
		return nil, kindUnsupportedMedia.problem("the operation looks for the callback URL in the body, which must be JSON for that").
			withHint("send Content-Type: application/json")
	}
	document := b.Inline
	if b.Ref != "" {
		f, err := body.Open(c.api.opt.Bodies, b)
		if err != nil {
			return nil, storeProblem(c.r.Context(), c.api.opt.Log, "read request body", err)
		}
		defer f.Close()
		if document, err = io.ReadAll(io.LimitReader(f, maxParsedBytes)); err != nil {
			return nil, storeProblem(c.r.Context(), c.api.opt.Log, "read request body", err)
		}
	}
	if err := checkJSON(document); err != nil {
		return nil, kindBodyMalformed.problem("the operation looks for the callback URL in the body, which is not valid JSON: " + err.Error())
	}
	return document, nil
}

// isJSON tells a media type of JSON; none at all passes for one.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && (strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"))
}

// checkJSON refuses what two readers could read in two ways: duplicate names,
// anything behind the document, octets or escapes that are not Unicode. The
// decoder's own limit bounds the depth (10,000).
func checkJSON(document []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(document))
	err := dec.SkipValue()
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("something follows it, at octet %d", dec.InputOffset())
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return fmt.Errorf("an object has the same name twice, at octet %d", dec.InputOffset())
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("it ends too early")
	}
	return fmt.Errorf("it is malformed, too deep or not Unicode, at octet %d", dec.InputOffset())
}

var errNoText = errors.New("is an object or array, where a text is needed")

// lookUp finds what a JSON pointer's tokens lead to in a document that was
// checked. Strings are decoded, numbers and booleans are as they are spelt; null is
// no value.
func lookUp(document []byte, tokens []string) (value string, ok bool, err error) {
	dec := jsontext.NewDecoder(bytes.NewReader(document))
	for _, token := range tokens {
		switch dec.PeekKind() {
		case '{':
			ok, err = enterObject(dec, token)
		case '[':
			ok, err = enterArray(dec, token)
		default:
			return "", false, nil
		}
		if err != nil || !ok {
			return "", false, err
		}
	}
	switch dec.PeekKind() {
	case 'n':
		return "", false, nil
	case '{', '[':
		return "", false, errNoText
	case '"':
		token, err := dec.ReadToken()
		if err != nil {
			return "", false, err
		}
		return token.String(), true, nil
	}
	raw, err := dec.ReadValue()
	return string(raw), err == nil, err
}

// enterObject leaves the decoder before the member's value.
func enterObject(dec *jsontext.Decoder, name string) (bool, error) {
	if _, err := dec.ReadToken(); err != nil {
		return false, err
	}
	for dec.PeekKind() == '"' {
		token, err := dec.ReadToken()
		if err != nil {
			return false, err
		}
		if token.String() == name {
			return true, nil
		}
		if err := dec.SkipValue(); err != nil {
			return false, err
		}
	}
	return false, nil
}

// enterArray leaves the decoder before the element.
func enterArray(dec *jsontext.Decoder, index string) (bool, error) {
	n, err := strconv.ParseUint(index, 10, 31)
	if err != nil || index[0] == '0' && len(index) > 1 {
		return false, nil // "-" too: it is the element behind the last
	}
	if _, err := dec.ReadToken(); err != nil {
		return false, err
	}
	for ; n > 0 && dec.PeekKind() != ']'; n-- {
		if err := dec.SkipValue(); err != nil {
			return false, err
		}
	}
	return dec.PeekKind() != ']', nil
}

// percentEncode encodes all but RFC 3986's unreserved characters.
func percentEncode(s string) string {
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
