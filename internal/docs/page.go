package docs

import (
	"bytes"
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templateFiles embed.FS

//go:embed verify
var verifyFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"duration": durationText, "bytes": bytesText, "words": words, "formatText": func(format string) string { return formatTexts[format] },
}).ParseFS(templateFiles, "templates/*.html"))

// Options say what the page tells. All but Keys, PublicURL and Proof are required.
type Options struct {
	// Operations are asked for once, when they are first needed.
	Operations func() []Operation
	Problems   []Problem
	Version    string
	Prefix     string // of the gateway's own routes
	PublicURL  string // where its routes are reached
	Proof      job.Proof
	// Keys are what callbacks to URLs that come with a call are signed with, where calls
	// need no key. With it operations can be tried out; nil: they cannot.
	Keys func(context.Context) (sign.Keys, error)
	Log  *slog.Logger
	Now  func() time.Time
}

// Problem is an error code of the API.
type Problem struct {
	Code, Title, URL string
	Status           int
}

// Site serves the page below /docs, and where operations can be tried out, the inboxes
// that their callbacks arrive at. Make it with New, Register its routes, and Close it.
type Site struct {
	opt     Options
	inboxes *inboxes // nil: there are none
	page    func() ([]byte, error)
}

// New makes a site, whose page is written when it is first read.
func New(opt Options) *Site {
	s := &Site{opt: opt}
	s.page = sync.OnceValues(func() ([]byte, error) {
		var b bytes.Buffer
		err := templates.ExecuteTemplate(&b, "page.html", s.shown())
		return b.Bytes(), err
	})
	if opt.Keys != nil {
		s.inboxes = newInboxes(opt.Keys, opt.Now)
	}
	return s
}

func (s *Site) servePage(w http.ResponseWriter, r *http.Request) {
	page, err := s.page()
	if err != nil {
		s.opt.Log.ErrorContext(r.Context(), "write the documentation", "error", err)
		http.Error(w, "The page could not be written.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(page) // nobody is left to tell
}

// schemes are those of an operation. The intake has refused what is malformed.
func (s *Site) schemes(name string) sign.Schemes {
	for _, op := range s.opt.Operations() {
		if op.Name == name {
			schemes, _ := sign.ParseSchemes(op.Callback.Signature)
			return schemes
		}
	}
	return nil
}

// Register adds the site's routes to a mux, below the prefix.
func (s *Site) Register(mux *http.ServeMux) {
	docs := s.opt.Prefix + "/docs"
	mux.HandleFunc("GET "+docs, s.guarded(s.servePage))
	mux.HandleFunc("GET "+docs+"/{$}", s.guarded(s.servePage))
	for _, name := range []string{"page.css", "page.js", "icon.svg"} {
		mux.HandleFunc("GET "+docs+"/"+name, s.guarded(func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, assets, "assets/"+name)
		}))
	}
	if s.inboxes != nil {
		mux.HandleFunc("POST "+docs+"/inbox", s.serveOpen)
		mux.HandleFunc(docs+"/inbox/{name}", s.serveInbox)
		mux.HandleFunc("GET "+docs+"/inbox/{name}/arrivals", s.serveArrivals)
	}
}

// Close ends the streams.
func (s *Site) Close() {
	if s.inboxes != nil {
		s.inboxes.close()
	}
}

// contentSecurityPolicy lets the page load what stands beside it, and run nothing that
// stands in the page itself.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// guarded adds what a page's headers have beyond those of every answer.
func (s *Site) guarded(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Embedder-Policy", "require-corp")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-cache")
		next(w, r)
	}
}

// shownPage is what the template shows.
type shownPage struct {
	Version, Prefix, Base string
	Operations            []shownOperation
	Languages             []language
	Problems              []Problem
	Secret                string
	Try                   bool
	Proof                 job.Proof
}

// shownOperation is an operation as the page shows it.
type shownOperation struct {
	Operation
	Call     Call
	Curl     string
	Schemes  []string
	Unsigned bool
	Try      bool
}

