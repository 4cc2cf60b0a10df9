package callback

import (
	"strings"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// An endpoint's URL may hold variables in its path and its query, which each
// callback replaces: "https://my.server/jobs/{job.id}". variableWords lists them.
const variableWords = "{job.id}, {job.operation}, {event}, {app}, {callback.id} and {params.NAME}"

// hasVariables tells a URL that is to be expanded.
func hasVariables(url string) bool { return strings.ContainsAny(url, "{}") }

// expand replaces the variables of an endpoint's URL. A value is percent-encoded but
// for unreserved characters, so that it stays within its segment of the path or its
// parameter. The error is a *outbound.URLError.
func expand(url string, cb *job.Callback, params map[string]string) (string, error) {
	var b strings.Builder
	rest := url
	if open, path := strings.IndexAny(url, "{}"), afterAuthority(url); open >= 0 && open < path {
		return "", badVariable("variables may stand in the path and in the query of an endpoint's URL only")
	}
	for {
		i := strings.IndexAny(rest, "{}")
		if i < 0 {
			break
		}
		end := strings.IndexByte(rest, '}')
		if rest[i] == '}' || end < 0 {
			return "", badVariable("a brace of the endpoint's URL opens or closes no variable; %7B and %7D stand for braces themselves")
		}
		value, ok := variable(rest[i+1:end], cb, params)
		if !ok {
			return "", badVariable("the endpoint's URL has a variable that there is not, or not for this operation; the variables are " + variableWords)
		}
		b.WriteString(rest[:i])
		b.WriteString(expression.Escape(value))
		rest = rest[end+1:]
	}
	b.WriteString(rest)
	path, _, _ := strings.Cut(b.String()[afterAuthority(b.String()):], "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return "", badVariable("a segment of the endpoint's path would be . or .., which leads elsewhere")
		}
	}
	return b.String(), nil
}

func badVariable(message string) error {
	return &outbound.URLError{Code: outbound.CodeInvalid, Rule: outbound.RuleSyntax, Message: message}
}

// afterAuthority is where the path or the query of an absolute URL begins.
func afterAuthority(url string) int {
	begin := strings.Index(url, "://") + len("://")
	if begin < len("://") {
		return len(url)
	}
	if i := strings.IndexAny(url[begin:], "/?"); i >= 0 {
		return begin + i
	}
	return len(url)
}

func variable(name string, cb *job.Callback, params map[string]string) (string, bool) {
	switch name {
	case "job.id":
		return cb.JobID.Job(), true
	case "job.operation":
		return cb.Operation, true
	case "event":
		return string(cb.Event), true
	case "app":
		return cb.App, true
	case "callback.id":
		return cb.ID.Callback(), true
	}
	param, ok := strings.CutPrefix(name, "params.")
	if !ok || params == nil {
		return "example", ok && param != ""
	}
	value, ok := params[param]
	return value, ok
}

// EndpointURL is the URL of an endpoint, which may hold variables, as a callback about
// a job would have it; a nil job stands for any. The error is a *outbound.URLError.
func EndpointURL(c *outbound.Client, url string, j *job.Job) (string, error) {
	url, err := example(url, j)
	if err == nil {
		_, err = c.Check(url)
	}
	return url, err
}

// example is an endpoint's URL as a callback of the job would have it.
func example(url string, j *job.Job) (string, error) {
	if !hasVariables(url) {
		return url, nil
	}
	cb := &job.Callback{Operation: "example", App: "example", Event: job.EventSucceeded}
	if j == nil {
		return expand(url, cb, nil)
	}
	cb.JobID, cb.Operation, cb.App = j.ID, j.Operation, j.App
	params := j.Request.Params
	if params == nil {
		params = map[string]string{}
	}
	return expand(url, cb, params)
}
