package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// stepPages are copied at a time: 1 MiB, so that a backup is ended soon when it is
// given up.
const stepPages = 256

// Backup copies the store, as it is at one moment, into a new file at path, syncs
// it, and calls stored for each body that the copy names. copied hears how many
// bytes of how many are written. It returns what the copy holds.
//
// It has a connection of its own and holds nobody up. Meanwhile the write-ahead log
// grows, as its beginning is still read. The store must not be closed before it returns.
func (s *Store) Backup(ctx context.Context, path string, copied func(done, total int64), stored func(job.Body) error) (job.Contents, error) {
	c, err := openConn(s.dsn(true))
	if err != nil {
		return job.Contents{}, fmt.Errorf("back up the store: %w", err)
	}
	contents, err := c.backup(ctx, path, copied, stored)
	return contents, wrap(errors.Join(err, c.close()), "back up the store")
}

// Contents counts what the store holds.
func (s *Store) Contents(ctx context.Context) (contents job.Contents, err error) {
	err = s.read(ctx, func(c *conn) (err error) {
		contents, err = c.contents()
		return err
	})
	return contents, wrap(err, "count what the store holds")
}

func (c *conn) backup(ctx context.Context, path string, copied func(done, total int64), stored func(job.Body) error) (contents job.Contents, err error) {
	if err := c.copyTo(ctx, path, copied); err != nil {
		return contents, err
	}
	f, err := OpenCopy(path)
	if err != nil {
		return contents, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if contents, err = f.Contents(ctx); err != nil {
		return contents, err
	}
	return contents, f.Bodies(ctx, stored)
}

// copyTo copies the pages of one moment: that of the transaction it reads in.
func (c *conn) copyTo(ctx context.Context, path string, copied func(done, total int64)) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := c.bind("BEGIN").exec(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.bind("COMMIT").exec()) }()
	var pageBytes int64
	if err := c.bind("PRAGMA page_size").each(func(row *scanner) { pageBytes = row.int() }); err != nil {
		return err
	}
	// The first read is what fixes the moment.
	if err := c.bind("SELECT count(*) FROM schema_migrations").each(func(*scanner) {}); err != nil {
		return err
	}
	// No journal and no syncs of its own: a copy that is cut short is worth nothing.
	b, err := c.BackupInit("main", "file:"+escapePath(path)+"?_pragma=journal_mode(off)&_pragma=synchronous(off)")
	if err != nil {
		return err
	}
	for done := false; !done && err == nil; {
		begun := time.Now()
		done, err = b.Step(stepPages)
		copied(int64(b.PageCount()-b.Remaining())*pageBytes, int64(b.PageCount())*pageBytes)
		// Much that is unsynced at once would hold up the writer's own syncs.
		err = errors.Join(err, f.Sync(), pause(ctx, time.Since(begun)))
	}
	return errors.Join(err, b.Close(), f.Sync())
}

// pause leaves the disk to others for a while.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	}
}

// File is a store's file that no gateway works on, to be looked at and copied. What
// is stored in it is not changed.
type File struct {
	path string
	conn *conn
	lock *os.File // nil for a copy
}

// ErrNoStore is returned for what is not a store's file.
var ErrNoStore = errors.New("this is no store of ringback")

// OpenStopped opens the file of a store that no process works on, and keeps others
// from it; else it is ErrLocked.
func OpenStopped(path string) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	lock, err := lockFile(path + ".lock")
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	s := Store{path: filepath.Clean(path)}
	return openFile(path, s.dsn(true), lock)
}

// OpenCopy opens a copy that Backup made. It writes nothing, not even beside it.
func OpenCopy(path string) (*File, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return openFile(path, "file:"+escapePath(filepath.Clean(path))+"?immutable=1&_pragma=query_only(1)", nil)
}

