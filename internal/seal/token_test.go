package seal

import (
	"bytes"
	"testing"
)

func TestATokenOpensForItsUseAloneAndAsItIs(t *testing.T) {
	t.Parallel()
	a, b := sealer(t, 1), sealer(t, 2)
	token := a.Token("run", []byte("payload"))
	if got, ok := a.OpenToken("run", token); !ok || !bytes.Equal(got, []byte("payload")) {
		t.Fatalf("opened as %q, %v", got, ok)
	}
	for what, open := range map[string]func() ([]byte, bool){
		"of another use":    func() ([]byte, bool) { return a.OpenToken("reply", token) },
		"of another key":    func() ([]byte, bool) { return b.OpenToken("run", token) },
		"that is cut":       func() ([]byte, bool) { return a.OpenToken("run", token[:len(token)-2]) },
		"that is longer":    func() ([]byte, bool) { return a.OpenToken("run", token+"AA") },
		"that is too short": func() ([]byte, bool) { return a.OpenToken("run", "AAAA") },
		"that is none":      func() ([]byte, bool) { return a.OpenToken("run", "\x00/..") },
		"that is empty":     func() ([]byte, bool) { return a.OpenToken("run", "") },
	} {
		if got, ok := open(); ok {
			t.Errorf("a token %s opens as %q", what, got)
		}
	}
}
