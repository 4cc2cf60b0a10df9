package sqlite

import (
	"context"
	"fmt"
	"time"

	"github.com/ringback/ringback/job"
)

// OverdueCallbacks implements job.GiveUps.
func (s *Store) OverdueCallbacks(ctx context.Context, now time.Time, after *job.Callback, limit int) (found []*job.Callback, err error) {
	if after == nil {
		after = &job.Callback{}
	}
	err = s.read(ctx, func(c *conn) error {
		return c.bind(`SELECT ` + callbackColumns + ` FROM callbacks WHERE due_at > 0 AND give_up_at <= ? AND (give_up_at, key) > (?, ?)
			ORDER BY give_up_at, key LIMIT ?`).time(now).time(after.GiveUpAt).key(after.ID).int(int64(limit)).
			each(func(row *scanner) { found = append(found, scanCallback(row)) })
	})
	if err != nil {
		return nil, fmt.Errorf("find overdue callbacks: %w", err)
	}
	return found, nil
}

// ClaimOverdue implements job.GiveUps.
func (s *Store) ClaimOverdue(ctx context.Context, listed []*job.Callback) (claimed []*job.Callback, err error) {
	err = s.write(ctx, func(c *conn) error {
		claimed = nil
		for _, cb := range listed {
			if err := c.bind(`UPDATE callbacks SET due_at = 0 WHERE key = ? AND id = ? AND due_at > 0 AND give_up_at = ?`).
				key(cb.ID).id(cb.ID).time(cb.GiveUpAt).exec(); err != nil {
				return err
			}
			if c.Changes() == 0 {
				continue
			}
			err := c.bind(`SELECT ` + callbackColumns + ` FROM callbacks WHERE key = ?`).key(cb.ID).
				each(func(row *scanner) { claimed = append(claimed, scanCallback(row)) })
			if err != nil {
				return err
			}
		}
		return nil
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("claim overdue callbacks: %w", err)
	}
	return claimed, nil
}
