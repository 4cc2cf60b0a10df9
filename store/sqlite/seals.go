package sqlite

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/ringback/ringback/job"
)

// sealedColumn is a column with sealed values, and what they were sealed for; "" for
// the row's name.
type sealedColumn struct{ name, use string }

// sealedRows is a table with sealed values. A row's name is unique in it.
type sealedRows struct {
	what    string // as Place begins
	table   string
	row     string // the name, as an expression
	where   string
	columns []sealedColumn
}

// sealedTables are all that have sealed values, in the order of Sealed. The names of
// apps hold no slash.
var sealedTables = []sealedRows{
	{"setting", "settings", "name", "name IN ('" + job.SettingSealCheck + "', '" + job.SettingLinkKey + "')", []sealedColumn{{"value", ""}}},
	{"app", "apps", "name", "1", []sealedColumn{{"secret", "secret"}, {"secret_previous", "secret"}}},
	{"endpoint", "endpoints", "app || '/' || name", "1",
		[]sealedColumn{{"secret", "secret"}, {"secret_previous", "secret"}, {"auth", "auth"}, {"authorization", "authorization"}}},
	{"job", "jobs", "key", "authorization IS NOT NULL", []sealedColumn{{"authorization", "authorization"}}},
}

// query lists the rows behind one of them, or from the first on.
func (t *sealedRows) query(first bool) string {
	names := make([]string, len(t.columns))
	for i, col := range t.columns {
		names[i] = col.name
	}
	behind, order := "", t.row
	if t.table == "endpoints" {
		order = "app, name"
	}
	switch {
	case first:
	case t.table == "endpoints":
		behind = " AND (app, name) > (?, ?)"
	default:
		behind = " AND " + t.row + " > ?"
	}
	return "SELECT " + t.row + ", " + strings.Join(names, ", ") + " FROM " + t.table + " WHERE " + t.where + behind + " ORDER BY " + order + " LIMIT ?"
}

// Sealed implements job.Seals. A cursor is the number of a table and the name of a
// row behind which it goes on.
func (s *Store) Sealed(ctx context.Context, cursor string, limit int) (values []job.Sealed, next string, err error) {
	at, last, first := 0, "", true
	if cursor != "" {
		number, row, _ := strings.Cut(cursor, " ")
		if _, err := fmt.Sscan(number, &at); err != nil || at < 0 || at >= len(sealedTables) {
			return nil, "", fmt.Errorf("list sealed values: %w cursor", job.ErrMalformed)
		}
		last, first = row, row == ""
	}
	err = s.read(ctx, func(c *conn) error {
		for left := limit; left > 0 && at < len(sealedTables); {
			t := &sealedTables[at]
			n := 0
			err := c.bind(t.query(first)).behind(t, last, first).int(int64(left)).each(func(row *scanner) {
				n++
				last = row.text()
				for _, col := range t.columns {
					if v := row.blob(); v != nil {
						use := col.use
						if use == "" {
							use = last
						}
						values = append(values, job.Sealed{Place: t.what + " " + last + ": " + col.name, Use: use, Value: v})
					}
				}
			})
			if err != nil {
				return err
			}
			if first = false; n < left {
				at, last, first = at+1, "", true
			}
			left -= n
		}
		return nil
	})
	if at < len(sealedTables) {
		next = fmt.Sprint(at, " ", last)
	}
	return values, next, wrap(err, "list sealed values")
}

// behind binds the name of the last row.
func (b *binder) behind(t *sealedRows, last string, first bool) *binder {
	switch {
	case first:
		return b
	case t.table == "endpoints":
		app, name, _ := strings.Cut(last, "/")
		return b.text(app).text(name)
	}
	if t.table == "jobs" {
		key, err := strconv.ParseInt(last, 10, 64)
		if b.err == nil {
			b.err = err
		}
		return b.int(key)
	}
	return b.text(last)
}

// Reseal implements job.Seals.
func (s *Store) Reseal(ctx context.Context, values []job.Resealed) (n int, err error) {
	var changed []job.Change
	err = s.write(ctx, func(c *conn) error {
		n, changed = 0, nil
		for _, v := range values {
			did, change, err := c.reseal(v)
			if err != nil {
				return err
			}
			if did {
				n++
			}
			if did && change.Kind != 0 {
				changed = append(changed, change)
			}
		}
		return nil
	}, func(emit func(job.Change)) {
		for _, change := range changed {
			emit(change)
		}
	})
	return n, wrap(err, "reseal")
}

// SetSealKey implements job.Seals.
func (s *Store) SetSealKey(ctx context.Context, check []byte, id string) error {
	err := s.write(ctx, func(c *conn) error {
		err := c.bind(`INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value`).
			text(job.SettingSealCheck).blob(check).exec()
		if err != nil {
			return err
		}
		return s.audit(ctx, c, job.Audit{Action: job.SealRotate, Subject: id})
	}, nil)
	return wrap(err, "set seal key")
}

func (c *conn) reseal(v job.Resealed) (did bool, change job.Change, err error) {
	what, rest, _ := strings.Cut(v.Place, " ")
	row, column, _ := strings.Cut(rest, ": ")
	for i := range sealedTables {
		t := &sealedTables[i]
		if t.what != what || !t.has(column) {
			continue
		}
		where := t.row + " = ?"
		if t.table == "endpoints" {
			where = "app = ? AND name = ?"
		}
		// The names are ours: the text is one of a fixed set.
		b := c.bind("UPDATE " + t.table + " SET " + column + " = ? WHERE " + where + " AND " + column + " = ?").blob(v.After)
		if err := b.behind(t, row, false).blob(v.Before).exec(); err != nil {
			return false, change, err
		}
		switch app, name, _ := strings.Cut(row, "/"); what {
		case "app":
			change = job.Change{Kind: job.AppChanged, App: app}
		case "endpoint":
			change = job.Change{Kind: job.EndpointChanged, App: app, Name: name}
		}
		return c.Changes() > 0, change, nil
	}
	return false, change, fmt.Errorf("%w place %q", job.ErrMalformed, v.Place)
}

func (t *sealedRows) has(column string) bool {
	for _, col := range t.columns {
		if col.name == column {
			return true
		}
	}
	return false
}
