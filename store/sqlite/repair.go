package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// A sync that failed says nothing about what is on disk, and the next one may
// succeed without having written what the first could not: the kernel counts it as
// clean. So after an I/O error nothing is acknowledged until the log was copied into
// the database and cut to nothing, on a connection of its own, and the database was
// checked. The log's index, which the readers hold open, says what was committed
// before: what failed is not among it, and is gone with the log.

// breaks tells whether an error leaves it unknown what is on disk. A write that
// finds no room has just not been done.
func breaks(err error) bool {
	written := errors.Is(err, sqlite3.IOERR_WRITE) && errors.Is(err, syscall.ENOSPC)
	return errors.Is(err, sqlite3.IOERR) && !written
}

// withCause says that the disk is full, where it is: SQLite's binding takes that
// for an I/O error like others.
func (s *Store) withCause(err error) error {
	var disk syscall.Statfs_t
	if !errors.Is(err, sqlite3.IOERR) || syscall.Statfs(filepath.Dir(s.path), &disk) != nil {
		return err
	}
	const room = 1 << 20
	if uint64(disk.Bavail)*uint64(disk.Bsize) >= room { //nolint:unconvert // other systems have other types
		return err
	}
	return fmt.Errorf("%w: %w", err, syscall.ENOSPC)
}

const (
	repairAfter    = 100 * time.Millisecond
	maxRepairAfter = 5 * time.Second
)

// fail stops all writing until the store is repaired.
func (w *writer) fail(err error) {
	w.broken = true
	w.store.note(fmt.Errorf("%w (the store is being checked)", err))
	w.repaired = make(chan struct{})
	w.repairs.Go(w.repair)
}

// mend goes on after a repair.
func (w *writer) mend() {
	w.broken, w.repaired = false, nil
	w.logPages, w.checkpointAt = 0, checkpointPages
	w.starts.signal() // some may have waited for it
}

// repair tries until the store is sound or closed. Meanwhile the connection is
// repair's, and the writer refuses everything.
func (w *writer) repair() {
	for wait := repairAfter; ; wait = min(2*wait, maxRepairAfter) {
		err := w.reopen()
		if err == nil {
			close(w.repaired)
			return
		}
		w.store.note(fmt.Errorf("%w: its check after an error fails: %w", job.ErrUnavailable, w.store.withCause(err)))
		select {
		case <-time.After(wait):
		case <-w.quit:
			return
		}
	}
}

// reopen replaces the connection, empties the log, and checks the database.
func (w *writer) reopen() error {
	if w.conn != nil {
		_ = w.conn.close() // it has failed already
		w.conn = nil
	}
	c, err := w.store.openWriter()
	if err != nil {
		return err
	}
	w.conn = c
	if _, _, err := c.WALCheckpoint("main", sqlite3.CHECKPOINT_TRUNCATE); err != nil {
		return fmt.Errorf("empty the log: %w", err)
	}
	return c.quickCheck()
}

// quickCheck looks for damage.
func (c *conn) quickCheck() error {
	st, _, err := c.Prepare("PRAGMA quick_check(1)")
	if err != nil {
		return err
	}
	var damage error
	err = (&binder{st: st}).each(func(row *scanner) {
		if said := row.text(); said != "ok" {
			damage = fmt.Errorf("the store is damaged: %s", said)
		}
	})
	return errors.Join(err, damage, st.Close())
}