func (s *Site) shown() shownPage {
	p := shownPage{Version: s.opt.Version, Prefix: s.opt.Prefix, Base: cmp.Or(s.opt.PublicURL, "https://api.example.com"),
		Problems: s.opt.Problems, Languages: languages(), Secret: SampleSecret, Try: s.opt.Keys != nil, Proof: s.opt.Proof}
	for _, op := range s.opt.Operations() {
		shown := shownOperation{Operation: op, Call: op.call()}
		shown.Curl = shown.Call.curl(p.Base, op.Method == "", s.opt.Keys != nil)
		shown.Try = p.Try && strings.Contains(shown.Call.Target+shown.Call.Body+fmt.Sprint(shown.Call.Header), SampleURL)
		schemes := s.schemes(op.Name)
		shown.Unsigned = schemes.Has(sign.SchemeNone)
		shown.Schemes = schemeWords(schemes)
		p.Operations = append(p.Operations, shown)
	}
	return p
}

// SampleURL is where the callbacks of sample calls go, and SampleSecret what their
// signatures are made with.
const (
	SampleURL    = "https://my.server/bar"
	SampleSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
)

func schemeWords(schemes sign.Schemes) []string {
	var all []string
	for _, by := range []struct{ name, text string }{
		{sign.SchemeV1, "Standard Webhooks v1 (HMAC-SHA256)"}, {sign.SchemeV1a, "Standard Webhooks v1a (Ed25519)"},
		{sign.SchemeRFC9421, "HTTP Message Signatures (RFC 9421)"},
	} {
		if schemes.Has(by.name) {
			all = append(all, by.text)
		}
	}
	for _, s := range schemes {
		if s.Legacy != nil {
			all = append(all, "the header "+s.Legacy.Header)
		}
	}
	return all
}

// Call is a sample call of an operation.
type Call struct {
	Method string
	Target string // path and query
	Header []HeaderLine
	Body   string
}

// HeaderLine is one line of a header.
type HeaderLine struct{ Name, Value string }

// call makes a sample call. Its callback goes to SampleURL.
func (d *Operation) call() Call {
	c := Call{Method: cmp.Or(d.Method, http.MethodPost), Target: cmp.Or(d.Path, "/any/path")}
	var query []string
	body := map[string]any{"order": 7}
	c.Target = pathWildcard.ReplaceAllString(c.Target, "a")
	// The first source of a destination will do.
	for _, destination := range d.Destinations {
		for _, source := range destination.Sources {
			if t := parsed(source); t.Lone() && c.take(t, &query, body) {
				break
			}
		}
	}
	if slices.Contains(d.Callback.CallerMay, "state") {
		query = append(query, "callbackState=order-7")
	}
	if len(query) > 0 {
		c.Target += "?" + strings.Join(query, "&")
	}
	if c.Method != http.MethodGet && c.Method != http.MethodHead {
		c.Header = append(c.Header, HeaderLine{"Content-Type", "application/json"})
		b, _ := json.Marshal(body) // maps and texts always can
		c.Body = string(b)
	}
	return c
}

// take puts SampleURL where a lone expression finds it. It is false where a call has no
// such place of its own.
func (c *Call) take(t *expression.Template, query *[]string, body map[string]any) bool {
	names, headers, pointers := t.Names(expression.Query), t.Names(expression.Header), t.Pointers()
	switch {
	case len(names) > 0:
		*query = append(*query, names[0]+"="+SampleURL)
	case len(headers) > 0:
		c.Header = append(c.Header, HeaderLine{headers[0], SampleURL})
	case len(pointers) > 0 && pointers[0] != "":
		put(body, pointers[0])
	default:
		return false
	}
	return true
}

// put puts SampleURL into an object, at a JSON pointer.
func put(at map[string]any, pointer string) {
	tokens := strings.Split(strings.TrimPrefix(pointer, "/"), "/")
	for i, token := range tokens {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
		if i == len(tokens)-1 {
			at[token] = SampleURL
			break
		}
		next, ok := at[token].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[token] = next
		}
		at = next
	}
}

