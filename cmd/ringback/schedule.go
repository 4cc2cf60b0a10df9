package main

import (
	"time"

	"github.com/spf13/pflag"

	"github.com/ringback/ringback/client"
)

// scheduleFlags are from when and until when work and callbacks are wanted.
func scheduleFlags(f *pflag.FlagSet, s *client.Schedule) {
	f.DurationVar(&s.RunDelay, "delay", 0, "how long to wait before the work begins, such as 10m")
	f.TimeVar(&s.RunAt, "at", time.Time{}, []string{time.RFC3339}, "when the work begins at the earliest, such as 2026-11-24T08:00:00Z")
	f.DurationVar(&s.RunExpiresIn, "expires-in", 0, "for how long the work is wanted from then on; later it does not begin")
	f.DurationVar(&s.CallbackDelay, "callback-delay", 0, "how long after its event a callback is sent")
	f.TimeVar(&s.CallbackDeliverAt, "callback-at", time.Time{}, []string{time.RFC3339}, "when a callback is sent at the earliest")
	f.DurationVar(&s.CallbackExpiresIn, "callback-expires-in", 0, "for how long a callback is wanted from when it is due")
}
