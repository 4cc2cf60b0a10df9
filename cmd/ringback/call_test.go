package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLargeUploadShowsItsProgressOnATerminalOnly(t *testing.T) {
	t.Parallel()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		answer(w, 200, n)
	}))
	t.Cleanup(gateway.Close)
	for _, c := range []struct {
		bytes          int64
		outTTY, errTTY bool
		want           bool
	}{{progressBytes, false, true, true}, {progressBytes, true, false, false}, {progressBytes - 1, true, true, false}} {
		file := filepath.Join(t.TempDir(), "upload")
		if err := os.WriteFile(file, make([]byte, c.bytes), 0o600); err != nil {
			t.Fatal(err)
		}
		term, out, err := terminal()
		term.outTTY, term.errTTY = c.outTTY, c.errTTY
		if code := execute(t.Context(), []string{"call", "/scan", "@" + file, "--url", gateway.URL}, term); code != exitOK {
			t.Fatalf("exit code %d: %s", code, err)
		}
		if got := strings.Contains(err.String(), "uploading"); got != c.want {
			t.Errorf("%+v: standard error %q", c, err)
		}
		if strings.Contains(out.String(), "uploading") {
			t.Errorf("%+v: standard output %q", c, out)
		}
	}
}
