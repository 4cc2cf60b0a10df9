package api

import (
	"errors"
	"slices"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/expression"
)

// view is what the expressions of a call's operation look at.
type view struct{ c *call }

// URL is that of the request. It names a host that the caller made up only where
// the gateway does not know its own.
func (v view) URL() string {
	c := v.c
	base := c.api.opt.PublicURL
	if base == "" {
		base = "http://" + c.r.Host
		if c.r.TLS != nil {
			base = "https://" + c.r.Host
		}
	}
	url := base + c.path
	if c.r.URL.RawQuery != "" {
		url += "?" + c.r.URL.RawQuery
	}
	return url
}

// Method is that of the request.
func (v view) Method() string { return v.c.r.Method }

// Header is a header of the request.
func (v view) Header(name string) (string, bool, error) {
	values := v.c.r.Header[name]
	switch {
	case len(values) == 0:
		return "", false, nil
	case len(values) > 1:
		return "", false, kindParameterRepeated.at(place{name, true}, "was sent more than once")
	}
	return values[0], true, nil
}

// Query is a parameter of the request's query, decoded once.
func (v view) Query(name string) (value string, ok bool, err error) {
	if i := v.c.op.choiceOf(name); i >= 0 { // decoded already
		return v.c.asked[i].value, v.c.asked[i].place == place{name: name}, nil
	}
	where := place{name: name}
	cutQuery(v.c.r.URL.RawQuery, func(found, raw string) bool {
		if found != name || err != nil {
			return false
		}
		if ok {
			err = kindParameterRepeated.at(where, "was sent more than once")
			return false
		}
		text, malformed := expression.Unescape(raw)
		if malformed != nil {
			err = kindInvalidParameter.at(where, malformed.Error())
		}
		value, ok = text, true
		return false
	})
	return value, ok, err
}

// Path is a parameter of the route, decoded.
func (v view) Path(name string) string { return v.c.r.PathValue(name) }

// Body is the request's body, which is read when it is first asked for.
func (v view) Body() (*expression.Document, error) {
	c := v.c
	if c.document == nil && c.job.Request.Body.Size > 0 {
		document, p := c.readDocument()
		if p != nil {
			return nil, p
		}
		c.document = document
	}
	return c.document, nil
}

// AnswerHeader is a header of the 202.
func (v view) AnswerHeader(name string) (string, bool) {
	switch name {
	case "Location":
		return v.c.api.jobURL(v.c.job.ID), true
	case "Content-Type":
		return jsonType[0], true
	case "Retry-After":
		return acceptedRetrySeconds, true
	}
	return "", false
}

// AnswerBody is the body of the 202, as far as it is known.
func (v view) AnswerBody() *expression.Document {
	return expression.JSON(v.c.appendAccepted(nil, v.c.api.jobURL(v.c.job.ID)))
}

// readDocument reads the request's body where it is something to look into.
func (c *call) readDocument() (*expression.Document, *Problem) {
	const looks = "the operation looks into the body for its callback"
	if coding := c.r.Header["Content-Encoding"]; len(coding) > 0 && !slices.Equal(coding, []string{"identity"}) {
		return nil, kindUnsupportedMedia.problem(looks + ", and it must not be compressed for that").
			withHint("send the body without Content-Encoding")
	}
	f, err := body.Open(c.api.opt.Bodies, c.job.Request.Body)
	if err != nil {
		return nil, storeProblem(c.r.Context(), c.api.opt.Log, "read request body", err)
	}
	defer f.Close()
	document, err := expression.Read(c.r.Header.Get("Content-Type"), f)
	var malformed expression.MalformedError
	switch {
	case err == nil:
		return document, nil
	case errors.Is(err, expression.ErrTooLarge):
		return nil, kindTooLarge.problem(looks + ", which may then have at most 1048576 octets without its files")
	case errors.Is(err, expression.ErrUnsupported):
		return nil, kindUnsupportedMedia.problem(looks + ", which must be JSON or a form for that").
			withHint("send Content-Type: application/json, application/x-www-form-urlencoded or multipart/form-data")
	case errors.As(err, &malformed):
		return nil, kindBodyMalformed.problem(looks + ", and cannot read it: " + malformed.Error())
	}
	return nil, storeProblem(c.r.Context(), c.api.opt.Log, "read request body", err)
}

// expressionProblem says why what an expression looks at cannot be used. what is
// made of it.
func expressionProblem(k kind, what string, err error) *Problem {
	var p *Problem
	if errors.As(err, &p) {
		return p
	}
	if errors.Is(err, expression.ErrRepeated) {
		k = kindParameterRepeated
	}
	return k.problem(what + err.Error())
}
