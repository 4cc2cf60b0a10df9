package sqlite

import (
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

func newWriter(s *Store, c *conn) *writer {
	return &writer{store: s, conn: c, ops: make(chan *op, queueLength), quit: make(chan struct{}), ended: make(chan struct{}),
		starts: starts{ended: map[job.ID]bool{}, wake: make(chan struct{}, 1)}}
}

// write hands statements to the writer and waits for their commit.
func (s *Store) write(ctx context.Context, apply func(*conn) error, announce func(func(job.Change))) error {
	o := &op{apply: apply, announce: announce, done: make(chan error, 1)}
	select {
	case s.w.ops <- o:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.w.quit:
		return fmt.Errorf("%w: the store is closed", job.ErrUnavailable)
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
			return fmt.Errorf("%w: the store is closed", job.ErrUnavailable)
		}
	}
}

func (w *writer) stop() {
	close(w.quit)
	<-w.ended
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

// commit writes a batch in one transaction. Where one op breaks it, each is
// tried alone, so that only the bad one fails.
func (w *writer) commit(batch []*op) {
	started := w.starts.take(time.Now())
	err := w.transaction(batch, started)
	if err != nil && len(batch)+len(started) > 1 {
		for _, o := range batch {
			w.conclude([]*op{o}, w.transaction([]*op{o}, nil))
		}
		return
	}
	w.conclude(batch, err)
}

// conclude tells the world how a batch went.
func (w *writer) conclude(batch []*op, err error) {
	w.store.note(err)
	for _, o := range batch {
		if err != nil {
			o.err = err
		} else if o.err == nil && o.announce != nil {
			o.announce(w.store.emit)
		}
		o.done <- o.err
	}
}

func (w *writer) transaction(batch []*op, started []start) (err error) {
	c := w.conn
	if err := c.exec(c.stmt("BEGIN IMMEDIATE")); err != nil {
		return fmt.Errorf("begin: %w", translate(err))
	}
	defer func() {
		if err != nil {
			// A failed COMMIT may have ended the transaction by itself.
			if !c.GetAutocommit() {
				err = errors.Join(err, c.exec(c.stmt("ROLLBACK")))
			}
			err = translate(err)
		}
	}()
	for _, s := range started {
		if err := s.apply(c); err != nil {
			return fmt.Errorf("write start: %w", err)
		}
	}
	for _, o := range batch {
		if o.err = o.apply(c); o.err != nil && !isAnswer(o.err) {
			return o.err
		}
	}
	return c.exec(c.stmt("COMMIT"))
}

// isAnswer tells the errors that are an op's answer from those that break a batch.
func isAnswer(err error) bool {
	return errors.Is(err, job.ErrNotFound) || errors.Is(err, job.ErrTerminal) || errors.Is(err, job.ErrExists)
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

// start is the beginning of a run or of an attempt, not yet written.
type start struct {
	callback bool
	id       job.ID
	n        int
	at       time.Time
	since    time.Time
}

func (s start) apply(c *conn) error {
	var b *binder
	if s.callback {
		b = c.bind(`UPDATE callbacks SET attempt_at = ?3, attempts = ?2 WHERE key = ?1 AND state = 1 AND attempts < ?2`)
	} else {
		b = c.bind(`UPDATE jobs SET state = 2, runs = ?2, run_at = ?3, started_at = iif(started_at = 0, ?3, started_at)
			WHERE key = ?1 AND state = 1 AND runs < ?2`)
	}
	return b.key(s.id).int(int64(s.n)).time(s.at).exec()
}

// startDelay is how long a run or an attempt lasts before its start is written.
// Most end sooner, and then one write says it all. A crash within it leaves the
// start uncounted; what is rescued after a crash awaits its start, so even a job
// that kills the process at once is counted from its second run on.
const startDelay = 10 * time.Millisecond

// starts holds back what began a moment ago.
type starts struct {
	mu    sync.Mutex
	queue []start
	ended map[job.ID]bool // of those in the queue
	timer *time.Timer
	wake  chan struct{}
}

func (s *starts) add(st start) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue = append(s.queue, st)
	s.ended[st.id] = false
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
	if _, queued := s.ended[id]; queued {
		s.ended[id] = true
	}
}

// take returns those that have lasted for startDelay.
func (s *starts) take(now time.Time) []start {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []start
	n := 0
	for ; n < len(s.queue); n++ {
		st := s.queue[n]
		if !s.ended[st.id] && now.Sub(st.since) < startDelay {
			s.arm(startDelay - now.Sub(st.since))
			break
		}
		if !s.ended[st.id] {
			due = append(due, st)
		}
		delete(s.ended, st.id)
	}
	if s.queue = s.queue[n:]; len(s.queue) == 0 {
		s.queue = nil
	}
	return due
}
