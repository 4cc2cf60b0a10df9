package api

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

var endpointName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,63}$`)

const (
	authorizationHeader   = "Authorization"
	redactedValue         = "[redacted]"
	authorizationUse      = "authorization" // of the sealer
	maxEndpointHeaders    = 32
	maxEndpointHeaderSize = 8 << 10 // bytes of all names and values
	maxConcurrency        = 1000
	minProgressInterval   = 100 * time.Millisecond
	maxProgressInterval   = 24 * time.Hour
)

// checkEndpoint says everything that is wrong with an endpoint but its headers.
func (v *v1) checkEndpoint(ctx context.Context, e *job.Endpoint) error {
	var items []ProblemItem
	fault := func(bad bool, pointer, detail string) {
		if bad {
			items = append(items, ProblemItem{Detail: detail, Pointer: pointer})
		}
	}
	fault(!endpointName.MatchString(e.Name), "#/name",
		"a name has 1 to 64 characters of a-z, 0-9, _ and -, and begins with a letter or a digit")
	if err := job.CheckFormat(e.Method, ""); err != nil {
		fault(true, "#/method", err.Error())
	} else if err := job.CheckFormat(e.Method, e.Format); err != nil {
		fault(true, "#/format", err.Error())
	}
	fault(e.Concurrency < 0 || e.Concurrency > maxConcurrency, "#/concurrency",
		fmt.Sprintf("the concurrency must be from 0 to %d", maxConcurrency))
	fault(e.Rate.Count < 0, "#/rate", job.ErrRate.Error())
	fault(e.ProgressInterval != 0 && (e.ProgressInterval < minProgressInterval || e.ProgressInterval > maxProgressInterval), "#/progress_interval",
		"the interval must be a duration from 100ms to 24h, such as 5s")
	if schemes, _ := sign.ParseSchemes(e.Signature); schemes.Has(sign.SchemeV1a) { // it was read before
		fault(streams(e.Format), "#/signature", streamedDetail)
	}
	v.checkOrder(e, fault)
	for i, event := range e.Events {
		fault(!slices.Contains(job.AllEvents, event) || slices.Contains(e.Events[:i], event),
			fmt.Sprintf("#/events/%d", i), "this is not an event, or stands here twice")
	}
	for i, name := range e.Operations {
		fault(!v.hasOperation(name) || slices.Contains(e.Operations[:i], name),
			fmt.Sprintf("#/operations/%d", i), "the gateway has no operation of this name, or it stands here twice")
	}
	fault(e.Operational && (e.Default || len(e.Operations)+len(e.Events) > 0 || e.Format != ""), "#/operational",
		"an operational endpoint is told of the app's others and of nothing else: it is no default, and has no operations, no events and no format")
	for _, item := range v.withoutTemplate(e) {
		fault(true, item.Pointer, item.Detail)
	}
	app := appOf(ctx)
	if auth, ok := v.openAuth(e); ok && auth.OAuth2 != nil {
		if p := v.within(auth.OAuth2.TokenURL, "app", &app.Policy); p != nil {
			fault(true, "#/auth/oauth2/token_url", strings.ReplaceAll(p.Detail, "callback URL", "token URL"))
		}
	}
	if len(items) > 0 {
		return faultyBody(items...)
	}
	return v.checkEndpointURL(e.URL, app)
}

// withoutTemplate says why an endpoint cannot have the format template: the operations
// that it is the default for need one, and without such a list some operation has to.
func (v *v1) withoutTemplate(e *job.Endpoint) (items []ProblemItem) {
	if e.Format != job.FormatTemplate {
		return nil
	}
	all := v.opt.Operations
	if v.opt.Upstream != nil {
		all = append(slices.Clone(all), *v.opt.Upstream)
	}
	has := func(o job.Operation) bool { return o.Callback.Template != "" }
	if len(e.Operations) == 0 && !slices.ContainsFunc(all, has) {
		return []ProblemItem{{Pointer: "#/format", Detail: "no operation has a template, which this format needs"}}
	}
	for _, o := range all {
		if slices.Contains(e.Operations, o.Name) && !has(o) {
			items = append(items, ProblemItem{Pointer: "#/format", Detail: "the operation " + o.Name + " has no template, which this format needs"})
		}
	}
	return items
}

var paramVariable = regexp.MustCompile(`\{params\.([^{}]*)\}`)

// checkEndpointURL says whether an endpoint of an app may have a URL, with variables or
// without.
func (v *v1) checkEndpointURL(url string, app job.App) error {
	called, err := v.opt.EndpointURL(url, nil)
	if err != nil {
		return urlProblem(err)
	}
	for _, m := range paramVariable.FindAllStringSubmatch(url, -1) {
		has := func(o job.Operation) bool { return slices.Contains(wildcardNames(o.Route), m[1]) }
		if !slices.ContainsFunc(v.opt.Operations, has) {
			return kindURLInvalid.problem("the route of no operation has the parameter that {params.…} names")
		}
	}
	if p := v.within(called, "app", &app.Policy); p != nil {
		return p
	}
	return nil
}

// interval reads the interval of an endpoint's progress callbacks. What cannot be read
// is -1, which checkEndpoint refuses.
func interval(text string) time.Duration {
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil || d == 0 {
		return -1
	}
	return d
}

func (a *API) hasOperation(name string) bool {
	return a.opt.Upstream != nil && a.opt.Upstream.Name == name ||
		slices.ContainsFunc(a.opt.Operations, func(o job.Operation) bool { return o.Name == name })
}

// setHeaders gives an endpoint the headers of a request. An Authorization is kept
// sealed; sent as it is shown, it stays what it was.
func (v *v1) setHeaders(e *job.Endpoint, sent map[string]string) error {
	before := e.Authorization
	e.Headers, e.Authorization = nil, nil
	size := 0
	for name, value := range sent {
		size += len(name) + len(value)
	}
	if len(sent) > maxEndpointHeaders || size > maxEndpointHeaderSize {
		return faultyBody(ProblemItem{Pointer: "#/headers",
			Detail: fmt.Sprintf("there may be %d headers with %d bytes in all", maxEndpointHeaders, maxEndpointHeaderSize)})
	}
	seen := map[string]bool{}
	for name, value := range sent {
		where := "#/headers/" + escapePointer(shorten(name))
		canonical := http.CanonicalHeaderKey(name)
		if seen[canonical] {
			return faultyBody(ProblemItem{Pointer: where, Detail: "the header stands here twice"})
		}
		seen[canonical] = true
		err := v.opt.CheckHeader(name, value)
		switch {
		case canonical == authorizationHeader && value == redactedValue && before != nil:
			e.Authorization = before
			continue
		case err != nil:
			return faultyBody(ProblemItem{Pointer: where, Detail: err.Error()})
		case canonical == authorizationHeader:
			e.Authorization = v.opt.Seal.Seal([]byte(value), authorizationUse)
			continue
		}
		if e.Headers == nil {
			e.Headers = map[string]string{}
		}
		e.Headers[canonical] = value
	}
	return nil
}
