package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringback/ringback/client"
)

func TestLargeUploadShowsItsProgressOnATerminalOnly(t *testing.T) {
	t.Parallel()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Location", "/v1/jobs/job_1")
		answer(w, 202, client.AcceptedJob{ID: "job_1", Status: client.StatusAccepted})
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
		term, shown, _ := terminal()
		term.err = shown // as on a screen
		term.outTTY, term.errTTY = c.outTTY, c.errTTY
		if code := execute(t.Context(), []string{"call", "/scan", "@" + file, "--url", gateway.URL}, term); code != exitOK {
			t.Fatalf("exit code %d: %s", code, shown)
		}
		if got := strings.Contains(shown.String(), "uploading"); got != c.want {
			t.Errorf("%+v: shown %q", c, shown)
		}
		// Nothing of it is left on the screen when the answer is shown.
		lines := strings.Split(shown.String(), "\r")
		if last := lines[len(lines)-1]; strings.Contains(last, "uploading") || !strings.Contains(last, "job_1") {
			t.Errorf("%+v: left on the screen %q", c, last)
		}
	}
}
