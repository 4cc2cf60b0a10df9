package client

import (
	"context"
	"iter"
	"time"
)

// Audit is an entry of the audit log: one change.
type Audit struct {
	ID      string     `json:"id" doc:"The entry's id; entries are in its order." example:"aud_01kf3q8m9b3x8p5t2a7y0n4q6s"`
	At      Time       `json:"at" format:"date-time" doc:"When it was changed."`
	Actor   AuditActor `json:"actor" doc:"Who changed it."`
	Action  string     `json:"action" doc:"What was done; docs/audit.md lists the words." example:"endpoint.update"`
	App     string     `json:"app,omitempty" doc:"The app whose thing was changed; absent for what is the gateway's own." example:"shop"`
	Subject string     `json:"subject,omitempty" doc:"What was changed: a name or an id." example:"main"`
	Detail  string     `json:"detail,omitempty" doc:"What of it, in a few words." example:"url from https://a.example to https://b.example"`
}

// AuditActor is who changed something, and from where.
type AuditActor struct {
	Kind   string `json:"kind" doc:"admin: the admin key; app: a key of an app; dev: anybody, with --dev; control: the socket beside the store; gateway: the gateway itself." enum:"admin,app,dev,control,gateway"`
	App    string `json:"app,omitempty" doc:"Whose key it was." example:"shop"`
	Key    string `json:"key,omitempty" doc:"How the key begins." example:"rb_4kQ9aZ"`
	Remote string `json:"remote,omitempty" doc:"The address that the request came from. An app sees its own only." example:"192.0.2.7"`
}

// AuditQuery selects entries of the audit log. Zero fields select all.
type AuditQuery struct {
	App      string // whose thing was changed; for the admin key
	Actor    string // a kind
	Action   string
	Subject  string
	Since    time.Time // not older than this
	Until    time.Time // older than this
	PageSize int       // how many are asked for at once; 0: the gateway's default
}

// AuditLog lists what was changed, newest first: with the admin key by everybody, else
// of the app.
func (c *Client) AuditLog(ctx context.Context, q AuditQuery) iter.Seq2[Audit, error] {
	return pages[Audit](ctx, c, "/audit", listQuery(q.PageSize, "app", q.App, "actor", q.Actor, "action", q.Action,
		"subject", q.Subject, "since", At(q.Since).String(), "until", At(q.Until).String()))
}

func (a *Audit) whole() bool { return a.ID != "" && a.Action != "" }
