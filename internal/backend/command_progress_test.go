package backend

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestProgressIsTakenOutOfStderr(t *testing.T) {
	t.Parallel()
	const in = "begin\n::progress 40\n::progress {\"page\": 7}  \r\n  ::progress no\n::progressed\n::prog\n\n::progress half way\n::progress \n" +
		"::progress a\x1b[2J\xffb\n::progress \"\xff\"\nend\n::progress 100"
	want := []string{`40`, `{"page": 7}`, `"half way"`, `""`, `"a[2J?b"`, `"\"?\""`, `100`}
	const left = "begin\n  ::progress no\n::progressed\n::prog\n\nend\n"
	for size := 1; size <= len(in); size++ {
		got, rest := split(in, size)
		if !slices.Equal(got, want) || rest != left {
			t.Fatalf("in parts of %d: %q, left %q", size, got, rest)
		}
	}
}

func split(in string, size int) (got []string, left string) {
	var rest strings.Builder
	p := &progressLines{to: &rest, report: func(v json.RawMessage) { got = append(got, string(v)) }}
	for part := range slices.Chunk([]byte(in), size) {
		p.Write(part)
	}
	p.end()
	return got, rest.String()
}

func TestALongLineIsNoProgressAndTakesNoMemory(t *testing.T) {
	t.Parallel()
	long := progressPrefix + strings.Repeat("9", 1<<20)
	var rest strings.Builder
	p := &progressLines{to: &rest, report: func(v json.RawMessage) { t.Errorf("reported %d octets", len(v)) }}
	for part := range slices.Chunk([]byte(long+"\n"), 100) {
		p.Write(part)
		if cap(p.line) > 4*maxProgressLine {
			t.Fatalf("%d octets are kept", cap(p.line))
		}
	}
	p.end()
	if rest.String() != long+"\n" {
		t.Errorf("%d octets are left", rest.Len())
	}
}

func FuzzProgressLines(f *testing.F) {
	f.Add("::progress 1\nx", 3)
	f.Add("\n\n::progress ", 1)
	f.Fuzz(func(t *testing.T, in string, size int) {
		size = 1 + (size&0xff)%64
		got, left := split(in, size)
		again, rest := split(in, len(in)+1)
		if !slices.Equal(got, again) || left != rest {
			t.Fatalf("in parts of %d %q and %q, as a whole %q and %q", size, got, left, again, rest)
		}
		for _, v := range got {
			if !json.Valid([]byte(v)) {
				t.Errorf("reported %q", v)
			}
		}
	})
}
