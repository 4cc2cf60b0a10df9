package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/ringback/ringback/job"
)

// health is the answer of /healthz and /readyz.
type health struct {
	Status  string `json:"status"`
	Version string `json:"version,omitempty"`
}

// healthz says that the process answers, and to the public no more.
func (a *API) healthz(w http.ResponseWriter, s side) {
	h := health{Status: "ok"}
	if s != sidePublic {
		h.Version = a.opt.Version
	}
	writeHealth(w, h)
}

// readyz says whether the gateway can take in calls, and why not.
func (a *API) readyz(w http.ResponseWriter, r *http.Request, s side) {
	if a.watch.draining() {
		p := kindUnavailable.problem("the gateway is shutting down")
		p.retryAfter = unavailableSeconds
		p.write(w)
		return
	}
	if err := a.opt.Store.Ready(r.Context()); err != nil {
		a.opt.Log.WarnContext(r.Context(), "not ready", "error", err)
		p := kindUnavailable.problem("the store cannot be asked")
		if errors.Is(err, job.ErrUnavailable) && s != sidePublic {
			p.Detail = err.Error() // its own words: a full disk, an unreachable database
		}
		p.retryAfter = unavailableSeconds
		p.write(w)
		return
	}
	writeHealth(w, health{Status: "ready"})
}

func writeHealth(w http.ResponseWriter, h health) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(h) // nobody is left to tell
}
