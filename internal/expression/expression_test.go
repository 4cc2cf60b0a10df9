package expression

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"
)

// request is a call that is made of texts.
type request struct {
	contentType, body string
}

func (request) URL() string    { return "https://api.example/scan/eu%20w?a=b%20c" }
func (request) Method() string { return "POST" }
func (request) Header(name string) (string, bool, error) {
	return "https://h.example", name == "X-Callback-Url", nil
}

var errTwice = errors.New("twice")

func (request) Query(name string) (string, bool, error) {
	switch name {
	case "a":
		return "b c", true, nil
	case "empty":
		return "", true, nil
	case "twice":
		return "", false, errTwice
	}
	return "", false, nil
}
func (request) Path(string) string { return "eu w" }
func (r request) Body() (*Document, error) {
	if r.body == "" {
		return nil, nil
	}
	return Read(r.contentType, strings.NewReader(r.body))
}
func (request) AnswerHeader(name string) (string, bool) { return "/v1/jobs/j1", name == "Location" }
func (request) AnswerBody() *Document                   { return JSON([]byte(`{"id":"j1"}`)) }

const vectors = `{"id":"a b/c","n":7,"u":null,"a/b":"slash","m~n":"tilde","~1":"order","":"root","l":["p","q"],"o":{},"e":"","t":true}`

// outcome writes what a template makes of a call.
func outcome(value string, ok bool, err error) string {
	switch {
	case err != nil:
		return "error: " + err.Error()
	case !ok:
		return "no value"
	}
	return value
}

func TestEveryExpressionOfTheGrammar(t *testing.T) {
	t.Parallel()
	call := request{"application/json", vectors}
	for text, want := range map[string]string{
		"$url":                           "https://api.example/scan/eu%20w?a=b%20c",
		"$method":                        "POST",
		"$statusCode":                    "202",
		"$request.header.x-callback-URL": "https://h.example",
		"$request.header.nope":           "no value",
		"$request.query.a":               "b c",
		"$request.query.nope":            "no value",
		"$request.query.twice":           "error: twice",
		"$request.path.region":           "eu w",
		"$request.body":                  "error: $request.body is an object or array, where a text is needed",
		"$request.body#/id":              "a b/c",
		"$request.body#/l/1":             "q",
		"$request.body#/l/01":            "no value",
		"$request.body#/l/2":             "no value",
		"$request.body#/l/-":             "no value",
		"$request.body#/u":               "no value",
		"$request.body#/a/b":             "no value",
		"$request.body#/a%2Fb":           "no value",
		"$request.body#/a~1b":            "slash",
		"$request.body#/m~0n":            "tilde",
		"$request.body#/~01":             "order",
		"$request.body#/":                "root",
		"$request.body#/n":               "7",
		"$request.body#/t":               "true",
		"$request.body#/o":               "error: $request.body#/o is an object or array, where a text is needed",
		"$response.header.location":      "/v1/jobs/j1",
		"$response.header.nope":          "no value",
		"$response.body#/id":             "j1",
	} {
		for _, text := range []string{text, "{" + text + "}"} {
			parsed, err := Parse(text)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			if got := outcome(parsed.URL(call)); got != want {
				t.Errorf("%s → %s, want %s", text, got, want)
			}
			if got := outcome(parsed.Text(call)); got != want {
				t.Errorf("%s as a text → %s, want %s", text, got, want)
			}
		}
	}
}

