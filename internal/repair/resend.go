package repair

import (
	"context"
	"slices"
	"time"

	"github.com/ringback/ringback/job"
)

// A resend goes through the callbacks in the order of their age. A lane that has much
// to send already is left behind with a cursor of its own, so that the others do not
// wait for it, and is caught up with while it has room.

// resends makes the next batch of a resend. It is false where no lane has room.
func (r *Runner) resends(ctx context.Context, st *job.BulkStep) (did bool, err error) {
	rooms := rooms{r: r, ctx: ctx, now: st.At, left: map[string]int{}}
	st.Behind = slices.Clone(st.Behind)
	for i := range st.Behind {
		room, err := rooms.of(st.Behind[i].Lane)
		if err != nil {
			return false, err
		}
		// Not for a few only: a look at a lane may read many rows of others.
		if room >= maxLaneDue/2 {
			return true, r.catchUp(ctx, st, i, min(room, batch))
		}
	}
	limit := batch
	if len(st.Behind) > 0 {
		limit = 10 * batch // most of them may be of these
	}
	found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: st.Bulk, After: st.Cursor, Look: lookRows, Limit: limit})
	if err != nil {
		return false, err
	}
	before, behind := st.Cursor, len(st.Behind)
	st.Cursor = found.Next
	for _, cb := range found.Callbacks {
		if full, err := r.advance(st, cb, &rooms); err != nil || full {
			found.End = false
			if err != nil {
				return false, err
			}
			break
		}
	}
	st.End = found.End && len(st.Behind) == 0
	return st.End || st.Cursor != before || len(st.Behind) != behind, nil
}

// advance takes a callback into a batch, or leaves its lane behind. full says that the
// batch ends before it.
func (r *Runner) advance(st *job.BulkStep, cb *job.Callback, rooms *rooms) (full bool, err error) {
	lane := cb.Lane()
	if slices.ContainsFunc(st.Behind, func(b job.BulkLane) bool { return b.Lane == lane }) {
		return false, nil
	}
	room, err := rooms.of(lane)
	if err != nil {
		return false, err
	}
	switch {
	case len(st.Callbacks) >= batch, room == 0 && len(st.Behind) >= maxBehind:
		st.Cursor = cb.ID.Key() - 1
		return true, nil
	case room == 0:
		st.Behind = append(st.Behind, job.BulkLane{Lane: lane, Cursor: cb.ID.Key() - 1})
		return false, nil
	}
	rooms.left[lane]--
	st.Callbacks = append(st.Callbacks, r.item(cb, st.At))
	return false, nil
}

// catchUp takes the next ones of a lane that was left behind.
func (r *Runner) catchUp(ctx context.Context, st *job.BulkStep, i, limit int) error {
	b := &st.Behind[i]
	found, err := r.opt.Store.FindBulk(ctx, job.BulkLook{Bulk: st.Bulk, After: b.Cursor, Lane: b.Lane, Look: lookRows, Limit: limit})
	if err != nil {
		return err
	}
	for _, cb := range found.Callbacks {
		if cb.ID.Key() > st.Cursor {
			break // it comes in its turn
		}
		st.Callbacks = append(st.Callbacks, r.item(cb, st.At))
	}
	if b.Cursor = found.Next; found.End || found.Next >= st.Cursor {
		st.Behind = slices.Delete(st.Behind, i, i+1)
	}
	return nil
}

func (r *Runner) item(cb *job.Callback, at time.Time) job.BulkItem {
	return job.BulkItem{ID: cb.ID, GiveUp: at.Add(r.opt.Contract(cb.Operation).GiveUpAfter)}
}

// rooms tells how many more may be made due in each lane.
type rooms struct {
	r    *Runner
	ctx  context.Context
	now  time.Time
	left map[string]int
}

func (o *rooms) of(lane string) (int, error) {
	if n, ok := o.left[lane]; ok {
		return n, nil
	}
	n, err := o.r.opt.Store.LaneBacklog(o.ctx, lane, o.now, maxLaneDue)
	if err != nil {
		return 0, err
	}
	o.left[lane] = maxLaneDue - n
	return o.left[lane], nil
}
