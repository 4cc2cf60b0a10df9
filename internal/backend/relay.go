package backend

import (
	"cmp"
	"context"
	"net/http"

	"github.com/ringback/ringback/job"
)

// octets is the content type of what nobody named.
const octets = "application/octet-stream"

// RelayConfig is the block of a relay: it has no fields.
type RelayConfig struct{}

// Relay does nothing: the request is the result.
type Relay struct{}

// NewRelay makes a Relay. It never fails.
func NewRelay(RelayConfig) (Relay, error) { return Relay{}, nil }

// Instant implements Instant.
func (Relay) Instant() {}

// Run implements Backend.
func (Relay) Run(ctx context.Context, run *Run) (*job.Result, error) {
	if err := stopped(ctx); err != nil {
		return nil, err
	}
	if run.Job.Request.Body.Size > run.MaxResult {
		return nil, resultTooLarge()
	}
	return &job.Result{
		Status:      http.StatusOK,
		ContentType: cmp.Or(run.Job.Request.Header.Get("Content-Type"), octets),
		Echo:        true,
	}, nil
}
