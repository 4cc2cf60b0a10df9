package client

import "time"

// Schedule says from when and until when the work of a call and its callbacks are wanted.
// Zero: at once, and for ever. At most 30 days.
type Schedule struct {
	// RunDelay or RunAt is when the work begins at the earliest, RunExpiresIn for how long
	// it is wanted from then on: later it does not begin.
	RunDelay     time.Duration
	RunAt        time.Time
	RunExpiresIn time.Duration
	// CallbackDelay is how long after its event a callback is sent, CallbackDeliverAt when
	// at the earliest. CallbackExpiresIn is for how long it is wanted from then on.
	CallbackDelay     time.Duration
	CallbackDeliverAt time.Time
	CallbackExpiresIn time.Duration
}

// duration is empty for none.
func duration(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
}

func moment(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}
