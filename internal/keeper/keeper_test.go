package keeper

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// erasing is a store with one app that was deleted, whose scrub fails at first.
type erasing struct {
	Store
	app     string
	batches int
	scrubs  int
	failing bool
}

func (s *erasing) DeletedApps(context.Context) ([]job.App, error) {
	if s.app == "" {
		return nil, nil
	}
	return []job.App{{Name: s.app}}, nil
}

func (s *erasing) EraseApp(context.Context, string, int) (unused []string, done bool, err error) {
	s.batches++
	return nil, s.batches > 2, nil
}

func (s *erasing) Scrub(context.Context) error {
	s.scrubs++
	if s.failing {
		return errors.New("no room")
	}
	return nil
}

func (s *erasing) ForgetApp(context.Context, string) error {
	s.app = ""
	return nil
}

func TestScrubThatFailsKeepsTheNameAndIsPutOffLongerEachTime(t *testing.T) {
	t.Parallel()
	now := time.Unix(1e9, 0)
	s := &erasing{app: "shop", failing: true}
	k, err := New(Options{Store: s, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	erase := func(after time.Duration, scrubs int, fails bool) {
		t.Helper()
		now = now.Add(after)
		if err := k.erase(t.Context()); (err != nil) != fails || s.scrubs != scrubs {
			t.Fatalf("%d scrubs, %v", s.scrubs, err)
		}
	}
	erase(0, 1, true)
	erase(30*time.Second, 1, false)
	erase(30*time.Second, 2, true)
	erase(time.Minute, 2, false)
	erase(time.Minute, 3, true)
	if s.app == "" {
		t.Fatal("the name is free though traces are left")
	}
	s.failing = false
	erase(time.Hour, 4, false)
	if s.app != "" {
		t.Error("the name is not free")
	}
	erase(0, 4, false)
}

func TestMalformedRedactionIsRefused(t *testing.T) {
	t.Parallel()
	_, err := New(Options{Operations: []job.Operation{{Name: "pay", Redact: job.Redaction{Request: []string{"/a"}, Answer: []string{"b"}}}}})
	if err == nil {
		t.Error("a pointer without / is taken")
	}
}

func TestOnlyWhatMayHaveToBeRedactedIsQueued(t *testing.T) {
	t.Parallel()
	k, err := New(Options{Operations: []job.Operation{{Name: "pay", Redact: job.Redaction{Request: []string{"/a"}}}, {Name: "scan"}}})
	if err != nil {
		t.Fatal(err)
	}
	tell := func(operation string, targets int, kind job.ChangeKind) {
		j := &job.Job{Operation: operation, Targets: make([]job.Target, targets)}
		k.Committed(job.Change{Kind: kind, Job: j, Callback: &job.Callback{Operation: operation}})
	}
	tell("scan", 0, job.JobFinished)
	tell("scan", 1, job.CallbackSettled)
	tell("pay", 0, job.JobAccepted)
	if len(k.ended) != 0 {
		t.Errorf("%d are queued", len(k.ended))
	}
	tell("pay", 0, job.JobFinished)
	tell("pay", 1, job.CallbackSettled)
	if len(k.ended) != 2 {
		t.Errorf("%d are queued", len(k.ended))
	}
	for range queue + 10 { // more than there is room for must not block a commit
		tell("pay", 0, job.JobFinished)
	}
}
