package dashboard_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/dashboard"
	"github.com/ringback/ringback/internal/seal"
)

func TestHostOfAPageLeadsItsQuestionsNowhereElse(t *testing.T) {
	t.Parallel()
	sealer, err := seal.New(make([]byte, seal.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	asked := ""
	api := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Host + " " + r.URL.Path
		_, _ = io.WriteString(w, `{"data":[]}`)
	})
	site := dashboard.New(dashboard.Options{API: api, Seal: sealer, Log: slog.New(slog.DiscardHandler), Now: time.Now}).Handler()
	for _, over := range []*tls.ConnectionState{nil, {}} {
		// HTTP/2 hands on what stands in :authority as it is.
		r := httptest.NewRequest("POST", "/dashboard/signin", strings.NewReader(url.Values{"key": {"rb_x"}}.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Host, r.TLS = "a/metrics?", over
		w := httptest.NewRecorder()
		site.ServeHTTP(w, r)
		if want := "a/metrics? /v1/callbacks"; asked != want {
			t.Errorf("asked for %q, want %q", asked, want)
		}
		cookies := w.Result().Cookies()
		if w.Code != http.StatusSeeOther || len(cookies) != 1 || cookies[0].Secure != (over != nil) || !cookies[0].HttpOnly || cookies[0].SameSite != http.SameSiteStrictMode {
			t.Errorf("%d, cookies %v", w.Code, cookies)
		}
	}
}
