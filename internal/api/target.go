package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// chooseTargets decides where the callbacks of a call go: to each destination of the
// operation that has a URL, and for the first of them, where no URL came with the
// call, to endpoints or to the operation's own URL. Before the body is read it may
// have to stop at a text that looks into it; it is then to be called again.
func (c *call) chooseTargets(bodyRead bool) *Problem {
	for ; c.nextDestination < len(c.op.destinations); c.nextDestination++ {
		d := &c.op.destinations[c.nextDestination]
		found := false
		for ; c.nextSource < len(d.sources) && !found; c.nextSource++ {
			source := d.sources[c.nextSource]
			if source.NeedsBody() && !bodyRead {
				return nil
			}
			url, ok, err := source.URL(view{c})
			if err != nil {
				p := expressionProblem(kindURLInvalid, "", err)
				if errors.Is(err, expression.ErrEmpty) {
					p = p.withHint("leave it out where there is no callback URL to choose")
				}
				return p.in(source)
			}
			if found = ok; ok {
				if p := c.chooseURL(url, d); p != nil {
					if p.Hint == "" && source.NeedsBody() && json.Valid([]byte(url)) {
						p = p.withHint("a text is wanted there, not a number, true or false")
					}
					return p.in(source)
				}
			}
		}
		c.nextSource = 0
		if !found && d.fixed != "" && c.nextDestination > 0 {
			if p := c.addTarget(job.Target{URL: d.fixed, Source: job.SourceOperation}, d.events); p != nil {
				return p
			}
		}
	}
	if !c.chosen {
		c.chosen = true
		if p := c.chooseWithoutURL(); p != nil {
			return p
		}
	}
	if c.op.finishNeedsBody && !bodyRead || c.finished {
		return nil
	}
	c.finished = true
	return c.finishTargets()
}

// chooseWithoutURL finds the first destination where no URL for it came with the call.
func (c *call) chooseWithoutURL() *Problem {
	if c.main {
		return nil
	}
	if c.asked[chooseEndpoint].place != (place{}) {
		return c.chooseNamed(c.asked[chooseEndpoint].value)
	}
	brought := func(t job.Target) bool { return t.Source == job.SourceRequest }
	if !slices.ContainsFunc(c.job.Targets, brought) {
		if p := c.chooseDefault(); p != nil || c.main {
			return p
		}
		if fixed := c.op.destinations[0].fixed; fixed != "" {
			return c.addMain(job.Target{URL: fixed, Source: job.SourceOperation})
		}
	}
	if c.op.Callback.Required && len(c.job.Targets) == 0 {
		hint := c.op.sourceHint()
		if c.app.Policy.Registered {
			hint = registeredHint
		}
		return kindCallbackRequired.problem("the operation works only with a callback, and none was chosen").
			withHint(hint + ", or register an endpoint as the default")
	}
	return nil
}

// chooseURL takes a URL that the call brings with it.
func (c *call) chooseURL(url string, d *destination) *Problem {
	if !slices.Contains(c.op.Callback.CallerMay, choices[chooseURL].word) {
		return kindChoiceRefused.problem("the callback URL cannot be chosen for this operation").withHint(c.op.mayHint())
	}
	if err := c.api.opt.CheckURL(url); err != nil {
		return urlProblem(err)
	}
	if p := c.permit(url); p != nil {
		return p
	}
	if d == &c.op.destinations[0] {
		c.main = true
	}
	return c.addTarget(job.Target{URL: url, Source: job.SourceRequest}, d.events)
}

// permit asks the policies of operation and app whether a URL may come with a call.
func (c *call) permit(url string) *Problem {
	if p := c.api.permit(url, "operation", &c.op.Callback.Policy); p != nil {
		return p
	}
	return c.api.permit(url, "app", &c.app.Policy)
}

