package storetest

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ringback/ringback/job"
)

var auditTests = []test{
	{"EveryChangeLeavesOneEntry", everyChangeLeavesOneEntry},
	{"FailedChangeLeavesNone", failedChangeLeavesNone},
	{"WhatTheGatewayDoesByItselfIsItsOwn", gatewayIsAnActor},
	{"EntrySaysWhatOfAnEndpointHasChanged", entrySaysWhatHasChanged},
	{"EntryAloneIsCutToItsLength", entryAlone},
	{"EntriesAreFilteredNewestFirst", entriesAreFiltered},
	{"OldEntriesAreDeleted", oldEntriesAreDeleted},
	{"CrashKeepsChangeAndEntry", crashKeepsChangeAndEntry},
	{"EntryIsYoungerThanAllBeforeThoughTheClockWasSetBack", entryIsYounger},
}

var auditor = job.Actor{Kind: job.ActorApp, App: "shop", Key: "rb_abc123", Remote: "192.0.2.7"}

// audit reads the log, newest first.
func (w *world) audit(f job.AuditFilter) []job.Audit {
	w.t.Helper()
	all, err := w.AuditLog(w.ctx, f)
	w.no(err)
	return all
}

// change is a write that belongs into the log.
type change struct {
	action  job.Action
	subject string
	do      func(context.Context) error
}

// changes are all changes of a store, each possible after those before it.
func (w *world) auditedChanges() []change {
	j := w.accept(w.newJob("shop", "scan"), true)
	_, cb := w.owed("shop", "https://my.server/")
	e := job.Endpoint{App: "shop", Name: "main", URL: "https://my.server/", Method: "POST", Secrets: job.Secrets{Current: []byte{1}}, CreatedAt: w.now(), UpdatedAt: w.now()}
	faster, rotated := e, e
	faster.Concurrency, rotated.Concurrency = 3, 3
	rotated.Secrets.Current = []byte{2}
	key := w.key("shop", "second")
	return []change{
		{job.AppCreate, "shop", func(ctx context.Context) error {
			return w.CreateApp(ctx, job.App{Name: "shop", CreatedAt: w.now(), Secrets: job.Secrets{Current: []byte{1}}}, job.Key{Hash: keyHash("shop"), App: "shop", CreatedAt: w.now()})
		}},
		{job.AppPolicy, "shop", func(ctx context.Context) error { return w.SetAppPolicy(ctx, "shop", job.Policy{HTTPS: true}) }},
		{job.AppSecretRotate, "shop", func(ctx context.Context) error {
			return w.SetAppSecrets(ctx, "shop", job.Secrets{Current: []byte{3}})
		}},
		{job.KeyCreate, key.ID.APIKey(), func(ctx context.Context) error { return w.CreateKey(ctx, key, 5) }},
		{job.KeyRevoke, key.ID.APIKey(), func(ctx context.Context) error { return w.DeleteKey(ctx, "shop", key.ID) }},
		{job.EndpointCreate, "main", func(ctx context.Context) error { return w.CreateEndpoint(ctx, e) }},
		{job.EndpointUpdate, "main", func(ctx context.Context) error { return w.UpdateEndpoint(ctx, faster) }},
		{job.EndpointSecretRotate, "main", func(ctx context.Context) error { return w.UpdateEndpoint(ctx, rotated) }},
		{job.EndpointVerify, "main", func(ctx context.Context) error {
			return w.SetVerification(ctx, "shop", "main", job.Verification{URL: e.URL, State: job.VerificationWaits, DueAt: w.now()}, w.now())
		}},
		{job.EndpointDelete, "main", func(ctx context.Context) error { return w.DeleteEndpoint(ctx, "shop", "main") }},
		{job.CallbackResend, cb.ID.Callback(), func(ctx context.Context) error {
			_, err := w.Resend(ctx, "shop", cb.ID, w.now(), w.now().Add(time.Hour))
			return err
		}},
		{job.JobCancel, j.ID.Job(), func(ctx context.Context) error {
			return w.FinishRun(ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()})
		}},
		{job.SettingSet, "admin_key", func(ctx context.Context) error { return w.SetSetting(ctx, "admin_key", []byte{1}) }},
		{job.SealRotate, "0a1b2c3d", func(ctx context.Context) error { return w.SetSealKey(ctx, []byte{1}, "0a1b2c3d") }},
		{job.BackupCreate, "", func(ctx context.Context) error { return w.Audit(ctx, job.Audit{Action: job.BackupCreate}) }},
	}
}

