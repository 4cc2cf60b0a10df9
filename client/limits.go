package client

import (
	"context"
	"net/url"
)

// Limits are what an app may do and have. What is absent is the gateway's default, -1
// and "none" are none.
type Limits struct {
	Calls     string `json:"calls,omitempty" maxLength:"20" doc:"Requests in a time: 100/s, 6000/m, 1000/h, 10000/d; none: any number." example:"100/s"`
	Jobs      int64  `json:"jobs,omitempty" minimum:"-1" doc:"Jobs that have not come to their end; -1: any number."`
	Bytes     int64  `json:"bytes,omitempty" minimum:"-1" doc:"Stored octets of requests and results; -1: any number."`
	Endpoints int64  `json:"endpoints,omitempty" minimum:"-1" doc:"Endpoints; -1: as many as an app may have."`
}

// Usage is what an app has, and what it may have.
type Usage struct {
	App       string `json:"app" doc:"The app's name." example:"shop"`
	Jobs      int64  `json:"jobs" doc:"Jobs that have not come to their end."`
	Bytes     int64  `json:"bytes" doc:"Stored octets of requests and results."`
	Endpoints int64  `json:"endpoints" doc:"Endpoints."`
	Limits    Limits `json:"limits" doc:"The limits that hold for it; what is absent is not limited."`
}

// Usage reads what the app has, or the named one with the admin key.
func (c *Client) Usage(ctx context.Context, app string) (*Usage, error) {
	if app == "" {
		return ask[Usage](ctx, c, "GET", "/usage", nil)
	}
	return ask[Usage](ctx, c, "GET", "/apps/"+url.PathEscape(app)+"/usage", nil)
}

func (u *Usage) whole() bool { return u.App != "" }
