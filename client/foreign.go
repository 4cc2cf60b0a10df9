package client

import (
	"errors"
	"fmt"
	"net/http"
)

// ErrForeign is in every error where what answered with success is no gateway, as
// far as its answer shows: most likely the API behind one, which answers where
// Options.Prefix is missing.
var ErrForeign = errors.New("this is not a Ringback gateway's answer")

// foreign makes an error of ErrForeign. why tells what is wrong with the answer.
func (c *Client) foreign(resp *http.Response, why string) error {
	return fmt.Errorf("%s answered %d with %s: %w", c.origin, resp.StatusCode, why, ErrForeign)
}

// answer is what the API answers with. Another API's JSON is read without an
// error, but has not what every answer has.
type answer[T any] interface {
	*T
	whole() bool
}

func (j *Job) whole() bool         { return j.ID != "" && j.Status != "" }
func (j *AcceptedJob) whole() bool { return j.ID != "" && j.Status != "" }
func (c *Callback) whole() bool    { return c.ID != "" && c.Status != "" }
func (e *Endpoint) whole() bool    { return e.Name != "" && e.URL != "" }
func (s *Secret) whole() bool      { return s.Secret != "" }
func (u *URLChecked) whole() bool  { return len(u.Steps) > 0 }
func (a *AppCreated) whole() bool  { return a.Name != "" && a.Key != "" }
func (a *App) whole() bool         { return a.Name != "" }
func (a *Attempt) whole() bool     { return a.N > 0 }

func (p *Page[T]) whole() bool {
	for i := range p.Data {
		if member, ok := any(&p.Data[i]).(interface{ whole() bool }); !ok || !member.whole() {
			return false
		}
	}
	return p.Data != nil
}
