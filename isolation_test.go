package ringback_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
)

func TestReceiversThatNeverAnswerHoldNobodyUp(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	release := make(chan struct{})
	var hung []string
	for range 8 {
		s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
		t.Cleanup(s.Close)
		hung = append(hung, s.URL)
	}
	t.Cleanup(func() { close(release) })
	for n := range 400 {
		g.call(t, client.Call{Path: "/relay", CallbackURL: hung[n%len(hung)]})
	}
	url, messages := listen(t, g.appSecret, nil)
	for range 20 {
		g.call(t, client.Call{Path: "/relay", CallbackURL: url})
		next(t, messages)
	}
}
