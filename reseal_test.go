package ringback_test

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

func keyOf(fill byte) []byte { return bytes.Repeat([]byte{fill}, seal.KeyBytes) }

// sealedBy starts a relay whose secrets are sealed with the first of the keys.
func sealedBy(t *testing.T, dir string, log io.Writer, keys ...[]byte) *gateway {
	t.Helper()
	return start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick, func(op *job.Operation) { op.Callback.Format = job.FormatThin })}
		o.SealKey, o.OldSealKeys = keys[0], keys[1:]
		if log != nil {
			o.Log = slog.New(slog.NewTextHandler(log, nil))
		}
	})
}

// isSealed waits until everything is sealed with the first key.
func (g *gateway) isSealed(t *testing.T) (status ringback.SealStatus) {
	t.Helper()
	eventually(t, "everything is sealed with the new key", func() bool {
		var err error
		status, err = g.SealStatus(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return status.Done
	})
	return status
}

// delivers makes a call whose callback must come, signed with the endpoint's secret
// and with the endpoint's credentials.
func (g *gateway) delivers(t *testing.T, messages <-chan message) (link string) {
	t.Helper()
	g.call(t, client.Call{Path: "/relay", Endpoint: "main", Body: strings.NewReader(`{}`), ContentType: "application/json"})
	m := next(t, messages)
	if got := m.header.Get("Authorization"); got != "Bearer tok-of-the-endpoint" {
		t.Errorf("the callback came with %q", got)
	}
	return m.envelope.Data.ResultURL
}

func TestSealKeyIsReplacedWhileTheGatewayWorks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	oldKey, newKey := keyOf(1), keyOf(2)
	oldID, newID := seal.IDOf(oldKey).String(), seal.IDOf(newKey).String()
	log := &lockedBuffer{}
	g := sealedBy(t, dir, log, oldKey)
	g.SettleSeals(0)
	g.join(t)
	var secret sign.Secret
	url, messages := listen(t, func() sign.Secret { return secret }, nil)
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: url, Auth: &client.EndpointAuth{Bearer: &client.BearerAuth{Token: "tok-of-the-endpoint"}}}); err != nil {
		t.Fatal(err)
	}
	secret = secretOf(t, g.app, "main")
	link := g.delivers(t, messages)
	if status := g.isSealed(t); len(status.Keys) != 1 || status.Keys[0].ID != oldID || status.Keys[0].Values < 5 {
		t.Errorf("before: %+v", status)
	}

	if err := g.SetSealKeys(t.Context(), [][]byte{newKey}); !errors.Is(err, ringback.ErrSealKey) || !strings.Contains(err.Error(), oldID) || !strings.Contains(err.Error(), newID) {
		t.Errorf("without the old key: %v", err)
	}
	if err := g.SetSealKeys(t.Context(), [][]byte{newKey, oldKey}); err != nil {
		t.Fatal(err)
	}
	g.delivers(t, messages)
	status := g.isSealed(t)
	if len(status.Keys) != 2 || status.Keys[0].ID != newID || !status.Keys[0].Seals || status.Keys[0].Values < 5 || status.Keys[1].Values != 0 {
		t.Errorf("after: %+v", status)
	}
	g.delivers(t, messages)
	if err := g.SetSealKeys(t.Context(), [][]byte{newKey}); err != nil {
		t.Errorf("the old key goes: %v", err)
	}
	g.delivers(t, messages)
	if got := secretOf(t, g.app, "main"); got.Reveal() != secret.Reveal() {
		t.Error("the endpoint's secret is another one")
	}
	if got := auditLog(t, g.admin, client.AuditQuery{Action: "seal.rotate"}); len(got) != 1 || got[0].Subject != newID || got[0].Actor.Kind != "gateway" {
		t.Errorf("the audit log has %+v", got)
	}
	if !strings.Contains(log.String(), "the others may go") {
		t.Errorf("the log does not tell:\n%s", log.String())
	}
	g.stop()

	// The old key is gone, and nothing needs it; links that it signed are still good.
	g2 := sealedBy(t, dir, nil, newKey)
	g2.app, g2.key = g2.client(t, g.key), g.key
	g2.delivers(t, messages)
	resp, err := http.Get(strings.Replace(link, g.url, g2.url, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if link == "" || resp.StatusCode != http.StatusOK {
		t.Errorf("the link %q from before is answered %d", link, resp.StatusCode)
	}
}

func TestStartWithAnotherSealKeySaysWhatIsSealedWithWhich(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := sealedBy(t, dir, nil, keyOf(1))
	g.join(t)
	g.stop()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	opt := options(dir)
	opt.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay())}
	opt.SealKey = keyOf(3)
	_, err = ringback.New(t.Context(), store, opt)
	if !errors.Is(err, ringback.ErrSealKey) || !strings.Contains(err.Error(), seal.IDOf(keyOf(1)).String()) || !strings.Contains(err.Error(), seal.IDOf(keyOf(3)).String()) {
		t.Errorf("with another key: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	// With both it starts, and seals everything again by itself.
	g = sealedBy(t, dir, nil, keyOf(3), keyOf(1))
	g.isSealed(t)
	g.stop()
	g = sealedBy(t, dir, nil, keyOf(3))
	if status := g.isSealed(t); len(status.Keys) != 1 {
		t.Errorf("%+v", status)
	}
}

func TestResealingGoesOnWhereACrashInterruptedIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := sealedBy(t, dir, nil, keyOf(1))
	g.join(t)
	for _, name := range []string{"a", "b", "c"} {
		if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: name, URL: "http://127.0.0.1:10101/"}); err != nil {
			t.Fatal(err)
		}
	}
	g.stop()
	// What a crash leaves behind: some values with the new key, others with the old.
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	both, err := seal.New(keyOf(2), keyOf(1))
	if err != nil {
		t.Fatal(err)
	}
	e, err := store.Endpoint(t.Context(), "shop", "b")
	if err != nil {
		t.Fatal(err)
	}
	again, _, err := both.Reseal(e.Secrets.Current, "secret")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := store.Reseal(t.Context(), []job.Resealed{{Place: "endpoint shop/b: secret", Before: e.Secrets.Current, After: again}}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	g = sealedBy(t, dir, nil, keyOf(2), keyOf(1))
	if status := g.isSealed(t); status.Keys[1].Values != 0 || status.Keys[0].Values < 6 {
		t.Errorf("%+v", status)
	}
}

func TestWhatWasUnderWayAtAChangeOfKeysIsWaitedFor(t *testing.T) {
	t.Parallel()
	g := sealedBy(t, t.TempDir(), nil, keyOf(1))
	g.SettleSeals(time.Hour)
	g.join(t)
	if err := g.SetSealKeys(t.Context(), [][]byte{keyOf(2), keyOf(1)}); err != nil {
		t.Fatal(err)
	}
	var status ringback.SealStatus
	eventually(t, "nothing is sealed with the old key", func() bool {
		var err error
		if status, err = g.SealStatus(t.Context()); err != nil {
			t.Fatal(err)
		}
		return status.Keys[1].Values == 0
	})
	if status.Done {
		t.Error("the old key may go already")
	}
}
