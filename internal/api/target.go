package api

import (
	"errors"
	"slices"

	"github.com/ringback/ringback/job"
)

// chooseTarget decides where the callbacks of a call go, by the first of the rules
// that says something. Before the body is read it may have to stop at a source that
// looks into it; it is then to be called again.
func (c *call) chooseTarget(bodyRead bool) *Problem {
	for ; !c.chosen && c.nextSource < len(c.op.sources); c.nextSource++ {
		source := c.op.sources[c.nextSource]
		if source.needsBody() && !bodyRead {
			return nil
		}
		url, ok, p := source.value(c)
		if p != nil {
			return p
		}
		if ok {
			c.chosen = true
			return c.chooseURL(url)
		}
	}
	if c.chosen {
		return nil
	}
	c.chosen = true
	if c.asked[chooseEndpoint].place != (place{}) {
		return c.chooseNamed(c.asked[chooseEndpoint].value)
	}
	if p := c.chooseDefault(); p != nil || len(c.job.Targets) > 0 {
		return p
	}
	if c.op.defaultURL != "" {
		c.setTarget(job.Target{URL: c.op.defaultURL, Source: job.SourceOperation})
		return nil
	}
	if c.op.Callback.Required {
		return kindCallbackRequired.problem("the operation works only with a callback, and none was chosen").
			withHint(c.op.sourceHint() + ", or register an endpoint as the default")
	}
	return nil
}

// chooseURL takes a URL that the call brings with it.
func (c *call) chooseURL(url string) *Problem {
	if !slices.Contains(c.op.Callback.CallerMay, choices[chooseURL].word) {
		return kindChoiceRefused.problem("the callback URL cannot be chosen for this operation").withHint(c.op.mayHint())
	}
	if err := c.api.opt.CheckURL(url); err != nil {
		return urlProblem(err)
	}
	c.setTarget(job.Target{URL: url, Source: job.SourceRequest})
	return nil
}

// chooseNamed takes the app's endpoint of that name.
func (c *call) chooseNamed(name string) *Problem {
	unknown := kindUnknownEndpoint.at(c.asked[chooseEndpoint].place, "names no endpoint of the app").
		withHint("the app's endpoints are listed by GET " + c.api.opt.Prefix + "/v1/endpoints")
	if !endpointName.MatchString(name) {
		return unknown
	}
	endpoint, err := c.api.opt.Store.Endpoint(c.r.Context(), c.app.Name, name)
	if errors.Is(err, job.ErrNotFound) {
		return unknown
	}
	if err != nil {
		return storeProblem(c.r.Context(), c.api.opt.Log, "read endpoint", err)
	}
	c.setTarget(job.Target{Endpoint: name, EndpointURL: endpoint.URL, Source: job.SourceEndpoint})
	return nil
}

// chooseDefault takes the app's default endpoint for the operation, else the one
// for all.
func (c *call) chooseDefault() *Problem {
	endpoints, err := c.api.defaults.of(c.r.Context(), c.app.Name)
	if err != nil {
		return storeProblem(c.r.Context(), c.api.opt.Log, "list endpoints", err)
	}
	for _, e := range endpoints {
		switch {
		case slices.Contains(e.Operations, c.op.Name):
			c.setTarget(job.Target{Endpoint: e.Name, EndpointURL: e.URL, Source: job.SourceOperationEndpoint})
			return nil
		case len(e.Operations) == 0:
			c.setTarget(job.Target{Endpoint: e.Name, EndpointURL: e.URL, Source: job.SourceDefaultEndpoint})
		}
	}
	return nil
}

// setTarget makes t the job's, together with what else the call chooses.
func (c *call) setTarget(t job.Target) {
	t.Events = c.events
	c.job.Targets = []job.Target{t}
	c.job.Echo = c.state
}

// urlProblem describes an error of Options.CheckURL.
func urlProblem(err error) *Problem {
	var policy interface{ Forbidden() bool }
	if errors.As(err, &policy) && policy.Forbidden() {
		return kindURLForbidden.problem(err.Error())
	}
	return kindURLInvalid.problem(err.Error())
}
