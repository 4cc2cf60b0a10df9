package api

import (
	"net/http"

	"github.com/ringback/ringback/internal/docs"
)

// serveDocs serves the page below /docs, and in a gateway without keys the inboxes of
// those who try an operation out.
func (a *API) serveDocs(mux *http.ServeMux, operations func() []docs.Operation) {
	if a.opt.NoDocs {
		return
	}
	opt := docs.Options{Operations: operations, Version: a.info().Version, Prefix: a.opt.Prefix, PublicURL: a.opt.PublicURL, Proof: a.opt.Proof, Log: a.opt.Log, Now: a.now}
	for _, k := range kinds {
		opt.Problems = append(opt.Problems, docs.Problem{Code: k.code, Title: k.title, URL: docsURL + k.code, Status: k.status})
	}
	if a.opt.Dev {
		opt.Keys = a.opt.DevKeys
	}
	a.docs = docs.New(opt)
	a.docs.Register(mux)
}
