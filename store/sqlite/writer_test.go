package sqlite

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/job"
)

func TestWhatArrivesDuringACommitIsCommittedTogether(t *testing.T) {
	t.Parallel()
	s := setup(t)
	commits := 0
	onWriter(t, s, func(c *conn) error {
		c.CommitHook(func() bool { commits++; return true })
		return nil
	})
	commits = 0
	release := hold(s)
	const n = 200
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}); err != nil {
				t.Error(err)
			}
		})
	}
	queued(s, n)
	release()
	wg.Wait()
	var got int
	onWriter(t, s, func(*conn) error { got = commits; return nil })
	if got != 2 { // what held the writer, and all the others
		t.Fatalf("%d writes took %d commits", n, got-1)
	}
}

func TestBrokenWriteFailsAlone(t *testing.T) {
	t.Parallel()
	s := setup(t)
	var changes []job.Change
	s.Committed(func(c job.Change) { changes = append(changes, c) })
	taken := accept(t, s, true)
	started := accept(t, s, true)
	release := hold(s)
	const n = 20
	errs := make([]error, n)
	jobs := make([]*job.Job, n)
	var wg sync.WaitGroup
	for i := range n {
		jobs[i] = newJob(s)
		if i == 7 {
			jobs[i].ID = taken.ID
		}
		wg.Go(func() { _, errs[i] = s.Accept(t.Context(), job.Acceptance{Job: jobs[i], Key: jobs[i].ID.Job()}) })
	}
	queued(s, n)
	// A start that is due now belongs to the batch, and survives its failure.
	if err := s.StartRun(t.Context(), job.Start{Job: started, N: 1, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	s.w.starts.mu.Lock()
	s.w.starts.queue[0].since = time.Now().Add(-time.Hour)
	s.w.starts.mu.Unlock()
	release()
	wg.Wait()
	for i, err := range errs {
		if (err != nil) != (i == 7) {
			t.Errorf("write %d: %v", i, err)
		}
	}
	stored, err := s.Jobs(t.Context(), job.JobFilter{})
	if err != nil || len(stored) != n-1+2 {
		t.Errorf("%d jobs are stored, %v", len(stored), err)
	}
	if j, err := s.Job(t.Context(), "shop", started.ID); err != nil || j.State != job.Running {
		t.Errorf("the start is lost: %v, %v", j, err)
	}
	onWriter(t, s, func(*conn) error {
		if len(changes) != 2+1+n-1 {
			t.Errorf("%d changes were announced", len(changes))
		}
		return nil
	})
	if err := s.Ready(t.Context()); err != nil {
		t.Errorf("Ready: %v", err)
	}
}

func TestAnswerOfOneWriteIsNoTroubleOfTheOthers(t *testing.T) {
	t.Parallel()
	s := setup(t)
	release := hold(s)
	var late, good error
	var wg sync.WaitGroup
	wg.Go(func() { late = s.DeleteEndpoint(t.Context(), "shop", "unknown") })
	wg.Go(func() { _, good = s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}) })
	queued(s, 2)
	release()
	wg.Wait()
	if !errors.Is(late, job.ErrNotFound) || good != nil || s.failure.Load() != nil {
		t.Fatalf("errors are %v and %v", late, good)
	}
}

func TestCloseCommitsWhatIsQueued(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openAt(t, dir+"/a.db")
	release := hold(s)
	const n = 700 // more than a batch
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if _, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}); err != nil {
				t.Error(err)
			}
		})
	}
	queued(s, n)
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	<-s.w.quit
	release()
	wg.Wait()
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	again := openAt(t, dir+"/a.db")
	b, err := again.Backlog(t.Context())
	if err != nil || b.Jobs != n {
		t.Fatalf("%d jobs, %v", b.Jobs, err)
	}
}

func TestWritesDuringCloseAreStoredOrRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for range 10 {
		s := openAt(t, dir+"/a.db")
		before, err := s.Backlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var stored atomic.Int64
		var wg sync.WaitGroup
		first := make(chan struct{}, 1000)
		for range 8 {
			wg.Go(func() {
				for {
					_, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)})
					if err != nil {
						if !errors.Is(err, job.ErrUnavailable) {
							t.Error(err)
						}
						return
					}
					stored.Add(1)
					select {
					case first <- struct{}{}:
					default:
					}
				}
			})
		}
		<-first
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		again := openAt(t, dir+"/a.db")
		after, err := again.Backlog(t.Context())
		if err != nil || after.Jobs-before.Jobs != stored.Load() {
			t.Fatalf("%d jobs were acknowledged, %d are stored; %v", stored.Load(), after.Jobs-before.Jobs, err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOverloadRefusesNewJobsOnly(t *testing.T) {
	t.Parallel()
	s := setup(t)
	j := accept(t, s, true)
	release := hold(s)
	defer release()
	for range intakeLimit + 1 {
		s.w.ops <- &op{done: make(chan error, 1), apply: func(*conn) error { return nil }}
	}
	if _, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}); !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Accept: %v, want ErrUnavailable", err)
	}
	done := make(chan error)
	go func() { done <- s.FinishRun(t.Context(), job.Finish{Job: j, State: job.Canceled, At: time.Now()}) }()
	queued(s, intakeLimit+2)
	release()
	if err := <-done; err != nil {
		t.Fatalf("FinishRun: %v", err)
	}
	accept(t, s, false)
}

func TestStartIsWrittenWhenItHasLasted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, dir+"/a.db")
		var started []job.ID
		s.Committed(func(c job.Change) {
			if c.Kind == job.JobStarted {
				started = append(started, c.Job.ID)
			}
		})
		first, second := accept(t, s, true), accept(t, s, true)
		state := func(j *job.Job) job.State {
			got, err := s.Job(t.Context(), "shop", j.ID)
			if err != nil {
				t.Fatal(err)
			}
			return got.State
		}
		begin := func(j *job.Job) {
			if err := s.StartRun(t.Context(), job.Start{Job: j, N: 1, At: time.Now()}); err != nil {
				t.Fatal(err)
			}
		}
		begin(first)
		time.Sleep(startDelay / 2)
		begin(second)
		time.Sleep(startDelay/2 - 1)
		synctest.Wait()
		if state(first) != job.Accepted {
			t.Fatal("the start was written at once")
		}
		time.Sleep(2 * time.Nanosecond)
		synctest.Wait()
		if state(first) != job.Running || state(second) != job.Accepted {
			t.Fatalf("states are %v and %v", state(first), state(second))
		}
		time.Sleep(startDelay / 2)
		synctest.Wait()
		if state(second) != job.Running || len(started) != 2 {
			t.Fatalf("state is %v, and %d starts were announced", state(second), len(started))
		}
	})
}

func TestShortRunsWriteNoStartAndLeaveNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := openAt(t, dir+"/a.db")
		var changes []job.ChangeKind
		s.Committed(func(c job.Change) { changes = append(changes, c.Kind) })
		j := accept(t, s, true)
		// A job may begin again before its first start is forgotten.
		for n := 1; n <= 100; n++ {
			now := time.Now()
			if err := s.StartRun(t.Context(), job.Start{Job: j, N: n, At: now}); err != nil {
				t.Fatal(err)
			}
			f := job.Finish{Job: j, State: job.Accepted, DueAt: now, At: now, Run: &job.Run{N: n, StartedAt: now, FinishedAt: now, Error: &job.Error{}}}
			if err := s.FinishRun(t.Context(), f); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(2 * startDelay)
		synctest.Wait()
		for _, kind := range changes {
			if kind == job.JobStarted {
				t.Fatal("a start was written")
			}
		}
		if len(s.w.starts.queue) != 0 || len(s.w.starts.last) != 0 {
			t.Fatalf("%d starts and %d ids are left", len(s.w.starts.queue), len(s.w.starts.last))
		}
	})
}
