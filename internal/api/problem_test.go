package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// documented reads docs/errors.md: each code's text, by code.
func documented(t *testing.T) map[string]string {
	t.Helper()
	b, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for section := range strings.SplitSeq(string(b), "\n### ") {
		if code, text, ok := strings.Cut(section, "\n"); ok && !strings.Contains(code, " ") {
			texts[code] = strings.TrimSpace(text)
		}
	}
	return texts
}

// jobCodes reads the constants of type job.Code from its source: there is no list
// of them that could be out of date.
func jobCodes(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../../job/job.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var codes []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "Code" {
			code, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes = append(codes, code)
		}
		return true
	})
	return codes
}

func TestEveryErrorCodeIsDocumentedAndEveryDocumentedOneExists(t *testing.T) {
	t.Parallel()
	texts := documented(t)
	known := jobCodes(t)
	if len(known) < 10 {
		t.Fatalf("found only the codes %q of jobs", known)
	}
	status := regexp.MustCompile("^`([0-9]{3})`\\. ")
	for _, k := range kinds {
		if slices.Contains(known, k.code) {
			t.Errorf("two kinds of problem have the code %s", k.code)
		}
		known = append(known, k.code)
		if m := status.FindStringSubmatch(texts[k.code]); m == nil || m[1] != strconv.Itoa(k.status) {
			t.Errorf("docs/errors.md does not say that %s is a %d: %.60q", k.code, k.status, texts[k.code])
		}
		if k.title == "" || http.StatusText(k.status) == "" {
			t.Errorf("%s has no title or a status that does not exist", k.code)
		}
	}
	slices.Sort(known)
	if got := slices.Sorted(maps.Keys(texts)); !slices.Equal(got, known) {
		for _, code := range known {
			if _, ok := texts[code]; !ok {
				t.Errorf("docs/errors.md lacks %s", code)
			}
		}
		for _, code := range got {
			if !slices.Contains(known, code) {
				t.Errorf("docs/errors.md explains %s, which does not exist", code)
			}
		}
	}
}

func TestProblemIsSentAsRFC9457SaysIt(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	p := kindMethod.at(place{"X-Callback", true}, "is odd").withHint("do something else")
	p.allow, p.retryAfter = "POST", 7
	p.write(w)
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	h := w.Result().Header
	for name, want := range map[string]string{"Content-Type": "application/problem+json", "Allow": "POST", "Retry-After": "7"} {
		if h.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, h.Get(name), want)
		}
	}
	for name, want := range map[string]any{
		"type": docsURL + "method_not_allowed", "status": 405.0, "code": "method_not_allowed",
		"detail": "X-Callback is odd", "hint": "do something else",
	} {
		if got[name] != want {
			t.Errorf("%s is %v, want %v", name, got[name], want)
		}
	}
	if item := got["errors"].([]any)[0].(map[string]any); item["header"] != "X-Callback" || item["detail"] != "is odd" {
		t.Errorf("errors: %v", got["errors"])
	}
}
