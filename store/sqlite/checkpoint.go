package sqlite

import (
	"errors"
	"fmt"
	"time"

	"github.com/ncruces/go-sqlite3"
)

// What is committed is in the log at first, and has to be copied into the
// database so that the log can begin anew. The checkpointer does so beside the
// writer, on a connection of its own; the writer adds only what has been committed
// meanwhile, between two commits.

const (
	// checkpointPages is by how much the log grows from one checkpoint to the next.
	checkpointPages = 1000
	// leftPages is what is left to the writer of a checkpoint, about.
	leftPages = 100
	// maxLogPages is how long the log may become because readers come and go in it.
	// From then on the writer waits for them, up to readerPatience at each
	// checkpoint. One that stays, such as a backup, is not waited for.
	maxLogPages    = 8 * checkpointPages
	readerPatience = 20 * time.Millisecond
)

// grown hears after each commit how long the log is.
func (w *writer) grown(pages int) {
	if pages < w.logPages {
		w.checkpointAt = checkpointPages // it began anew
	}
	w.logPages = pages
	if pages >= w.checkpointAt && !w.copying {
		w.copying = true
		w.copy <- struct{}{}
	}
}

// checkpoints copies the log whenever the writer asks for it.
func (w *writer) checkpoints() {
	defer close(w.copierEnded)
	var c *conn
	var did copied
	for range w.copy {
		before := did
		if c == nil {
			c, did.err = openConn(w.store.dsn(false))
		}
		if c != nil {
			did = c.copyLog()
			did.held = did.done < did.pages && did.done == before.done && did.pages >= before.pages
		}
		w.copied <- did
	}
	if c != nil {
		_ = c.close() // it holds nothing that is not synced
	}
}

// copied is what the checkpointer did.
type copied struct {
	pages, done int  // of the log, and how many of them are copied
	held        bool // a reader stays for whom the log must be as it is
	err         error
}

// copyLog copies the log into the database, but for a few pages that are written
// meanwhile, or for all that a reader of an older state does not have yet.
func (c *conn) copyLog() (did copied) {
	for {
		last := did.done
		did.pages, did.done, did.err = c.WALCheckpoint("main", sqlite3.CHECKPOINT_PASSIVE)
		if did.err != nil || did.pages-did.done <= leftPages || did.done == last {
			return did
		}
	}
}

// endCheckpoint copies the rest. If no reader is in the log then, the next commit
// begins it anew.
func (w *writer) endCheckpoint(did copied) {
	w.copying = false
	w.checkpointAt = w.logPages + checkpointPages
	err := did.err
	if err == nil && !did.held && !w.broken {
		err = w.restartLog()
	}
	// Any other error, a full disk's or a reader's, leaves the log as it is, and the
	// next checkpoint tries again.
	if err = w.store.withCause(err); breaks(err) && !w.broken {
		w.fail(translate(fmt.Errorf("checkpoint: %w", err)))
	}
}

func (w *writer) restartLog() error {
	mode := sqlite3.CHECKPOINT_PASSIVE
	if w.logPages >= maxLogPages {
		mode = sqlite3.CHECKPOINT_TRUNCATE
	}
	if err := w.conn.BusyTimeout(readerPatience); err != nil {
		return err
	}
	_, _, err := w.conn.WALCheckpoint("main", mode)
	return errors.Join(err, w.conn.BusyTimeout(busyTimeout))
}