func TestWhatSurroundsAnExpressionDecidesHowItIsWritten(t *testing.T) {
	t.Parallel()
	call := request{"application/json", vectors}
	for text, want := range map[string][2]string{ // as a URL, as a text
		"https://n.example/{$request.body#/id}?j={$response.body#/id}": {"https://n.example/a%20b%2Fc?j=j1", "https://n.example/a b/c?j=j1"},
		"{$request.header.X-Callback-Url}/{$request.body#/id}":         {"https://h.example/a%20b%2Fc", "https://h.example/a b/c"},
		"order {$request.body#/nope}":                                  {"no value", "no value"},
		"{$request.body#/e}":                                           {"error: $request.body#/e is empty", ""},
		"https://n.example/{$request.query.empty}":                     {"error: $request.query.empty is empty", "https://n.example/"},
		"plain": {"plain", "plain"},
		"":      {"", ""},
	} {
		parsed, err := Parse(text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if got := [2]string{outcome(parsed.URL(call)), outcome(parsed.Text(call))}; got != want {
			t.Errorf("%s → %q, want %q", text, got, want)
		}
	}
}

func multipartBody(t testing.TB, file int) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, f := range [][2]string{{"callbackUrl", "https://a.example/cb?x=1&y=2"}, {"twice", "1"}, {"twice", "2"}, {"a/b", "slash"}, {"empty", ""}} {
		if err := w.WriteField(f[0], f[1]); err != nil {
			t.Fatal(err)
		}
	}
	part, err := w.CreateFormFile("document", "a.pdf")
	if err == nil {
		_, err = io.Copy(part, io.LimitReader(zeros{}, int64(file)))
	}
	if err == nil {
		err = w.WriteField("behind", "last")
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestFieldsOfFormsAreMembersOfTheBody(t *testing.T) {
	t.Parallel()
	form := url.Values{"callbackUrl": {"https://a.example/cb?x=1&y=2"}, "twice": {"1", "2"}, "a/b": {"slash"}, "empty": {""}, "behind": {"last"}}
	multi, content := multipartBody(t, 3*MaxBytes) // the file is larger than what is kept
	for _, call := range []request{
		{"application/x-www-form-urlencoded", form.Encode()},
		{"application/x-www-form-urlencoded; charset=UTF-8", form.Encode() + "&&"},
		{multi, content},
	} {
		for text, want := range map[string]string{
			"$request.body#/callbackUrl":   "https://a.example/cb?x=1&y=2",
			"$request.body#/callbackUrl/0": "no value",
			"$request.body#/CallbackUrl":   "no value",
			"$request.body#/a~1b":          "slash",
			"$request.body#/a/b":           "no value",
			"$request.body#/behind":        "last",
			"$request.body#/document":      "no value",
			"$request.body#/":              "no value",
			"$request.body":                "error: $request.body is an object or array, where a text is needed",
			"$request.body#/twice":         "error: $request.body#/twice stands there more than once",
			"$request.body#/empty":         "error: $request.body#/empty is empty",
		} {
			parsed, err := Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			if got := outcome(parsed.URL(call)); got != want {
				t.Errorf("%s of %s → %s, want %s", text, call.contentType, got, want)
			}
		}
	}
}

func TestBodyThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	multi, content := multipartBody(t, 10)
	part := func(n int) string {
		return strings.Repeat("--b\r\nContent-Disposition: form-data; name=a\r\n\r\nx\r\n", n) + "--b--\r\n"
	}
	for _, test := range []struct {
		contentType, body string
		want              error // nil: a MalformedError
	}{
		{"application/json", `{"a":1,"a":2}`, nil},
		{"", `{"a":1} x`, nil},
		{"application/json", `"` + strings.Repeat("a", MaxBytes) + `"`, ErrTooLarge},
		{"text/plain", `{}`, ErrUnsupported},
		{"application/json; charset=", `{}`, ErrUnsupported},
		{"multipart/form-data", content, ErrUnsupported},
		{"multipart/mixed; boundary=b", part(1), ErrUnsupported},
		{form, "a=%zz", nil},
		{form, "a=%ff", nil},
		{form, "\xff=a", nil},
		{form, "a=b c", nil},
		{form, "a=" + strings.Repeat("x", MaxBytes), ErrTooLarge},
		{multi, content[:len(content)-10], nil},
		{multi, "", nil},
		{"multipart/form-data; boundary=b", strings.ReplaceAll(part(1), "x", "\xff"), nil},
		{"multipart/form-data; boundary=b", part(maxParts + 1), nil},
		{"multipart/form-data; boundary=b", strings.Replace(part(1), "x", strings.Repeat("x", MaxBytes), 1), ErrTooLarge},
		{"multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n=\r\n", nil},
	} {
		_, err := Read(test.contentType, strings.NewReader(test.body))
		var malformed MalformedError
		if test.want == nil && !errors.As(err, &malformed) || test.want != nil && !errors.Is(err, test.want) {
			t.Errorf("%s, %.60q: %v, want %v", test.contentType, test.body, err, test.want)
		}
	}
}

func TestFailureToReadTheBodyIsNoFaultOfTheBody(t *testing.T) {
	t.Parallel()
	multi, _ := multipartBody(t, 10)
	failed := errors.New("the disk is gone")
	for _, contentType := range []string{"application/json", "application/x-www-form-urlencoded", multi} {
		if _, err := Read(contentType, iotest.ErrReader(failed)); !errors.Is(err, failed) {
			t.Errorf("%s: %v", contentType, err)
		}
	}
}

func TestTemplateTellsWhatItLooksAt(t *testing.T) {
	t.Parallel()
	parsed, err := Parse("a{$request.query.q}{$request.header.x-h}{$request.path.p}{$response.header.x-other}")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(parsed.Names(Query), parsed.Names(Header), parsed.Names(Path), parsed.NeedsBody(), parsed.Lone(), parsed.Literal(), parsed.Reads(Query, "q"), parsed.Reads(Query, "Q"))
	if got != "[q] [X-H] [p] false false false true false" {
		t.Error(got)
	}
	for text, want := range map[string]string{
		"$request.body#/a": "true true false", "{$response.body#/a}": "false true false", "x{$request.body}": "true false false", "x": "false false true", "": "false false true",
	} {
		parsed, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(parsed.NeedsBody(), parsed.Lone(), parsed.Literal()); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"$url", "{$request.query.callbackURL}", "a{$request.body#/a~1b/0}b", "{$request.header.x}", "{", "$response.body#/id", "{$method}{$statusCode}"} {
		f.Add(s, vectors, "application/json")
		f.Add(s, "a=1&b=%20", "application/x-www-form-urlencoded")
	}
	multi, content := multipartBody(f, 10)
	f.Add("{$request.body#/callbackUrl}", content, multi)
	f.Fuzz(func(t *testing.T, text, document, contentType string) {
		parsed, err := Parse(text)
		if err != nil {
			return
		}
		if parsed.Lone() {
			e := parsed.parts[0].expr
			again, err := parseExpression(e.String())
			if err != nil || again.String() != e.String() {
				t.Fatalf("%q is written %q, and read as %v, %v", text, e, again, err)
			}
		}
		call := request{contentType, document}
		value, ok, err := parsed.URL(call)
		if ok && (err != nil || !utf8.ValidString(value)) {
			t.Fatalf("%q of %q is %q, %v", text, document, value, err)
		}
		if plain, has, err := parsed.Text(call); ok && (!has || err != nil || !utf8.ValidString(plain)) {
			t.Fatalf("%q of %q is %q as a URL, and %q, %v, %v as a text", text, document, value, plain, has, err)
		}
	})
}

func FuzzLookUp(f *testing.F) {
	f.Add(vectors, "/l/1")
	f.Add(`[[1,{"a":"b"}]]`, "/0/1/a")
	f.Fuzz(func(t *testing.T, document, pointer string) {
		tokens, err := parsePointer(pointer)
		if err != nil || checkJSON([]byte(document)) != nil {
			return
		}
		if _, _, err := lookUpJSON([]byte(document), tokens); err != nil && !errors.Is(err, ErrNoText) {
			t.Fatalf("%q in %q: %v", pointer, document, err)
		}
	})
}
