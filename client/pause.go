package client

import (
	"context"
	"iter"
	"net/url"
)

// Pause says that work rests by somebody's order.
type Pause struct {
	ID        string `json:"id" doc:"The pause's id." example:"pause_7"`
	Scope     string `json:"scope" enum:"everything,operation,destination" doc:"What rests: all runs and callbacks, the runs of an operation, the callbacks to a destination."`
	Operation string `json:"operation,omitempty" doc:"The operation whose runs rest." example:"scan"`
	App       string `json:"app,omitempty" doc:"The app whose destination it is." example:"shop"`
	Endpoint  string `json:"endpoint,omitempty" doc:"The endpoint whose callbacks rest." example:"main"`
	Origin    string `json:"origin,omitempty" doc:"The origin of the URLs sent with a call whose callbacks rest." example:"https://my.server"`
	Since     Time   `json:"since" format:"date-time" doc:"When it began."`
	By        string `json:"by" doc:"Who ordered it: an app, admin, or dev." example:"shop"`
}

// PauseCreate says what is to rest: one of Everything, Operation, Endpoint and Origin.
type PauseCreate struct {
	Everything bool   `json:"everything,omitempty" doc:"All runs and all callbacks; with the admin key."`
	Operation  string `json:"operation,omitempty" maxLength:"64" doc:"The runs of this operation; with the admin key." example:"scan"`
	App        string `json:"app,omitempty" maxLength:"64" doc:"The app whose destination it is; with the admin key only." example:"shop"`
	Endpoint   string `json:"endpoint,omitempty" maxLength:"64" doc:"The callbacks to this endpoint of the app." example:"main"`
	Origin     string `json:"origin,omitempty" maxLength:"2048" doc:"The app's callbacks to URLs of this origin that were sent with a call." example:"https://my.server"`
}

// Pause lets work rest. What is under way comes to its end, and calls are accepted
// meanwhile. Where it rests already the pause there is is returned.
func (c *Client) Pause(ctx context.Context, p PauseCreate) (*Pause, error) {
	return ask[Pause](ctx, c, "POST", "/pauses", p)
}

// Pauses lists what rests: with the admin key all, else what concerns the app.
func (c *Client) Pauses(ctx context.Context) iter.Seq2[Pause, error] {
	return pages[Pause](ctx, c, "/pauses", url.Values{})
}

// Resume ends a pause, by its id.
func (c *Client) Resume(ctx context.Context, id string) (*Pause, error) {
	return ask[Pause](ctx, c, "DELETE", "/pauses/"+url.PathEscape(id), nil)
}

func (p *Pause) whole() bool { return p.ID != "" && p.Scope != "" }

// What becomes of the callbacks that waited for a disabled endpoint.
const (
	BacklogDeliver = "deliver"
	BacklogDiscard = "discard"
)

// EndpointEnable enables an endpoint that is disabled.
type EndpointEnable struct {
	Backlog string `json:"backlog,omitempty" enum:"deliver,discard" doc:"What becomes of the callbacks that have waited for it: deliver, which is the default, or discard."`
}

// EnableEndpoint enables an endpoint that is disabled, and has what waited for it
// delivered or discarded, as backlog says.
func (c *Client) EnableEndpoint(ctx context.Context, name, backlog string) (*Endpoint, error) {
	return ask[Endpoint](ctx, c, "POST", endpointPath(name)+"/enable", EndpointEnable{Backlog: backlog})
}
