package executor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// chatty is a backend that talks. Its runs go on until they are let go, whatever their
// context says, and say "later" then.
type chatty struct {
	links    chan *backend.Links
	goOn     chan struct{}
	location string // where they want to be polled
}

func (c *chatty) Run(_ context.Context, run *backend.Run) (*job.Result, error) {
	c.links <- run.Links
	<-c.goOn
	return nil, &backend.Later{Location: c.location}
}

func (c *chatty) Talks() bool { return true }

func (c *chatty) Poll(context.Context, *backend.Run, *job.Wait) (*job.Result, error) {
	return nil, errors.New("nothing is polled")
}

func (c *chatty) Completed(ctx context.Context, run *backend.Run, header http.Header, from io.Reader) (*job.Result, error) {
	if header.Get("Failed") != "" {
		return nil, &backend.Failure{Code: job.CodeBackendError, Message: "try again"}
	}
	b, err := run.ReadResult(ctx, from)
	return &job.Result{Status: 200, Body: b}, err
}

// talking is an executor of a chatty backend, and a job that runs.
func talking(t *testing.T) (*Executor, *sqlite.Store, *chatty, job.ID, string) {
	t.Helper()
	c := &chatty{links: make(chan *backend.Links, 1), goOn: make(chan struct{})}
	e, store := idle(t, job.Operation{}, c)
	id, token := callChatty(t, e, store, c)
	return e, store, c, id, token
}

// callChatty accepts a job and waits for its run, whose token it returns.
func callChatty(t *testing.T, e *Executor, store *sqlite.Store, c *chatty) (id job.ID, token string) {
	t.Helper()
	id = submit(t, e, store)
	token, _, _ = strings.Cut(strings.TrimPrefix((<-c.links).Completion, "/"), "/")
	return id, token
}

func submit(t *testing.T, e *Executor, store *sqlite.Store) job.ID {
	t.Helper()
	now := time.Now()
	j := &job.Job{ID: store.NewID(now), App: "shop", Operation: "work", State: job.Accepted, CreatedAt: now, DueAt: now}
	if _, err := store.Accept(t.Context(), job.Acceptance{Job: j, Claimed: e.Reserve(j)}); err != nil {
		t.Fatal(err)
	}
	return j.ID
}

// asker makes the callbacks that ask.
type asker struct{ store *sqlite.Store }

func (a asker) OweAsk(_ context.Context, j *job.Job, _ string, _ []byte, at, until time.Time) *job.Callback {
	return &job.Callback{ID: a.store.NewID(at), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventAsk, URL: "https://my.server/",
		Method: "POST", CreatedAt: at, DueAt: at, GiveUpAt: until, State: job.Pending}
}

// idle is an executor without a job.
func idle(t *testing.T, op job.Operation, b backend.Backend) (*Executor, *sqlite.Store) {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "r.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := body.OpenDir(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, seal.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	op.Name = "work"
	e := New(Options{Store: store, Reader: store, Questions: store, Asker: asker{store}, Bodies: bodies, Seal: sealer,
		Operations: []Operation{{Operation: op, Backend: b}},
		RunURL:     func(token string) string { return "/" + token },
		Owe:        func(context.Context, *job.Job, job.State, time.Time) []job.OwedCallback { return nil },
		Disown:     func(*job.Job, []job.OwedCallback) {}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Registerer: prometheus.NewRegistry()})
	store.Committed(e.Committed)
	if err := e.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := e.Close(ctx); err != nil {
			t.Error(err)
		}
		store.Close()
	})
	return e, store
}

func complete(t *testing.T, e *Executor, token, result string) error {
	t.Helper()
	return e.Complete(t.Context(), token, http.Header{}, strings.NewReader(result))
}

func TestTwoCompletionsOfARunInMemoryAreOne(t *testing.T) {
	t.Parallel()
	e, store, c, id, token := talking(t)
	errs := make(chan error, 2)
	for _, result := range []string{"one", "two"} {
		go func() { errs <- e.Complete(context.Background(), token, http.Header{}, strings.NewReader(result)) }()
	}
	// The backend has not returned: the first one waits, and the second one need not.
	if err := <-errs; !errors.Is(err, job.ErrExists) {
		t.Errorf("the second completion: %v", err)
	}
	close(c.goOn)
	if err := <-errs; err != nil {
		t.Errorf("the first completion: %v", err)
	}
	j, err := store.WholeJob(t.Context(), "", id)
	if err != nil || j.State != job.Succeeded || j.Runs != 1 {
		t.Fatalf("%+v, %v", j, err)
	}
	if err := complete(t, e, token, "three"); !errors.Is(err, job.ErrGone) {
		t.Errorf("afterwards: %v", err)
	}
}

