package ringback_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// patient is a relay whose callbacks are tried for as long as a test lasts.
func patient(name, route string) ringback.Operation {
	return operation(name, route, ringback.Relay(), func(op *job.Operation) {
		op.Callback.Schedule = slices.Repeat([]time.Duration{100 * time.Millisecond}, 5000)
	})
}

// closedReceiver refuses what goes to /held until it is opened, and takes the rest.
func closedReceiver(t *testing.T) (url string, open func()) {
	t.Helper()
	var opened atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/held" && !opened.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL, func() { opened.Store(true) }
}

// load calls from 16 clients at once, and keeps what was acknowledged.
type load struct {
	mu   sync.Mutex
	acks map[string]bool // by job id: whether its callback goes to /held
	stop context.CancelFunc
	done sync.WaitGroup
}

// document is what the call n brings: every other one is too large for its row.
func document(n int) []byte {
	return bytes.Repeat([]byte{byte('a' + n%26)}, 100+n%2*100_000)
}

func startLoad(t *testing.T, g *gateway, receiver string) *load {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{acks: map[string]bool{}, stop: cancel}
	for i := range 16 {
		l.done.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				path := "/bar"
				if n%8 == 0 {
					path = "/held"
				}
				a, err := g.app.Call(ctx, client.Call{Path: "/notify", Body: bytes.NewReader(document(n)), CallbackURL: receiver + path})
				if err == nil {
					l.mu.Lock()
					l.acks[a.Job.ID] = path == "/held"
					l.mu.Unlock()
				} else if ctx.Err() == nil {
					t.Errorf("call: %v", err)
				}
			}
		})
	}
	t.Cleanup(l.end)
	return l
}

func (l *load) end() {
	l.stop()
	l.done.Wait()
}

func (l *load) acknowledged() map[string]bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := make(map[string]bool, len(l.acks))
	for id, held := range l.acks {
		all[id] = held
	}
	return all
}

func bodyFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "??", strings.Repeat("?", 40)))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// checkBackup wants a whole backup.
func checkBackup(t *testing.T, dir string) *ringback.BackupManifest {
	t.Helper()
	m, unchanged, err := ringback.ReadBackup(dir)
	if err != nil || !unchanged {
		t.Fatalf("ReadBackup: unchanged %v, %v", unchanged, err)
	}
	f, err := sqlite.OpenCopy(filepath.Join(dir, ringback.BackupStore))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if found, err := f.Check(t.Context()); err != nil || len(found) > 0 {
		t.Errorf("Check: %v, %v", found, err)
	}
	bodies := filepath.Join(dir, ringback.BackupBodies)
	if err := f.Bodies(t.Context(), func(b job.Body) error { return body.Verify(bodies, b) }); err != nil {
		t.Error(err)
	}
	if n, err := body.Leftovers(t.Context(), bodies, f.KnownBodies); n > 0 || err != nil {
		t.Errorf("%d leftovers, %v", n, err)
	}
	if m.Missing > 0 {
		t.Errorf("%d bodies are missing", m.Missing)
	}
	return m
}