func (a *API) permit(url, whose string, policy *job.Policy) *Problem {
	if policy.Registered {
		return kindURLForbidden.problem("the policy of the " + whose + " permits registered endpoints only (rule: registered)").
			withHint("register the URL as an endpoint, and call with ?callback=NAME")
	}
	return a.within(url, whose, policy)
}

// within asks what a policy says about URLs, whoever brought them.
func (a *API) within(url, whose string, policy *job.Policy) *Problem {
	if !policy.LimitsURLs() {
		return nil
	}
	if err := a.opt.CheckPolicy(url, policy); err != nil {
		p := urlProblem(err)
		p.Detail = "the policy of the " + whose + " refuses it: " + p.Detail
		return p
	}
	return nil
}

// chooseNamed takes the app's endpoints of these names, with commas between them.
func (c *call) chooseNamed(names string) *Problem {
	if strings.Count(names, ",") >= maxTargets {
		return c.tooManyTargets()
	}
	for name := range strings.SplitSeq(names, ",") {
		if p := c.chooseEndpoint(strings.Trim(name, " \t")); p != nil {
			return p
		}
	}
	return nil
}

func (c *call) chooseEndpoint(name string) *Problem {
	detail := "names no endpoint of the app"
	if endpointName.MatchString(name) {
		detail += ": " + name
	}
	unknown := kindUnknownEndpoint.at(c.asked[chooseEndpoint].place, detail).
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
	if endpoint.Operational {
		return kindUnknownEndpoint.at(c.asked[chooseEndpoint].place, "names an operational endpoint, which is told of the app's other endpoints and of nothing else: "+name).
			withHint("name another one, or make this one operational no more")
	}
	return c.addEndpoint(&endpoint, job.SourceEndpoint)
}

// chooseDefault takes the app's default endpoint for the operation, else the one
// for all.
func (c *call) chooseDefault() *Problem {
	endpoints, err := c.api.defaults.of(c.r.Context(), c.app.Name)
	if err != nil {
		return storeProblem(c.r.Context(), c.api.opt.Log, "list endpoints", err)
	}
	var found *job.Endpoint
	for i := range endpoints {
		switch e := &endpoints[i]; {
		case slices.Contains(e.Operations, c.op.Name):
			return c.addEndpoint(e, job.SourceOperationEndpoint)
		case len(e.Operations) == 0:
			found = e
		}
	}
	if found == nil {
		return nil
	}
	return c.addEndpoint(found, job.SourceDefaultEndpoint)
}

// addEndpoint adds an endpoint to the targets, where its URL can be made for this job
// and what the call chooses fits what the endpoint says.
func (c *call) addEndpoint(e *job.Endpoint, source job.Source) *Problem {
	if strings.Contains(e.URL, "{") {
		var p *Problem
		if url, err := c.api.opt.EndpointURL(e.URL, c.job); err != nil {
			p = urlProblem(err)
		} else {
			p = c.api.within(url, "app", &c.app.Policy)
		}
		if p != nil {
			p.Detail = "the URL of the endpoint " + e.Name + ": " + p.Detail
			return p
		}
	}
	if p := c.checkShape(e.Method); p != nil {
		return p
	}
	return c.addMain(job.Target{Endpoint: e.Name, EndpointURL: e.URL, Source: source})
}

// addMain adds a target of the first destination.
func (c *call) addMain(t job.Target) *Problem {
	c.main = true
	return c.addTarget(t, nil)
}

// addTarget adds a target, together with what else the call chooses. One that is
// there already is not added: it would get the same twice.
func (c *call) addTarget(t job.Target, outcome []job.Event) *Problem {
	t.Events, t.Method, t.Format = c.events, c.method, c.format
	t.Delay, t.DeliverAt, t.ExpiresIn = c.schedule.delay, c.schedule.deliverAt, c.schedule.expiresIn
	if outcome != nil {
		t.Events = outcome
	}
	if outcome != nil && c.events != nil {
		t.Events = slices.DeleteFunc(slices.Clone(outcome), func(e job.Event) bool { return !slices.Contains(c.events, e) })
		if len(t.Events) == 0 {
			return nil // the call wants to hear of none of them
		}
	}
	if len(c.job.Targets) >= maxTargets {
		return c.tooManyTargets()
	}
	for i := range c.job.Targets {
		other := &c.job.Targets[i]
		if other.Endpoint == t.Endpoint && other.URL == t.URL && slices.Equal(other.Events, t.Events) {
			return nil
		}
	}
	c.job.Targets = append(c.job.Targets, t)
	return nil
}

