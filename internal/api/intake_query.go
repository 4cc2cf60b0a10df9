package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
)

// choice is one thing that a caller may choose about its callbacks, or about the job.
type choice struct {
	query  string // the parameter's name, in exactly this spelling
	header string
	word   string // what callback.caller_may calls it
}

const (
	chooseURL = iota
	chooseEndpoint
	chooseState
	chooseEvents
	chooseMethod
	chooseFormat
	chooseDelay
	chooseDeliverAt
	chooseExpires
	chooseRunDelay // from here on about the job
	chooseRunAt
	chooseRunExpires
	choiceCount
)

var choices = [choiceCount]choice{
	chooseURL:      {"callbackURL", "X-Callback-Url", "url"},
	chooseEndpoint: {"callback", "X-Callback", "url"},
	chooseState:    {"callbackState", "X-Callback-State", "state"},
	chooseEvents:   {"callbackEvents", "X-Callback-Events", "events"},
	chooseMethod:   {"callbackMethod", "X-Callback-Method", "method"},
	chooseFormat:   {"callbackFormat", "X-Callback-Format", "format"},

	chooseDelay:      {"callbackDelay", "X-Callback-Delay", "delay"},
	chooseDeliverAt:  {"callbackDeliverAt", "X-Callback-Deliver-At", "delay"},
	chooseExpires:    {"callbackExpiresIn", "X-Callback-Expires-In", "expires"},
	chooseRunDelay:   {"runDelay", "X-Run-Delay", "delay"},
	chooseRunAt:      {"runAt", "X-Run-At", "delay"},
	chooseRunExpires: {"runExpiresIn", "X-Run-Expires-In", "expires"},
}

// offered are the words that an operation may put into callback.caller_may.
var offered = []string{"url", "state", "events", "method", "format", "delay", "expires"}

// maxStateBytes bounds what a caller has echoed.
const maxStateBytes = 4 << 10

// asked is what a request says about its callbacks, by choice.
type asked [choiceCount]struct {
	value string // decoded
	place place  // where it stands; nowhere: it is not said
}

// readAsked finds what the request chooses, and returns its raw query without
// these parameters; what is left keeps its octets.
func (op *operation) readAsked(r *http.Request) (got asked, rest string, p *Problem) {
	rest = cutQuery(r.URL.RawQuery, func(name, raw string) bool {
		i := op.choiceOf(name)
		if i >= 0 && p == nil {
			p = got.setParameter(i, raw)
		}
		return i >= 0 || slices.Contains(op.ownParameters, name)
	})
	for i := range op.choices() {
		values := r.Header[choices[i].header]
		switch {
		case p != nil || len(values) == 0:
			continue
		case len(values) > 1:
			p = kindParameterRepeated.at(place{choices[i].header, true}, "was sent more than once")
		case got[i].place != place{}:
			p = kindParameterRepeated.at(place{choices[i].header, true}, "says the same as the parameter "+choices[i].query+"; send one of the two")
		default:
			got[i].value, got[i].place = values[0], place{choices[i].header, true}
		}
	}
	if p == nil {
		p = op.mayChoose(&got)
	}
	return got, rest, p
}

func choiceOfParameter(name string) int {
	if !strings.HasPrefix(name, "callback") && !strings.HasPrefix(name, "run") { // nearly always
		return -1
	}
	return slices.IndexFunc(choices[:], func(c choice) bool { return c.query == name })
}

// choices are those that are the gateway's: what an upstream knows by the names of those
// about the job is its own.
func (op *operation) choices() []choice {
	if op.isUpstream() {
		return choices[:chooseRunDelay]
	}
	return choices[:]
}

func (op *operation) isUpstream() bool {
	return op.api != nil && op.api.opt.Upstream != nil && op.Name == op.api.opt.Upstream.Name
}

func (op *operation) choiceOf(name string) int {
	i := choiceOfParameter(name)
	if i >= chooseRunDelay && op.isUpstream() {
		return -1
	}
	return i
}

func (got *asked) setParameter(i int, raw string) *Problem {
	where := place{name: choices[i].query}
	if got[i].place == where {
		return kindParameterRepeated.at(where, "was sent more than once")
	}
	value, err := expression.Unescape(raw)
	if err != nil {
		k := kindInvalidParameter
		if i == chooseURL {
			k = kindURLInvalid
		}
		return k.at(where, err.Error())
	}
	got[i].value, got[i].place = value, where
	return nil
}

// mayChoose refuses what the operation leaves no choice about.
func (op *operation) mayChoose(got *asked) *Problem {
	for i := range got {
		where := got[i].place
		switch {
		case where == place{}:
		case !slices.Contains(op.Callback.CallerMay, choices[i].word):
			return kindChoiceRefused.at(where, "cannot be chosen for this operation").withHint(op.mayHint())
		}
	}
	where := got[chooseURL].place
	if where != (place{}) && !op.takesURLFrom(where) {
		return kindChoiceRefused.at(where, "is not where this operation takes its callback URL from").withHint(op.sourceHint())
	}
	return nil
}