// TestBackupUnderLoadRestoresToAConsistentState backs up while 16 clients call and
// retention deletes, and starts a gateway on a copy of the backup.
func TestBackupUnderLoadRestoresToAConsistentState(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	receiver, openReceiver := closedReceiver(t)
	operations := []ringback.Operation{patient("notify", "POST /notify")}
	g := start(t, dir, func(o *ringback.Options) { o.Operations, o.Retention = operations, time.Millisecond })
	g.join(t)

	// One with a large document is over, and will be deleted while the backup is made.
	victim := g.call(t, client.Call{Path: "/notify", Body: bytes.NewReader(document(1)), CallbackURL: receiver + "/bar"}).ID
	eventually(t, "the first callback is delivered", func() bool { return delivered(t, g.app, victim) })
	l := startLoad(t, g, receiver)
	eventually(t, "300 calls are acknowledged", func() bool { return len(l.acknowledged()) >= 300 })
	before := l.acknowledged()

	backup := filepath.Join(t.TempDir(), "backup")
	reports := 0
	m, err := g.Backup(t.Context(), backup, func(ringback.BackupProgress) {
		if reports++; reports%50 != 1 {
			return
		}
		if err := g.Clean(t.Context()); err != nil {
			t.Error(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	l.end()
	if _, err := g.app.Job(t.Context(), victim); !isNotFound(err) || reports == 0 {
		t.Fatalf("retention has deleted nothing: %v", err)
	}
	checkBackup(t, backup)
	if m.Bodies < 100 || m.Jobs["succeeded"]+m.Jobs["accepted"]+m.Jobs["running"] < 300 || m.Callbacks["pending"] == 0 {
		t.Errorf("the backup holds too little: %+v", m)
	}
	// What was put off is deleted now.
	if err := g.Clean(t.Context()); err != nil {
		t.Fatal(err)
	}
	contents, err := g.store.Contents(t.Context())
	if files := bodyFiles(t, filepath.Join(dir, "bodies")); err != nil || int64(len(files)) != contents.Bodies {
		t.Errorf("%d files are left of %d bodies, %v", len(files), contents.Bodies, err)
	}
	g.stop()

	restored := t.TempDir()
	if err := os.CopyFS(restored, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	openReceiver()
	r := start(t, restored, func(o *ringback.Options) {
		o.Operations, o.BodyDir = operations, filepath.Join(restored, ringback.BackupBodies)
	})
	r.app = r.client(t, g.key)
	eventually(t, "everything is delivered", func() bool {
		b, err := r.store.Backlog(t.Context())
		return err == nil && b.Jobs+b.Callbacks == 0
	})
	before[victim] = false
	for id := range before {
		if !delivered(t, r.app, id) {
			t.Errorf("%s is not delivered", id)
		}
		wantDocument(t, r.app, id)
	}
}

// delivered tells whether a job's only callback is.
func delivered(t *testing.T, app *client.Client, id string) bool {
	t.Helper()
	j, err := app.Job(t.Context(), id)
	if err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	return len(j.Callbacks) == 1 && j.Callbacks[0].Status == client.CallbackDelivered
}

// wantDocument wants that a job's result is one of the documents, whole.
func wantDocument(t *testing.T, app *client.Client, id string) {
	t.Helper()
	r, err := app.Result(t.Context(), id)
	if err != nil {
		t.Errorf("result of %s: %v", id, err)
		return
	}
	defer r.Body.Close()
	got, err := io.ReadAll(r.Body)
	if err != nil || len(got) != 100 && len(got) != 100_100 || len(bytes.Trim(got, string(got[:1]))) != 0 {
		t.Errorf("result of %s: %d bytes, %v", id, len(got), err)
	}
}

func isNotFound(err error) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Status == http.StatusNotFound
}

func TestBackupThatIsGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("notify", "POST /notify", ringback.Relay()))
	dir := filepath.Join(t.TempDir(), "backup")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := g.Backup(ctx, dir, func(ringback.BackupProgress) {
		if _, err := g.Backup(t.Context(), dir+"2", nil); !errors.Is(err, ringback.ErrBackupRunning) {
			t.Errorf("a second one at once: %v", err)
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	for _, path := range []string{dir, dir + "2"} {
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if _, err := g.Backup(t.Context(), dir, nil); err != nil {
		t.Errorf("the next one: %v", err)
	}
	checkBackup(t, dir)
}

func TestBackupTouchesNoFolderThatIsThere(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("notify", "POST /notify", ringback.Relay()))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Backup(t.Context(), dir, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("err = %v", err)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "mine")); err != nil || string(text) != "mine" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestFolderWithoutAManifestIsNoBackup(t *testing.T) {
	t.Parallel()
	for manifest, want := range map[string]error{
		"":             ringback.ErrNoBackup,
		"{":            ringback.ErrNoBackup,
		"{}":           ringback.ErrNoBackup,
		`{"format":2}`: ringback.ErrNewerBackup,
		`{"format":1}`: fs.ErrNotExist, // there is no store
	} {
		dir := t.TempDir()
		if manifest != "" {
			if err := os.WriteFile(filepath.Join(dir, "backup.json"), []byte(manifest), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := ringback.ReadBackup(dir); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", manifest, err, want)
		}
	}
}

func TestBackupSaysWhichBodiesAreMissing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("notify", "POST /notify", ringback.Relay())}
	})
	g.join(t)
	for n := range 3 {
		j := g.call(t, client.Call{Path: "/notify", Body: bytes.NewReader(document(2*n + 1))})
		g.done(t, j.ID)
	}
	files := bodyFiles(t, filepath.Join(dir, "bodies"))
	if err := errors.Join(os.Remove(files[0]), os.Truncate(files[1], 5)); err != nil {
		t.Fatal(err)
	}
	backup := filepath.Join(t.TempDir(), "backup")
	m, err := g.Backup(t.Context(), backup, nil)
	if err != nil || m.Missing != 2 || m.Bodies != 3 {
		t.Errorf("%+v, %v", m, err)
	}
	if got := bodyFiles(t, filepath.Join(backup, ringback.BackupBodies)); len(got) != 1 {
		t.Errorf("bodies %v", got)
	}
}

// sourceless is a store that cannot copy itself.
type sourceless struct{ job.Store }

func TestStoreThatCannotCopyItselfIsNotBackedUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	opt := options(dir)
	opt.Operations = []ringback.Operation{operation("notify", "POST /notify", ringback.Relay())}
	g, err := ringback.New(t.Context(), sourceless{store}, opt)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.Backup(t.Context(), filepath.Join(dir, "backup"), nil); err == nil {
		t.Error("no error")
	}
}
