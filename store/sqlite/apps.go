package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ringback/ringback/job"
)

// CreateApp implements job.Apps.
func (s *Store) CreateApp(ctx context.Context, a job.App, k job.Key) error {
	err := s.write(ctx, func(c *conn) error {
		err := c.bind(`INSERT INTO apps (name, created_at, secret, secret_previous, previous_until, policy) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`).
			text(a.Name).time(a.CreatedAt).blob(a.Secrets.Current).blob(a.Secrets.Previous).time(a.Secrets.PreviousUntil).policy(a.Policy).exec()
		if err != nil {
			return err
		}
		if c.Changes() == 0 {
			return job.ErrExists
		}
		k.App = a.Name
		if err := c.insertKey(k); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.AppCreate, App: a.Name, Subject: a.Name})
	}, func(emit func(job.Change)) {
		delete(s.deleted, a.Name)
		announceApp(a.Name)(emit)
	})
	return wrap(err, "create app %s", a.Name)
}

func announceApp(name string) func(func(job.Change)) {
	return func(emit func(job.Change)) { emit(job.Change{Kind: job.AppChanged, App: name}) }
}

// wrap names the operation that failed; nil stays nil.
func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}

const appColumns = `a.name, a.created_at, a.secret, a.secret_previous, a.previous_until, a.policy, a.limits, a.deleted_at`

func scanApp(row *scanner) job.App {
	return job.App{Name: row.text(), CreatedAt: row.time(), Secrets: scanSecrets(row), Policy: row.policy(), Limits: row.limits(), DeletedAt: row.time()}
}

func scanSecrets(row *scanner) job.Secrets {
	return job.Secrets{Current: row.blob(), Previous: row.blob(), PreviousUntil: row.time()}
}

// App implements job.Apps.
func (s *Store) App(ctx context.Context, name string) (job.App, error) {
	a, err := one(ctx, s, scanApp, func(c *conn) *binder {
		return c.bind(`SELECT ` + appColumns + ` FROM apps a WHERE a.name = ? AND a.deleted_at = 0`).text(name)
	})
	return a, wrap(err, "read app")
}

// ListApps implements job.Apps.
func (s *Store) ListApps(ctx context.Context) ([]job.App, error) {
	apps, err := list(ctx, s, scanApp, func(c *conn) *binder {
		return c.bind(`SELECT ` + appColumns + ` FROM apps a ORDER BY a.name`)
	})
	return apps, wrap(err, "list apps")
}

// list reads all rows of a query.
func list[T any](ctx context.Context, s *Store, scan func(*scanner) T, query func(*conn) *binder) (all []T, err error) {
	err = s.read(ctx, func(c *conn) error {
		return query(c).each(func(row *scanner) { all = append(all, scan(row)) })
	})
	return all, err
}

// one reads the only row of a query; none is ErrNotFound.
func one[T any](ctx context.Context, s *Store, scan func(*scanner) T, query func(*conn) *binder) (v T, err error) {
	all, err := list(ctx, s, scan, query)
	if err == nil && len(all) == 0 {
		err = job.ErrNotFound
	}
	if err != nil {
		return v, err
	}
	return all[0], nil
}

// change runs an update that must meet a row.
func (c *conn) change(b *binder) error {
	if err := b.exec(); err != nil {
		return err
	}
	if c.Changes() == 0 {
		return job.ErrNotFound
	}
	return nil
}

// SetAppSecrets implements job.Apps.
func (s *Store) SetAppSecrets(ctx context.Context, app string, sec job.Secrets) error {
	err := s.write(ctx, func(c *conn) error {
		err := c.change(c.bind(`UPDATE apps SET secret = ?, secret_previous = ?, previous_until = ? WHERE name = ? AND deleted_at = 0`).
			blob(sec.Current).blob(sec.Previous).time(sec.PreviousUntil).text(app))
		if err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.AppSecretRotate, App: app, Subject: app})
	}, announceApp(app))
	return wrap(err, "set secret of app %s", app)
}

// SetAppPolicy implements job.Apps.
func (s *Store) SetAppPolicy(ctx context.Context, app string, p job.Policy) error {
	err := s.write(ctx, func(c *conn) error {
		if err := c.change(c.bind(`UPDATE apps SET policy = ? WHERE name = ? AND deleted_at = 0`).policy(p).text(app)); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.AppPolicy, App: app, Subject: app})
	}, announceApp(app))
	return wrap(err, "set policy of app %s", app)
}

