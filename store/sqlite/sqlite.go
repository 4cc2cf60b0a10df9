// Package sqlite is the embedded store: one SQLite file, one process, one writer
// that commits in groups, and connections of their own for reading.
package sqlite

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

//go:embed migrations/*.sql
var migrations embed.FS

// ErrLocked is returned where another process has the store open.
var ErrLocked = errors.New("the store is in use by another process")

var errClosed = fmt.Errorf("%w: the store is closed", job.ErrUnavailable)

// ErrNewerSchema is returned for a store that a later version has written.
var ErrNewerSchema = errors.New("the store was written by a newer version of ringback")

// Options tune a store. The zero value is usable.
type Options struct {
	// Now is the clock; time.Now where it is nil.
	Now func() time.Time
	// VFS names the SQLite VFS to use, for tests that break the disk. The store's
	// files are its affair, but for the lock.
	VFS string
}

// Store implements job.Store on one SQLite file.
type Store struct {
	path    string
	opt     Options
	lock    *os.File
	ids     job.IDs
	w       *writer
	slots   chan struct{} // filled by each that reads
	scans   chan struct{} // tokens of the readers that look at many rows
	idle    chan *conn    // open, for the next that reads
	emit    func(job.Change)
	deleted map[string]bool // apps that take nothing more; the writer's
	closing sync.Once
	closed  error
	failure atomic.Pointer[error] // the last commit's, nil while all is well
}

const readers = 4

// scanners is how many of them may be looking for few rows among many, which takes long
// where an app has much: there is always one for what somebody waits for.
const scanners = 2

// Open opens the store in the file at path, makes it where it is missing, brings
// its schema up to date, and releases what a crash left claimed: what had begun
// counts as interrupted.
func Open(ctx context.Context, path string, opt Options) (_ *Store, err error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s := &Store{path: filepath.Clean(path), opt: opt, slots: make(chan struct{}, readers), scans: make(chan struct{}, scanners), idle: make(chan *conn, readers), emit: func(job.Change) {}, deleted: map[string]bool{}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("open store %s: %w", path, errors.Join(err, s.release()))
		}
	}()
	if s.lock, err = lockFile(path + ".lock"); err != nil {
		return nil, err
	}
	if opt.VFS == "" {
		if err := errors.Join(makePrivate(path), makePrivate(path+"-shm"), rewrite(path+"-wal")); err != nil {
			return nil, err
		}
	}
	s.w = newWriter(s)
	c, err := s.openWriter()
	if err != nil {
		return nil, err
	}
	s.w.conn = c
	if err := c.migrate(); err != nil {
		return nil, err
	}
	if err := c.rescue(opt.Now()); err != nil {
		return nil, fmt.Errorf("rescue: %w", err)
	}
	if err := errors.Join(s.observe(c), s.readDeleted(c)); err != nil {
		return nil, err
	}
	// The files are new perhaps: their names must outlive a power cut, too.
	if opt.VFS == "" {
		if err := syncDir(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	// A reader keeps the log's index for as long as the store is open; see reopen.
	if err := s.read(ctx, func(c *conn) error { return c.bind("PRAGMA user_version").each(func(*scanner) {}) }); err != nil {
		return nil, err
	}
	go s.w.checkpoints()
	go s.w.loop()
	return s, nil
}

// openWriter opens the connection that writes.
func (s *Store) openWriter() (*conn, error) {
	c, err := openConn(s.dsn(false))
	if err != nil {
		return nil, err
	}
	// In place of SQLite's own checkpoints, which would be part of a commit.
	c.WALHook(func(_ *sqlite3.Conn, _ string, pages int) error {
		s.w.grown(pages)
		return nil
	})
	return c, nil
}

const busyTimeout = 10 * time.Second

// dsn says how to open the file. A larger page cache for the writer keeps the
// indexes' right edges in memory.
func (s *Store) dsn(readOnly bool) string {
	path := escapePath(s.path)
	dsn := "file:" + path + "?modeof=" + path + fmt.Sprintf("&_pragma=busy_timeout(%d)", busyTimeout.Milliseconds())
	if readOnly {
		dsn += "&_pragma=query_only(1)&_pragma=cache_size(-2000)"
	} else {
		dsn += "&_pragma=journal_mode(wal)&_pragma=synchronous(full)&_pragma=cache_size(-16000)"
	}
	if s.opt.VFS != "" {
		dsn += "&vfs=" + s.opt.VFS
	}
	return dsn
}

// makePrivate makes the file where it is missing, readable for its owner only:
// it will hold documents. The files beside it get the same mode.
func makePrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// rewrite writes a file's content once more, and syncs it. A process whose sync
// failed may have left a log that is whole in memory only, and counts as clean.
func rewrite(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Sync(), f.Close()) }()
	buf := make([]byte, 1<<20)
	for at := int64(0); ; {
		n, err := f.ReadAt(buf, at)
		if _, err := f.WriteAt(buf[:n], at); err != nil {
			return err
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		at += int64(n)
	}
}

