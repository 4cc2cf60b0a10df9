package sqlite

import (
	"context"
	"errors"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestWhatLooksAtManyRowsLeavesReadersForTheRest(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for range scanners { // as many are at it as may
		done, err := s.scanning(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer done()
		<-reading(t, s)
	}
	hurried, cancel := context.WithCancel(t.Context())
	cancel()
	for name, scan := range map[string]func() error{
		"usage":     func() error { _, err := s.Usage(hurried, "shop"); return err },
		"jobs":      func() error { _, err := s.Jobs(hurried, job.JobFilter{App: "shop"}); return err },
		"callbacks": func() error { _, err := s.Callbacks(hurried, job.CallbackFilter{App: "shop"}); return err },
		"audit":     func() error { _, err := s.AuditLog(hurried, job.AuditFilter{App: "shop"}); return err },
		"dead":      func() error { _, err := s.DeadLetters(hurried, job.DeadFilter{App: "shop"}); return err },
		"bulk":      func() error { _, err := s.FindBulk(hurried, job.BulkLook{Bulk: &job.Bulk{App: "shop"}}); return err },
	} {
		if err := scan(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s does not wait for its turn: %v", name, err)
		}
	}
	if _, err := s.App(t.Context(), "shop"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("app: %v", err)
	}
	if _, err := s.Callbacks(t.Context(), job.CallbackFilter{App: "shop", JobID: job.ID{1}, Limit: 1}); err != nil {
		t.Errorf("callbacks of a job: %v", err)
	}
}

// reading takes a reader until the test ends, and tells when it has one.
func reading(t *testing.T, s *Store) <-chan struct{} {
	t.Helper()
	has, end, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.read(context.Background(), func(*conn) error { close(has); <-end; return nil })
	}()
	t.Cleanup(func() { close(end); <-ended })
	return has
}
