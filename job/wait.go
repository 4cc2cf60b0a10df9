package job

import "time"

// Wait is what a job waits for whose upstream has said that the result comes later.
type Wait struct {
	StartedAt time.Time // of the run; its number is Job.Runs
	Until     time.Time // when the run times out
	// Token is the SHA-256 of the token by which the upstream can complete the run; nil
	// where it is polled only.
	Token []byte
	// Location is the path and query that is polled; empty: none is.
	Location string
	Polls    int // made so far
}
