package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ncruces/go-sqlite3"
	"github.com/ringback/ringback/job"
)

// writer is the one that writes. What arrives while a commit syncs is gathered
// and committed together; nothing waits for company.
type writer struct {
	store  *Store
	conn   *conn
	ops    chan *op
	quit   chan struct{}
	ended  chan struct{}
	starts starts
	// between gets what is to be done between two commits.
	between chan func()

	broken   bool          // nothing is written; Store.failure says why
	repaired chan struct{} // closed when something is again; nil while nothing is broken
	repairs  sync.WaitGroup

	// Of checkpoints; see grown.
	logPages, checkpointAt int
	copying                bool
	copy                   chan struct{}
	copied                 chan copied
	copierEnded            chan struct{}
}

// op is one write: its statements, and what to tell once they are committed.
type op struct {
	// apply runs the statements. An error of package job (ErrNotFound and its
	// like) is the answer of this op, which then has written nothing; any other
	// rolls the batch back.
	apply func(*conn) error
	// announce tells what changed; it runs after the commit.
	announce func(emit func(job.Change))
	err      error
	done     chan error
}

const (
	// maxBatch bounds how long a reader of the last commit waits for its turn.
	maxBatch = 512
	// queueLength bounds what waits for the writer. New jobs are refused well
	// before it is full, so that those under way can finish.
	queueLength = 8192
	intakeLimit = queueLength / 2
)

func newWriter(s *Store) *writer {
	return &writer{store: s, ops: make(chan *op, queueLength), quit: make(chan struct{}), ended: make(chan struct{}), between: make(chan func()),
		starts:       starts{last: map[job.ID]*start{}, wake: make(chan struct{}, 1)},
		checkpointAt: checkpointPages,
		copy:         make(chan struct{}, 1), copied: make(chan copied, 1), copierEnded: make(chan struct{})}
}

// write hands statements to the writer and waits for their commit.
func (s *Store) write(ctx context.Context, apply func(*conn) error, announce func(func(job.Change))) error {
	return s.do(ctx, &op{apply: apply, announce: announce, done: make(chan error, 1)})
}

func (s *Store) do(ctx context.Context, o *op) error {
	select {
	case s.w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.w.quit:
		return errClosed
	}
	// From here on the outcome is the commit's, whoever still wants to know.
	select {
	case err := <-o.done:
		return err
	case <-s.w.ended:
		select {
		case err := <-o.done:
			return err
		default:
			return errClosed
		}
	}
}

func (w *writer) stop() {
	close(w.quit)
	<-w.ended
	close(w.copy)
	<-w.copierEnded
	w.repairs.Wait()
}

func (w *writer) loop() {
	defer close(w.ended)
	batch := make([]*op, 0, maxBatch)
	for {
		batch = batch[:0]
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		case <-w.starts.wake:
		case did := <-w.copied:
			w.endCheckpoint(did)
			continue
		case f := <-w.between:
			f()
			continue
		case <-w.repaired:
			w.mend()
		case <-w.quit:
			w.drain(batch)
			return
		}
		batch = w.gather(batch)
		w.commit(batch)
	}
}

// gather takes what has arrived meanwhile, without waiting.
func (w *writer) gather(batch []*op) []*op {
	for len(batch) < maxBatch {
		select {
		case o := <-w.ops:
			batch = append(batch, o)
		default:
			return batch
		}
	}
	return batch
}

// drain commits what was queued before the store was closed.
func (w *writer) drain(batch []*op) {
	for {
		if batch = w.gather(batch[:0]); len(batch) == 0 {
			return
		}
		w.commit(batch)
	}
}

// commit writes a batch in one transaction, behind the starts that are due. Where
// one op breaks it, each is tried alone, so that only the bad one fails; but not
// where the disk breaks.
func (w *writer) commit(batch []*op) {
	if w.broken {
		w.conclude(batch, *w.store.failure.Load())
		return
	}
	batch = append(w.starts.take(time.Now()), batch...)
	if len(batch) == 0 {
		return
	}
	err := w.transaction(batch)
	if err == nil || len(batch) == 1 || breaks(err) {
		w.conclude(batch, err)
		return
	}
	for i := range batch {
		if w.broken {
			w.conclude(batch[i:], *w.store.failure.Load())
			return
		}
		w.conclude(batch[i:i+1], w.transaction(batch[i:i+1]))
	}
}

// conclude tells the world how a batch went.
func (w *writer) conclude(batch []*op, err error) {
	if !w.broken {
		w.store.note(err)
	}
	for _, o := range batch {
		if err != nil {
			o.err = err
		} else if o.err == nil && o.announce != nil {
			o.announce(w.store.emit)
		}
		o.done <- o.err
	}
	if breaks(err) && !w.broken {
		w.fail(err)
	}
}

