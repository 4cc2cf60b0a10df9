package api

import (
	"net/http"
	"strings"

	"github.com/ringback/ringback/internal/dashboard"
)

// serveDashboard serves the pages below /dashboard, which are a client of this API, as
// a side has it.
func (a *API) serveDashboard(mux *http.ServeMux, s side) {
	if a.opt.NoDashboard {
		return
	}
	site := dashboard.New(dashboard.Options{
		API: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if s == sideAdmin {
				a.Admin.ServeHTTP(w, r)
				return
			}
			a.ServeHTTP(w, r)
		}),
		Prefix: a.opt.Prefix, Seal: a.opt.Seal, Dev: a.opt.Dev, Secure: strings.HasPrefix(a.opt.PublicURL, "https://"), Log: a.opt.Log, Now: a.now,
	})
	pages := site.Handler()
	mux.Handle(a.opt.Prefix+"/dashboard", pages)
	mux.Handle(a.opt.Prefix+"/dashboard/", pages)
}