// registeredHint is for calls whose callback URL would be refused, whatever it is.
const registeredHint = "name a registered endpoint with ?callback=NAME"

func (op *operation) takesURLFrom(where place) bool {
	kind := expression.Query
	if where.header {
		kind = expression.Header
	}
	return slices.ContainsFunc(op.destinations, func(d destination) bool {
		return slices.ContainsFunc(d.sources, func(t *expression.Template) bool { return t.Reads(kind, where.name) })
	})
}

func (op *operation) mayHint() string {
	if len(op.Callback.CallerMay) == 0 {
		return "this operation leaves nothing about its callbacks to the caller"
	}
	return "this operation leaves to the caller: " + strings.Join(op.Callback.CallerMay, ", ")
}

func (op *operation) sourceHint() string {
	if op.Callback.Policy.Registered {
		return registeredHint
	}
	var texts []string
	for _, d := range op.destinations {
		for _, t := range d.sources {
			texts = append(texts, t.String())
		}
	}
	if len(texts) == 0 {
		return "this operation has a fixed callback URL"
	}
	return "send it as " + strings.Join(texts, " or ")
}

// state is the text to echo in the callbacks. No control characters: with some
// formats it travels as a header.
func (got *asked) state() (string, *Problem) {
	state, where := got[chooseState].value, got[chooseState].place
	if len(state) > maxStateBytes {
		return "", kindInvalidParameter.at(where, "is longer than 4096 octets")
	}
	if !isPlainText(state) {
		return "", kindInvalidParameter.at(where, "must be UTF-8 without control characters")
	}
	return state, nil
}

// isPlainText tells UTF-8 without control characters.
func isPlainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, isControl) }

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// readShape reads the method and the format that the call chooses.
func (c *call) readShape() *Problem {
	method, format := &c.asked[chooseMethod], &c.asked[chooseFormat]
	if method.place != (place{}) && !slices.Contains(job.Methods, method.value) {
		return kindInvalidParameter.at(method.place, "is no method of a callback").
			withHint("the methods are: " + strings.Join(job.Methods, ", "))
	}
	if format.place != (place{}) && !slices.Contains(job.Formats, format.value) {
		return kindInvalidParameter.at(format.place, "is no format of a callback").
			withHint("the formats are: " + strings.Join(job.Formats, ", "))
	}
	if format.value == job.FormatTemplate && c.op.Callback.Template == "" {
		return kindInvalidParameter.at(format.place, "is template, and the operation has none")
	}
	c.method, c.format = method.value, format.value
	return c.checkShape("")
}

// checkShape refuses a format that the call chooses where it contradicts the method:
// the one that is chosen, else that of the endpoint or the operation.
func (c *call) checkShape(endpointMethod string) *Problem {
	if c.format == "" || c.format == job.FormatQuery {
		return nil
	}
	if err := job.CheckFormat(cmp.Or(c.method, endpointMethod, c.op.Callback.Method), c.format); err != nil {
		return kindInvalidParameter.at(c.asked[chooseFormat].place, "contradicts the method: "+err.Error())
	}
	return nil
}

// events are the events that the callbacks shall tell of, nil for the usual ones.
func (got *asked) events() ([]job.Event, *Problem) {
	where := got[chooseEvents].place
	if where == (place{}) {
		return nil, nil
	}
	var events []job.Event
	for word := range strings.SplitSeq(got[chooseEvents].value, ",") {
		event := job.Event(strings.Trim(word, " \t"))
		if !slices.Contains(job.AllEvents, event) {
			return nil, kindInvalidParameter.at(where, "must be a list of events with commas between them").
				withHint("the events are: " + eventWords())
		}
		if !slices.Contains(events, event) {
			events = append(events, event)
		}
	}
	return events, nil
}

func eventWords() string {
	words := make([]string, len(job.AllEvents))
	for i, e := range job.AllEvents {
		words[i] = string(e)
	}
	return strings.Join(words, ", ")
}

// cutQuery removes from a raw query the parameters that cut wants to have. It
// shows cut each decoded name with the raw value; a name that cannot be decoded
// is nobody's. The other parameters keep octets, order and empty neighbours.
func cutQuery(raw string, cut func(name, value string) bool) string {
	if raw == "" {
		return ""
	}
	var kept []byte // nil while nothing was cut
	first := true
	for start := 0; start <= len(raw); {
		end := len(raw)
		if i := strings.IndexByte(raw[start:], '&'); i >= 0 {
			end = start + i
		}
		name, value, _ := strings.Cut(raw[start:end], "=")
		name, err := expression.Unescape(name)
		switch {
		case err == nil && cut(name, value):
			if kept == nil {
				kept = append(make([]byte, 0, len(raw)), raw[:max(start-1, 0)]...)
				first = start == 0
			}
		case kept != nil:
			if !first {
				kept = append(kept, '&')
			}
			kept, first = append(kept, raw[start:end]...), false
		}
		start = end + 1
	}
	if kept == nil {
		return raw
	}
	return string(kept)
}
