package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/ringback/ringback/job"
)

// maxWaitScrub bounds how long a scrub that failed is put off: each try holds up writes.
const maxWaitScrub = time.Hour

// erase erases the apps that were deleted: first what they have, batch by batch, then what
// is left of it in the store's files, and at last the name.
func (k *Keeper) erase(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	apps, err := k.opt.Store.DeletedApps(ctx)
	if err != nil || len(apps) == 0 {
		return err
	}
	for _, app := range apps {
		if err := k.eraseApp(ctx, app.Name); err != nil {
			return err
		}
	}
	now := k.opt.Now()
	if now.Before(k.scrubAt) {
		return nil
	}
	if err := k.opt.Store.Scrub(ctx); err != nil {
		k.waitScrub = min(max(2*k.waitScrub, interval), maxWaitScrub)
		k.scrubAt = now.Add(k.waitScrub)
		return err
	}
	k.waitScrub = 0
	for _, app := range apps {
		if err := k.opt.Store.ForgetApp(ctx, app.Name); err != nil && !errors.Is(err, job.ErrNotFound) {
			return err
		}
		k.opt.Log.Info("an app was erased", "app", app.Name, "deleted_at", app.DeletedAt)
	}
	return nil
}

func (k *Keeper) eraseApp(ctx context.Context, name string) error {
	for {
		unused, done, err := k.opt.Store.EraseApp(ctx, name, eraseBatch)
		if err = errors.Join(err, k.unlink(unused)); err != nil || done {
			return err
		}
	}
}