func (w *writer) transaction(batch []*op) (err error) {
	c := w.conn
	if err := c.bind("BEGIN IMMEDIATE").exec(); err != nil {
		return fmt.Errorf("begin: %w", translate(w.store.withCause(err)))
	}
	defer func() {
		if err != nil {
			clear(c.stored) // it is counted again
			// A failed COMMIT may have ended the transaction by itself.
			if !c.GetAutocommit() {
				err = errors.Join(err, c.bind("ROLLBACK").exec())
			}
			err = translate(w.store.withCause(err))
		}
	}()
	for _, o := range batch {
		if o.err = o.apply(c); o.err != nil && !isAnswer(o.err) {
			return o.err
		}
	}
	return c.bind("COMMIT").exec()
}

// isAnswer tells the errors that are an op's answer from those that break a batch.
func isAnswer(err error) bool {
	return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrTerminal) || errors.Is(err, job.ErrExists) || errors.Is(err, job.ErrGone) || errors.Is(err, job.ErrTooMany)
}

// translate makes what the disk refuses an ErrUnavailable: nothing was written,
// and later it may be.
func translate(err error) error {
	for _, code := range []sqlite3.ErrorCode{sqlite3.FULL, sqlite3.IOERR, sqlite3.BUSY, sqlite3.CANTOPEN, sqlite3.READONLY, sqlite3.NOMEM} {
		if errors.Is(err, code) {
			return fmt.Errorf("%w: %w", job.ErrUnavailable, err)
		}
	}
	return err
}

func (s *Store) note(err error) {
	if err == nil {
		if s.failure.Load() != nil {
			s.failure.Store(nil)
		}
		return
	}
	s.failure.Store(&err)
}

// start is the beginning of a run or of an attempt.
type start struct {
	callback bool
	id       job.ID
	n        int
	at       time.Time
	since    time.Time // by the clock of the process
	ended    bool      // before it was written
	awaited  bool
	owed     []job.OwedCallback
}

func (st *start) op() *op {
	if st.callback {
		return &op{done: make(chan error, 1), apply: func(c *conn) error {
			if st.awaited {
				if obsolete, err := c.obsolete(st.id); err != nil || obsolete {
					return cmp.Or(err, job.ErrTerminal)
				}
			}
			return c.begin("callbacks", st, `UPDATE callbacks SET attempt_at = ?3, attempts = ?2 WHERE key = ?1 AND state = 1 AND attempts < ?2`)
		}}
	}
	var begun *job.Job
	var did ordered
	apply := func(c *conn) error {
		begun, did = nil, ordered{}
		err := c.begin("jobs", st, `UPDATE jobs SET state = 2, runs = ?2, run_at = ?3, started_at = iif(started_at = 0, ?3, started_at)
			WHERE key = ?1 AND state = 1 AND runs < ?2`)
		if err != nil || c.Changes() == 0 {
			return err
		}
		if err := c.insertStarted(st, &did); err != nil {
			return err
		}
		return c.bind(`SELECT ` + jobColumns + ` FROM jobs j WHERE j.key = ?`).key(st.id).each(func(row *scanner) { begun = scanJob(row) })
	}
	return &op{apply: apply, done: make(chan error, 1), announce: func(emit func(job.Change)) {
		if begun != nil {
			emit(job.Change{Kind: job.JobStarted, Job: begun})
			did.announce(emit, begun)
		}
	}}
}

// begin runs the update that writes a start. Where a later one is written, it
// changes nothing.
func (c *conn) begin(table string, st *start, update string) error {
	err := c.bind(update).key(st.id).int(int64(st.n)).time(st.at).exec()
	if err == nil && c.Changes() == 0 {
		err = c.missing(table, st.id)
	}
	return err
}

// startDelay is how long a run or an attempt lasts before its start is written.
// Most end sooner, and then one write says it all. A crash within it leaves the
// start uncounted; what is rescued after a crash awaits its start, so even a job
// that kills the process at once is counted from its second run on.
const startDelay = 50 * time.Millisecond

// starts holds back what began a moment ago.
type starts struct {
	mu    sync.Mutex
	queue []*start          // oldest first
	last  map[job.ID]*start // of those in the queue
	timer *time.Timer
	wake  chan struct{}
}

func (s *starts) add(st *start) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.since = time.Now()
	s.queue = append(s.queue, st)
	s.last[st.id] = st
	if len(s.queue) == 1 {
		s.arm(startDelay)
	}
}

// arm makes the writer come by; mu is held.
func (s *starts) arm(in time.Duration) {
	if s.timer == nil {
		s.timer = time.AfterFunc(in, s.signal)
		return
	}
	s.timer.Reset(in)
}

func (s *starts) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// end tells that what began has come to its end: its start needs no write.
func (s *starts) end(id job.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st := s.last[id]; st != nil {
		st.ended = true
	}
}

// take returns those that have lasted for startDelay.
func (s *starts) take(now time.Time) (due []*op) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) > 0 {
		st := s.queue[0]
		if left := startDelay - now.Sub(st.since); left > 0 && !st.ended {
			s.arm(left)
			break
		}
		if !st.ended {
			due = append(due, st.op())
		}
		if s.last[st.id] == st {
			delete(s.last, st.id)
		}
		s.queue[0] = nil
		s.queue = s.queue[1:]
	}
	return due
}
