package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// A running gateway is asked for what concerns its store through a socket beside it,
// which only the user who runs the gateway can open. The API has none of it: a key
// must not be enough to make the gateway write files.

// control answers at the socket until it is closed.
type control struct {
	path    string
	http    *http.Server
	answers http.Handler
	cancel  context.CancelFunc
	serving sync.WaitGroup
	// asked is read-locked by each answer, and locked for good by Close.
	asked sync.RWMutex
}

// controlPath is where the socket of a store's gateway is.
func controlPath(store string) string { return store + ".sock" }

// openControl listens at the socket of a store. The caller has the store's lock, so
// what is there was left behind by a crash.
func openControl(store string, answers http.Handler) (*control, error) {
	ln, err := listenPrivate(controlPath(store))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &control{path: controlPath(store), answers: answers, cancel: cancel}
	c.http = &http.Server{Handler: c, ReadHeaderTimeout: readHeaderTimeout, BaseContext: func(net.Listener) context.Context { return ctx }}
	c.serving.Go(func() { _ = c.http.Serve(ln) }) // it ends with Close
	return c, nil
}

// controlAnswers are what the gateway at a store can be asked.
func controlAnswers(s *config.Settings, gw *ringback.Gateway, store *sqlite.Store) http.Handler {
	path := s.Store
	mux := http.NewServeMux()
	answerSeals(mux, s, gw)
	mux.HandleFunc("POST /backup", func(w http.ResponseWriter, r *http.Request) { answerBackup(w, r, gw) })
	mux.HandleFunc("GET /info", func(w http.ResponseWriter, r *http.Request) {
		contents, err := store.Contents(r.Context())
		answer := infoAnswer{Info: describe(path, contents, true)}
		if err != nil {
			answer.Error = err.Error()
		}
		_ = json.NewEncoder(w).Encode(answer) // who asked sees it cut short
	})
	return mux
}

// ServeHTTP answers, unless the store is being closed.
func (c *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !c.asked.TryRLock() {
		http.Error(w, "the gateway is stopping", http.StatusServiceUnavailable)
		return
	}
	defer c.asked.RUnlock()
	c.answers.ServeHTTP(w, r)
}

// Close ends what is under way, and waits for it. A nil control is none.
func (c *control) Close() error {
	if c == nil {
		return nil
	}
	c.cancel()
	err := c.http.Close()
	c.serving.Wait()
	c.asked.Lock()
	return errors.Join(err, os.Remove(c.path))
}

// listenPrivate makes the socket in a folder that nobody else may enter, and moves
// it to its place when its own mode is right: there is no moment for others.
func listenPrivate(path string) (_ net.Listener, err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".rb")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, err
	}
	ln.SetUnlinkOnClose(false)
	if err = errors.Join(os.Chmod(made, 0o600), os.Rename(made, path)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

type backupQuestion struct {
	Dir string `json:"dir"` // absolute
}

// backupAnswer is one of the lines that a backup is answered with: how far it is,
// and as the last one how it went.
type backupAnswer struct {
	Progress *ringback.BackupProgress `json:"progress,omitempty"`
	Manifest *ringback.BackupManifest `json:"manifest,omitempty"`
	Error    string                   `json:"error,omitempty"`
}

type infoAnswer struct {
	Info  dbInfo `json:"info"`
	Error string `json:"error,omitempty"`
}

// answerBackup makes a backup for as long as somebody waits for it.
func answerBackup(w http.ResponseWriter, r *http.Request, gw *ringback.Gateway) {
	var q backupQuestion
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil || !filepath.IsAbs(q.Dir) {
		http.Error(w, "a backup needs an absolute dir", http.StatusBadRequest)
		return
	}
	enc, flush := json.NewEncoder(w), http.NewResponseController(w).Flush
	tell := func(a backupAnswer) { _ = errors.Join(enc.Encode(a), flush()) } // whoever is gone ends the context
	ctx := job.WithActor(r.Context(), job.Actor{Kind: job.ActorControl})
	m, err := gw.Backup(ctx, q.Dir, throttled(func(p ringback.BackupProgress) { tell(backupAnswer{Progress: &p}) }))
	if err != nil {
		tell(backupAnswer{Error: err.Error()})
		return
	}
	tell(backupAnswer{Manifest: m})
}

// throttled passes on ten reports a second at most.
func throttled(report func(ringback.BackupProgress)) func(ringback.BackupProgress) {
	var last time.Time
	return func(p ringback.BackupProgress) {
		if now := time.Now(); now.Sub(last) >= 100*time.Millisecond {
			last = now
			report(p)
		}
	}
}

// askControl sends a question to the gateway of a store. The caller closes the
// answer's body.
func askControl(ctx context.Context, store, method, path string, question any) (*http.Response, error) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://gateway"+path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	var dialer net.Dialer
	gateway := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", controlPath(store))
		}}}
	resp, err := gateway.Do(req)
	if err != nil {
		return nil, controlFailure(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		return nil, fmt.Errorf("%w: it answered %s", errNotAsked, resp.Status)
	}
	return resp, nil
}

var errNotAsked = errors.New("the store is in use, and its gateway cannot be asked")

// controlFailure says why a gateway could not be asked.
func controlFailure(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	hint := "run this as the user who runs the gateway"
	if errors.Is(err, fs.ErrNotExist) {
		hint = "the gateway is still starting, or could not make its socket: its log says why"
	}
	return &failure{code: exitUnavailable, err: fmt.Errorf("%w: %w", errNotAsked, err), hint: hint}
}
