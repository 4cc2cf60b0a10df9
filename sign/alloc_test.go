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