// Setting implements job.Apps.
func (s *Store) Setting(ctx context.Context, name string) ([]byte, error) {
	v, err := one(ctx, s, (*scanner).blob, func(c *conn) *binder {
		return c.bind(`SELECT value FROM settings WHERE name = ?`).text(name)
	})
	return v, wrap(err, "read setting %s", name)
}

// SetSetting implements job.Apps.
func (s *Store) SetSetting(ctx context.Context, name string, value []byte) error {
	err := s.write(ctx, func(c *conn) error {
		err := c.bind(`INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`).
			text(name).blob(value).exec()
		if _, asked := job.ActorOf(ctx); err != nil || !asked {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.SettingSet, Subject: name})
	}, nil)
	return wrap(err, "set %s", name)
}

const endpointColumns = `app, name, url, is_default, operations, events, method, headers, authorization, format, concurrency, progress_every, disabled,
	created_at, updated_at, secret, secret_previous, previous_until, auth, signature, ordered, order_key, rate`

// endpointRow is what is read of an endpoint; the last of it UpdateEndpoint leaves alone.
const endpointRow = endpointColumns + `, ` + outageColumns + `, verification, verify_at`

func scanEndpoint(row *scanner) job.Endpoint {
	e := job.Endpoint{App: row.text(), Name: row.text(), URL: row.text(), Default: row.bool(), Operations: row.words()}
	e.Events = eventsOf(row.words())
	e.Method = row.text()
	for name, values := range decodeHeader(row.text()) {
		if e.Headers == nil {
			e.Headers = map[string]string{}
		}
		e.Headers[name] = values[0]
	}
	e.Authorization, e.Format, e.Concurrency, e.ProgressInterval, e.Disabled = row.blob(), row.text(), int(row.int()), row.micros(), row.bool()
	e.CreatedAt, e.UpdatedAt, e.Secrets = row.time(), row.time(), scanSecrets(row)
	e.Auth, e.Signature = row.blob(), row.text()
	e.Ordered, e.OrderKey = row.bool(), row.text()
	e.Rate, _ = job.ParseRate(row.text()) // what is stored was checked
	scanOutage(row, &e)
	e.Verification = row.verification()
	return e
}

func (b *binder) endpoint(e job.Endpoint) *binder {
	var headers strings.Builder
	for name, value := range e.Headers {
		headers.WriteString(name + ": " + value + "\n")
	}
	return b.text(e.App).text(e.Name).text(e.URL).bool(e.Default).text(strings.Join(e.Operations, " ")).text(strings.Join(eventWords(e.Events), " ")).
		text(e.Method).text(headers.String()).blob(e.Authorization).text(e.Format).int(int64(e.Concurrency)).int(e.ProgressInterval.Microseconds()).bool(e.Disabled).
		time(e.CreatedAt).time(e.UpdatedAt).blob(e.Secrets.Current).blob(e.Secrets.Previous).time(e.Secrets.PreviousUntil).blob(e.Auth).text(e.Signature).
		bool(e.Ordered).text(e.OrderKey).text(e.Rate.String())
}