// curl is the call as a command.
func (c *Call) curl(base string, upstream, noKey bool) string {
	var b strings.Builder
	b.WriteString("curl ")
	if c.Method != http.MethodGet && c.Method != http.MethodPost {
		b.WriteString("-X " + c.Method + " ")
	}
	b.WriteString(quoted(base + c.Target))
	header := c.Header
	switch {
	case noKey:
	case upstream:
		header = append([]HeaderLine{{"Ringback-Key", "rb_…"}}, header...)
	default:
		header = append([]HeaderLine{{"Authorization", "Bearer rb_…"}}, header...)
	}
	for _, h := range header {
		b.WriteString(" \\\n  -H " + quoted(h.Name+": "+h.Value))
	}
	if c.Body != "" {
		b.WriteString(" \\\n  -d " + quoted(c.Body))
	}
	return b.String()
}

// quoted is a text as a word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// maxHeaderBytes bounds the header that is shown of a request.
const maxHeaderBytes = 8 << 10

// headerLines is a header in the order of its names.
func headerLines(h http.Header) []HeaderLine {
	var lines []HeaderLine
	n := 0
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			if n += len(name) + len(value); n > maxHeaderBytes {
				return lines
			}
			lines = append(lines, HeaderLine{name, value})
		}
	}
	return lines
}

// Lines is the example's header.
func (e Example) Lines() []HeaderLine { return headerLines(e.Header) }

// Target is the request's, as in its first line, and Host where it goes.
func (e Example) Target() string {
	rest := strings.TrimPrefix(e.URL, "https://")
	return rest[strings.IndexByte(rest+"/", '/'):]
}

// Host is where the example goes.
func (e Example) Host() string {
	host, _, _ := strings.Cut(strings.TrimPrefix(e.URL, "https://"), "/")
	return host
}

// Shown is the body for people to read.
func (e Example) Shown() string { return pretty(e.Header.Get("Content-Type"), e.Body) }

// pretty breaks JSON into lines.
func pretty(contentType string, body []byte) string {
	var b bytes.Buffer
	if strings.Contains(contentType, "json") && json.Indent(&b, body, "", "  ") == nil {
		return b.String()
	}
	return strings.ToValidUTF8(string(body), "\ufffd")
}

// language is how a callback is verified in one.
type language struct{ Name, Title, Code string }

// languages are the snippets of docs/receiving.md.
func languages() []language {
	var all []language
	for _, l := range []language{{Name: "go", Title: "Go"}, {Name: "js", Title: "JavaScript"}, {Name: "python", Title: "Python"},
		{Name: "java", Title: "Java"}, {Name: "sh", Title: "Shell"}, {Name: "javascript", Title: "Node.js"}} {
		code, err := verifyFiles.ReadFile("verify/" + l.Name + ".txt")
		if err != nil {
			panic(err) // it is part of the program
		}
		l.Code = string(code)
		all = append(all, l)
	}
	return all
}

// durationText is a duration without zeros: 30s, 2m, 24h.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func bytesText(n int64) string {
	for _, unit := range []struct {
		size int64
		name string
	}{{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= unit.size && n%unit.size == 0 {
			return fmt.Sprintf("%d %s", n/unit.size, unit.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// formatTexts say what the formats are.
var formatTexts = map[string]string{
	job.FormatEnvelope:              "job and result in one JSON document",
	job.FormatRaw:                   "the result itself",
	job.FormatThin:                  "ids and links only",
	job.FormatCloudEvents:           "a CloudEvent, its attributes in headers",
	job.FormatCloudEventsStructured: "a CloudEvent as one JSON document",
	job.FormatForm:                  "the fields of an HTML form",
	job.FormatQuery:                 "fields in the URL",
	job.FormatMultipart:             "fields, and the result as a file",
	job.FormatTemplate:              "what the operation makes of it",
}

// words are events as a list for people.
func words(events []job.Event) string {
	texts := make([]string, len(events))
	for i, e := range events {
		texts[i] = string(e)
	}
	return strings.Join(texts, ", ")
}
