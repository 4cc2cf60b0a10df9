package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// CreateEndpoint registers a callback URL.
func (c *Client) CreateEndpoint(ctx context.Context, e EndpointCreate) (*Endpoint, error) {
	return ask[Endpoint](ctx, c, "POST", "/endpoints", e)
}

// Endpoint reads an endpoint.
func (c *Client) Endpoint(ctx context.Context, name string) (*Endpoint, error) {
	return ask[Endpoint](ctx, c, "GET", endpointPath(name), nil)
}

// Endpoints lists the app's endpoints.
func (c *Client) Endpoints(ctx context.Context) iter.Seq2[Endpoint, error] {
	return pages[Endpoint](ctx, c, "/endpoints", url.Values{})
}

// UpdateEndpoint changes what the patch sets.
func (c *Client) UpdateEndpoint(ctx context.Context, name string, p EndpointPatch) (*Endpoint, error) {
	return ask[Endpoint](ctx, c, "PATCH", endpointPath(name), p)
}

// VerifyEndpoint has the receiver behind an endpoint asked again whether it wants
// callbacks. What it says shows in Endpoint.
func (c *Client) VerifyEndpoint(ctx context.Context, name string) (*Endpoint, error) {
	return ask[Endpoint](ctx, c, "POST", endpointPath(name)+"/verify", nil)
}

// DeleteEndpoint removes an endpoint.
func (c *Client) DeleteEndpoint(ctx context.Context, name string) error {
	resp, err := c.exchange(ctx, "DELETE", endpointPath(name), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return c.foreign(resp, "what is no confirmation")
	}
	return nil
}

// Secret reads the signing secret of an endpoint, or with an empty name the
// app's own, which signs callbacks to URLs that were sent with a call.
func (c *Client) Secret(ctx context.Context, endpoint string) (*Secret, error) {
	return ask[Secret](ctx, c, "GET", secretPath(endpoint), nil)
}

// RotateSecret replaces a secret, named as for Secret. The old one signs too for a day.
func (c *Client) RotateSecret(ctx context.Context, endpoint string) (*Secret, error) {
	return ask[Secret](ctx, c, "POST", secretPath(endpoint)+"/rotate", nil)
}

// BringSecret replaces a secret, named as for Secret, by one that the receiver has
// already: a whsec_, or for a legacy scheme any text. The old one signs too for a day.
func (c *Client) BringSecret(ctx context.Context, endpoint, secret string) (*Secret, error) {
	return ask[Secret](ctx, c, "POST", secretPath(endpoint)+"/rotate", map[string]string{"secret": secret})
}

func endpointPath(name string) string { return "/endpoints/" + url.PathEscape(name) }

func secretPath(endpoint string) string {
	if endpoint == "" {
		return "/secret"
	}
	return endpointPath(endpoint) + "/secret"
}

// CreateApp makes an app with its first key. It takes the admin key.
func (c *Client) CreateApp(ctx context.Context, name string) (*AppCreated, error) {
	return ask[AppCreated](ctx, c, "POST", "/apps", AppCreate{Name: name})
}

// UpdateApp changes what the patch sets. It takes the admin key.
func (c *Client) UpdateApp(ctx context.Context, name string, p AppPatch) (*App, error) {
	return ask[App](ctx, c, "PATCH", "/apps/"+url.PathEscape(name), p)
}

// Apps lists the apps. It takes the admin key.
func (c *Client) Apps(ctx context.Context) iter.Seq2[App, error] {
	return pages[App](ctx, c, "/apps", url.Values{})
}
