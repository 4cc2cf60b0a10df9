package sqlite

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/ringback/ringback/job"
)

// audit writes what was changed to the audit log, in the transaction of the change
// and behind it, with the actor of ctx. Of a, Action, App, Subject and Detail count.
func (s *Store) audit(ctx context.Context, c *conn, a job.Audit) error {
	if !a.Action.Known() {
		return fmt.Errorf("audit: %q is none of job.Actions", a.Action)
	}
	who, _ := job.ActorOf(ctx)
	now := s.opt.Now()
	id := s.ids.New(now)
	if len(a.Detail) > job.MaxAuditDetail {
		a.Detail = strings.ToValidUTF8(a.Detail[:job.MaxAuditDetail], "")
	}
	return c.bind(`INSERT INTO audit (key, id, at, kind, actor_app, actor_key, remote, action, app, subject, detail) VALUES (?,?,?,?,?,?,?,?,?,?,?)`).
		key(id).id(id).time(now).text(string(who.Kind)).text(who.App).text(who.Key).text(who.Remote).
		text(string(a.Action)).text(a.App).text(a.Subject).text(a.Detail).exec()
}

// Audit implements job.Audits.
func (s *Store) Audit(ctx context.Context, a job.Audit) error {
	err := s.write(ctx, func(c *conn) error { return s.audit(ctx, c, a) }, nil)
	return wrap(err, "write audit log")
}

func scanAudit(row *scanner) job.Audit {
	return job.Audit{ID: row.id(), At: row.time(),
		Actor:  job.Actor{Kind: job.ActorKind(row.text()), App: row.text(), Key: row.text(), Remote: row.text()},
		Action: job.Action(row.text()), App: row.text(), Subject: row.text(), Detail: row.text()}
}

// AuditLog implements job.Audits.
func (s *Store) AuditLog(ctx context.Context, f job.AuditFilter) ([]job.Audit, error) {
	done, err := s.scanning(ctx)
	if err != nil {
		return nil, wrap(err, "read audit log")
	}
	defer done()
	where, bind := "", []func(*binder){}
	and := func(set bool, sql string, value func(*binder)) {
		if set {
			where, bind = where+" AND "+sql, append(bind, value)
		}
	}
	and(f.App != "", "app = ?", func(b *binder) { b.text(f.App) })
	and(f.Kind != "", "kind = ?", func(b *binder) { b.text(string(f.Kind)) })
	and(f.Action != "", "action = ?", func(b *binder) { b.text(string(f.Action)) })
	and(f.Subject != "", "subject = ?", func(b *binder) { b.text(f.Subject) })
	// A key grows with the time: rows that are older than since are not looked at.
	and(!f.Since.IsZero(), "key >= ?", func(b *binder) { b.int(millis(f.Since) << 15) })
	and(!f.Since.IsZero(), "at >= ?", func(b *binder) { b.time(f.Since) })
	and(!f.Until.IsZero(), "at < ?", func(b *binder) { b.time(f.Until) })
	and(!f.Before.IsZero(), "key < ?", func(b *binder) { b.key(f.Before) })
	and(f.Limit > 0, "1 ORDER BY key DESC LIMIT ?", func(b *binder) { b.int(int64(f.Limit)) })
	if f.Limit <= 0 {
		where += " ORDER BY key DESC"
	}
	all, err := list(ctx, s, scanAudit, func(c *conn) *binder {
		b := c.bind(`SELECT id, at, kind, actor_app, actor_key, remote, action, app, subject, detail FROM audit WHERE 1` + where)
		for _, value := range bind {
			value(b)
		}
		return b
	})
	return all, wrap(err, "read audit log")
}

// PurgeAudit implements job.Audits.
func (s *Store) PurgeAudit(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.write(ctx, func(c *conn) error {
		n = 0
		// Where the clock was set back an entry has a greater key than its time says:
		// it goes later.
		err := c.bind(`DELETE FROM audit WHERE key IN (SELECT key FROM audit WHERE key < ?1 AND at < ?2 ORDER BY key LIMIT ?3)`).
			int(millis(before) << 15).time(before).int(int64(limit)).exec()
		n = int(c.Changes())
		return err
	}, nil)
	return n, wrap(err, "purge audit log")
}

// audited is what the audit log says of the change of an endpoint: its settings
// that are not what they were, by the names that the API gives them.
func audited(before, after job.Endpoint, others []string) job.Audit {
	a := job.Audit{Action: job.EndpointUpdate, App: after.App, Subject: after.Name}
	changed := changedSettings(before, after)
	if len(changed) == 1 && changed[0] == "secret" {
		a.Action, changed = job.EndpointSecretRotate, nil
	}
	a.Detail = strings.Join(append(changed, noDefault(others)...), ", ")
	return a
}

// noDefault tells which endpoints gave their place as default away.
func noDefault(others []string) (details []string) {
	for _, name := range others {
		details = append(details, "default instead of "+name)
	}
	return details
}

func changedSettings(before, after job.Endpoint) (names []string) {
	// Compared as they are stored: what differs there has changed.
	was, is := endpointSettings(before), endpointSettings(after)
	for i, setting := range is {
		if setting.value == was[i].value {
			continue
		}
		if setting.name == "url" {
			setting.name = "url from " + origin(before.URL) + " to " + origin(after.URL)
		}
		names = append(names, setting.name)
	}
	return names
}

// origin is as much of a URL as may be shown to everybody.
func origin(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "another"
	}
	return u.Scheme + "://" + u.Host
}

type setting struct{ name, value string }

func endpointSettings(e job.Endpoint) []setting {
	return []setting{
		{"url", e.URL},
		{"default", fmt.Sprint(e.Default)},
		{"operations", fmt.Sprint(e.Operations)},
		{"events", fmt.Sprint(e.Events)},
		{"method", e.Method},
		{"headers", fmt.Sprint(e.Headers) + string(e.Authorization)}, // a map is printed in order
		{"format", e.Format},
		{"concurrency", fmt.Sprint(e.Concurrency)},
		{"rate", e.Rate.String()},
		{"ordered", fmt.Sprint(e.Ordered)},
		{"order_key", e.OrderKey},
		{"progress_interval", fmt.Sprint(e.ProgressInterval)},
		{"disabled", fmt.Sprint(e.Disabled)},
		{"operational", fmt.Sprint(e.Operational)},
		{"secret", string(e.Secrets.Current)},
		{"auth", string(e.Auth)},
		{"signature", e.Signature},
	}
}
