package redact

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestValuesAreReplaced(t *testing.T) {
	t.Parallel()
	const card = `{"card": {"number": "4111 1111", "name":"A"}, "list":[{"n":1},{"n": [2,3]}], "a/b":{"~": 7}, "*": 1, "exp": 1.50}`
	for _, tt := range []struct {
		name, document, want string
		pointers             []string
		keepOther            bool
	}{
		{"a member, and nothing else changes", card, strings.Replace(card, `"4111 1111"`, `"[redacted]"`, 1), []string{"/card/number"}, false},
		{"an object", `{"a":{"b":1},"c":2}`, `{"a":"[redacted]","c":2}`, []string{"/a", "/a/b"}, false},
		{"an element", `[1,2,3]`, `[1,"[redacted]",3]`, []string{"/1"}, false},
		{"every element", card, strings.NewReplacer(`"n":1`, `"n":"[redacted]"`, `[2,3]`, `"[redacted]"`).Replace(card), []string{"/list/*/n"}, false},
		{"every member", `{"a":1,"b":[2],"*":3}`, `{"a":"[redacted]","b":"[redacted]","*":"[redacted]"}`, []string{"/*"}, false},
		{"escapes of pointers", card, strings.Replace(card, `7`, `"[redacted]"`, 1), []string{"/a~1b/~0"}, false},
		{"escapes of JSON", `{"\u0063ard":1}`, `{"\u0063ard":"[redacted]"}`, []string{"/card"}, false},
		{"what is not there", card, card, []string{"/card/cvc", "/list/7", "/exp/a"}, false},
		{"the empty name", `{"":1}`, `{"":"[redacted]"}`, []string{"/"}, false},
		{"the whole", card, `"[redacted]"`, []string{""}, false},
		{"the whole of what is no JSON", "\x89PNG", `"[redacted]"`, []string{""}, true},
		{"no JSON", "number=4111", `"[redacted]"`, []string{"/number"}, false},
		{"no JSON, to be kept", "number=4111", "number=4111", []string{"/number"}, true},
		{"broken JSON is not kept as something else", `{"number": 4111`, `"[redacted]"`, []string{"/number"}, true},
		{"something behind it", `{} {"number":1}`, `"[redacted]"`, []string{"/number"}, true},
		{"a name twice", `{"number":1,"number":2}`, `"[redacted]"`, []string{"/number"}, true},
		{"a byte order mark", "\ufeff{\"number\":1}", `"[redacted]"`, []string{"/number"}, true},
		{"a scalar", `7`, `7`, []string{"/number"}, false},
		{"nothing", ``, ``, []string{"/number"}, false},
		{"no pointers", `{`, `{`, nil, false},
		{"too large", `["` + strings.Repeat("a", MaxBytes) + `"]`, `"[redacted]"`, []string{"/7"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p, err := Parse(tt.pointers, tt.keepOther)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := p.Read(strings.NewReader(tt.document), false)
			if err != nil || string(got) != tt.want {
				t.Errorf("%.200s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestCompressedIsReplacedWhole(t *testing.T) {
	t.Parallel()
	p, err := Parse([]string{"/a"}, false)
	if err != nil {
		t.Fatal(err)
	}
	if got, outcome := p.Apply([]byte(`{"a":1}`), true); outcome != All || string(got) != `"[redacted]"` {
		t.Errorf("%s, %v", got, outcome)
	}
	// Whoever says so of what is not compressed does not get it past the redaction.
	p.keepOther = true
	if got, outcome := p.Apply([]byte(`{"a":1}`), true); outcome != All || string(got) != `"[redacted]"` {
		t.Errorf("%s, %v", got, outcome)
	}
	if got, outcome := p.Apply([]byte("\x1f\x8b\x08"), true); outcome != Unchanged || string(got) != "\x1f\x8b\x08" {
		t.Errorf("%q, %v", got, outcome)
	}
}

func TestMalformedPointersAreRefused(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"card", "#/card", "/a~", "/a~2b", "$.card"} {
		if _, err := Parse([]string{text}, false); err == nil {
			t.Errorf("%q is taken for a pointer", text)
		}
	}
}

func FuzzRedactedDocumentsStayJSON(f *testing.F) {
	f.Add(`{"a":{"b":[1,{"b":2}]}}`, "/a/b")
	f.Add(`[[1],[2]]`, "/*/0")
	f.Fuzz(func(t *testing.T, document, pointer string) {
		p, err := Parse([]string{pointer}, false)
		if err != nil || document == "" {
			return
		}
		got, _ := p.Apply([]byte(document), false)
		if !json.Valid(got) {
			t.Errorf("%q of %q: %q", pointer, document, got)
		}
		again, _ := p.Apply(got, false)
		if string(again) != string(got) {
			t.Errorf("%q of %q: %q, then %q", pointer, document, got, again)
		}
	})
}
