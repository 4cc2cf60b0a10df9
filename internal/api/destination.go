package api

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// maxTargets bounds the destinations of a call's callbacks.
const maxTargets = 8

// destination is one place where an operation's callbacks go.
type destination struct {
	sources []*expression.Template // of a URL in the call, tried in order
	fixed   string                 // the URL where none of them has a value; empty: none
	events  []job.Event            // what it is told of; nil: whatever is wanted
}

// setting is a header or a query parameter that an operation sets.
type setting struct {
	name string
	text *expression.Template
}

// outcomes are the events by which callback.success, failure and progress tell
// their destinations apart.
var outcomes = struct{ success, failure, progress []job.Event }{
	success:  []job.Event{job.EventSucceeded},
	failure:  []job.Event{job.EventFailed, job.EventCanceled, job.EventExpired},
	progress: []job.Event{job.EventRunning, job.EventProgress},
}

// contract reads what the operation says about where its callbacks go and what
// they carry. It returns everything that is wrong.
func (op *operation) contract() []*OperationError {
	var errs []*OperationError
	wrong := func(field string, err error) {
		if err != nil {
			errs = append(errs, &OperationError{Field: "callback." + field, Err: err})
		}
	}
	c := &op.Callback
	add := func(field string, texts []string, events []job.Event) {
		d := destination{events: events}
		for i, text := range texts {
			wrong(fmt.Sprintf("%s[%d]", field, i), op.addSource(&d, text))
		}
		op.destinations = append(op.destinations, d)
	}
	add("url", c.URL, nil)
	for i, texts := range c.Also {
		add(fmt.Sprintf("also[%d]", i), texts, nil)
	}
	for _, by := range []struct {
		name   string
		texts  []string
		events []job.Event
	}{{"success", c.Success, outcomes.success}, {"failure", c.Failure, outcomes.failure}, {"progress", c.Progress, outcomes.progress}} {
		if len(by.texts) > 0 {
			add(by.name, by.texts, by.events)
		}
	}
	if len(op.destinations) > maxTargets {
		wrong("also", fmt.Errorf("an operation has at most %d destinations", maxTargets))
	}
	if op.api.opt.ReadPolicy != nil {
		wrong("policy", op.api.opt.ReadPolicy(&c.Policy))
	}
	op.headers = op.fields("headers", c.Headers, op.checkHeader, wrong)
	op.query = op.fields("query", c.Query, checkParameter, wrong)
	return errs
}

// addSource adds a source of a URL to a destination.
func (op *operation) addSource(d *destination, text string) error {
	t, err := op.parse(text)
	if err != nil {
		return err
	}
	if t.Literal() {
		if d.fixed != "" {
			return errors.New("there can be only one URL without an expression")
		}
		d.fixed = text
		return op.api.opt.CheckURL(text)
	}
	if t.Lone() {
		op.ownParameters = append(op.ownParameters, t.Names(expression.Query)...)
		op.ownHeaders = append(op.ownHeaders, t.Names(expression.Header)...)
	}
	d.sources = append(d.sources, t)
	return nil
}

// parse reads a text with expressions, and notes what of a call they look at.
func (op *operation) parse(text string) (*expression.Template, error) {
	t, err := expression.Parse(text)
	if err != nil {
		return nil, err
	}
	for _, name := range t.Names(expression.Path) {
		if !slices.Contains(op.pathParameters, name) {
			return nil, fmt.Errorf("the route has no parameter {%s}", name)
		}
	}
	op.readHeaders = append(op.readHeaders, t.Names(expression.Header)...)
	return t, nil
}

// maxFields bounds the headers, and the query parameters, that an operation sets.
const maxFields = 32

// fields reads headers or query parameters, in the order of their names.
func (op *operation) fields(key string, texts map[string]string, check func(name, text string, t *expression.Template) error,
	wrong func(string, error)) (out []setting) {
	if len(texts) > maxFields {
		wrong(key, fmt.Errorf("there may be %d of them", maxFields))
	}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		t, err := op.parse(texts[name])
		if err == nil {
			err = check(name, texts[name], t)
		}
		if err == nil && slices.ContainsFunc(out, func(f setting) bool { return f.name == canonical(key, name) }) {
			err = errors.New("the header stands here twice")
		}
		wrong(key+"."+name, err)
		if err == nil {
			op.finishNeedsBody = op.finishNeedsBody || t.NeedsBody()
			out = append(out, setting{name: canonical(key, name), text: t})
		}
	}
	return out
}

func canonical(key, name string) string {
	if key == "headers" {
		return http.CanonicalHeaderKey(name)
	}
	return name
}

// checkHeader says whether an operation may set a header, and to a text that holds
// no expression.
func (op *operation) checkHeader(name, text string, t *expression.Template) error {
	switch http.CanonicalHeaderKey(name) {
	case authorizationHeader, "Cookie":
		return errors.New("it would be stored with every job as it is; set it on an endpoint, where it is sealed")
	}
	if !t.Literal() {
		text = "" // known with each call only
	}
	if op.api.opt.CheckHeader == nil {
		return nil
	}
	return op.api.opt.CheckHeader(name, text)
}

func checkParameter(name, _ string, _ *expression.Template) error {
	if name == "" || !isPlainText(name) {
		return errors.New("a parameter's name is UTF-8 without control characters")
	}
	return nil
}