func TestACompletionOfACanceledRunChangesNothing(t *testing.T) {
	t.Parallel()
	e, store, c, id, token := talking(t)
	j, err := store.WholeJob(t.Context(), "", id)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.FinishRun(t.Context(), job.Finish{Job: j, State: job.Canceled, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- e.Complete(context.Background(), token, http.Header{}, strings.NewReader("late")) }()
	close(c.goOn)
	if err := <-done; !errors.Is(err, job.ErrGone) {
		t.Errorf("%v", err)
	}
	if j, err := store.WholeJob(t.Context(), "", id); err != nil || j.State != job.Canceled || j.Result != nil {
		t.Errorf("%+v, %v", j, err)
	}
}

func TestATokenIsGoodForItsRunAlone(t *testing.T) {
	t.Parallel()
	e, store, c, id, token := talking(t)
	changed := "A" + token[1:]
	if changed == token {
		changed = "B" + token[1:]
	}
	for _, wrong := range []string{"", "x", token[:len(token)-1], token + "A", changed} {
		if err := complete(t, e, wrong, "forged"); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	// One that was made for the same run, by a process that has crashed.
	other := &talk{job: &job.Job{ID: id}, n: 1}
	e.giveToken(other)
	twin := strings.TrimPrefix(other.link, "/")
	if err := complete(t, e, twin, "forged"); !errors.Is(err, job.ErrGone) {
		t.Errorf("while it runs: %v", err)
	}
	close(c.goOn)
	for {
		j, err := store.WholeJob(t.Context(), "", id)
		if err != nil {
			t.Fatal(err)
		}
		if j.State == job.Waiting {
			break
		}
	}
	if err := complete(t, e, twin, "forged"); !errors.Is(err, job.ErrGone) {
		t.Errorf("while it waits: %v", err)
	}
	if err := complete(t, e, token, "good"); err != nil {
		t.Error(err)
	}
}

func TestAJobThatIsCompletedWhileItsPollIsQueuedRunsOnceMore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &chatty{links: make(chan *backend.Links, 1), goOn: make(chan struct{}), location: "/status"}
		e, store := idle(t, job.Operation{Concurrency: 1, Retry: job.Retry{Backoff: time.Millisecond}}, c)
		stands := func(id job.ID, state job.State, claimed bool) {
			t.Helper()
			for range 10_000 {
				j, err := store.Job(t.Context(), "shop", id)
				if err != nil {
					t.Fatal(err)
				}
				if j.State == state && j.DueAt.IsZero() == claimed {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Fatalf("it is not %v", state)
		}
		id, token := callChatty(t, e, store, c)
		c.goOn <- struct{}{}
		stands(id, job.Waiting, false)
		callChatty(t, e, store, c)    // another job has the only slot
		stands(id, job.Waiting, true) // and the poll waits for it
		if err := e.Complete(t.Context(), token, http.Header{"Failed": {"1"}}, strings.NewReader("")); err != nil {
			t.Fatal(err)
		}
		stands(id, job.Accepted, true) // so does the next run
		c.goOn <- struct{}{}
		<-c.links
		c.goOn <- struct{}{}
		stands(id, job.Waiting, false)
		if j, err := store.Job(t.Context(), "shop", id); err != nil || j.Runs != 2 {
			t.Errorf("%+v, %v", j, err)
		}
	})
}

func TestPollsBecomeRarerAndHeedTheUpstreamWithinBounds(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked time.Duration
		polls int
		want  time.Duration
	}{
		{0, 0, time.Second}, {0, 1, 2 * time.Second}, {0, 4, 16 * time.Second}, {0, 5, 30 * time.Second}, {0, 1 << 30, 30 * time.Second},
		{time.Millisecond, 9, time.Second}, {7 * time.Second, 0, 7 * time.Second}, {time.Hour, 0, 10 * time.Minute},
	} {
		if got := pollDelay(tt.asked, tt.polls); got != tt.want {
			t.Errorf("after %d polls and asked for %v: %v, want %v", tt.polls, tt.asked, got, tt.want)
		}
	}
}
