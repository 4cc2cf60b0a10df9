package api

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestJSONThatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		`{"a":1,"b":{"a":2},"c":[{"a":3},{"a":4}]}`: true,
		`"text"`:               true,
		`{"a":"\ud83d\ude00"}`: true,
		strings.Repeat("[", maxJSONDepth) + strings.Repeat("]", maxJSONDepth):     true,
		strings.Repeat("[", maxJSONDepth+1) + strings.Repeat("]", maxJSONDepth+1): false,
		`{"a":1,"a":2}`:        false,
		`{"a":1,"A":2}`:        false,
		`{"k":1,"\u212a":2}`:   false, // the Kelvin sign folds to k
		`{"a":{"b":1},"a":[]}`: false,
		`{"a":1}{"a":2}`:       false,
		`{"a":1}]`:             false,
		`{"a":1`:               false,
		`{"a":"\ud800"}`:       false,
		"{\"a\":\"\xff\"}":     false,
		`{"a":1}` + "\x00":     false,
	} {
		if err := strictJSON([]byte(text)); (err == nil) != ok {
			t.Errorf("%.60q: %v", text, err)
		}
	}
}

func FuzzStrictJSON(f *testing.F) {
	for _, seed := range []string{`{"a":[1,{"b":null}]}`, `{"a":1,"A":2}`, `[[[[`, `"\ud800"`, "\xff", `{"a":1}{}`, `[1 2]`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var v any
		if strictJSON(data) == nil && len(strings.TrimSpace(string(data))) > 0 && json.Unmarshal(data, &v) == nil {
			// What passed both must mean the same when it is written and read again.
			again, err := json.Marshal(v)
			if err != nil || strictJSON(again) != nil {
				t.Fatalf("%q became %q: %v", data, again, err)
			}
		}
	})
}

func TestPlaceOfAFaultIsAJSONPointer(t *testing.T) {
	t.Parallel()
	for place, want := range map[string]string{"": "", "url": "/url", "operations[2]": "/operations/2", "headers.a/b~c": "/headers/a~1b~0c"} {
		if got := pointer(place); got != want {
			t.Errorf("pointer(%q) = %q, want %q", place, got, want)
		}
	}
}
