package callback

import (
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// signing are the keys that sign the nth attempt at a time: two while one replaces
// the other. A legacy scheme has room for the first one's signature alone, so they
// take turns: a receiver that knows only one of them, whichever it is, takes every
// second attempt. The old one, which receivers are more likely to know, begins.
func (p *place) signing(now time.Time, n int) []sign.Keys {
	switch {
	case !now.Before(p.until):
		return p.current
	case n%2 == 0:
		return p.rotating
	}
	return p.rotatingOld
}

// schemes are those that a callback is signed with: the endpoint's, then the
// operation's.
func (s *Sender) schemes(p *place, operation string) sign.Schemes {
	if len(p.schemes) > 0 {
		return p.schemes
	}
	return s.signatures[operation]
}

// sign adds the signatures of an attempt to r.Header, which has all else that is
// sent by then; r needs a body, and its method. What says something outside of its
// body is signed by RFC 9421 whatever the schemes are, unless they are none: without it
// receivers refuse it. A body that the scheme cannot sign is a sign.ErrStreamed.
func (s *Sender) sign(p *place, target *outbound.Target, d *job.Delivery, a *job.Attempt, r sign.Request) error {
	schemes := s.schemes(p, d.Callback.Operation)
	if sign.SaysOutsideBody(r) {
		schemes = schemes.WithRFC9421()
	}
	if schemes.Has(sign.SchemeRFC9421) {
		r.URL = target.RequestURL()
	}
	r.ID, r.Timestamp = d.Callback.ID.Callback(), a.StartedAt
	return schemes.Sign(r, p.signing(a.StartedAt, a.N)...)
}
