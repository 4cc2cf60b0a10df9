package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// All that the commands write goes through this file, which keeps these rules:
//
//   - What was asked for goes to standard output, all else to standard error:
//     messages, warnings, errors, progress. So output can be piped as it is.
//   - A message is one line that begins with "ringback: ", a hint one that begins
//     with "hint: ".
//   - What somebody else wrote (a gateway, a caller, a receiver) may not steer the
//     terminal. It is cleaned before it is printed: every character that is not a
//     graphic one stands as its escape, "\x1b". That is done always, since a pipe
//     often ends at a terminal. JSON is written with the same characters as \u….
//   - A result is the exception: its bytes go to a file or a pipe unchanged. On a
//     terminal text is cleaned, and what is not text is refused.
//   - Colour and progress are for terminals only; NO_COLOR and TERM=dumb turn
//     colour off.

// term is the terminal that a command talks to, or what stands in for it.
type term struct {
	in       io.Reader
	out, err io.Writer
	// outTTY and errTTY tell a terminal from a file or a pipe.
	outTTY, errTTY bool
	noColour       bool
}

func newTerm(in, out, err *os.File) *term {
	return &term{
		in: in, out: out, err: err,
		outTTY:   isatty.IsTerminal(out.Fd()),
		errTTY:   isatty.IsTerminal(err.Fd()),
		noColour: os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb",
	}
}

// The colours that are used.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
	bold   = "1"
	faint  = "2"
)

// paint colours text for standard output, where that is a terminal.
func (t *term) paint(colour, text string) string { return t.paintIf(t.outTTY, colour, text) }

func (t *term) paintIf(tty bool, colour, text string) string {
	if !tty || t.noColour || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// say writes a message.
func (t *term) say(format string, args ...any) {
	fmt.Fprintln(t.err, "ringback: "+clean(fmt.Sprintf(format, args...)))
}

// fail writes an error with its hint.
func (t *term) fail(f *failure) {
	fmt.Fprintln(t.err, t.paintIf(t.errTTY, red, "ringback:")+" "+clean(f.Error()))
	// Indented, since a line of somebody else's could pass for one of ours.
	for line := range strings.Lines(cleanLines(f.detail)) {
		fmt.Fprintln(t.err, "    "+strings.TrimRight(line, "\n"))
	}
	if f.hint != "" {
		fmt.Fprintln(t.err, t.paintIf(t.errTTY, yellow, "hint:")+" "+clean(f.hint))
	}
}

// print writes a line of data that is clean already.
func (t *term) print(line string) error {
	_, err := io.WriteString(t.out, line+"\n")
	return writeError(err)
}

// writeError says where a write failed.
func writeError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("write the output: %w", err)
}

// errBinary: a result that would only garble the terminal.
var errBinary = &failure{code: exitFailure, err: errors.New("the result is not text"), hint: "send it to a file: … > FILE"}

// copy writes a result: unchanged to a file or a pipe, cleaned to a terminal.
func (t *term) copy(r io.Reader) error {
	if !t.outTTY {
		_, err := io.Copy(t.out, r)
		if err != nil {
			return fmt.Errorf("copy the result: %w", err)
		}
		return nil
	}
	buf := make([]byte, 32<<10)
	kept := 0 // bytes of a character whose end is still to come
	last := byte('\n')
	for {
		n, err := r.Read(buf[kept:])
		text := buf[:kept+n]
		whole := len(text)
		if err == nil {
			whole -= partialRune(text)
		}
		if !isText(text[:whole]) {
			return errBinary
		}
		if whole > 0 {
			last = text[whole-1]
			if _, err := io.WriteString(t.out, cleanLines(string(text[:whole]))); err != nil {
				return writeError(err)
			}
		}
		kept = copy(buf, text[whole:])
		switch {
		case err == io.EOF && last != '\n':
			return t.print("")
		case err == io.EOF:
			return nil
		case err != nil:
			return fmt.Errorf("copy the result: %w", err)
		}
	}
}

// partialRune is how many bytes at the end of b begin a character that b cuts off.
func partialRune(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if tail := b[len(b)-n:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return n
			}
			return 0
		}
	}
	return 0
}

func isText(b []byte) bool { return utf8.Valid(b) && bytes.IndexByte(b, 0) < 0 }

// clean makes one harmless line of any text.
func clean(s string) string { return cleanExcept(s, "") }

// cleanLines makes any text harmless and keeps its lines and tabs.
func cleanLines(s string) string { return cleanExcept(s, "\n\t") }

func cleanExcept(s, keep string) string {
	harmless := func(r rune) bool { return unicode.IsGraphic(r) || strings.ContainsRune(keep, r) }
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !harmless(r) }) < 0 {
		return s
	}
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[0])
		case harmless(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
		s = s[size:]
	}
	return b.String()
}

// cleanJSON makes written JSON harmless without changing what it says: outside of
// its strings it has no characters that need it.
func cleanJSON(b []byte) []byte {
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			out = append(out, `\ufffd`...)
		case unicode.IsGraphic(r) || r == '\n' || r == '\t':
			out = append(out, b[:size]...)
		case r > 0xffff:
			hi, lo := surrogates(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, hi, lo)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		b = b[size:]
	}
	return out
}

// surrogates is how JSON escapes a character beyond U+FFFF (RFC 8259 §7).
func surrogates(r rune) (hi, lo rune) {
	r -= 0x10000
	return 0xd800 + r>>10, 0xdc00 + r&0x3ff
}
