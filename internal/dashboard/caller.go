package dashboard

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/ringback/ringback/client"
)

// caller asks the API on behalf of somebody who has signed in.
type caller struct {
	site *Site
	r    *http.Request // of the page: says from where, and bounds the time
	key  string
}

func (c caller) get(path string, into any) error { return c.do(http.MethodGet, path, nil, into) }

// do asks without a detour through the network. Errors of the API are a *client.Problem;
// into nil drops the answer.
func (c caller) do(method, path string, body, into any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return fmt.Errorf("ask the API: %w", err)
		}
	}
	r, err := http.NewRequestWithContext(c.r.Context(), method, "/", &sent)
	if err == nil {
		r.URL, err = url.Parse(c.site.opt.Prefix + "/v1" + path)
	}
	if err != nil {
		return fmt.Errorf("ask the API: %w", err)
	}
	r.Host, r.RemoteAddr, r.TLS, r.RequestURI = c.r.Host, c.r.RemoteAddr, c.r.TLS, r.URL.RequestURI()
	r.Header["X-Forwarded-For"] = c.r.Header["X-Forwarded-For"]
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if c.key != "" {
		r.Header.Set("Ringback-Key", c.key)
	}
	answer := &answer{header: http.Header{}, status: http.StatusOK}
	c.site.opt.API.ServeHTTP(answer, r)
	if answer.status >= 300 {
		problem := &client.Problem{Status: answer.status, Title: http.StatusText(answer.status)}
		_ = json.Unmarshal(answer.body.Bytes(), problem) // what can be read of it is shown
		return problem
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(answer.body.Bytes(), into); err != nil {
		return fmt.Errorf("read the API's answer to %s %s: %w", method, r.Pattern, err)
	}
	return nil
}

// answer keeps an answer of the API, whose size the API bounds.
type answer struct {
	header http.Header
	status int
	begun  bool
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) {
	if !a.begun && status >= http.StatusOK {
		a.status, a.begun = status, true
	}
}

func (a *answer) Write(b []byte) (int, error) {
	a.begun = true
	return a.body.Write(b)
}
