package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/job"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		acceptUntilKilled(path)
	}
	goleak.VerifyTestMain(m)
}

func setup(t testing.TB) *Store {
	t.Helper()
	return openAt(t, filepath.Join(t.TempDir(), "ringback.db"))
}

func openAt(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newJob(s *Store) *job.Job {
	now := time.Now()
	return &job.Job{ID: s.NewID(now), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: now,
		Request: job.Request{Method: "POST", Path: "/scan", Body: job.Body{Inline: make([]byte, 500), Size: 500}},
		Targets: []job.Target{{URL: "https://my.server/bar", Source: job.SourceRequest}}}
}

func accept(t testing.TB, s *Store, claimed bool) *job.Job {
	t.Helper()
	j := newJob(s)
	if _, err := s.Accept(context.Background(), job.Acceptance{Job: j, Claimed: claimed}); err != nil {
		t.Fatal(err)
	}
	return j
}

// hold makes the writer wait; what is written meanwhile goes into its next batch.
func hold(s *Store) (release func()) {
	held, gate := make(chan struct{}), make(chan struct{})
	s.w.ops <- &op{done: make(chan error, 1), apply: func(*conn) error {
		close(held)
		<-gate
		return nil
	}}
	<-held
	return sync.OnceFunc(func() { close(gate) })
}

// queued waits until n writes wait for the writer.
func queued(s *Store, n int) {
	for len(s.w.ops) < n {
		runtime.Gosched()
	}
}

// onWriter runs f on the writer's connection.
func onWriter(t testing.TB, s *Store, f func(*conn) error) {
	t.Helper()
	if err := s.write(context.Background(), f, nil); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ringback.db")
	s := openAt(t, path)
	onWriter(t, s, func(c *conn) error { return c.Exec("INSERT INTO schema_migrations (version) VALUES (1000)") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrNewerSchema) {
			t.Fatalf("Open: %v, want ErrNewerSchema", err)
		}
	}
}

func TestSecondOpenIsRefusedUntilTheFirstIsClosed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ringback.db")
	s := openAt(t, path)
	j := accept(t, s, false)
	if _, err := Open(t.Context(), path, Options{}); !errors.Is(err, ErrLocked) {
		t.Fatalf("Open: %v, want ErrLocked", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := openAt(t, path)
	if _, err := again.WholeJob(t.Context(), "", j.ID); err != nil {
		t.Fatal(err)
	}
}

func TestFileNamesMayHoldAnything(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a b.db", "a?mode=memory", "a%20b", "a#b", "a&vfs=x", "a+b", "é;=:@", "file:a", "-a", "a\"b'c"} {
		dir := t.TempDir()
		s := openAt(t, filepath.Join(dir, name))
		accept(t, s, false)
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, name+"-wal")); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	s, err := Open(t.Context(), "/"+filepath.Join(t.TempDir(), "a.db"), Options{})
	if err != nil {
		t.Fatalf("a path that begins with two slashes: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, filepath.Join(dir, "ringback.db"))
	accept(t, s, false)
	for _, name := range []string{"ringback.db", "ringback.db-wal", "ringback.db-shm", "ringback.db.lock"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("%s has mode %o", name, mode)
		}
	}
}

func TestOpenOfAFolderThatIsMissingFails(t *testing.T) {
	t.Parallel()
	if s, err := Open(t.Context(), filepath.Join(t.TempDir(), "missing", "a.db"), Options{}); err == nil {
		t.Fatalf("it opened, and closes with %v", s.Close())
	}
}

func TestFileThatIsNoStoreIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	text := []byte("this is a letter, and no store at all; it is longer than a header of a hundred octets would be, is it not")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Open(t.Context(), path, Options{}); err == nil {
		t.Fatalf("it opened, and closes with %v", s.Close())
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != string(text) {
		t.Fatalf("the file was changed: %q, %v", got, err)
	}
}

func TestReaderNeitherHoldsTheWriterNorSeesItsWrites(t *testing.T) {
	t.Parallel()
	s := setup(t)
	accept(t, s, false)
	err := s.read(t.Context(), func(c *conn) error {
		count := func() (n int64) {
			if err := c.bind("SELECT count(*) FROM jobs").each(func(row *scanner) { n = row.int() }); err != nil {
				t.Error(err)
			}
			return n
		}
		before := count()
		accept(t, s, false)
		if after := count(); before != 1 || after != before {
			return fmt.Errorf("one reading counts %d, then %d", before, after)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	jobs, err := s.Jobs(t.Context(), job.JobFilter{})
	if err != nil || len(jobs) != 2 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
}

func TestReaderThatIsNotFreeIsWaitedForAsLongAsTheContext(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for range readers {
		s.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Jobs(ctx, job.JobFilter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Jobs: %v, want the context's error", err)
	}
	for range readers {
		<-s.slots
	}
}

func TestCloseWaitsForReaders(t *testing.T) {
	t.Parallel()
	s := setup(t)
	accept(t, s, false)
	closed := make(chan error)
	err := s.read(t.Context(), func(c *conn) error {
		go func() { closed <- s.Close() }()
		<-s.w.ended
		select {
		case err := <-closed:
			return fmt.Errorf("closed under a reader: %w", err)
		default:
		}
		return c.bind("SELECT count(*) FROM jobs").each(func(*scanner) {})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backlog(t.Context()); !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Backlog after Close: %v, want ErrUnavailable", err)
	}
}

func TestFullDiskIsUnavailableUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	s := setup(t)
	limit := func(pages string) {
		onWriter(t, s, func(c *conn) error { return c.bind("PRAGMA max_page_count = " + pages).each(func(*scanner) {}) })
	}
	limit("1") // no more than there are
	var kept []*job.Job
	var err error
	for range 10_000 {
		j := newJob(s)
		if _, err = s.Accept(t.Context(), job.Acceptance{Job: j}); err != nil {
			break
		}
		kept = append(kept, j)
	}
	if !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Accept on a full disk: %v, want ErrUnavailable", err)
	}
	if s.failure.Load() == nil {
		t.Fatal("the trouble was not noted")
	}
	limit("1000000")
	kept = append(kept, accept(t, s, false))
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("Ready with room again: %v", err)
	}
	jobs, err := s.Jobs(t.Context(), job.JobFilter{})
	if err != nil || len(jobs) != len(kept) {
		t.Fatalf("%d jobs are stored, %d were acknowledged; %v", len(jobs), len(kept), err)
	}
}

func TestStoreThatCannotCommitIsNotReady(t *testing.T) {
	t.Parallel()
	s := setup(t)
	onWriter(t, s, func(c *conn) error { return c.bind("PRAGMA query_only = 1").exec() })
	if _, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}); !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Accept: %v, want ErrUnavailable", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Ready: %v, want ErrUnavailable", err)
	}
	// The writer waits for work: its connection is ours until then.
	if err := s.w.conn.Exec("PRAGMA query_only = 0"); err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Fatalf("Ready when it can commit again: %v", err)
	}
}

