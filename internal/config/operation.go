package config

import (
	"cmp"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/api"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/callback"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// operation is the block of an operation.
type operation struct {
	Route       string           `yaml:"route"`
	Backend     map[string]block `yaml:"backend"`
	Timeout     duration         `yaml:"timeout"`
	Deadline    duration         `yaml:"deadline"`
	MaxBody     size             `yaml:"max_body"`
	MaxResult   size             `yaml:"max_result"`
	Concurrency count            `yaml:"concurrency"`
	Run         runMode          `yaml:"run"`
	Retry       retry            `yaml:"retry"`
	Delay       duration         `yaml:"delay"`
	ExpiresIn   duration         `yaml:"expires_in"`
	Callback    contract         `yaml:"callback"`

	Retention     duration  `yaml:"retention"`
	BodyRetention duration  `yaml:"body_retention"`
	Redact        redaction `yaml:"redact"`
}

type retry struct {
	Attempts   count    `yaml:"attempts"`
	Backoff    duration `yaml:"backoff"`
	MaxBackoff duration `yaml:"max_backoff"`
}

// contract is the block of an operation's callbacks.
type contract struct {
	URL         texts       `yaml:"url"`
	Also        []texts     `yaml:"also"`
	Success     texts       `yaml:"success"`
	Failure     texts       `yaml:"failure"`
	Progress    texts       `yaml:"progress"`
	Subscriber  bool        `yaml:"subscriber"`
	Policy      policy      `yaml:"policy"`
	Required    bool        `yaml:"required"`
	Method      method      `yaml:"method"`
	Format      format      `yaml:"format"`
	Template    string      `yaml:"template"`
	Events      []event     `yaml:"events"`
	Schedule    []duration  `yaml:"schedule"`
	Timeout     duration    `yaml:"timeout"`
	GiveUpAfter duration    `yaml:"give_up_after"`
	Interval    duration    `yaml:"progress_interval"`
	Delay       duration    `yaml:"delay"`
	ExpiresIn   duration    `yaml:"expires_in"`
	CallerMay   []callerMay `yaml:"caller_may"`
	Signature   schemes     `yaml:"signature"`
	// Headers and Query are texts with expressions, by name.
	Headers map[string]string `yaml:"headers"`
	Query   map[string]string `yaml:"query"`
}

// policy says which URLs may come with a call. It may be written as a single word.
type policy struct {
	Registered bool     `yaml:"registered"`
	Prefixes   []string `yaml:"prefixes"`
	HTTPS      bool     `yaml:"https"`
	Ports      []port   `yaml:"ports"`
}

// word reads the policies that are a single word.
func (p *policy) word(text string) error {
	p.Registered = text == "registered"
	if text != "any" && text != "registered" {
		return wrong("write any, registered, or keys: {prefixes: [https://a.example/hooks/]}", "%q is no policy", text)
	}
	return nil
}

// The members of the subscriber object of OGC API - Processes.
const (
	subscriberSuccess  = "{$request.body#/subscriber/successUri}"
	subscriberFailure  = "{$request.body#/subscriber/failedUri}"
	subscriberProgress = "{$request.body#/subscriber/inProgressUri}"
)

// byOutcome are the sources of a URL for an outcome, the subscriber's last.
func (c *contract) byOutcome(list texts, subscriber string) []string {
	if !c.Subscriber {
		return list
	}
	return append(slices.Clone(list), subscriber)
}

var nameSyntax = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// operations builds the operations, in the order of their names.
func (d *decoder) operations(f *file, opt ringback.Options) []ringback.Operation {
	checkURL, done := d.urlCheck(opt.Outbound)
	defer done()
	if opt.Upstream != nil {
		opt.Prefix = cmp.Or(opt.Prefix, ringback.UpstreamPrefix)
	}
	var built []ringback.Operation
	for _, name := range slices.Sorted(maps.Keys(f.Operations)) {
		key := "operations." + name
		switch {
		case !nameSyntax.MatchString(name):
			d.problem(key, wrong("such as scan, or scan_2", "the name must be small letters, digits and _, beginning with a letter"))
			continue
		case name == ringback.UpstreamOperation && opt.Upstream != nil:
			d.problem(key, wrong("give the operation another name", "the calls of the upstream have this name"))
			continue
		}
		block := f.Operations[name]
		op := ringback.Operation{Operation: block.operation(name), Backend: d.backend(key+".backend", block)}
		d.checkOperation(key, op, opt, checkURL)
		built = append(built, op)
	}
	d.checkClashes(built)
	return built
}

// urlCheck says whether a callback URL may be called. Where the policy cannot be
// read, every one may, as far as is known.
func (d *decoder) urlCheck(policy ringback.Outbound) (check func(string) error, done func()) {
	client, err := outbound.New(policy, outbound.Limits{}, outbound.Options{})
	unread := slices.ContainsFunc(d.problems, func(p Problem) bool { return strings.HasPrefix(p.Key, "outbound") })
	if err != nil || unread {
		return func(string) error { return nil }, func() {}
	}
	return func(url string) error { _, err := client.Check(url); return err }, client.Close
}

func (o *operation) operation(name string) job.Operation {
	return job.Operation{
		Name:           name,
		Route:          o.Route,
		Timeout:        time.Duration(o.Timeout),
		Deadline:       time.Duration(o.Deadline),
		MaxBodyBytes:   int64(o.MaxBody),
		MaxResultBytes: int64(o.MaxResult),
		Concurrency:    int(o.Concurrency),
		AtMostOnce:     bool(o.Run),
		Retention:      time.Duration(o.Retention),
		BodyRetention:  time.Duration(o.BodyRetention),
		Redact:         o.Redact.redaction(),
		Delay:          time.Duration(o.Delay),
		ExpiresIn:      time.Duration(o.ExpiresIn),
		Retry: job.Retry{Attempts: int(o.Retry.Attempts), Backoff: time.Duration(o.Retry.Backoff),
			MaxBackoff: time.Duration(o.Retry.MaxBackoff)},
		Callback: job.Contract{
			URL:      o.Callback.URL,
			Also:     convertLists(o.Callback.Also),
			Success:  o.Callback.byOutcome(o.Callback.Success, subscriberSuccess),
			Failure:  o.Callback.byOutcome(o.Callback.Failure, subscriberFailure),
			Progress: o.Callback.byOutcome(o.Callback.Progress, subscriberProgress),
			Policy: job.Policy{Registered: o.Callback.Policy.Registered, Prefixes: o.Callback.Policy.Prefixes,
				HTTPS: o.Callback.Policy.HTTPS, Ports: convertPorts(o.Callback.Policy.Ports)},
			Headers:     o.Callback.Headers,
			Query:       o.Callback.Query,
			Required:    o.Callback.Required,
			Method:      string(o.Callback.Method),
			Format:      string(o.Callback.Format),
			Template:    o.Callback.Template,
			Events:      convert[job.Event](o.Callback.Events),
			Schedule:    convertDurations(o.Callback.Schedule),
			Timeout:     time.Duration(o.Callback.Timeout),
			GiveUpAfter: time.Duration(o.Callback.GiveUpAfter),

			ProgressInterval: time.Duration(o.Callback.Interval),
			Delay:            time.Duration(o.Callback.Delay),
			ExpiresIn:        time.Duration(o.Callback.ExpiresIn),
			CallerMay:        convert[string](o.Callback.CallerMay),
			Signature:        string(o.Callback.Signature),
		},
	}
}

// convert keeps nil and empty apart: caller_may: [] means nothing.
func convert[To, From ~string](list []From) []To {
	if list == nil {
		return nil
	}
	out := make([]To, len(list))
	for i, v := range list {
		out[i] = To(v)
	}
	return out
}

func convertLists(lists []texts) [][]string {
	var out [][]string
	for _, list := range lists {
		out = append(out, list)
	}
	return out
}

func convertPorts(list []port) []uint16 {
	var out []uint16
	for _, v := range list {
		out = append(out, uint16(v))
	}
	return out
}

func convertDurations(list []duration) []time.Duration {
	var out []time.Duration
	for _, v := range list {
		out = append(out, time.Duration(v))
	}
	return out
}

// errReported stands for problems that were noted already.
var errReported = errors.New("reported")

// backend builds the backend of an operation, nil where it cannot.
func (d *decoder) backend(key string, o *operation) ringback.Backend {
	kinds := slices.Sorted(maps.Keys(backend.Kinds))
	words := strings.Join(kinds, ", ")
	if len(o.Backend) != 1 {
		d.problem(key, wrong("write one of them, such as backend: {relay: {}}", "must name exactly one of: %s", words))
		return nil
	}
	kind := slices.Collect(maps.Keys(o.Backend))[0]
	build, ok := backend.Kinds[kind]
	if !ok {
		d.problem(key+"."+kind, wrong(hintFor(kind, kinds), "unknown kind of backend"))
		return nil
	}
	b, err := build(func(config any) error {
		before, v := len(d.problems), reflect.ValueOf(config).Elem()
		d.value(o.Backend[kind].node, key+"."+kind, v)
		d.override(key+"."+kind, v)
		if len(d.problems) > before {
			return errReported
		}
		return nil
	})
	at, isConfig := errors.AsType[*backend.ConfigError](err)
	switch {
	case isConfig:
		d.problem(key+"."+at.Field, wrong("docs/backends.md tells what belongs there", "%s", at.Message))
	case err != nil && !errors.Is(err, errReported):
		d.problem(key+"."+kind, err)
	}
	return b
}

// checkOperation looks for what the gateway would refuse, and for parameters that
// the backend needs and the route does not have.
func (d *decoder) checkOperation(key string, op ringback.Operation, of ringback.Options, checkURL func(string) error) {
	if op.Route == "" {
		d.problem(key+".route", wrong("write a method and a path, such as POST /scan", "is missing"))
		return
	}
	opt := api.Options{Prefix: of.Prefix, NoDocs: of.NoDocs, NoDashboard: of.NoDashboard, CheckURL: checkURL, CheckHeader: outbound.CheckHeader, ReadPolicy: callback.ReadPolicy}
	for _, e := range api.CheckOperation(op.Operation, opt) {
		hint := ""
		switch {
		case errors.Is(e, api.ErrOwnRoute):
			hint = "choose another path, or set a prefix for the gateway's own routes"
		case strings.HasSuffix(e.Field, "delay") || strings.HasSuffix(e.Field, "expires_in"):
			hint = "such as 10m, 12h or 7d"
		case e.Field == "callback.signature":
			hint = "docs/signatures.md tells what can be signed how"
		case e.Field == "route":
			hint = "write a method and a path, such as POST /scan or GET /reports/{kind}"
		case strings.HasPrefix(e.Field, "callback.headers") || strings.HasPrefix(e.Field, "callback.query"):
			hint = "a text, which may hold expressions such as {$request.body#/order}"
		case e.Field == "callback.policy":
			hint = "such as {prefixes: [https://a.example/hooks/], https: true, ports: [443]}"
		default:
			hint = "such as {$request.query.callbackURL}; one entry may be a URL, for calls that bring none"
		}
		d.problem(key+"."+e.Field, wrong(hint, "%v", e.Err))
	}
	if field, err := callback.CheckContract(op.Callback); err != nil {
		d.problem(key+".callback."+field, wrong("docs/formats.md shows the formats, and what a template may do", "%v", err))
	}
	needs, ok := op.Backend.(backend.Parameterized)
	if !ok {
		return
	}
	has := api.RouteParameters(op.Route)
	for _, name := range needs.Params() {
		if !slices.Contains(has, name) {
			d.problem(key+".backend", wrong("write {"+name+"} in the route, too", "needs the parameter {%s}, which the route does not have", name))
		}
	}
}

// checkClashes looks for routes that the mux could not tell apart.
func (d *decoder) checkClashes(ops []ringback.Operation) {
	for i, op := range ops {
		for _, other := range ops[:i] {
			if clash(op.Route, other.Route) {
				place := d.place("operations." + other.Name + ".route")
				d.problem("operations."+op.Name+".route", wrong("give one of them another path or method",
					"%q and %q, of %s (%s), match the same requests", op.Route, other.Route, other.Name, place))
			}
		}
	}
}

// clash tells whether the mux takes each of two patterns, but not both.
func clash(a, b string) bool {
	return registers(a) && registers(b) && !registers(a, b)
}

func registers(patterns ...string) (ok bool) {
	defer func() { ok = recover() == nil }()
	mux := http.NewServeMux()
	for _, pattern := range patterns {
		mux.Handle(pattern, http.NotFoundHandler())
	}
	return true
}
