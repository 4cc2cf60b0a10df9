package sqlite

import (
	"context"
	"strings"

	"github.com/ringback/ringback/job"
)

const keyColumns = `k.id, k.hash, k.app, k.name, k.hint, k.scopes, k.created_at, k.expires_at, k.used_at`

func scanKey(row *scanner) job.Key {
	k := job.Key{ID: row.id()}
	copy(k.Hash[:], row.blob())
	k.App, k.Name, k.Hint = row.text(), row.text(), row.text()
	// Only we write them: of a damaged row nothing is permitted.
	k.Scopes, _ = job.ParseScopes(row.words())
	k.CreatedAt, k.ExpiresAt, k.LastUsedAt = row.time(), row.time(), row.time()
	return k
}

func (c *conn) insertKey(k job.Key) error {
	return c.bind(`INSERT INTO keys (id, hash, app, name, hint, scopes, created_at, expires_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`).
		id(k.ID).blob(k.Hash[:]).text(k.App).text(k.Name).text(k.Hint).text(strings.Join(k.Scopes.Names(), " ")).
		time(k.CreatedAt).time(k.ExpiresAt).time(k.LastUsedAt).exec()
}

// AppOfKey implements job.Apps.
func (s *Store) AppOfKey(ctx context.Context, hash [32]byte) (job.App, job.Key, error) {
	type both struct {
		app job.App
		key job.Key
	}
	found, err := one(ctx, s, func(row *scanner) both { return both{scanApp(row), scanKey(row)} }, func(c *conn) *binder {
		return c.bind(`SELECT ` + appColumns + `, ` + keyColumns + ` FROM keys k JOIN apps a ON a.name = k.app WHERE k.hash = ? AND a.deleted_at = 0`).blob(hash[:])
	})
	return found.app, found.key, wrap(err, "read app of key")
}

// CreateKey implements job.Keys.
func (s *Store) CreateKey(ctx context.Context, k job.Key, most int) error {
	err := s.write(ctx, func(c *conn) error {
		answer := job.ErrNotFound
		err := c.bind(`SELECT (SELECT count(*) FROM keys WHERE app = ?1) FROM apps WHERE name = ?1 AND deleted_at = 0`).text(k.App).
			each(func(row *scanner) {
				if answer = nil; row.int() >= int64(most) {
					answer = job.ErrTooMany
				}
			})
		if err != nil {
			return err
		}
		if answer != nil {
			return answer
		}
		if err := c.insertKey(k); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.KeyCreate, App: k.App, Subject: k.ID.APIKey(), Detail: k.Hint + " " + k.Scopes.String()})
	}, announceApp(k.App))
	return wrap(err, "create key of app %s", k.App)
}

// Keys implements job.Keys.
func (s *Store) Keys(ctx context.Context, app string, most int) ([]job.Key, error) {
	keys, err := list(ctx, s, scanKey, func(c *conn) *binder {
		if app == "" {
			return c.bind(`SELECT ` + keyColumns + ` FROM keys k ORDER BY k.app, k.id LIMIT ?`).int(limit(most))
		}
		return c.bind(`SELECT ` + keyColumns + ` FROM keys k WHERE k.app = ? ORDER BY k.id LIMIT ?`).text(app).int(limit(most))
	})
	return keys, wrap(err, "list keys")
}

// DeleteKey implements job.Keys.
func (s *Store) DeleteKey(ctx context.Context, app string, id job.ID) error {
	err := s.write(ctx, func(c *conn) error {
		if err := c.change(c.bind(`DELETE FROM keys WHERE app = ? AND id = ?`).text(app).id(id)); err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.KeyRevoke, App: app, Subject: id.APIKey()})
	}, announceApp(app))
	return wrap(err, "delete key of app %s", app)
}

// KeysUsed implements job.Keys.
func (s *Store) KeysUsed(ctx context.Context, uses []job.KeyUse) error {
	err := s.write(ctx, func(c *conn) error {
		for _, use := range uses {
			err := c.bind(`UPDATE keys SET used_at = max(used_at, ?3) WHERE app = ?1 AND id = ?2`).text(use.App).id(use.ID).time(use.At).exec()
			if err != nil {
				return err
			}
		}
		return nil
	}, nil)
	return wrap(err, "store the use of keys")
}
