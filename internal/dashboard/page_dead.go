package dashboard

import (
	"net/http"
	"net/url"

	"github.com/ringback/ringback/client"
)

// dead shows the dead letters by destination and error, what is being done about them,
// and of those that somebody wants to send again how many they are.
func (s *Site) dead(_ http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	var shown struct {
		Groups  []client.DeadLetters
		More    string
		Bulks   []client.Bulk
		Planned *client.Bulk
	}
	if r.FormValue("plan") != "" {
		request := resendDead(r)
		request.DryRun = true
		if err := api.do(http.MethodPost, "/bulk", request, &shown.Planned); err != nil {
			return "", nil, err
		}
	}
	var groups client.Page[client.DeadLetters]
	if err := api.get("/dead?"+url.Values{"cursor": {r.FormValue("cursor")}}.Encode(), &groups); err != nil {
		return "", nil, err
	}
	var bulks client.Page[client.Bulk]
	if err := api.get("/bulk?limit=5", &bulks); err != nil {
		return "", nil, err
	}
	if shown.Groups, shown.Bulks = groups.Data, bulks.Data; groups.Next != nil {
		shown.More = s.root + "/dead?" + url.Values{"cursor": {*groups.Next}}.Encode()
	}
	return "dead", &shown, nil
}

func resendDead(r *http.Request) client.BulkRequest {
	return client.BulkRequest{Action: "resend", Filter: client.BulkFilter{Endpoint: r.FormValue("endpoint"), Origin: r.FormValue("origin"), Error: r.FormValue("error")}}
}

// resendAll sends a group of dead letters again.
func (s *Site) resendAll(w http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	if err := api.do(http.MethodPost, "/bulk", resendDead(r), nil); err != nil {
		return "", nil, err
	}
	http.Redirect(w, r, s.root+"/dead", http.StatusSeeOther)
	return "", nil, nil
}

func (s *Site) stop(w http.ResponseWriter, r *http.Request, api caller) (name string, data any, err error) {
	if err := api.do(http.MethodPost, "/bulk/"+url.PathEscape(r.PathValue("id"))+"/stop", nil, nil); err != nil {
		return "", nil, err
	}
	http.Redirect(w, r, s.root+"/dead", http.StatusSeeOther)
	return "", nil, nil
}
