package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

const validParent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

func TestTraceParentIsReadAsTheStandardSays(t *testing.T) {
	t.Parallel()
	tail := validParent[2:]
	for sent, want := range map[string]string{
		validParent:       validParent,
		"cc" + tail:       validParent,
		"cc" + tail + "-": validParent,
		"cc" + tail + "-what-the-future-will-be-like": validParent,
		"cc" + tail[:len(tail)-2] + "fe":              validParent[:53] + "02",
		"00" + tail[:len(tail)-2] + "03":              validParent[:53] + "03",
		"cc" + tail + ".x":                            "",
		"00" + tail + "-x":                            "",
		"00" + tail + "-":                             "",
		"ff" + tail:                                   "",
		"0" + tail:                                    "",
		"00-zz":                                       "",
		"":                                            "",
		strings.ToUpper(validParent):                  "",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0g": "",
		"00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01": "",
		" " + validParent: "",
	} {
		got, ok := parseTraceParent(sent)
		if got != want || ok != (want != "") {
			t.Errorf("%q is %q, %v; want %q", sent, got, ok, want)
		}
	}
}

func TestTraceStateIsKeptWholeOrCutByMembers(t *testing.T) {
	t.Parallel()
	member := func(key string, size int) string { return key + "=" + strings.Repeat("v", size-len(key)-1) }
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat("a=b,", n), ",") }
	for sent, want := range map[string]string{
		"a=1,b=2":        "a=1,b=2",
		" a=1 ,\tb=2 ,,": "a=1,b=2",
		"t@vendor=x y":   "t@vendor=x y",
		"1a_-*/=!":       "1a_-*/=!",
		"a=1,a=2":        "a=1,a=2", // kept as it is: it was not our doing
		many(32):         many(32),
		many(33):         "",
		"a":              "",
		"a=":             "",
		"=b":             "",
		"A=b":            "",
		"a=b=c":          "",
		"a=ü":            "",
		"a b=c":          "",
		member("a", 300): "",
		"@a=b":           "",
		member("a", 200) + "," + member("b", 120) + "," + member("c", 120) + "," + member("d", 120): member("b", 120) + "," + member("c", 120) + "," + member("d", 120),
		member("a", 128) + "," + member("b", 128) + "," + member("c", 128) + "," + member("d", 128): member("a", 128) + "," + member("b", 128) + "," + member("c", 128),
	} {
		if got := parseTraceState(sent); got != want {
			t.Errorf("%.60q is %.60q, want %.60q", sent, got, want)
		}
	}
}

func TestTraceContextIsDroppedAsAWhole(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parents, states []string
		want            job.Trace
	}{
		{[]string{validParent}, []string{"a=1", "b=2"}, job.Trace{Parent: validParent, State: "a=1,b=2"}},
		{[]string{validParent}, []string{"!"}, job.Trace{Parent: validParent}},
		{[]string{validParent}, nil, job.Trace{Parent: validParent}},
		{[]string{validParent, validParent}, []string{"a=1"}, job.Trace{}},
		{[]string{"00-zz"}, []string{"a=1"}, job.Trace{}},
		{nil, []string{"a=1"}, job.Trace{}},
	} {
		if got := readTrace(http.Header{"Traceparent": test.parents, "Tracestate": test.states}); got != test.want {
			t.Errorf("%q %q: %+v, want %+v", test.parents, test.states, got, test.want)
		}
	}
}

func FuzzTraceContext(f *testing.F) {
	f.Add(validParent, "a=1,b=2")
	f.Add("cc"+validParent[2:]+"-x", strings.Repeat("a=b,", 40))
	f.Fuzz(func(t *testing.T, parent, state string) {
		if got, ok := parseTraceParent(parent); ok {
			if again, ok := parseTraceParent(got); !ok || again != got || !strings.HasPrefix(got, "00-") {
				t.Fatalf("%q is %q, which is read as %q, %v", parent, got, again, ok)
			}
		}
		got := parseTraceState(state)
		if len(got) > maxTraceStateChars || parseTraceState(got) != got {
			t.Fatalf("%q is %q", state, got)
		}
	})
}