func everyChangeLeavesOneEntry(w *world) {
	ctx := job.WithActor(w.ctx, auditor)
	changes := w.auditedChanges()
	before := len(w.audit(job.AuditFilter{}))
	w.equal("entries of work that nobody asked for", before, 0)
	for i, c := range changes {
		at := w.pass(time.Second)
		w.no(c.do(ctx))
		all := w.audit(job.AuditFilter{})
		if len(all) != i+1 {
			w.t.Fatalf("%d entries after %s, want %d", len(all), c.action, i+1)
		}
		got := all[0]
		app := "shop"
		if c.action == job.SettingSet || c.action == job.BackupCreate || c.action == job.SealRotate {
			app = ""
		}
		w.equal(string(c.action), []any{got.Action, got.Subject, got.App, got.Actor, got.At}, []any{c.action, c.subject, app, auditor, at})
	}
}

func failedChangeLeavesNone(w *world) {
	ctx := job.WithActor(w.ctx, auditor)
	w.app("shop")
	w.endpoint("shop", "main", true)
	j, cb := w.owed("shop", "https://my.server/")
	_ = cb
	before := len(w.audit(job.AuditFilter{}))
	other := w.NewID(w.now())
	for name, do := range map[string]func() error{
		"create app": func() error {
			return w.CreateApp(ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{Hash: [32]byte{9}})
		},
		"policy":  func() error { return w.SetAppPolicy(ctx, "nobody", job.Policy{}) },
		"secrets": func() error { return w.SetAppSecrets(ctx, "nobody", job.Secrets{Current: []byte{1}}) },
		"create endpoint": func() error {
			return w.CreateEndpoint(ctx, job.Endpoint{App: "shop", Name: "main", URL: "https://b/", Secrets: job.Secrets{Current: []byte{1}}})
		},
		"update endpoint": func() error {
			return w.UpdateEndpoint(ctx, job.Endpoint{App: "shop", Name: "none", Secrets: job.Secrets{Current: []byte{1}}})
		},
		"delete endpoint": func() error { return w.DeleteEndpoint(ctx, "bank", "main") },
		"verify": func() error {
			return w.SetVerification(ctx, "shop", "main", job.Verification{URL: "https://another/", State: job.VerificationWaits}, w.now())
		},
		"create key": func() error { return w.CreateKey(ctx, w.key("nobody", "k"), 5) },
		"revoke key": func() error { return w.DeleteKey(ctx, "shop", other) },
		"resend":     func() error { _, err := w.Resend(ctx, "shop", other, w.now(), w.now()); return err },
		"cancel":     func() error { return w.FinishRun(ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}) },
	} {
		if err := do(); !errors.Is(err, job.ErrNotFound) && !errors.Is(err, job.ErrExists) && !errors.Is(err, job.ErrTerminal) {
			w.t.Fatalf("%s: %v", name, err)
		}
		w.equal("entries after "+name, len(w.audit(job.AuditFilter{})), before)
	}
	if err := w.Audit(ctx, job.Audit{Action: "unheard.of"}); err == nil {
		w.t.Fatalf("an action that nobody knows was taken")
	}
	w.equal("entries", len(w.audit(job.AuditFilter{})), before)
}

func gatewayIsAnActor(w *world) {
	w.app("shop")
	w.equal("actor", w.audit(job.AuditFilter{})[0].Actor, job.Actor{Kind: job.ActorGateway})
	w.endpoint("shop", "main", true)
	w.no(w.SetSetting(w.ctx, "ready", []byte{1}))
	e := w.readEndpoint("shop", "main")
	w.no(w.SetVerification(w.ctx, "shop", "main", job.Verification{URL: e.URL, State: job.Verified}, w.now()))
	w.equal("entries: its routine has none", len(w.audit(job.AuditFilter{})), 2)
}