func (c *call) tooManyTargets() *Problem {
	return kindInvalidParameter.problem(fmt.Sprintf("a call may have %d destinations for its callbacks", maxTargets)).
		withHint("name fewer endpoints")
}

// finishTargets gives the targets what the operation sets: query parameters and
// headers.
func (c *call) finishTargets() *Problem {
	if len(c.job.Targets) == 0 {
		return nil
	}
	if p := c.addQuery(); p != nil {
		return p
	}
	header, p := c.callbackHeader()
	if p != nil {
		return p
	}
	for i := range c.job.Targets {
		c.job.Targets[i].Header = header
	}
	return nil
}

// addQuery adds the operation's parameters to the URLs that are no endpoints', behind
// those that they have, whose octets stay as they are.
func (c *call) addQuery() *Problem {
	var added []byte
	for i := range c.op.query {
		f := &c.op.query[i]
		value, ok, err := f.text.Text(view{c})
		if err != nil {
			return expressionProblem(kindInvalidParameter, "callback.query "+f.name+": ", err)
		}
		if ok {
			added = append(append(append(append(added, '&'), expression.Escape(f.name)...), '='), expression.Escape(value)...)
		}
	}
	if len(added) == 0 {
		return nil
	}
	for i := range c.job.Targets {
		t := &c.job.Targets[i]
		if t.URL == "" {
			continue
		}
		t.URL = withQuery(t.URL, string(added))
		if err := c.api.opt.CheckURL(t.URL); err != nil { // it may have become too long
			return urlProblem(err)
		}
	}
	return nil
}

// withQuery adds to a URL parameters that begin with &.
func withQuery(url, parameters string) string {
	switch {
	case !strings.Contains(url, "?"):
		return url + "?" + parameters[1:]
	case strings.HasSuffix(url, "?") || strings.HasSuffix(url, "&"):
		return url + parameters[1:]
	}
	return url + parameters
}

// maxHeaderBytes bounds names and values of what callback.headers makes of a call.
const maxHeaderBytes = 8 << 10

// callbackHeader is what callback.headers make of the call; nil for none. Of a text
// without a value nothing is sent.
func (c *call) callbackHeader() (http.Header, *Problem) {
	if len(c.op.headers) == 0 {
		return nil, nil
	}
	header, size := http.Header{}, 0
	for i := range c.op.headers {
		f := &c.op.headers[i]
		value, ok, err := f.text.Text(view{c})
		if err != nil {
			return nil, expressionProblem(kindInvalidParameter, "callback.headers "+f.name+": ", err)
		}
		if !ok {
			continue
		}
		if err := c.api.opt.CheckHeader(f.name, value); err != nil {
			return nil, kindInvalidParameter.problem("callback.headers: " + err.Error()).
				withHint("the operation makes the header of " + f.text.String())
		}
		if size += len(f.name) + len(value); size > maxHeaderBytes {
			return nil, kindInvalidParameter.problem(fmt.Sprintf("what the operation makes headers of has more than %d octets", maxHeaderBytes))
		}
		header[f.name] = []string{value}
	}
	if len(header) == 0 {
		return nil, nil
	}
	return header, nil
}

// urlProblem describes an error of Options.CheckURL.
func urlProblem(err error) *Problem {
	var policy interface{ Forbidden() bool }
	if errors.As(err, &policy) && policy.Forbidden() {
		return kindURLForbidden.problem(err.Error())
	}
	return kindURLInvalid.problem(err.Error())
}