func TestPurgeTakesWhatCallbacksSayOfTheirOwnAlong(t *testing.T) {
	t.Parallel()
	s := whole(t, 1)
	j := newJob(s)
	if _, err := s.Accept(t.Context(), job.Acceptance{Job: j, Claimed: true}); err != nil {
		t.Fatal(err)
	}
	f := finishOf(s, j)
	now := time.Now()
	f.Callbacks = []job.OwedCallback{{Callback: &job.Callback{ID: s.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation,
		Event: job.EventSucceeded, URL: "https://my.server/", Body: []byte("body"), CreatedAt: now, State: job.Pending}, Claimed: true}}
	if err := s.FinishRun(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	count := func() (n int64) {
		onWriter(t, s, func(c *conn) error {
			return c.bind(`SELECT count(*) FROM callback_bodies`).each(func(row *scanner) { n = row.int() })
		})
		return n
	}
	if n := count(); n != 1 {
		t.Fatalf("%d bodies were stored", n)
	}
	err := s.SettleAttempt(t.Context(), job.Settlement{Callback: f.Callbacks[0].Callback, State: job.Dead, At: now})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Purge(t.Context(), now.Add(time.Hour), now.Add(time.Hour), 10); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 0 {
		t.Errorf("%d bodies are left", n)
	}
}

// TestClaimThatIsTakenAwayIsNotHandedOut lets a job that waits be completed between its
// claim and the reading of it: what is due again is for another claim.
func TestClaimThatIsTakenAwayIsNotHandedOut(t *testing.T) {
	t.Parallel()
	s := setup(t)
	j := accept(t, s, true)
	now := time.Now()
	run := &job.Run{N: 1, StartedAt: now, FinishedAt: now}
	err := s.FinishRun(t.Context(), job.Finish{Job: j, State: job.Waiting, At: now, DueAt: now, Run: run,
		Wait: &job.Wait{StartedAt: now, Until: now.Add(time.Hour)}})
	if err != nil {
		t.Fatal(err)
	}
	for range readers {
		s.slots <- struct{}{}
	}
	claimed := make(chan []*job.Job, 1)
	go func() {
		jobs, _, err := s.ClaimRuns(context.Background(), "shop", "scan", now.Add(time.Second), 10)
		if err != nil {
			t.Error(err)
		}
		claimed <- jobs
	}()
	for due := int64(1); due != 0; {
		onWriter(t, s, func(c *conn) error {
			return c.bind(`SELECT due_at FROM jobs`).each(func(row *scanner) { due = row.int() })
		})
	}
	err = s.FinishRun(t.Context(), job.Finish{Job: j, State: job.Accepted, At: now, DueAt: now.Add(time.Minute), Run: run, Waited: true,
		Error: &job.Error{Code: job.CodeBackendError}})
	if err != nil {
		t.Fatal(err)
	}
	for range readers {
		<-s.slots
	}
	if jobs := <-claimed; len(jobs) > 0 {
		t.Errorf("claimed %d jobs, %v and due at %v", len(jobs), jobs[0].State, jobs[0].DueAt)
	}
}
