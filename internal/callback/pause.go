package callback

import (
	"time"

	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
)

// pauseChanged goes on with what a pause has held up, once it is over. What rests is
// looked for by nobody meanwhile: it costs nothing, however much it is.
func (s *Sender) pauseChanged(p *job.Pause) {
	if p.To.IsZero() || p.Operation != "" {
		return
	}
	lane := p.Lane()
	if lane == "" {
		s.window.Look()
		return
	}
	if p.Disabled {
		s.outages.forget(lane) // it begins anew
	}
	s.window.Due(laneOf(&job.Callback{App: p.App, Endpoint: p.Endpoint, URL: p.Origin}), time.Time{})
}

// rests tells why a lane rests by order, as pause.Set.Lane does; empty where it does not.
func (s *Sender) rests(lane window.Key) (waiting string) {
	if !s.opt.Pauses.Any() {
		return ""
	}
	return s.opt.Pauses.Lane(lane.Share + " " + lane.Name)
}

// GiveUpAt is when a pending callback is tried no more: the time that its lane has
// rested since it was owed, or resent, does not count.
func (s *Sender) GiveUpAt(cb *job.Callback) time.Time {
	since := cb.GiveUpAt.Add(-s.contract(cb.Operation).GiveUpAfter)
	if since.Before(cb.CreatedAt) {
		since = cb.CreatedAt
	}
	if !s.opt.Pauses.Any() {
		return cb.GiveUpAt
	}
	return cb.GiveUpAt.Add(s.opt.Pauses.LaneRested(cb.Lane(), since, s.opt.Now()))
}
