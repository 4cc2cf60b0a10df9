package sqlite

import (
	"runtime"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// parallel runs f on 64 goroutines, and reports how often a second.
func parallel(b *testing.B, unit string, f func() error) {
	b.Helper()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
}

// BenchmarkMessage takes messages of 500 octets the whole way: accepted,
// finished and settled, born claimed.
func BenchmarkMessage(b *testing.B) {
	s := setup(b)
	ctx := b.Context()
	parallel(b, "msgs/s", func() error {
		j := newJob(s)
		if _, err := s.Accept(ctx, job.Acceptance{Job: j, Claimed: true}); err != nil {
			return err
		}
		now := time.Now()
		if err := s.StartRun(ctx, j.ID, 1, now, false); err != nil {
			return err
		}
		f := finishOf(s, j)
		if err := s.FinishRun(ctx, f); err != nil {
			return err
		}
		cb := f.Callbacks[0].Callback
		if err := s.StartAttempt(ctx, cb.ID, 1, now, false); err != nil {
			return err
		}
		return s.SettleAttempt(ctx, job.Settlement{Callback: cb, State: job.Delivered, At: now,
			Attempt: &job.Attempt{N: 1, StartedAt: now, Total: time.Millisecond, Address: "192.0.2.1:443", Status: 200}})
	})
}

// BenchmarkAcceptAlone only accepts.
func BenchmarkAcceptAlone(b *testing.B) {
	s := setup(b)
	parallel(b, "jobs/s", func() error {
		_, err := s.Accept(b.Context(), job.Acceptance{Job: newJob(s), Claimed: true})
		return err
	})
}
