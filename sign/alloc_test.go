//go:build !race

package sign_test

import (
	"net/http"
	"testing"

	"github.com/ringback/ringback/sign"
)

// Not under the race detector, which makes sync.Pool forget at random.
func TestSignAllocatesOnlyTheHeaderValues(t *testing.T) {
	m, secret, header := messageM(), parse(t, secretA), http.Header{}
	got := testing.AllocsPerRun(1000, func() {
		if err := sign.Sign(header, m, secret); err != nil {
			t.Fatal(err)
		}
	})
	// Timestamp, signature, and the array of the three values.
	if got > 3 {
		t.Errorf("%v allocations for one signed header, want 3", got)
	}
}

func TestSchemesSignAllocatesNoMore(t *testing.T) {
	keys := []sign.Keys{sign.NewKeys()}
	for _, s := range []sign.Schemes{nil, schemes(t, "v1")} {
		m, header := messageM(), http.Header{}
		got := testing.AllocsPerRun(1000, func() {
			if err := s.Sign(sign.Request{Message: m, Method: "POST", URL: "https://my.server/bar", Header: header}, keys...); err != nil {
				t.Fatal(err)
			}
		})
		if got > 3 {
			t.Errorf("%q: %v allocations for one signed header, want 3", s, got)
		}
	}
}
