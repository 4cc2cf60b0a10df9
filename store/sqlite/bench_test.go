package sqlite

import (
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// cpuTime is what the process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// parallel runs f on 64 goroutines, and reports how often a second, and the CPU.
func parallel(b *testing.B, unit string, f func() error) {
	b.Helper()
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime(b)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := f(); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
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
		if err := s.StartRun(ctx, job.Start{Job: j, N: 1, At: now}); err != nil {
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

// BenchmarkRelayed takes messages that need no run the whole way: accepted together
// with their end, and settled.
func BenchmarkRelayed(b *testing.B) {
	s := setup(b)
	ctx := b.Context()
	parallel(b, "msgs/s", func() error {
		j := newJob(s)
		f := finishOf(s, j)
		f.Result = &job.Result{Status: 200, ContentType: "application/json", Echo: true}
		if _, err := s.Accept(ctx, job.Acceptance{Job: j, Claimed: true, Finish: &f}); err != nil {
			return err
		}
		cb, now := f.Callbacks[0].Callback, time.Now()
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
