package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/ringback/ringback/client"
)

// terminal is a term whose output is a terminal, and what was written to it.
func terminal() (t *term, out, err *bytes.Buffer) {
	out, err = &bytes.Buffer{}, &bytes.Buffer{}
	return &term{out: out, err: err, outTTY: true, errTTY: true}, out, err
}

func TestCleanShowsWhatWouldSteerATerminal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"plain ünï 漢字 🙂":        "plain ünï 漢字 🙂",
		"\x1b[2J\x1b]0;x\x07":   `\x1b[2J\x1b]0;x\a`,
		"\u009b31m":             `\u009b31m`,
		"a\u202eb\u2066c\u200b": `a\u202eb\u2066c\u200b`,
		"two\nlines\r\ttab\x7f": `two\nlines\r\ttab\x7f`,
		"bad\xff\xc0\xaf":       `bad\xff\xc0\xaf`,
	} {
		if got := clean(text); got != want {
			t.Errorf("clean(%q) = %q, want %q", text, got, want)
		}
	}
	if got, want := cleanLines("a\n\tb\r\n\x1b"), "a\n\tb\\r\n\\x1b"; got != want {
		t.Errorf("cleanLines gives %q, want %q", got, want)
	}
}

func FuzzCleanLeavesNothingThatSteers(f *testing.F) {
	f.Add("\x1b[31m\u009b\xff\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		for _, c := range clean(text) {
			if !unicode.IsGraphic(c) {
				t.Fatalf("clean(%q) leaves %q", text, c)
			}
		}
	})
}

func FuzzCleanJSONSaysTheSame(f *testing.F) {
	f.Add("\x1b[31m\u009b <b>&\u2028\U000e0001")
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // JSON texts are UTF-8; a result's bytes are not JSON then
		}
		b, err := asJSON(map[string]string{text: text})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		cleaned := cleanJSON(b)
		if err := json.Unmarshal(cleaned, &got); err != nil || !reflect.DeepEqual(got, map[string]string{text: text}) {
			t.Fatalf("%s says %q, %v; want %q", cleaned, got, err, text)
		}
		for _, c := range string(cleaned) {
			if !unicode.IsGraphic(c) {
				t.Fatalf("%s leaves %q", cleaned, c)
			}
		}
	})
}

func TestResultGoesToAPipeUnchanged(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	const bytes = "\x00\xff\x1b[2Jno newline"
	if err := (&term{out: &out}).copy(strings.NewReader(bytes)); err != nil || out.String() != bytes {
		t.Errorf("wrote %q, %v", out.String(), err)
	}
}

func TestResultIsCleanedForATerminal(t *testing.T) {
	t.Parallel()
	const text = "a\x1b[2Jb\n\tünï 漢字 🙂\u009b"
	for name, r := range map[string]io.Reader{
		"whole":      strings.NewReader(text),
		"byte-wise":  iotest.OneByteReader(strings.NewReader(text)),
		"with error": iotest.DataErrReader(strings.NewReader(text)),
	} {
		term, out, _ := terminal()
		if err := term.copy(r); err != nil || out.String() != "a\\x1b[2Jb\n\tünï 漢字 🙂\\u009b\n" {
			t.Errorf("%s: wrote %q, %v", name, out.String(), err)
		}
	}
}

func TestBinaryResultIsKeptFromATerminal(t *testing.T) {
	t.Parallel()
	for _, data := range []string{"PNG\x00\x1b[2J", "\xff\xfe\x1b[2J", "cut off \xe6\xbc"} {
		term, out, _ := terminal()
		if err := term.copy(strings.NewReader(data)); !errors.Is(err, errBinary) || strings.TrimPrefix(out.String(), "cut off ") != "" {
			t.Errorf("%q: wrote %q, %v", data, out.String(), err)
		}
	}
}

func TestBrokenResultIsAnError(t *testing.T) {
	t.Parallel()
	for _, tty := range []bool{true, false} {
		term, _, _ := terminal()
		term.outTTY = tty
		if err := term.copy(iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader("ab")))); !errors.Is(err, iotest.ErrTimeout) {
			t.Errorf("terminal %v: error %v", tty, err)
		}
	}
}

func TestColourIsForTerminalsThatWantIt(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tty, noColour, want bool
	}{{true, false, true}, {true, true, false}, {false, false, false}} {
		term, out, err := terminal()
		term.outTTY, term.errTTY, term.noColour = c.tty, c.tty, c.noColour
		cmd := &cli{term: term, output: "table"}
		if err := cmd.show(nil, fields{{"name", "shop"}}); err != nil {
			t.Fatal(err)
		}
		term.fail(&failure{err: errors.New("it failed"), hint: "mend it"})
		for _, b := range []*bytes.Buffer{out, err} {
			if got := strings.Contains(b.String(), "\x1b["); got != c.want {
				t.Errorf("%+v: wrote %q", c, b.String())
			}
		}
	}
}

func TestTableIsCleanAndAligned(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &cli{term: &term{out: &out}, output: "table"}
	apps := func(yield func(client.App, error) bool) {
		_ = yield(client.App{Name: "a\tb\nc"}, nil) && yield(client.App{Name: "漢字"}, nil)
	}
	err := showList(c, apps, 0, table[client.App]{header: []string{"NAME", "N"}, row: func(a client.App) []string { return []string{a.Name, "1"} }})
	if want := "NAME     N\na\\tb\\nc  1\n漢字       1\n"; err != nil || out.String() != want {
		t.Errorf("wrote %q, %v; want %q", out.String(), err, want)
	}
}

func TestListThatFailsIsAnErrorInEveryFormat(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	for _, format := range []string{"table", "json", "jsonl"} {
		var out bytes.Buffer
		c := &cli{term: &term{out: &out}, output: format}
		apps := func(yield func(client.App, error) bool) {
			_ = yield(client.App{Name: "a"}, nil) && yield(client.App{}, broken)
		}
		if err := showList(c, apps, 0, table[client.App]{}); !errors.Is(err, broken) {
			t.Errorf("%s: error %v", format, err)
		}
	}
}
