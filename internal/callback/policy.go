package callback

import (
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

func scope(p *job.Policy) outbound.Scope {
	return outbound.Scope{Prefixes: p.Prefixes, HTTPS: p.HTTPS, Ports: p.Ports}
}

// CheckPolicy says whether a policy permits a URL as it stands, without variables. It
// does not ask Policy.Registered. The error is a *outbound.URLError.
func CheckPolicy(c *outbound.Client, url string, p *job.Policy) error {
	t, err := c.Check(url)
	if err != nil {
		return err
	}
	return scope(p).Permit(t)
}

// ReadPolicy says whether there can be such a policy.
func ReadPolicy(p *job.Policy) error { return scope(p).Validate() }

// policiesOf are the policies of the operations that have one.
func policiesOf(operations []job.Operation) map[string]*job.Policy {
	policies := map[string]*job.Policy{}
	for _, op := range operations {
		if p := op.Callback.Policy; p.Registered || p.LimitsURLs() {
			policies[op.Name] = &p
		}
	}
	return policies
}

// permits asks the policies of operation and app, as they are now, whether a callback
// may go to the URL that its call brought. The operation's own URLs need no leave.
func (s *Sender) permits(pl *place, d *job.Delivery) error {
	for _, p := range [...]*job.Policy{&pl.policy, s.policies[d.Callback.Operation]} {
		if p == nil || !p.Registered && !p.LimitsURLs() {
			continue
		}
		for i := range d.Job.Targets {
			if t := &d.Job.Targets[i]; t.URL == d.Callback.URL && t.Source == job.SourceOperation {
				return nil
			}
		}
		if p.Registered {
			return &outbound.URLError{Code: outbound.CodeForbidden, Rule: "registered", Message: "only registered endpoints are permitted"}
		}
		if err := scope(p).Permit(pl.target); err != nil {
			return err
		}
	}
	return nil
}
