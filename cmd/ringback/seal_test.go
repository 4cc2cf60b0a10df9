package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

func sealSettings(store string) *config.Settings {
	return &config.Settings{Listen: "127.0.0.1:0", Store: store, Options: ringback.Options{
		AdminKey: "the-admin-key-of-this-test", BodyDir: store + "-bodies", DrainTimeout: 50 * time.Millisecond,
		Operations: []ringback.Operation{{Operation: job.Operation{Name: "relay", Route: "POST /relay"}, Backend: ringback.Relay()}}}}
}

func TestSealKeyIsRotatedAndPruned(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	s := sealSettings(store)
	srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	at := []string{"--store", "sqlite:" + store}
	ask := func(words ...string) (out, errs string, code int) {
		t.Helper()
		return command(t, append(append([]string{"seal"}, words...), at...)...)
	}
	keys, err := seal.KeyFile(store + ".key")
	if err != nil || len(keys) != 1 {
		t.Fatal(len(keys), err)
	}
	first := seal.IDOf(keys[0]).String()
	if out, errs, code := ask("status"); code != 0 || !strings.Contains(out, first+"  yes") {
		t.Errorf("status: %s%s", out, errs)
	}
	out, errs, code := ask("rotate")
	keys, err = seal.KeyFile(store + ".key")
	if err != nil || len(keys) != 2 || seal.IDOf(keys[1]).String() != first {
		t.Fatalf("the file has %d keys, %v", len(keys), err)
	}
	second := seal.IDOf(keys[0]).String()
	if code != 0 || !strings.Contains(out, second+"  yes") || !strings.Contains(errs, "the new key "+second) {
		t.Errorf("rotate: %s%s", out, errs)
	}
	// Right behind a rotation something sealed with the old key may still arrive.
	if _, errs, code := ask("prune"); code != exitRefused || !strings.Contains(errs, "still needed") {
		t.Errorf("prune: %d %s", code, errs)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}

	// A rotation without a gateway is for the next start.
	if _, errs, code := ask("rotate"); code != 0 || !strings.Contains(errs, "the next start") {
		t.Errorf("rotate: %d %s", code, errs)
	}
	if srv, err = startServer(t.Context(), s, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	deadline := time.Now().Add(time.Minute)
	for {
		status, err := srv.gateway.SealStatus(t.Context())
		if err != nil || time.Now().After(deadline) {
			t.Fatal(status, err)
		}
		if status.Done {
			break
		}
		<-time.After(5 * time.Millisecond)
	}
	if _, errs, code := ask("prune"); code != 0 || strings.Count(errs, "removed the key") != 2 {
		t.Errorf("prune: %d %s", code, errs)
	}
	if keys, err := seal.KeyFile(store + ".key"); err != nil || len(keys) != 1 {
		t.Errorf("the file has %d keys, %v", len(keys), err)
	}
	if info, err := os.Stat(store + ".key"); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: %v, %v", info.Mode(), err)
	}

	// A file with other keys is refused, and the gateway goes on.
	other := filepath.Join(filepath.Dir(store), "other")
	if _, err := seal.MakeKeyFile(other); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(other, store+".key"); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := ask("reload"); code != exitFailure || !strings.Contains(errs, "sealed with the key") || !strings.Contains(errs, "goes on") {
		t.Errorf("reload: %d %s", code, errs)
	}
	if _, _, code := ask("status"); code != 0 {
		t.Errorf("status: %d", code)
	}
}

func TestStartWithASealKeyOfAnotherStoreSaysWhatToDo(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	s := sealSettings(store)
	srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(store + ".key"); err != nil {
		t.Fatal(err)
	}
	for what, prepare := range map[string]func(){
		"is missing": func() {},
		"are sealed with the key": func() {
			if _, err := seal.MakeKeyFile(store + ".key"); err != nil {
				t.Fatal(err)
			}
		},
	} {
		_ = os.Remove(store + ".key")
		prepare()
		_, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), what) || explain(err).hint == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSealKeyThatIsNotInAFileIsChangedWhereItComesFrom(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	conf := filepath.Join(filepath.Dir(store), "r.yaml")
	if err := os.WriteFile(conf, []byte("store: sqlite:"+store+"\nseal_key: {command: [cat, /nowhere]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"rotate", "prune"} {
		if _, errs, code := command(t, "seal", word, "--config", conf); code != exitUsage || !strings.Contains(errs, "change it there") {
			t.Errorf("%s: %d %s", word, code, errs)
		}
	}
	if _, errs, code := command(t, "seal", "reload", "--config", conf); code != exitUnavailable {
		t.Errorf("reload: %d %s", code, errs)
	}
}