// CreateEndpoint implements job.Endpoints.
func (s *Store) CreateEndpoint(ctx context.Context, e job.Endpoint) error {
	var changed []string
	var did happened
	err := s.write(ctx, func(c *conn) error {
		did = happened{}
		if err := errors.Join(s.live(e.App), c.mayBeOperational(e)); err != nil {
			return err
		}
		err := c.bind(`INSERT INTO endpoints (` + endpointColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO NOTHING`).endpoint(e).exec()
		if err != nil {
			return err
		}
		if c.Changes() == 0 {
			return job.ErrExists
		}
		if changed, err = c.onlyDefault(e); err != nil {
			return err
		}
		if err := c.setOperational(e); err != nil {
			return err
		}
		if e.Disabled {
			if err := c.switchEndpoint(ctx, e, job.DisabledManual, e.CreatedAt, &did); err != nil {
				return err
			}
		}
		return s.audit(ctx, c, job.Audit{Action: job.EndpointCreate, App: e.App, Subject: e.Name, Detail: strings.Join(noDefault(changed), ", ")})
	}, func(emit func(job.Change)) {
		did.announce(emit)
		announceEndpoints(emit, e.App, append(changed, e.Name))
	})
	return wrap(err, "create endpoint %s", e.Name)
}

func announceEndpoints(emit func(job.Change), app string, names []string) {
	for _, name := range names {
		emit(job.Change{Kind: job.EndpointChanged, App: app, Name: name})
	}
}

// onlyDefault takes from the other endpoints what e is now the default for, and
// returns their names.
func (c *conn) onlyDefault(e job.Endpoint) (changed []string, err error) {
	if !e.Default {
		return nil, nil
	}
	var others []job.Endpoint
	err = c.bind(`SELECT ` + endpointRow + ` FROM endpoints WHERE app = ? AND name <> ? AND is_default`).text(e.App).text(e.Name).
		each(func(row *scanner) { others = append(others, scanEndpoint(row)) })
	if err != nil {
		return nil, err
	}
	for _, o := range others {
		was := len(o.Operations)
		o.Operations = without(o.Operations, e.Operations)
		if (was == 0) != (len(e.Operations) == 0) || was > 0 && len(o.Operations) == was {
			continue // one is for all operations and the other is not, or they share none
		}
		err := c.bind(`UPDATE endpoints SET is_default = ?, operations = ? WHERE app = ? AND name = ?`).
			bool(len(o.Operations) > 0).text(strings.Join(o.Operations, " ")).text(o.App).text(o.Name).exec()
		if err != nil {
			return nil, err
		}
		changed = append(changed, o.Name)
	}
	return changed, nil
}

func without(all, some []string) (rest []string) {
	for _, s := range all {
		if !slices.Contains(some, s) {
			rest = append(rest, s)
		}
	}
	return rest
}

// UpdateEndpoint implements job.Endpoints.
func (s *Store) UpdateEndpoint(ctx context.Context, e job.Endpoint) error {
	var changed []string
	var did happened
	err := s.write(ctx, func(c *conn) (err error) {
		did = happened{}
		before, err := c.endpoint(e.App, e.Name)
		if err != nil {
			return err
		}
		if err := c.mayBeOperational(e); err != nil {
			return err
		}
		switched := disabledSince(before, &e)
		b := c.bind(`UPDATE endpoints SET (` + endpointColumns + `) = (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23),
			verify_at = iif(url = ?3, verify_at, 0),
			failing_since = iif(url = ?3, failing_since, 0), failing_last = iif(url = ?3, failing_last, 0), failing_told = iif(url = ?3, failing_told, 0)
			WHERE app = ?1 AND name = ?2`).endpoint(e)
		if err := c.change(b); err != nil {
			return err
		}
		if changed, err = c.onlyDefault(e); err != nil {
			return err
		}
		if err := c.setOperational(e); err != nil {
			return err
		}
		if switched {
			if err := c.switchEndpoint(ctx, e, job.DisabledManual, e.UpdatedAt, &did); err != nil {
				return err
			}
		}
		return s.audit(ctx, c, audited(before, e, changed))
	}, func(emit func(job.Change)) {
		announceEndpoints(emit, e.App, append(changed, e.Name))
		did.announce(emit)
	})
	return wrap(err, "update endpoint %s", e.Name)
}

// endpoint reads an endpoint within a transaction.
func (c *conn) endpoint(app, name string) (e job.Endpoint, err error) {
	err = job.ErrNotFound
	scanErr := c.bind(`SELECT ` + endpointRow + ` FROM endpoints WHERE app = ? AND name = ?`).text(app).text(name).
		each(func(row *scanner) { e, err = scanEndpoint(row), nil })
	return e, cmp.Or(scanErr, err)
}

// DeleteEndpoint implements job.Endpoints.
func (s *Store) DeleteEndpoint(ctx context.Context, app, name string) error {
	var did happened
	err := s.write(ctx, func(c *conn) error {
		did = happened{}
		if err := c.change(c.bind(`DELETE FROM endpoints WHERE app = ? AND name = ?`).text(app).text(name)); err != nil {
			return err
		}
		if err := c.endPauses(app, name, s.opt.Now(), &did); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.EndpointDelete, App: app, Subject: name})
	}, func(emit func(job.Change)) {
		announceEndpoints(emit, app, []string{name})
		did.announce(emit)
	})
	return wrap(err, "delete endpoint %s", name)
}

// Endpoint implements job.Endpoints.
func (s *Store) Endpoint(ctx context.Context, app, name string) (job.Endpoint, error) {
	e, err := one(ctx, s, scanEndpoint, func(c *conn) *binder {
		return c.bind(`SELECT ` + endpointRow + ` FROM endpoints WHERE app = ? AND name = ?`).text(app).text(name)
	})
	return e, wrap(err, "read endpoint")
}

// ListEndpoints implements job.Endpoints.
func (s *Store) ListEndpoints(ctx context.Context, app string) ([]job.Endpoint, error) {
	all, err := list(ctx, s, scanEndpoint, func(c *conn) *binder {
		return c.bind(`SELECT ` + endpointRow + ` FROM endpoints WHERE app = ? ORDER BY name`).text(app)
	})
	return all, wrap(err, "list endpoints")
}
