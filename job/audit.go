package job

import (
	"context"
	"slices"
	"time"
)

// Actor is who changes something, and from where.
type Actor struct {
	Kind ActorKind
	// App is whose key it was, and Key the key's hint: its first characters, or its
	// name. Empty for other kinds.
	App, Key string
	// Remote is the address that the request came from, without the port; empty for
	// what came from this machine by another way.
	Remote string
}

// ActorKind says what an Actor is.
type ActorKind string

// The kinds of actor.
const (
	ActorAdmin   ActorKind = "admin"   // the admin key
	ActorApp     ActorKind = "app"     // a key of an app
	ActorDev     ActorKind = "dev"     // anybody, with --dev
	ActorControl ActorKind = "control" // the socket beside the store
	ActorGateway ActorKind = "gateway" // the gateway itself
)

// ActorKinds are all kinds of actor.
var ActorKinds = []ActorKind{ActorAdmin, ActorApp, ActorDev, ActorControl, ActorGateway}

type actorKey struct{}

// WithActor returns a context in which the methods of a Store change things on
// behalf of who.
func WithActor(ctx context.Context, who Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, who)
}

// ActorOf is who a context acts for. It is false where WithActor was not called:
// then it is the gateway itself.
func ActorOf(ctx context.Context) (who Actor, ok bool) {
	if who, ok = ctx.Value(actorKey{}).(Actor); ok {
		return who, true
	}
	return Actor{Kind: ActorGateway}, false
}

// Audit is an entry of the audit log: one change. It holds no secret, and of a URL
// no more than its origin.
type Audit struct {
	ID    ID
	At    time.Time
	Actor Actor
	// Action is one of Actions.
	Action Action
	// App is whose thing was changed; empty for what is the gateway's own.
	App string
	// Subject is what was changed: a name or an id, as the API writes it.
	Subject string
	// Detail says in a few words what of it, such as the names of the settings that
	// are not what they were; at most MaxAuditDetail bytes are kept.
	Detail string
}

// MaxAuditDetail bounds Audit.Detail.
const MaxAuditDetail = 1 << 10

// Action is a stable word for a kind of change.
type Action string

// The actions. docs/audit.md explains each; a store takes no other.
const (
	AppCreate            Action = "app.create"
	AppPolicy            Action = "app.policy"
	AppDelete            Action = "app.delete"
	AppSecretRotate      Action = "app.secret.rotate"
	AppLimits            Action = "app.limits"
	KeyCreate            Action = "key.create"
	KeyRevoke            Action = "key.revoke"
	EndpointCreate       Action = "endpoint.create"
	EndpointUpdate       Action = "endpoint.update"
	EndpointDelete       Action = "endpoint.delete"
	EndpointVerify       Action = "endpoint.verify"
	EndpointSecretRotate Action = "endpoint.secret.rotate"
	EndpointDisable      Action = "endpoint.disable" // by the gateway
	EndpointEnable       Action = "endpoint.enable"
	EndpointDiscard      Action = "endpoint.discard" // what waited for it
	PauseBegin           Action = "pause.begin"
	PauseEnd             Action = "pause.end"
	JobCancel            Action = "job.cancel"
	CallbackResend       Action = "callback.resend"
	CallbackDiscard      Action = "callback.discard"
	BulkStart            Action = "bulk.start"
	BulkStop             Action = "bulk.stop"
	SettingSet           Action = "setting.set"
	BackupCreate         Action = "backup.create"
	SealRotate           Action = "seal.rotate"
)

// Actions are all actions. Who adds a change adds its action here, and a line to
// docs/audit.md.
var Actions = []Action{
	AppCreate, AppDelete, AppPolicy, AppLimits, AppSecretRotate, KeyCreate, KeyRevoke,
	EndpointCreate, EndpointUpdate, EndpointDelete, EndpointVerify, EndpointSecretRotate,
	EndpointDisable, EndpointEnable, EndpointDiscard, PauseBegin, PauseEnd,
	JobCancel, CallbackResend, CallbackDiscard, BulkStart, BulkStop,
	SettingSet, BackupCreate, SealRotate,
}

// Known tells whether an action is one of Actions.
func (a Action) Known() bool { return slices.Contains(Actions, a) }

// Audits keeps the audit log. A method of a Store that changes something on a
// person's behalf MUST write its entry in the transaction of the change, with the
// context's Actor and the store's clock: where the change fails there is no entry,
// and after a crash there are both or neither. These are the methods of Apps,
// Keys, Endpoints and Pauses that write but KeysUsed and ForgetPauses, those of Outages but SetFailing,
// Deliveries.Resend, Turns.DiscardCallback, SettleAttempt where it disables an endpoint, and Runs.FinishRun
// where it cancels a job.
// Two write one only where the context has an Actor, since the gateway uses them in
// its own work as well: SetSetting, and SetVerification.
type Audits interface {
	// Audit writes an entry alone, for what changes nothing in the store. Its Action,
	// App, Subject and Detail count.
	Audit(context.Context, Audit) error
	// AuditLog returns entries, newest first.
	AuditLog(context.Context, AuditFilter) ([]Audit, error)
	// PurgeAudit deletes up to limit entries from before a time, oldest first, and
	// returns how many.
	PurgeAudit(ctx context.Context, before time.Time, limit int) (int, error)
}

// AuditFilter selects entries. Zero fields select all.
type AuditFilter struct {
	App     string // whose thing was changed
	Kind    ActorKind
	Action  Action
	Subject string
	Since   time.Time // not older than this
	Until   time.Time // older than this
	Before  ID        // older than this one
	Limit   int       // at most so many
}
