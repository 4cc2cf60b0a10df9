package api

import (
	"net/http"
	"strings"

	"github.com/ringback/ringback/internal/dashboard"
)

// serveDashboard serves the pages below /dashboard, which are a client of this API.
func (a *API) serveDashboard(mux *http.ServeMux) {
	if a.opt.NoDashboard {
		return
	}
	site := dashboard.New(dashboard.Options{
		API:    http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { a.ServeHTTP(w, r) }),
		Prefix: a.opt.Prefix, Seal: a.opt.Seal, Dev: a.opt.Dev, Secure: strings.HasPrefix(a.opt.PublicURL, "https://"), Log: a.opt.Log, Now: a.now,
	})
	pages := site.Handler()
	mux.Handle(a.opt.Prefix+"/dashboard", pages)
	mux.Handle(a.opt.Prefix+"/dashboard/", pages)
}
