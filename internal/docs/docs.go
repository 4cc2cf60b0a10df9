// Package docs is what a gateway tells those who call its operations, and those who
// are called back: each operation with its callbacks, and real examples of them. The
// OpenAPI document and the page below /docs are made of it.
package docs

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// Operation is a described operation.
type Operation struct {
	job.Operation
	// Method and Path are those of the route, Path with {name} for each parameter;
	// empty for the calls of an upstream, which have any.
	Method, Path string
	// Parameters of a call, those that say something about its callbacks included.
	Parameters []Parameter
	// Pointers are the JSON pointers to what is read out of a call's body.
	Pointers []string
	// Destinations are where the callbacks go.
	Destinations []Destination
	// Callbacks are what arrives there: one for each format, the operation's own first.
	Callbacks []Callback
}

// Parameter is one of a call, or of a callback.
type Parameter struct {
	Name, In    string // In is path, query or header
	Description string
	Required    bool
	URL         bool     // its value is a URL
	Example     string   // a callback's; empty for none
	Words       []string // its values; none for any
}

// Destination is one place that callbacks go to.
type Destination struct {
	// Sources of its URL, tried in order: runtime expressions, or the origin of a URL.
	Sources []string
	// Events that it is for; none: whichever are wanted.
	Events []job.Event
	also   bool // it is one beside callback.url
}

// purpose says what its URL is for.
func (d *Destination) purpose() string {
	switch {
	case len(d.Events) > 0:
		return "Where the callback goes that tells of " + words(d.Events) + "."
	case d.also:
		return "Where the callbacks go, too."
	}
	return "Where the callbacks go."
}

// Callback is what arrives in one format.
type Callback struct {
	Format string
	// Parameters are the headers that are the gateway's own, and the query's fields.
	Parameters []Parameter
	Examples   []Example // one for each event
}

// Method with which it is sent where nobody chooses another one.
func (c *Callback) Method() string { return c.Examples[0].Method }

// Example is a callback about a sample job, just as a receiver gets it.
type Example struct {
	Event  job.Event
	Format string
	Method string
	URL    string
	Header http.Header
	Body   []byte
}

