package expression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxBytes bounds what of a body is kept in memory: a document of JSON, a form, or
// the fields of a multipart body together, whose files are skipped.
const MaxBytes = 1 << 20

// maxParts bounds the parts of a multipart body.
const maxParts = 1000

// Errors of Read beside a MalformedError and those of the reader.
var (
	ErrTooLarge    = errors.New("it is larger than can be looked into")
	ErrUnsupported = errors.New("its form is none that can be looked into")
)

// MalformedError says what is wrong in a body of a known form.
type MalformedError string

func (e MalformedError) Error() string { return string(e) }

func malformed(format string, args ...any) error { return MalformedError(fmt.Sprintf(format, args...)) }

// Document is a body that was read: JSON, or the fields of a form.
type Document struct {
	json   []byte
	fields map[string][]string
}

// JSON is a document that is known to be JSON.
func JSON(content []byte) *Document { return &Document{json: content} }

// Read reads a body by its content type, of which none at all passes for JSON.
// Everything that two readers could read in two ways is refused.
func Read(contentType string, from io.Reader) (*Document, error) {
	if contentType == "" {
		contentType = "application/json"
	}
	media, params, err := mime.ParseMediaType(contentType)
	switch {
	case err != nil:
		return nil, ErrUnsupported
	case strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json"):
		content, err := readAll(from)
		if err == nil {
			err = checkJSON(content)
		}
		return JSON(content), err
	case media == "application/x-www-form-urlencoded":
		content, err := readAll(from)
		if err != nil {
			return nil, err
		}
		return parseForm(string(content))
	case media == "multipart/form-data" && params["boundary"] != "":
		source := &source{Reader: from}
		d, err := readMultipart(multipart.NewReader(source, params["boundary"]))
		if source.err != nil {
			return nil, source.err
		}
		return d, err
	}
	return nil, ErrUnsupported
}

func readAll(from io.Reader) ([]byte, error) {
	content, err := io.ReadAll(io.LimitReader(from, MaxBytes+1))
	if err == nil && len(content) > MaxBytes {
		err = ErrTooLarge
	}
	return content, err
}

// source tells a failure to read a body from what is wrong in it.
type source struct {
	io.Reader
	err error
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

// checkJSON refuses duplicate names, anything behind the document, octets or escapes
// that are not Unicode. The decoder's own limit bounds the depth (10,000).
func checkJSON(document []byte) error {
	dec := jsontext.NewDecoder(bytes.NewReader(document))
	err := dec.SkipValue()
	if err == nil {
		if _, err = dec.ReadToken(); errors.Is(err, io.EOF) {
			return nil
		}
		return malformed("something follows the JSON, at octet %d", dec.InputOffset())
	}
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return malformed("an object of the JSON has the same name twice, at octet %d", dec.InputOffset())
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return malformed("the JSON ends too early")
	}
	return malformed("the JSON is malformed, too deep or not Unicode, at octet %d", dec.InputOffset())
}

// parseForm reads application/x-www-form-urlencoded (WHATWG URL §5.1), as strictly
// as a query.
func parseForm(content string) (*Document, error) {
	d := &Document{fields: map[string][]string{}}
	for pair := range strings.SplitSeq(content, "&") {
		if pair == "" {
			continue
		}
		rawName, rawValue, _ := strings.Cut(pair, "=")
		name, err := Unescape(rawName)
		if err != nil {
			return nil, malformed("the name of a field of the form %v", err)
		}
		value, err := Unescape(rawValue)
		if err != nil {
			return nil, malformed("the value of a field of the form %v", err)
		}
		d.fields[name] = append(d.fields[name], value)
	}
	return d, nil
}

// readMultipart reads the fields of multipart/form-data (RFC 7578). Files are
// skipped, however large.
func readMultipart(parts *multipart.Reader) (*Document, error) {
	d := &Document{fields: map[string][]string{}}
	room := int64(MaxBytes)
	for range maxParts {
		p, err := parts.NextRawPart()
		if err == io.EOF { //nolint:errorlint // a wrapped EOF is a body that is cut short, not its end
			return d, nil
		}
		if err != nil {
			return nil, errMultipart
		}
		name, isFile := p.FormName(), p.FileName() != ""
		if name == "" || isFile {
			continue // NextRawPart skips what is left of it
		}
		value, err := io.ReadAll(io.LimitReader(p, room+1))
		if err != nil {
			return nil, errMultipart
		}
		if room -= int64(len(name) + len(value)); room < 0 {
			return nil, ErrTooLarge
		}
		if !utf8.Valid(value) || !utf8.ValidString(name) {
			return nil, malformed("a field of the multipart body is not UTF-8")
		}
		d.fields[name] = append(d.fields[name], string(value))
	}
	return nil, malformed("the multipart body has more than %d parts", maxParts)
}

const errMultipart = MalformedError("the multipart body is malformed or ends too early")

// lookUp finds what a JSON pointer's tokens lead to. Of a form they are the name of a
// field, and nothing behind it. Strings are decoded, numbers and booleans are as
// they are spelt; null is no value. The error is ErrNoText or ErrRepeated.
func (d *Document) lookUp(tokens []string) (value string, ok bool, err error) {
	if d.fields == nil {
		return lookUpJSON(d.json, tokens)
	}
	if len(tokens) == 0 {
		return "", false, ErrNoText
	}
	values := d.fields[tokens[0]]
	switch {
	case len(tokens) > 1 || len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", false, ErrRepeated
	}
	return values[0], true, nil
}

func lookUpJSON(document []byte, tokens []string) (value string, ok bool, err error) {
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
		return "", false, ErrNoText
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
