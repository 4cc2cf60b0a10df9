package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// Key is an API key of an app, without the key itself.
type Key struct {
	ID         string   `json:"id" doc:"The key's id." example:"key_01m84t4fsge00858c0tnxwxxby"`
	Name       string   `json:"name" doc:"What it is for." example:"checkout"`
	Hint       string   `json:"hint" doc:"The first characters of the key." example:"rb_Qx3f9a"`
	Scopes     []string `json:"scopes" nullable:"false" enum:"submit,read,manage" doc:"What it permits: submit, read, manage."`
	CreatedAt  Time     `json:"created_at" format:"date-time" doc:"When it was made."`
	ExpiresAt  Time     `json:"expires_at,omitzero" format:"date-time" doc:"When it permits nothing more; absent: never."`
	LastUsedAt Time     `json:"last_used_at,omitzero" format:"date-time" doc:"When it was used last, to about a minute; absent: never."`
}

// KeyCreate makes a key.
type KeyCreate struct {
	Name      string   `json:"name" minLength:"1" maxLength:"64" doc:"What it is for." example:"checkout"`
	Scopes    []string `json:"scopes,omitempty" nullable:"false" minItems:"1" uniqueItems:"true" enum:"submit,read,manage" doc:"What it permits; all by default."`
	ExpiresAt *Time    `json:"expires_at,omitempty" format:"date-time" doc:"When it is to permit nothing more; never by default."`
}

// KeyCreated is a new key, which is shown this once.
type KeyCreated struct {
	Key
	Value string `json:"key" doc:"The API key. It cannot be shown again."`
}

// AdminKey is a new admin key, which is shown this once.
type AdminKey struct {
	Key string `json:"key" doc:"The admin key. It cannot be shown again."`
}

// CreateKey makes a key: of the app, or of the named one with the admin key.
func (c *Client) CreateKey(ctx context.Context, app string, k KeyCreate) (*KeyCreated, error) {
	return ask[KeyCreated](ctx, c, "POST", keysPath(app), k)
}

// Keys lists keys, newest first: of the app, or of the named one with the admin key.
func (c *Client) Keys(ctx context.Context, app string) iter.Seq2[Key, error] {
	return pages[Key](ctx, c, keysPath(app), url.Values{})
}

// RevokeKey ends a key at once: of the app, or of the named one with the admin key.
func (c *Client) RevokeKey(ctx context.Context, app, id string) error {
	resp, err := c.exchange(ctx, "DELETE", keysPath(app)+"/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return c.foreign(resp, "what is no confirmation")
	}
	return nil
}

// RotateAdminKey replaces the admin key, which ends at once. It takes the admin key.
func (c *Client) RotateAdminKey(ctx context.Context) (*AdminKey, error) {
	return ask[AdminKey](ctx, c, "POST", "/admin-key/rotate", nil)
}

func keysPath(app string) string {
	if app == "" {
		return "/keys"
	}
	return "/apps/" + url.PathEscape(app) + "/keys"
}

func (k *Key) whole() bool        { return k.ID != "" && len(k.Scopes) > 0 }
func (k *KeyCreated) whole() bool { return k.Key.whole() && k.Value != "" }
func (k *AdminKey) whole() bool   { return k.Key != "" }