// ContentType of the body, without parameters; empty without a body.
func (e *Example) ContentType() string {
	if len(e.Body) == 0 {
		return ""
	}
	media, _, _ := strings.Cut(e.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(media)
}

// IsJSON tells whether the body is JSON.
func (e *Example) IsJSON() bool {
	media := e.ContentType()
	return (media == "application/json" || strings.HasSuffix(media, "+json")) && json.Valid(e.Body)
}

// Describe describes an operation, its defaults filled in. The examples of a format
// stand together, those of the operation's own format first.
func Describe(op job.Operation, examples []Example) Operation {
	d := Operation{Operation: op}
	if op.Route != "" {
		d.Method, d.Path = SplitRoute(op.Route)
	}
	d.describeDestinations()
	for _, e := range examples {
		if n := len(d.Callbacks); n == 0 || d.Callbacks[n-1].Format != e.Format {
			d.Callbacks = append(d.Callbacks, Callback{Format: e.Format})
		}
		c := &d.Callbacks[len(d.Callbacks)-1]
		c.Examples = append(c.Examples, e)
	}
	for i := range d.Callbacks {
		d.Callbacks[i].describeParameters(d.Legacy())
	}
	d.describeCall()
	return d
}

// Legacy are the operation's signatures of the kind that other senders send.
func (d *Operation) Legacy() (all []*sign.Legacy) {
	schemes, _ := sign.ParseSchemes(d.Callback.Signature) // the intake has refused what is malformed
	for _, s := range schemes {
		if s.Legacy != nil {
			all = append(all, s.Legacy)
		}
	}
	return all
}

var pathWildcard = regexp.MustCompile(`\{([^}.]+)(\.\.\.)?\}`)

// parsed is a text of the configuration. The intake has refused what is malformed.
func parsed(text string) *expression.Template {
	t, err := expression.Parse(text)
	if err != nil {
		return &expression.Template{}
	}
	return t
}

// SplitRoute makes the method and the path of an OpenAPI operation of a pattern of
// net/http's.
func SplitRoute(route string) (method, path string) {
	method, path, _ = strings.Cut(route, " ")
	path = strings.TrimLeft(path, " \t")
	if i := strings.IndexByte(path, '/'); i > 0 {
		path = path[i:] // a host
	}
	path = strings.ReplaceAll(path, "{$}", "")
	return method, pathWildcard.ReplaceAllString(path, "{$1}")
}

// The events of the outcomes that a contract can tell apart.
var (
	successEvents  = []job.Event{job.EventSucceeded}
	failureEvents  = []job.Event{job.EventFailed, job.EventCanceled, job.EventExpired}
	progressEvents = []job.Event{"running", "progress"}
)

func (d *Operation) describeDestinations() {
	c := &d.Callback
	add := func(also bool, sources []string, events []job.Event) {
		sources = slices.DeleteFunc(slices.Clone(sources), func(source string) bool { return !d.usable(source) })
		for i, source := range sources {
			if parsed(source).Literal() {
				sources[i] = job.Origin(source) // what stands behind it may be a secret
			}
		}
		if len(sources) > 0 {
			d.Destinations = append(d.Destinations, Destination{Sources: sources, Events: events, also: also})
		}
	}
	add(false, c.URL, nil)
	for _, sources := range c.Also {
		add(true, sources, nil)
	}
	add(true, c.Success, successEvents)
	add(true, c.Failure, failureEvents)
	add(true, c.Progress, progressEvents)
}

// usable tells whether callbacks can go to what a source of a URL says: to one that is
// fixed, or to one of a call that may choose it.
func (d *Operation) usable(source string) bool {
	return parsed(source).Literal() || slices.Contains(d.Callback.CallerMay, "url") && !d.Callback.Policy.Registered
}

// describeCall finds the parameters of a call.
func (d *Operation) describeCall() {
	for _, m := range pathWildcard.FindAllStringSubmatch(d.Path, -1) {
		d.Parameters = append(d.Parameters, Parameter{Name: m[1], In: "path", Required: true, Description: "A part of the path."})
	}
	single := len(d.Destinations) == 1 && len(d.Destinations[0].Sources) == 1
	for _, destination := range d.Destinations {
		for _, text := range destination.Sources {
			t := parsed(text)
			for _, found := range d.read(t, "A part of where the callback goes.") {
				if t.Lone() {
					found.URL, found.Required = true, found.In == "path" || single && d.Callback.Required
					found.Description = destination.purpose()
				}
				d.declare(found)
			}
		}
	}
	for _, texts := range []map[string]string{d.Callback.Headers, d.Callback.Query} {
		for _, name := range slices.Sorted(maps.Keys(texts)) {
			for _, found := range d.read(parsed(texts[name]), "Comes back with the callback, as "+name+".") {
				d.declare(found)
			}
		}
	}
	for _, p := range choices {
		if p.word == "" || slices.Contains(d.Callback.CallerMay, p.word) {
			d.declare(d.fitted(p.Parameter))
		}
	}
}

// fitted is what a call may choose, as far as this operation can do it.
func (d *Operation) fitted(p Parameter) Parameter {
	if slices.Contains(p.Words, job.FormatTemplate) && d.Callback.Template == "" {
		p.Words = slices.DeleteFunc(slices.Clone(p.Words), func(word string) bool { return word == job.FormatTemplate })
	}
	if d.Method == "" && p.Name == "callback" {
		p.Description += " Alone it makes no call asynchronous: send X-Callback, or Prefer: respond-async with it."
	}
	return p
}

// choices are what a call may say beside its callback URL, each with the word of
// caller_may that allows it.
var choices = []struct {
	word string
	Parameter
}{
	{"url", Parameter{Name: "callback", In: "query", Description: "The name of one of your endpoints, to go there instead."}},
	{"url", Parameter{Name: "X-Callback", In: "header", Description: "The same as a header."}},
	{"state", Parameter{Name: "callbackState", In: "query", Description: "Any text up to 4096 octets. It comes back unchanged."}},
	{"state", Parameter{Name: "X-Callback-State", In: "header", Description: "The same as a header."}},
	{"events", Parameter{Name: "callbackEvents", In: "query", Description: "The events to call back for, with commas between them: " + wordsOf(job.AllEvents) + "."}},
	{"events", Parameter{Name: "X-Callback-Events", In: "header", Description: "The same as a header."}},
	{"method", Parameter{Name: "callbackMethod", In: "query", Description: "The method of the callback.", Words: job.Methods}},
	{"method", Parameter{Name: "X-Callback-Method", In: "header", Description: "The same as a header.", Words: job.Methods}},
	{"format", Parameter{Name: "callbackFormat", In: "query", Description: "The format of the callback.", Words: job.Formats}},
	{"format", Parameter{Name: "X-Callback-Format", In: "header", Description: "The same as a header.", Words: job.Formats}},
	{"delay", Parameter{Name: "callbackDelay", In: "query", Description: "How long after its event a callback is sent, such as 10m or 2h; at most 30d.", Example: "10m"}},
	{"delay", Parameter{Name: "X-Callback-Delay", In: "header", Description: "The same as a header."}},
	{"delay", Parameter{Name: "callbackDeliverAt", In: "query", Description: "When the callbacks are sent at the earliest: RFC 3339, or seconds since 1970.", Example: "2026-11-24T08:00:00Z"}},
	{"delay", Parameter{Name: "X-Callback-Deliver-At", In: "header", Description: "The same as a header."}},
	{"expires", Parameter{Name: "callbackExpiresIn", In: "query", Description: "For how long a callback is wanted, such as 15m, from when it is due; later it is not sent any more.", Example: "15m"}},
	{"expires", Parameter{Name: "X-Callback-Expires-In", In: "header", Description: "The same as a header."}},
	{"delay", Parameter{Name: "runDelay", In: "query", Description: "How long after the call the work begins, such as 10m or 2h; at most 30d.", Example: "10m"}},
	{"delay", Parameter{Name: "X-Run-Delay", In: "header", Description: "The same as a header."}},
	{"delay", Parameter{Name: "runAt", In: "query", Description: "When the work begins at the earliest: RFC 3339, or seconds since 1970.", Example: "2026-11-24T08:00:00Z"}},
	{"delay", Parameter{Name: "X-Run-At", In: "header", Description: "The same as a header."}},
	{"expires", Parameter{Name: "runExpiresIn", In: "query", Description: "For how long the work is wanted, such as 15m, from when it is due; later it does not begin any more.", Example: "15m"}},
	{"expires", Parameter{Name: "X-Run-Expires-In", In: "header", Description: "The same as a header."}},
	{"", Parameter{Name: "Prefer", In: "header", Description: "wait=N waits up to N seconds for the result itself; respond-async does not (RFC 7240)."}},
	{"", Parameter{Name: "Idempotency-Key", In: "header", Description: "The same key again answers with the first call's job."}},
}

func wordsOf(events []job.Event) string {
	words := make([]string, len(events))
	for i, event := range events {
		words[i] = string(event)
	}
	return strings.Join(words, ", ")
}

// read finds what a text with runtime expressions reads of a call. A pointer into the
// body is noted, and is no parameter.
func (d *Operation) read(t *expression.Template, description string) (found []Parameter) {
	for _, of := range []struct {
		kind expression.Kind
		in   string
	}{{expression.Path, "path"}, {expression.Query, "query"}, {expression.Header, "header"}} {
		for _, name := range t.Names(of.kind) {
			found = append(found, Parameter{Name: name, In: of.in, Description: description})
		}
	}
	for _, pointer := range t.Pointers() {
		if pointer != "" && !slices.Contains(d.Pointers, pointer) {
			d.Pointers = append(d.Pointers, pointer)
		}
	}
	return found
}

// declare adds a parameter unless it is there already.
func (d *Operation) declare(p Parameter) {
	for i := range d.Parameters {
		known := &d.Parameters[i]
		if known.In == p.In && (known.Name == p.Name || p.In == "header" && strings.EqualFold(known.Name, p.Name)) {
			if known.Description == "" {
				known.Description, known.URL = p.Description, p.URL
			}
			return
		}
	}
	d.Parameters = append(d.Parameters, p)
}

// ownHeaders are the headers of a callback that mean something, by their names in
// lower case. Headers that begin with ce- are an event's attributes.
var ownHeaders = map[string]string{
	"webhook-id":        "The callback's id: the same at each attempt.",
	"webhook-timestamp": "When this attempt was signed, in seconds since 1970.",
	"webhook-signature": "v1 and the base64 of HMAC-SHA256 over id.timestamp.body, or v1a and that of an Ed25519 signature; several with a space between them.",
	"signature-input":   "What the signature covers, and how it was made (RFC 9421).",
	"signature":         "The signature (RFC 9421).",
	"content-digest":    "The digest of the body (RFC 9530).",
	headerState:         "What the call gave as callbackState, percent-encoded as CloudEvents are.",
	"ringback-event":    "The operation and the event.",
	"ringback-job":      "The job's id.",
	"ringback-job-url":  "Where the job can be read, with a key.",

	"ringback-result-url": "A link to the result, which needs no key.",
}

// headerState is there where a call has given a state.
const headerState = "ringback-state"

// describeParameters tells of what all examples have beside their bodies.
func (c *Callback) describeParameters(legacy []*sign.Legacy) {
	first := &c.Examples[0]
	for _, name := range slices.Sorted(maps.Keys(first.Header)) {
		lower := strings.ToLower(name)
		description := ownHeaders[lower]
		switch {
		case lower == "content-type" || lower == "user-agent":
			continue
		case strings.HasPrefix(lower, "ce-"):
			description = "The attribute " + lower[3:] + " of the CloudEvent."
		}
		for _, l := range legacy {
			switch lower {
			case strings.ToLower(l.Header):
				description = "The signature, as the receiver knows it from another sender."
			case strings.ToLower(l.TimestampHeader):
				description = "When this attempt was signed, as that signature has it."
			}
		}
		c.Parameters = append(c.Parameters, Parameter{Name: lower, In: "header", Description: description,
			Required: description != "" && lower != headerState && c.all(func(e *Example) bool { return e.Header.Get(name) != "" }), Example: first.Header.Get(name)})
	}
	query := first.query()
	for _, name := range slices.Sorted(maps.Keys(query)) {
		c.Parameters = append(c.Parameters, Parameter{Name: name, In: "query", Description: "A field of the callback.",
			Required: c.all(func(e *Example) bool { return e.query().Has(name) }), Example: query.Get(name)})
	}
}

func (c *Callback) all(has func(*Example) bool) bool {
	for i := range c.Examples {
		if !has(&c.Examples[i]) {
			return false
		}
	}
	return true
}

func (e *Example) query() url.Values {
	u, err := url.Parse(e.URL)
	if err != nil {
		return nil
	}
	return u.Query()
}
