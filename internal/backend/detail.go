package backend

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxDetailBytes is the length that job.Error allows its Detail.
const maxDetailBytes = 4 << 10

// readable makes of a stranger's octets a text that can be stored and shown
// anywhere: valid UTF-8, without control characters but for line ends and tabs.
// It is no longer than b.
func readable(b []byte) string {
	text := strings.ToValidUTF8(string(b), "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, text))
}

// tail keeps the last maxDetailBytes of what is written to it.
type tail struct {
	kept []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.kept = append(t.kept, b[max(0, len(b)-maxDetailBytes):]...)
	if over := len(t.kept) - maxDetailBytes; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	b := t.kept
	for len(b) > 0 && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	return readable(b)
}
