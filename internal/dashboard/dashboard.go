// Package dashboard is the pages for people: which callbacks have arrived, which have not
// and why, and what to do about it. It is a client of the API and may do what the key
// may that somebody signed in with: it knows no store, and has no rules of its own.
package dashboard

import (
	"bytes"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/ringback/ringback/client"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templateFiles embed.FS

// Options say what the pages need. All but Prefix, Dev and Secure are required.
type Options struct {
	// API serves /v1 below the prefix.
	API    http.Handler
	Prefix string // of the gateway's own routes
	Seal   Sealer // of the cookies
	Dev    bool   // no key is needed
	// Secure says that browsers reach the pages by https only.
	Secure bool
	Log    *slog.Logger
	Now    func() time.Time
}

// Sealer encrypts what a browser keeps for us.
type Sealer interface {
	Seal(plain []byte, use string) []byte
	Open(sealed []byte, use string) ([]byte, error)
}

// Site serves the pages below /dashboard. Make it with New.
type Site struct {
	opt       Options
	root      string // path of the first page
	templates map[string]*template.Template
}

// New makes a site.
func New(opt Options) *Site {
	s := &Site{opt: opt, root: opt.Prefix + "/dashboard", templates: map[string]*template.Template{}}
	functions := template.FuncMap{"root": func() string { return s.root }, "when": s.when, "at": at, "milliseconds": milliseconds, "text": printable}
	layout := template.Must(template.New("layout.html").Funcs(functions).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html"))
	for _, name := range []string{"signin", "callbacks", "callback", "job", "dead", "problem"} {
		s.templates[name] = template.Must(template.Must(layout.Clone()).ParseFS(templateFiles, "templates/"+name+".html"))
	}
	return s
}

// contentSecurityPolicy lets a page load its style, send its forms, and run nothing.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// Handler serves the pages. They change things, so requests that other sites make a
// browser send are refused.
func (s *Site) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+s.root+"/{$}", s.redirect("/callbacks"))
	mux.HandleFunc("GET "+s.root, s.redirect("/callbacks"))
	for _, name := range []string{"dashboard.css", "icon.svg"} {
		mux.HandleFunc("GET "+s.root+"/"+name, func(w http.ResponseWriter, r *http.Request) {
			http.ServeFileFS(w, r, assets, "assets/"+name)
		})
	}
	mux.HandleFunc("GET "+s.root+"/signin", s.serveSignIn)
	mux.HandleFunc("POST "+s.root+"/signin", s.signIn)
	mux.HandleFunc("POST "+s.root+"/signout", s.signOut)
	for pattern, page := range map[string]page{
		"GET /callbacks":               s.callbacks,
		"GET /callbacks/{id}":          s.callback,
		"POST /callbacks/{id}/resend":  s.resend,
		"POST /callbacks/{id}/discard": s.discard,
		"GET /jobs/{id}":               s.job,
		"GET /dead":                    s.dead,
		"POST /dead":                   s.resendAll,
		"POST /bulk/{id}/stop":         s.stop,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(method+" "+s.root+path, s.signedIn(page))
	}
	// Requests without Origin and fetch metadata come from no browser of today.
	guarded := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		guarded.ServeHTTP(w, r)
	})
}

func (s *Site) redirect(path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, s.root+path, http.StatusSeeOther) }
}

const maxFormBytes = 4 << 10

// page makes what a template shows, or with an empty name has answered by itself.
type page func(w http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error)

// signedIn serves a page to somebody who has signed in, and sends everybody else to do so.
func (s *Site) signedIn(p page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
		key, ok := s.session(r)
		if !ok {
			http.Redirect(w, r, s.root+"/signin", http.StatusSeeOther)
			return
		}
		name, data, err := p(w, r, caller{site: s, r: r, key: key})
		var problem *client.Problem
		switch {
		case errors.As(err, &problem) && problem.Status == http.StatusUnauthorized:
			s.endSession(w, r) // the key was revoked, or has expired
			http.Redirect(w, r, s.root+"/signin", http.StatusSeeOther)
		case errors.As(err, &problem):
			s.show(w, r, problem.Status, "problem", problem)
		case err != nil:
			s.opt.Log.ErrorContext(r.Context(), "dashboard", "error", err)
			s.show(w, r, http.StatusInternalServerError, "problem", &client.Problem{Title: "The page could not be made", Status: http.StatusInternalServerError})
		case name != "":
			s.show(w, r, http.StatusOK, name, data)
		}
	}
}

// shown is what every page has.
type shown struct {
	Page   string
	SignIn bool // there is nobody to sign out
	Data   any
}

func (s *Site) show(w http.ResponseWriter, r *http.Request, status int, name string, data any) {
	var b bytes.Buffer
	if err := s.templates[name].Execute(&b, shown{Page: name, SignIn: name == "signin" || s.opt.Dev, Data: data}); err != nil {
		s.opt.Log.ErrorContext(r.Context(), "write a page", "page", name, "error", err)
		http.Error(w, "The page could not be written.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // nobody is left to tell
}