func entrySaysWhatHasChanged(w *world) {
	w.app("shop")
	w.endpoint("shop", "old", true)
	e := w.readEndpoint("shop", w.endpoint("shop", "main", false).Name)
	e.URL, e.Method, e.Default, e.Headers = "https://user:hunter2@new.example/path?key=hunter2", "PUT", true, map[string]string{"X-Api-Key": "hunter2"}
	e.Ordered, e.OrderKey = true, "$request.body#/customer"
	w.no(w.UpdateEndpoint(w.ctx, e))
	got := w.audit(job.AuditFilter{})[0]
	for _, want := range []string{"url from ", " to https://new.example", "method", "headers", "ordered", "order_key", "default", "default instead of old"} {
		if !strings.Contains(got.Detail, want) {
			w.t.Fatalf("%q does not say %q", got.Detail, want)
		}
	}
	if strings.Contains(got.Detail, "hunter2") || strings.Contains(got.Detail, "path") {
		w.t.Fatalf("%q tells a secret", got.Detail)
	}
}

func entryAlone(w *world) {
	w.no(w.Audit(job.WithActor(w.ctx, job.Actor{Kind: job.ActorControl}), job.Audit{Action: job.BackupCreate, Detail: strings.Repeat("é", job.MaxAuditDetail)}))
	got := w.audit(job.AuditFilter{})[0]
	w.equal("entry", []any{got.Actor.Kind, got.Detail}, []any{job.ActorControl, strings.Repeat("é", job.MaxAuditDetail/2)})
}

func entriesAreFiltered(w *world) {
	start := w.now()
	who := []job.Actor{auditor, {Kind: job.ActorAdmin, Remote: "::1"}}
	apps := []string{"shop", "bank"}
	var all []job.Audit
	for i := range 8 {
		w.no(w.Audit(job.WithActor(w.ctx, who[i%2]), job.Audit{Action: job.Actions[i%4], App: apps[i/4], Subject: string(rune('a' + i))}))
		w.pass(time.Minute)
	}
	all = w.audit(job.AuditFilter{})
	subjects := func(f job.AuditFilter) string {
		var b strings.Builder
		for _, a := range w.audit(f) {
			b.WriteString(a.Subject)
		}
		return b.String()
	}
	for want, f := range map[string]job.AuditFilter{
		"hgfedcba": {},
		"dcba":     {App: "shop"},
		"hfdb":     {Kind: job.ActorAdmin},
		"ea":       {Action: job.Actions[0]},
		"c":        {Subject: "c"},
		"hgf":      {Since: start.Add(5 * time.Minute)},
		"ba":       {Until: start.Add(2 * time.Minute)},
		"ed":       {Since: start.Add(3 * time.Minute), Until: start.Add(5 * time.Minute)},
		"dc":       {Before: all[3].ID, Limit: 2},
		"b":        {App: "shop", Kind: job.ActorAdmin, Action: job.Actions[1], Limit: 5},
		"":         {App: "nobody"},
	} {
		w.equal("entries", subjects(f), want)
	}
}

func oldEntriesAreDeleted(w *world) {
	for range 5 {
		w.no(w.Audit(w.ctx, job.Audit{Action: job.BackupCreate}))
		w.pass(time.Hour)
	}
	all := w.audit(job.AuditFilter{})
	before := all[1].At
	for _, want := range []int{2, 1, 0} {
		n, err := w.PurgeAudit(w.ctx, before, 2)
		w.no(err)
		w.equal("deleted", n, want)
	}
	w.equal("left", w.audit(job.AuditFilter{}), all[:2])
}

func crashKeepsChangeAndEntry(w *world) {
	ctx := job.WithActor(w.ctx, auditor)
	for _, c := range w.auditedChanges() {
		w.no(c.do(ctx))
		want := w.audit(job.AuditFilter{})
		w.crash()
		w.equal("after "+string(c.action), w.audit(job.AuditFilter{}), want)
	}
}

func entryIsYounger(w *world) {
	w.no(w.Audit(w.ctx, job.Audit{Action: job.BackupCreate, Subject: "a"}))
	w.pass(-time.Hour)
	w.crash()
	w.no(w.Audit(w.ctx, job.Audit{Action: job.BackupCreate, Subject: "b"}))
	w.equal("newest", w.audit(job.AuditFilter{})[0].Subject, "b")
}
