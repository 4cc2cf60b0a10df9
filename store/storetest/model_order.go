package storetest

import (
	"fmt"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/ringback/ringback/job"
)

// oweEarly is what a job owes for an early event, to some of the URLs.
func (m *model) oweEarly(j *job.Job, event job.Event) (owed []job.OwedCallback) {
	for _, url := range modelURLs {
		if rapid.IntRange(0, 2).Draw(m.rt, "tell") == 0 {
			o := m.early(j, event, url)
			m.schedule(o.Callback)
			owed = append(owed, o)
		}
	}
	return owed
}

// addCallbacks adds what was stored. What follows an early callback waits for it.
func (m *model) addCallbacks(owed []job.OwedCallback) {
	for _, o := range owed {
		own := *o.Callback
		own.Data = nil // reading leaves it out
		cb := &modelCallback{Callback: &own, claimed: o.Claimed}
		if m.joinLine(cb) || m.waits(cb) {
			cb.DueAt, cb.Waiting = time.Time{}, job.WaitingOrder
		}
		m.callbacks = append(m.callbacks, cb)
	}
}

// waits tells whether an older early callback of the same job and destination is pending.
func (m *model) waits(cb *modelCallback) bool {
	return slices.ContainsFunc(m.callbacks, func(older *modelCallback) bool {
		return older.JobID == cb.JobID && older.URL == cb.URL && older.State == job.Pending && !older.Event.Terminal() && !older.Resent &&
			older.ID.Compare(cb.ID) < 0
	})
}

// release makes those due that wait for nothing any more.
func (m *model) release() {
	for _, cb := range m.callbacks {
		if cb.State == job.Pending && cb.Waiting == job.WaitingOrder && !m.waits(cb) && !m.behindInLine(cb) {
			m.comeToTurn(cb)
		}
	}
}

func (cb *modelCallback) discard(at time.Time) {
	cb.State, cb.SettledAt, cb.Waiting, cb.claimed, cb.begun, cb.unwanted = job.Discarded, at, "", false, false, false
}

// discardEarly is what the end of a job does to those that are not in memory.
func (m *model) discardEarly(j *modelJob, at time.Time) {
	for _, cb := range m.callbacks {
		if cb.JobID == j.ID && cb.State == job.Pending && !cb.claimed {
			cb.discard(at)
		}
	}
}

// obsolete tells an early callback whose job has ended.
func (m *model) obsolete(cb *modelCallback) bool {
	ended := func(j *modelJob) bool { return j.ID == cb.JobID && j.State.Terminal() }
	return !cb.Event.Terminal() && !cb.Resent && slices.ContainsFunc(m.jobs, ended)
}

// reportOne stores how far a run is.
func (m *model) reportOne() {
	j := pick(m, "job", m.jobs, func(j *modelJob) bool { return j.begun })
	if j == nil {
		return
	}
	p := job.Progress{Job: j.Job, N: j.Runs, Value: fmt.Append(nil, rapid.IntRange(0, 9).Draw(m.rt, "value")), At: m.now(),
		Callbacks: m.oweEarly(j.Job, job.EventProgress)}
	m.no(m.Progress(m.ctx, p))
	j.Progress, j.Early = p.Value, j.Early || len(p.Callbacks) > 0
	for _, o := range p.Callbacks {
		for _, cb := range m.callbacks {
			replaced := cb.JobID == j.ID && cb.URL == o.Callback.URL && cb.Event == job.EventProgress && cb.State == job.Pending
			if replaced && !cb.claimed && cb.Attempts == 0 {
				cb.discard(p.At)
			}
		}
	}
	m.addCallbacks(p.Callbacks)
	m.release()
}
