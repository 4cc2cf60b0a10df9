package dashboard

import (
	"net/http"
	"net/url"

	"github.com/ringback/ringback/client"
)

// callback shows a callback, why it has not arrived, and what was tried.
func (s *Site) callback(_ http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	path := "/callbacks/" + url.PathEscape(r.PathValue("id"))
	shown := struct {
		Callback client.Callback
		Why      client.Why
		Attempts []client.Attempt
		Note     string
	}{Note: notes[r.FormValue("did")]}
	var attempts client.Page[client.Attempt]
	for _, part := range []struct {
		path string
		into any
	}{{path, &shown.Callback}, {path + "/why", &shown.Why}, {path + "/attempts", &attempts}} {
		if err := api.get(part.path, part.into); err != nil {
			return "", nil, err
		}
	}
	shown.Attempts = attempts.Data
	return "callback", shown, nil
}

// notes are what a page says after something was done.
var notes = map[string]string{"resend": "It is being sent.", "discard": "It is not sent any more."}

func (s *Site) resend(w http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	return s.change(w, r, api, "resend")
}

func (s *Site) discard(w http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	return s.change(w, r, api, "discard")
}

// change does something to a callback and shows it again.
func (s *Site) change(w http.ResponseWriter, r *http.Request, api caller, what string) (name string, data any, err error) {
	path := "/callbacks/" + url.PathEscape(r.PathValue("id"))
	if err := api.do(http.MethodPost, path+"/"+what, nil, nil); err != nil {
		return "", nil, err
	}
	http.Redirect(w, r, s.root+path+"?did="+what, http.StatusSeeOther)
	return "", nil, nil
}

// job shows a job and its callbacks.
func (s *Site) job(_ http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	path := "/jobs/" + url.PathEscape(r.PathValue("id"))
	var shown struct {
		Job client.Job
		Why client.JobWhy
	}
	if err := api.get(path, &shown.Job); err != nil {
		return "", nil, err
	}
	return "job", &shown, api.get(path+"/why", &shown.Why)
}
