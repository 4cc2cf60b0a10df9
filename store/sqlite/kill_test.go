package sqlite

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// childEnv names the store that a child process writes to until it is killed.
const childEnv = "RINGBACK_SQLITE_TEST_CHILD"

// acceptUntilKilled takes jobs through their lives, and says after each
// acknowledgement which job it was.
func acceptUntilKilled(path string) {
	ctx := context.Background()
	s, err := Open(ctx, path, Options{})
	if err != nil {
		fmt.Println("failed", err)
		os.Exit(1)
	}
	lines := make(chan string, 1000)
	for range 16 {
		go func() {
			for {
				j := newJob(s)
				if _, err := s.Accept(ctx, job.Acceptance{Job: j, Claimed: true}); err != nil {
					lines <- fmt.Sprintln("failed", err)
				}
				lines <- fmt.Sprintln("accepted", j.ID.Job())
				if err := s.FinishRun(ctx, finishOf(s, j)); err != nil {
					lines <- fmt.Sprintln("failed", err)
				}
				lines <- fmt.Sprintln("finished", j.ID.Job())
			}
		}()
	}
	for line := range lines {
		if _, err := os.Stdout.WriteString(line); err != nil {
			os.Exit(1)
		}
	}
}

func finishOf(s *Store, j *job.Job) job.Finish {
	now := time.Now()
	return job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now},
		Result: &job.Result{Status: 200, ContentType: "text/plain", Echo: true},
		Callbacks: []job.OwedCallback{{Claimed: true, Callback: &job.Callback{ID: s.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation,
			Event: job.EventSucceeded, URL: j.Targets[0].URL, Method: "POST", CreatedAt: now, GiveUpAt: now.Add(time.Hour), DueAt: now, State: job.Pending}}}}
}

func TestKilledProcessLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	accepted, finished := map[job.ID]bool{}, map[job.ID]bool{}
	for range 3 {
		killChildAfter(t, path, 2000, accepted, finished)
	}
	s := openAt(t, path)
	for id := range accepted {
		j, err := s.Job(t.Context(), "shop", id)
		if err != nil {
			t.Fatalf("an acknowledged job is lost: %v", err)
		}
		owed, err := s.Callbacks(t.Context(), job.CallbackFilter{JobID: id})
		if err != nil {
			t.Fatal(err)
		}
		if done := j.State == job.Succeeded; finished[id] && !done || done != (len(owed) == 1) {
			t.Fatalf("%s, acknowledged as finished: %v, is %v and owes %d callbacks", id.Job(), finished[id], j.State, len(owed))
		}
	}
}

// killChildAfter runs a child until it has said so many lines, and kills it.
func killChildAfter(t *testing.T, path string, lines int, accepted, finished map[job.ID]bool) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childEnv+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	n := 0
	for in := bufio.NewScanner(out); in.Scan(); {
		var word, text string
		if _, err := fmt.Sscan(in.Text(), &word, &text); err != nil {
			continue // the last line may be cut off
		}
		id, ok := job.ParseJob(text)
		switch {
		case ok && word == "accepted":
			accepted[id] = true
		case ok && word == "finished":
			finished[id] = true
		case word == "failed":
			t.Errorf("child: %s", in.Text())
		}
		if n++; n == lines {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || n < lines {
		t.Fatalf("the child ended by itself after %d lines: %v", n, err)
	}
}