func escapePath(path string) string {
	var b []byte
	for i := range len(path) {
		if c := path[i]; c == '?' || c == '#' || c == '%' || c == '&' || c == '+' || c == ';' {
			b = fmt.Appendf(b, "%%%02x", c)
		} else {
			b = append(b, c)
		}
	}
	return string(b)
}

func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, ErrLocked
		}
		return nil, err
	}
	return f, nil
}

func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close implements job.Store. Writes that are queued are still committed, and
// reads that have begun still end.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.w.stop()
		for range readers {
			s.slots <- struct{}{}
		}
		s.closed = s.release()
	})
	return s.closed
}

func (s *Store) release() error {
	var errs []error
	for range len(s.idle) {
		errs = append(errs, (<-s.idle).close())
	}
	if s.w != nil && s.w.conn != nil {
		errs = append(errs, s.w.conn.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(errs...)
}

// Committed implements job.Store.
func (s *Store) Committed(f func(job.Change)) { s.emit = f }

// Ready implements job.Store: the last commit went well, and a new one does.
func (s *Store) Ready(ctx context.Context) error {
	if err := s.failure.Load(); err != nil {
		// Only a commit that works says that the trouble is over.
		return s.SetSetting(ctx, "ready", []byte{1})
	}
	select {
	case <-s.w.quit:
		return errClosed
	default:
		return ctx.Err()
	}
}

// NewID implements job.Intake.
func (s *Store) NewID(now time.Time) job.ID { return s.ids.New(now) }

// observe makes new ids younger than all that are stored.
func (s *Store) observe(c *conn) error {
	for _, table := range []string{"jobs", "callbacks", "bulks", "audit"} {
		err := c.bind("SELECT id FROM " + table + " ORDER BY key DESC LIMIT 1").
			each(func(row *scanner) { s.ids.Observe(row.id()) })
		if err != nil {
			return err
		}
	}
	return nil
}

// conn is a connection with its prepared statements. It serves one goroutine at
// a time.
type conn struct {
	*sqlite3.Conn
	stmts map[string]*sqlite3.Stmt
	// stored is, of the writer, how much apps have stored, by app, where that is limited.
	// It is as the transaction leaves it.
	stored map[string]int64
}

func openConn(dsn string) (*conn, error) {
	c, err := sqlite3.Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, stmts: map[string]*sqlite3.Stmt{}}, nil
}

// stmt is the prepared statement of a text, which must be one of a fixed set: it
// is kept.
func (c *conn) stmt(sql string) (*sqlite3.Stmt, error) {
	if st, ok := c.stmts[sql]; ok {
		return st, nil
	}
	st, _, err := c.PrepareFlags(sql, sqlite3.PREPARE_PERSISTENT)
	if err != nil {
		return nil, err
	}
	c.stmts[sql] = st
	return st, nil
}

func (c *conn) close() error {
	var errs []error
	for _, st := range c.stmts {
		errs = append(errs, st.Close())
	}
	return errors.Join(append(errs, c.Close())...)
}

// read lends a reading connection to f, in a transaction of its own so that all
// that f reads is of one moment.
func (s *Store) read(ctx context.Context, f func(*conn) error) (err error) {
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	case <-s.w.quit:
		return errClosed
	}
	c, err := s.reader()
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer func() { s.idle <- c }()
	if err := c.bind("BEGIN").exec(); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer func() { err = errors.Join(err, c.bind("COMMIT").exec()) }()
	return f(c)
}

// scanning waits for the turn of what may look at many rows. done ends it.
func (s *Store) scanning(ctx context.Context) (done func(), err error) {
	select {
	case s.scans <- struct{}{}:
		return func() { <-s.scans }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-s.w.quit:
		return nil, errClosed
	}
}

// reader takes a connection that is idle, or a new one: most stores need no four.
func (s *Store) reader() (*conn, error) {
	select {
	case c := <-s.idle:
		return c, nil
	default:
		return openConn(s.dsn(true))
	}
}
