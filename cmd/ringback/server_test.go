package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

func devSettings(t *testing.T, ops ...ringback.Operation) *config.Settings {
	t.Helper()
	dir := t.TempDir()
	return &config.Settings{Listen: "127.0.0.1:0", Store: filepath.Join(dir, "ringback.db"), Options: ringback.Options{
		BodyDir: filepath.Join(dir, "bodies"), Dev: true, Operations: ops, DrainTimeout: 50 * time.Millisecond}}
}

func TestServerEndsStreamsAndRunsWithinItsDrainTimeout(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	never := ringback.Func(func(ctx context.Context, _ *ringback.Call, _ *ringback.Result) error {
		began <- struct{}{}
		<-ctx.Done()
		return ctx.Err()
	})
	s := devSettings(t, ringback.Operation{Backend: never, Operation: job.Operation{Name: "wait", Route: "POST /wait"}})
	srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(srv.URL()+"/wait", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	var accepted client.AcceptedJob
	if err := json.NewDecoder(resp.Body).Decode(&accepted); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	<-began
	stream, err := http.Get(accepted.Links.Events)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewReader(stream.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := srv.Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := io.ReadAll(lines); err != nil {
		t.Errorf("the stream broke: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	store, err := sqlite.Open(t.Context(), s.Store, sqlite.Options{})
	if err != nil {
		t.Fatalf("the store is not free: %v", err)
	}
	defer store.Close()
	left, err := store.Backlog(t.Context())
	if err != nil || left.Jobs != 1 {
		t.Errorf("the job is lost: %+v, %v", left, err)
	}
}

func TestServerThatCannotStartLeavesNothingOpen(t *testing.T) {
	t.Parallel()
	s := devSettings(t, ringback.Operation{Operation: job.Operation{Name: "bad", Route: "GET /v1/jobs"}, Backend: ringback.Relay()})
	if srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler)); err == nil {
		t.Fatal(errors.Join(errors.New("it started"), srv.Close()))
	}
	store, err := sqlite.Open(t.Context(), s.Store, sqlite.Options{})
	if err != nil {
		t.Fatalf("the store is not free: %v", err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
}

func TestAdminKeyIsShownOnATerminalAndNotWritten(t *testing.T) {
	t.Parallel()
	for _, where := range []string{"stderr", "stdout"} {
		var out, errOut bytes.Buffer
		c := &cli{term: &term{out: &out, err: &errOut, outTTY: where == "stdout", errTTY: where == "stderr"}}
		s := devSettings(t, ringback.Operation{Operation: job.Operation{Name: "a", Route: "POST /a"}, Backend: ringback.Relay()})
		s.Options.Dev = false
		srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		key := srv.gateway.NewAdminKey()
		if err := errors.Join(c.showSecrets(t.Context(), srv, s), srv.Close()); err != nil {
			t.Fatal(err)
		}
		shown := map[string]string{"stderr": errOut.String(), "stdout": out.String()}
		if key == "" || !strings.Contains(shown[where], key) {
			t.Errorf("%s: got %q", where, shown)
		}
		if _, err := os.Stat(s.Store + ".admin-key"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: the key was written: %v", where, err)
		}
	}
}

func TestLogsAreJSONUnlessSomebodyLooks(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		tty    bool
		format string
		want   string
	}{
		{false, "", `{"time":`}, {false, "json", `{"time":`}, {false, "text", "time="},
		{true, "json", `{"time":`}, {true, "", "\x1b[2m"}, {true, "text", "\x1b[2m"},
	} {
		var out bytes.Buffer
		log := (&term{err: &out, errTTY: c.tty}).logger(config.Log{Format: c.format, Level: slog.LevelWarn})
		log.Info("not this")
		log.Warn("this")
		if got := out.String(); !strings.HasPrefix(got, c.want) || strings.Count(got, "\n") != 1 {
			t.Errorf("%+v: got %q", c, got)
		}
	}
}

func TestServerTakesOverWhatAKilledOneStillHolds(t *testing.T) {
	t.Parallel()
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := devSettings(t)
	s.Listen = held.Addr().String()
	store, err := sqlite.Open(t.Context(), s.Store, sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openServer(t.Context(), s, slog.New(slog.DiscardHandler)); !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("openServer: %v, want EADDRINUSE", err)
	}
	time.AfterFunc(50*time.Millisecond, func() { held.Close() })
	time.AfterFunc(100*time.Millisecond, func() { store.Close() })
	srv, err := takeOver(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
}
