package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

func TestListenVerifiesWhatIsSaidOutsideTheBody(t *testing.T) {
	t.Parallel()
	l, out := newTestListener(t, listenOptions{secret: secretText}, "table")
	server := httptest.NewServer(l)
	t.Cleanup(server.Close)
	secret, err := sign.ParseSecret(secretText)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		callback receivertest.Callback
		strip    bool
		want     int
		printed  string
	}{
		{receivertest.Callback{Method: http.MethodGet, Body: []byte{}}, false, 200, "signature verified"},
		{receivertest.Callback{Method: http.MethodGet, Body: []byte{}}, true, 403, "refused: receive callback: what the request says is not signed"},
		{receivertest.Callback{Header: http.Header{"Ce-Type": {"x"}}}, false, 200, "signature verified"},
		{receivertest.Callback{Header: http.Header{"Ce-Type": {"x"}}}, true, 403, "refused: receive callback: what the request says is not signed"},
	} {
		tc.callback.URL = server.URL + "/bar?type=scan.succeeded"
		r := tc.callback.Request(secret)
		if tc.strip {
			for _, name := range []string{"Signature", "Signature-Input", "Content-Digest"} {
				r.Header.Del(name)
			}
		}
		answer, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		// It prints before its answer goes out, which is held back until then.
		l.mu.Lock()
		printed := out.String()
		out.Reset()
		l.mu.Unlock()
		if answer.StatusCode != tc.want || !strings.Contains(printed, tc.printed) {
			t.Errorf("%s, stripped %v: answered %d, printed %s", r.Method, tc.strip, answer.StatusCode, printed)
		}
	}
}