func openFile(path, dsn string, lock *os.File) (_ *File, err error) {
	f := &File{path: path, lock: lock}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", path, errors.Join(err, f.Close()))
		}
	}()
	if f.conn, err = openConn(dsn); err != nil {
		return nil, notAStore(err)
	}
	schema, err := f.conn.schema()
	if err != nil {
		return nil, notAStore(err)
	}
	known, err := migrations.ReadDir("migrations")
	if err == nil && schema > len(known) {
		err = fmt.Errorf("%w: its schema is %d, this version knows %d", ErrNewerSchema, schema, len(known))
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// notAStore tells what is another file from what cannot be read.
func notAStore(err error) error {
	if errors.Is(err, sqlite3.NOTADB) || errors.Is(err, sqlite3.ERROR) {
		return fmt.Errorf("%w: %w", ErrNoStore, err)
	}
	return err
}

// Close lets others have the store.
func (f *File) Close() error {
	var errs []error
	if f.conn != nil {
		errs = append(errs, f.conn.close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close())
	}
	return errors.Join(errs...)
}

// Backup is Store.Backup.
func (f *File) Backup(ctx context.Context, path string, copied func(done, total int64), stored func(job.Body) error) (job.Contents, error) {
	contents, err := f.conn.backup(ctx, path, copied, stored)
	return contents, wrap(err, "back up the store")
}

// within runs what can be interrupted by ctx.
func (f *File) within(ctx context.Context, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	before := f.conn.SetInterrupt(ctx)
	err := do()
	f.conn.SetInterrupt(before)
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// Contents counts what the store holds.
func (f *File) Contents(ctx context.Context) (contents job.Contents, err error) {
	err = f.within(ctx, func() (err error) {
		contents, err = f.conn.contents()
		return err
	})
	return contents, wrap(err, "count what the store holds")
}

// Bodies calls each for every body that is kept outside of the store.
func (f *File) Bodies(ctx context.Context, each func(job.Body) error) error {
	return wrap(f.within(ctx, func() error {
		var failed error
		for _, table := range []string{"requests", "results"} {
			err := f.conn.bind("SELECT body_ref, body_size FROM " + table + " WHERE body_ref IS NOT NULL").each(func(row *scanner) {
				if b := (job.Body{Ref: row.text(), Size: row.int()}); failed == nil {
					failed = each(b)
				}
			})
			if err := errors.Join(failed, err); err != nil {
				return err
			}
		}
		return nil
	}), "list bodies")
}

// KnownBodies tells which of the references some row names.
func (f *File) KnownBodies(_ context.Context, refs []string) ([]bool, error) {
	known, err := f.conn.knownBodies(refs)
	return known, wrap(err, "find bodies")
}

func (c *conn) schema() (version int, err error) {
	err = c.bind("SELECT coalesce(max(version), 0) FROM schema_migrations").each(func(row *scanner) { version = int(row.int()) })
	return version, err
}

func (c *conn) contents() (v job.Contents, err error) {
	if v.Schema, err = c.schema(); err != nil {
		return v, err
	}
	err = errors.Join(
		c.bind("SELECT count(*) FROM apps").each(func(row *scanner) { v.Apps = row.int() }),
		c.bind("SELECT coalesce(min(created_at), 0) FROM (SELECT created_at FROM jobs WHERE due_at IS NOT NULL UNION ALL SELECT created_at FROM callbacks WHERE due_at IS NOT NULL)").
			each(func(row *scanner) { v.OldestUnfinished = row.time() }),
		c.bind("SELECT count(*), coalesce(sum(body_size), 0) FROM (SELECT body_size FROM requests WHERE body_ref IS NOT NULL UNION ALL SELECT body_size FROM results WHERE body_ref IS NOT NULL)").
			each(func(row *scanner) { v.Bodies, v.BodyBytes = row.int(), row.int() }))
	if err != nil {
		return v, err
	}
	if v.Jobs, err = c.countStates("jobs", func(n int64) string { return job.State(n).String() }); err != nil {
		return v, err
	}
	v.Callbacks, err = c.countStates("callbacks", func(n int64) string { return job.CallbackState(n).String() })
	return v, err
}

func (c *conn) countStates(table string, word func(int64) string) (map[string]int64, error) {
	counts := map[string]int64{}
	err := c.bind("SELECT state, count(*) FROM " + table + " GROUP BY state").
		each(func(row *scanner) { counts[word(row.int())] = row.int() })
	return counts, err
}
