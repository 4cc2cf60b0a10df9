package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
)

// shortStore is a store's path that a socket can stand beside.
func shortStore(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "rb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "r.db")
}

// ask asks for a backup, and says what came of it.
func ask(ctx context.Context, store string) string {
	_, err := askBackup(ctx, store, "/backup", func(ringback.BackupProgress) {})
	if err == nil {
		return "made"
	}
	f := explain(err)
	return fmt.Sprintf("%d %v; %s", f.code, f, f.hint)
}

func TestWhyAGatewayCannotBeAskedIsSaid(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	if got := ask(t.Context(), store); !strings.HasPrefix(got, "6 the store is in use, and its gateway cannot be asked: ") ||
		!strings.HasSuffix(got, "; the gateway is still starting, or could not make its socket: its log says why") {
		t.Error(got)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"cut short": {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"progress":{"Done":1,"Total":2}}`) },
			"6 the gateway has stopped before the backup was whole; "},
		"failed":   {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"error":"no room"}`) }, "1 no room; "},
		"stopping": {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "", http.StatusServiceUnavailable) }, "1 the store is in use, and its gateway cannot be asked: it answered 503 Service Unavailable; "},
		"made":     {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, `{"manifest":{}}`) }, "made"},
	} {
		c, err := openControl(store, tt.answer)
		if err != nil {
			t.Fatal(err)
		}
		if got := ask(t.Context(), store); got != tt.want {
			t.Errorf("%s: %s", name, got)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestClosingTheSocketEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	begun, ended := make(chan struct{}), make(chan struct{})
	c, err := openControl(store, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(ended)
	}))
	if err != nil {
		t.Fatal(err)
	}
	asked := make(chan string)
	go func() { asked <- ask(t.Context(), store) }()
	<-begun
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	default:
		t.Error("closed while an answer was under way")
	}
	if got := <-asked; !strings.HasPrefix(got, "6 ") {
		t.Error(got)
	}
	if _, err := os.Lstat(controlPath(store)); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
}

func TestWhoGivesABackupUpEndsIt(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	ctx, cancel := context.WithCancel(t.Context())
	c, err := openControl(store, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, `{"progress":{}}`)
		_ = http.NewResponseController(w).Flush()
		cancel()
		<-r.Context().Done()
	}))
	if err != nil {
		t.Fatal(err)
	}
	if got := ask(ctx, store); got != "130 interrupted; " {
		t.Error(got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestBackupNeedsAnAbsoluteFolder(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	c, err := openControl(store, controlAnswers(&config.Settings{Store: store}, nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = askControl(t.Context(), store, "POST", "/backup", backupQuestion{Dir: "backup"})
	if err == nil || !strings.Contains(err.Error(), "400 Bad Request") {
		t.Errorf("err = %v", err)
	}
}

func TestGatewayWithoutASocketStillWorks(t *testing.T) {
	t.Parallel()
	s := devSettings(t, ringback.Operation{Backend: ringback.Relay(), Operation: job.Operation{Name: "notify", Route: "POST /notify"}})
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Store = filepath.Join(dir, "ringback.db")
	var log bytes.Buffer
	srv, err := startServer(t.Context(), s, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post(srv.URL()+"/notify", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if err := srv.Close(); err != nil || resp.StatusCode != http.StatusAccepted {
		t.Errorf("%s, %v", resp.Status, err)
	}
	if !strings.Contains(log.String(), "no backup can be made while the gateway runs") {
		t.Errorf("log: %s", log.String())
	}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".rb") {
			t.Errorf("left behind: %s", e.Name())
		}
	}
	if err != nil {
		t.Error(err)
	}
}
