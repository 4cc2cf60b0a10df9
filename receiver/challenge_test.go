package receiver_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

func TestChallengeIsAnsweredWithoutTheHandler(t *testing.T) {
	t.Parallel()
	secret := sign.NewSecret()
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
	if err != nil {
		t.Fatal(err)
	}
	handled := 0
	h := rc.Middleware(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { handled++ }))
	body := `{"type":"endpoint.verification","timestamp":"2026-11-23T17:44:14.492Z","data":{"endpoint":"shop","challenge":"KZQT\"RZ"}}`
	for want, signer := range map[int]sign.Secret{http.StatusOK: secret, http.StatusForbidden: sign.NewSecret()} {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		if err := sign.Sign(r.Header, sign.Message{ID: "ver_1", Timestamp: time.Now(), Body: []byte(body)}, signer); err != nil {
			t.Fatal(err)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want || (strings.TrimSpace(w.Body.String()) == `{"challenge":"KZQT\"RZ"}`) != (want == http.StatusOK) {
			t.Errorf("%d %s, want %d", w.Code, w.Body, want)
		}
	}
	if handled != 0 {
		t.Errorf("the handler was called %d times", handled)
	}
	// A callback may have any body.
	if got := (receiver.Message{ID: "cb_1", Body: []byte(body)}).Challenge(); got != "" {
		t.Errorf("challenge %q of a callback", got)
	}
	for _, other := range []string{`{"type":"scan.succeeded","data":{"challenge":"x"}}`, `{"type":"endpoint.verification"}`, `x`, ``, `[]`} {
		if got := (receiver.Message{ID: "ver_1", Body: []byte(other)}).Challenge(); got != "" {
			t.Errorf("%s: challenge %q", other, got)
		}
	}
}
