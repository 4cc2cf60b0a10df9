package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		events string
		want   result
		says   []string
		not    []string
	}{
		"what passes is one line per package": {
			events: `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestX"}
{"Action":"output","Package":"a","Test":"TestX","Output":"=== RUN   TestX\n"}
{"Action":"output","Package":"a","Test":"TestX","Output":"    noise\n"}
{"Action":"pass","Package":"a","Test":"TestX"}
{"Action":"output","Package":"a","Output":"PASS\n"}
{"Action":"output","Package":"a","Output":"ok  \ta\t0.1s\n"}
{"Action":"pass","Package":"a"}
`,
			want: result{passed: 1},
			says: []string{"ok  \ta\t0.1s\n"},
			not:  []string{"noise", "PASS", "==="},
		},
		"what fails is shown with its output": {
			events: `{"Action":"output","Package":"a","Test":"TestX","Output":"    x_test.go:1: wrong\n"}
{"Action":"fail","Package":"a","Test":"TestX"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
`,
			want: result{failed: 1},
			says: []string{"a.TestX:\n    x_test.go:1: wrong\n", "FAIL\ta\t0.1s\n"},
		},
		"a package that does not build counts": {
			events: `{"ImportPath":"a","Action":"build-output","Output":"a.go:1: undefined: b\n"}
{"ImportPath":"a","Action":"build-fail"}
{"Action":"output","Package":"a","Output":"FAIL\ta [build failed]\n"}
{"Action":"fail","Package":"a","FailedBuild":"a"}
`,
			want: result{failed: 1},
			says: []string{"undefined: b", "[build failed]"},
		},
		"a test that never ended is shown": {
			events: `{"Action":"output","Package":"a","Test":"TestX","Output":"    waiting\n"}
{"Action":"output","Package":"a","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"a"}
`,
			want: result{failed: 1},
			says: []string{"a TestX did not end:\n    waiting\n", "panic: test timed out"},
		},
		"a skipped test is shown and does not pass": {
			events: `{"Action":"output","Package":"a","Test":"TestX","Output":"    x_test.go:1: why\n"}
{"Action":"skip","Package":"a","Test":"TestX"}
`,
			says: []string{"x_test.go:1: why"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out strings.Builder
			got, err := report(strings.NewReader(test.events), &out)
			if err != nil || got != test.want {
				t.Errorf("report = %+v, %v, want %+v", got, err, test.want)
			}
			for _, s := range test.says {
				if !strings.Contains(out.String(), s) {
					t.Errorf("output does not say %q:\n%s", s, out.String())
				}
			}
			for _, s := range test.not {
				if strings.Contains(out.String(), s) {
					t.Errorf("output says %q:\n%s", s, out.String())
				}
			}
		})
	}
}
