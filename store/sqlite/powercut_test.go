package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

const (
	// cutSeed chooses what each cut loses. A failure names its cut.
	cutSeed = 20260101
	// cuts is how many the test makes, at the least; a short one makes one at each site.
	cuts = 1000
)

// cutNow is the clock of every opening after a cut.
var cutNow = time.Date(2030, 1, 3, 0, 0, 0, 0, time.UTC)

func TestPowerCutLosesNothingAcknowledged(t *testing.T) {
	t.Parallel()
	sc := record(t, nil)
	sites := sc.sites()
	n := max(cuts, len(sites))
	if testing.Short() {
		n = len(sites)
	}
	t.Logf("%d steps, %d events, %d sites, %d cuts", len(sc.acked), len(sc.disk.log), len(sites), n)
	const parts = 4
	dumps := &sync.Map{}
	for part := range parts {
		t.Run(fmt.Sprint(part), func(t *testing.T) {
			t.Parallel()
			c := newCutter(t, sc)
			c.dumps = dumps
			for i := part; i < n; i += parts {
				if err := c.cut(sites[i%len(sites)], uint64(i)); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestPowerCutFindsWhatIsNotSynced lets syncs be left out, one kind at a time: a
// test of the test above.
func TestPowerCutFindsWhatIsNotSynced(t *testing.T) {
	t.Parallel()
	inBodies := func(e event) bool { return strings.HasPrefix(e.name, "/bodies") }
	for name, lies := range map[string]func(event) bool{
		"of the log":         func(e event) bool { return e.kind == evSync && strings.HasSuffix(e.name, "-wal") },
		"of the database":    func(e event) bool { return e.kind == evSync && strings.HasSuffix(e.name, ".db") },
		"of the root":        func(e event) bool { return e.kind == evSyncDir && e.name == "/" },
		"of bodies":          func(e event) bool { return e.kind == evSync && inBodies(e) },
		"of their names":     func(e event) bool { return e.kind == evSyncDir && strings.HasPrefix(e.name, "/bodies/") },
		"of their subfolder": func(e event) bool { return e.kind == evSyncDir && e.name == "/bodies" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sc := record(t, lies)
			c := newCutter(t, sc)
			// What was not synced may be on disk all the same: many cuts find nothing.
			rnd := rand.New(rand.NewPCG(cutSeed, 0))
			for i := range uint64(cuts) {
				if err := c.cut(1+rnd.IntN(len(sc.disk.log)), i); err != nil {
					t.Logf("found by cut %d", i)
					return
				}
			}
			t.Errorf("%d cuts found nothing lost", cuts)
		})
	}
}

// scenario is a store and its bodies being used, on a disk that remembers it.
type scenario struct {
	t      *testing.T
	ctx    context.Context
	disk   *disk
	path   string
	store  *Store
	bodies *body.Dir
	clock  time.Time
	heard  chan job.Change
	n      int // of bodies

	acked []step
	// seen are further positions at which the store may be as it then was.
	seen []int
}

// step is something that was acknowledged, and when.
type step struct {
	name string
	at   int // events until then
}

// record plays the scenario.
func record(t *testing.T, lies func(event) bool) *scenario {
	t.Helper()
	sc := &scenario{t: t, ctx: t.Context(), disk: newDisk(t), path: filepath.Join(t.TempDir(), "ringback.db"),
		clock: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC), heard: make(chan job.Change, 1000)}
	sc.disk.lies = lies
	sc.step("open", sc.open)
	sc.step("app", func() error {
		return sc.store.CreateApp(sc.ctx, job.App{Name: "shop", CreatedAt: sc.clock, Secrets: job.Secrets{Current: []byte("s")}},
			job.Key{App: "shop", Hash: sha256.Sum256([]byte("k")), CreatedAt: sc.clock})
	})
	for round := range 2 {
		sc.round(round)
		sc.step("checkpoint", sc.checkpoint)
		sc.failSync()
		sc.round(round + 10)
		sc.step("restart", func() error {
			if err := sc.store.Close(); err != nil {
				return err
			}
			return sc.open()
		})
		sc.step("purge", sc.purge)
	}
	if err := sc.store.Close(); err != nil {
		t.Fatal(err)
	}
	return sc
}

func (sc *scenario) step(name string, f func() error) {
	sc.t.Helper()
	if err := f(); err != nil {
		sc.t.Fatalf("%s: %v", name, err)
	}
	sc.clock = sc.clock.Add(time.Second)
	sc.acked = append(sc.acked, step{name: name, at: sc.disk.position()})
}

func (sc *scenario) open() (err error) {
	if sc.store, err = Open(sc.ctx, sc.path, Options{VFS: sc.disk.shm, Now: func() time.Time { return sc.clock }}); err != nil {
		return err
	}
	sc.store.Committed(func(ch job.Change) { sc.heard <- ch })
	if sc.bodies, err = body.OpenDirOn(sc.disk, "/bodies"); err != nil {
		return err
	}
	return claimFor(sc.store, sc.bodies)
}

// claimFor makes a body folder a store's, as a gateway does at its start.
func claimFor(s *Store, d *body.Dir) error {
	err := d.Claim("the-owner-of-the-folder")
	if err == nil {
		_, err = d.Sweep(context.Background(), s.KnownBodies)
	}
	return err
}

// round is one of everything.
func (sc *scenario) round(round int) {
	key := fmt.Sprint("key-", round)
	first := sc.accept(job.Acceptance{Claimed: true, Key: key}, 500)
	sc.step("repeat", func() error {
		again := *first
		again.ID = sc.store.NewID(sc.clock)
		r, err := sc.store.Accept(sc.ctx, job.Acceptance{Job: &again, Key: key})
		if err == nil && r.ID != first.ID {
			err = errors.New("the key was forgotten")
		}
		return err
	})
	sc.finish(first, 1, 300)
	large := sc.accept(job.Acceptance{Claimed: true}, body.MaxInlineBytes+1)
	sc.step("start", func() error { return sc.store.StartRun(sc.ctx, job.Start{Job: large, N: 1, At: sc.clock, Await: true}) })
	sc.step("retry", func() error {
		e := &job.Error{Code: job.CodeTimeout}
		return sc.store.FinishRun(sc.ctx, job.Finish{Job: large, State: job.Accepted, At: sc.clock, DueAt: sc.clock, Error: e,
			Run: &job.Run{N: 1, StartedAt: sc.clock, FinishedAt: sc.clock, Error: e}})
	})
	sc.step("claim", func() error {
		jobs, _, err := sc.store.ClaimRuns(sc.ctx, "shop", "scan", sc.clock, 1)
		if err == nil && len(jobs) != 1 {
			err = fmt.Errorf("%d jobs were due", len(jobs))
		}
		return err
	})
	sc.deliver(sc.finish(large, 2, body.MaxInlineBytes+2))
	began := sc.accept(job.Acceptance{Claimed: true}, 1000)
	sc.step("start soon", func() error {
		for len(sc.heard) > 0 {
			<-sc.heard
		}
		if err := sc.store.StartRun(sc.ctx, job.Start{Job: began, N: 1, At: sc.clock}); err != nil {
			return err
		}
		for ch := range sc.heard {
			if ch.Kind == job.JobStarted {
				break
			}
		}
		return nil
	})
	left := sc.accept(job.Acceptance{}, 2000)
	sc.step("cancel", func() error {
		return sc.store.FinishRun(sc.ctx, job.Finish{Job: left, State: job.Canceled, At: sc.clock})
	})
	sc.talk()
	sc.bulk()
	sc.together(round)
}

// bulk resends two callbacks, a batch each, after a step that counts them.
func (sc *scenario) bulk() {
	sc.t.Helper()
	for range 2 {
		cb := sc.finish(sc.accept(job.Acceptance{Claimed: true}, 100), 1, 100)
		sc.step("give up at once", func() error {
			return sc.store.SettleAttempt(sc.ctx, job.Settlement{Callback: cb, State: job.Dead, At: sc.clock, Attempt: &job.Attempt{N: 1, Error: job.ClassRefused}})
		})
	}
	b := &job.Bulk{ID: sc.store.NewID(sc.clock), App: "shop", Action: job.BulkResend, Filter: job.BulkFilter{Error: job.ClassRefused}, CreatedAt: sc.clock}
	sc.step("create a bulk", func() error { return sc.store.CreateBulk(sc.ctx, b) })
	st := job.BulkStep{Bulk: b, At: sc.clock, Counted: true, Total: 2}
	for st.End = false; !st.End; {
		sc.step("a batch of a bulk", func() (err error) {
			st.Bulk, err = sc.store.StepBulk(sc.ctx, st)
			return err
		})
		found, err := sc.store.FindBulk(sc.ctx, job.BulkLook{Bulk: b, After: st.Cursor, Look: 100, Limit: 1})
		if err != nil {
			sc.t.Fatal(err)
		}
		st.Callbacks, st.Cursor, st.End = nil, found.Next, found.End
		for _, cb := range found.Callbacks {
			st.Callbacks = append(st.Callbacks, job.BulkItem{ID: cb.ID, GiveUp: sc.clock.Add(time.Hour)})
		}
	}
	sc.step("the end of a bulk", func() (err error) {
		st.Bulk, err = sc.store.StepBulk(sc.ctx, st)
		if err == nil && (st.Bulk.Done != 2 || st.Bulk.State != job.BulkDone) {
			err = fmt.Errorf("the bulk is %+v", st.Bulk)
		}
		return err
	})
}

// talk is a run that tells how far it is, asks, is put off, asks again, and is completed.
func (sc *scenario) talk() {
	sc.t.Helper()
	j := sc.accept(job.Acceptance{Claimed: true}, 100)
	own := *j
	own.Early = true
	owe := func(event job.Event) *job.Callback {
		return &job.Callback{ID: sc.store.NewID(sc.clock), JobID: j.ID, App: j.App, Operation: j.Operation, Event: event, URL: "https://my.server/talk",
			Endpoint: "talk", Method: "POST", CreatedAt: sc.clock, GiveUpAt: sc.clock.Add(time.Hour), State: job.Pending, Data: []byte(`{"page":7}`)}
	}
	ask := func(key string) (cb *job.Callback) {
		sc.step("ask", func() error {
			cb = owe(job.EventAsk)
			_, err := sc.store.Ask(sc.ctx, job.Asking{Job: j, Run: 1, StartedAt: sc.clock, Key: key, Body: []byte(`7`), At: sc.clock, Callback: cb})
			return err
		})
		return cb
	}
	answer := job.QuestionEnd{Answer: &job.Answer{ContentType: "text/plain", Body: []byte("8")}}
	sc.step("begin", func() error {
		return sc.store.StartRun(sc.ctx, job.Start{Job: j, N: 1, At: sc.clock, Callbacks: []job.OwedCallback{{Callback: owe(job.EventRunning)}}})
	})
	sc.step("progress", func() error {
		return sc.store.Progress(sc.ctx, job.Progress{Job: j, N: 1, Value: []byte(`1`), At: sc.clock, Callbacks: []job.OwedCallback{{Callback: owe(job.EventProgress)}}})
	})
	sc.reply(ask("first").Lane(), answer)
	later := job.Finish{Job: &own, State: job.Waiting, At: sc.clock, DueAt: sc.clock.Add(time.Hour), Run: &job.Run{N: 1, StartedAt: sc.clock},
		Wait: &job.Wait{StartedAt: sc.clock, Until: sc.clock.Add(time.Hour), Token: []byte("hash")}}
	sc.step("put off", func() error { return sc.store.FinishRun(sc.ctx, later) })
	second := ask("second")
	sc.step("reply", func() error { return sc.store.Answer(sc.ctx, j.ID, second.ID, answer, sc.clock) })
	ask("third") // the end closes it
	sc.step("complete", func() error {
		cb := owe(job.EventSucceeded)
		return sc.store.FinishRun(sc.ctx, job.Finish{Job: &own, State: job.Succeeded, At: sc.clock, Run: &job.Run{N: 1, StartedAt: sc.clock}, Waited: true,
			Result: &job.Result{Status: 200, Body: job.Body{Inline: []byte("done"), Size: 4}}, Callbacks: []job.OwedCallback{{Callback: cb}}})
	})
}

// reply delivers what is due in a lane, one after the other, and lets the receiver
// answer the question among it.
func (sc *scenario) reply(lane string, answer job.QuestionEnd) {
	sc.t.Helper()
	for asked := false; !asked; {
		var due []job.Delivery
		sc.step("claim one", func() (err error) {
			due, _, err = sc.store.ClaimCallbacks(sc.ctx, lane, sc.clock, 1)
			if err == nil && len(due) != 1 {
				err = fmt.Errorf("%d callbacks were due", len(due))
			}
			return err
		})
		st := job.Settlement{Callback: due[0].Callback, State: job.Delivered, At: sc.clock,
			Attempt: &job.Attempt{N: due[0].Callback.Attempts + 1, StartedAt: sc.clock, Status: 200, Body: []byte("8")}}
		if asked = due[0].Callback.Event == job.EventAsk; asked {
			st.Question = &answer
		}
		sc.step("answer", func() error { return sc.store.SettleAttempt(sc.ctx, st) })
	}
}

func (sc *scenario) accept(a job.Acceptance, size int) *job.Job {
	sc.t.Helper()
	j := &job.Job{ID: sc.store.NewID(sc.clock), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: sc.clock, DueAt: sc.clock,
		Request: job.Request{Method: "POST", Path: "/scan"}, Targets: []job.Target{{URL: "https://my.server/bar", Source: job.SourceRequest}}}
	a.Job = j
	sc.step("accept", func() (err error) {
		if j.Request.Body, err = sc.put(size); err != nil {
			return err
		}
		_, err = sc.store.Accept(sc.ctx, a)
		return err
	})
	return j
}

// put stores a body that differs from all others.
func (sc *scenario) put(size int) (job.Body, error) {
	sc.n++
	content := make([]byte, size)
	rand.NewChaCha8([32]byte{byte(sc.n)}).Read(content)
	return body.Read(sc.ctx, sc.bodies, bytes.NewReader(content), 1<<20)
}

func (sc *scenario) finish(j *job.Job, run, size int) *job.Callback {
	sc.t.Helper()
	cb := &job.Callback{ID: sc.store.NewID(sc.clock), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventSucceeded,
		URL: j.Targets[0].URL, Method: "POST", CreatedAt: sc.clock, GiveUpAt: sc.clock.Add(time.Hour), DueAt: sc.clock, State: job.Pending}
	sc.step("finish", func() error {
		result, err := sc.put(size)
		if err != nil {
			return err
		}
		return sc.store.FinishRun(sc.ctx, job.Finish{Job: j, State: job.Succeeded, At: sc.clock,
			Run:       &job.Run{N: run, StartedAt: sc.clock, FinishedAt: sc.clock},
			Result:    &job.Result{Status: 200, ContentType: "text/plain", Body: result},
			Callbacks: []job.OwedCallback{{Claimed: true, Callback: cb}}})
	})
	return cb
}

// deliver takes a callback through a failed attempt, death, a resend, an attempt
// that begins, and its end.
func (sc *scenario) deliver(cb *job.Callback) {
	sc.t.Helper()
	settle := func(n int, state job.CallbackState) func() error {
		return func() error {
			cb.Attempts = n - 1
			return sc.store.SettleAttempt(sc.ctx, job.Settlement{Callback: cb, State: state, At: sc.clock, DueAt: sc.clock,
				Attempt: &job.Attempt{N: n, StartedAt: sc.clock, Total: time.Second, Status: 500, Body: []byte("answer")}})
		}
	}
	sc.step("try", settle(1, job.Pending))
	sc.step("claim callbacks", func() error {
		_, _, err := sc.store.ClaimCallbacks(sc.ctx, cb.Lane(), sc.clock, 1)
		return err
	})
	sc.step("give up", settle(2, job.Dead))
	sc.step("resend", func() error {
		_, err := sc.store.Resend(sc.ctx, "shop", cb.ID, sc.clock, sc.clock.Add(time.Hour))
		return err
	})
	sc.step("start attempt", func() error { return sc.store.StartAttempt(sc.ctx, cb.ID, 3, sc.clock, true) })
	sc.step("settle", settle(3, job.Delivered))
}

// together writes several things in one commit.
func (sc *scenario) together(round int) {
	sc.t.Helper()
	sc.step("group", func() error {
		release := hold(sc.store)
		const n = 5
		errs := make(chan error, n)
		for i := range n {
			go func() { errs <- sc.store.SetSetting(sc.ctx, fmt.Sprint("setting-", i), fmt.Append(nil, round)) }()
		}
		queued(sc.store, n)
		release()
		var all error
		for range n {
			all = errors.Join(all, <-errs)
		}
		return all
	})
}

// checkpoint lets the store make one, as it does by itself when the log is long.
func (sc *scenario) checkpoint() error {
	w, begun := sc.store.w, false
	for copying := true; copying; {
		err := sc.store.write(sc.ctx, func(*conn) error {
			if !begun {
				begun, w.checkpointAt = true, 0
				w.grown(w.logPages)
			}
			copying = w.copying
			return nil
		}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

// failSync lets the sync of a commit fail, and waits until the store has got over it.
func (sc *scenario) failSync() {
	sc.t.Helper()
	refused := job.Job{ID: sc.store.NewID(sc.clock), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: sc.clock}
	sc.step("fail a sync", func() error {
		sc.disk.mu.Lock()
		sc.disk.fault = failOnce(isLogSync, syscall.EIO)
		sc.disk.mu.Unlock()
		if _, err := sc.store.Accept(sc.ctx, job.Acceptance{Job: &refused, Claimed: true}); !errors.Is(err, job.ErrUnavailable) {
			return fmt.Errorf("accepted with %w", err)
		}
		// What was refused is in the log, perhaps: a cut now may leave it.
		sc.seen = append(sc.seen, sc.disk.position())
		return untilReady(sc.ctx, sc.store)
	})
}

func isLogSync(e event) bool { return e.kind == evSync && strings.HasSuffix(e.name, "-wal") }

// failOnce makes a fault of the next such event.
func failOnce(such func(event) bool, err error) func(event) error {
	return func(e event) error {
		if err == nil || !such(e) {
			return nil
		}
		failed := err
		err = nil
		return failed
	}
}

func untilReady(ctx context.Context, s *Store) error {
	for try := time.NewTicker(5 * time.Millisecond); ; {
		if s.Ready(ctx) == nil {
			return nil
		}
		select {
		case <-try.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// purge deletes what is old, and its bodies after it.
func (sc *scenario) purge() error {
	_, refs, err := sc.store.Purge(sc.ctx, sc.clock.Add(-30*time.Second), sc.clock, 3)
	for _, ref := range refs {
		err = errors.Join(err, sc.bodies.Delete(ref))
	}
	return err
}

// sites are the moments to cut at: before each sync, and after it.
func (sc *scenario) sites() (sites []int) {
	for i, e := range sc.disk.log {
		if e.isSync() {
			sites = append(sites, i, i+1)
		}
	}
	return slices.Compact(sites)
}

// cutter cuts the power of a scenario's disk.
type cutter struct {
	t     *testing.T
	sc    *scenario
	path  string
	dumps *sync.Map // of events to what a store holds that has all until then
}

func newCutter(t *testing.T, sc *scenario) *cutter {
	t.Helper()
	return &cutter{t: t, sc: sc, path: filepath.Join(t.TempDir(), "ringback.db"), dumps: &sync.Map{}}
}

// cut cuts after n events, opens what is left, and sometimes cuts that again
// while it is opened. The store must be as it was at the last acknowledgement, or
// as at the next one.
func (c *cutter) cut(n int, seed uint64) error {
	rnd := rand.New(rand.NewPCG(cutSeed, seed))
	allowed, last, err := c.allowed(n)
	if err != nil {
		return err
	}
	left := c.disk(c.sc.disk.image(n, rnd))
	err = c.check(left, allowed)
	if err == nil && seed%16 == 0 {
		err = c.check(c.disk(left.image(rnd.IntN(left.position()+1), rnd)), allowed)
	}
	if err != nil {
		return fmt.Errorf("cut %d, after %d events, the last of which is %q, and after step %d (%s): %w", seed, n, c.sc.disk.log[max(n-1, 0)], last, c.stepName(last), err)
	}
	return nil
}

func (c *cutter) stepName(i int) string {
	if i < 0 {
		return "none"
	}
	return c.sc.acked[i].name
}

// disk is unlike newDisk in that there are thousands.
func (c *cutter) disk(content map[string]*inode) *disk {
	return diskOf(c.t, filepath.Dir(c.path), content)
}

// allowed are the states that a store may be in after a cut at n, and the last
// step that is acknowledged by then.
func (c *cutter) allowed(n int) (states []string, last int, err error) {
	last = -1
	from, to := 0, n
	for i, s := range c.sc.acked {
		if s.at <= n {
			last, from = i, s.at
		} else {
			to = s.at
			break
		}
	}
	positions := []int{from, to}
	for _, p := range c.sc.seen {
		if p > from && p < to {
			positions = append(positions, p)
		}
	}
	for _, p := range positions {
		state, known := c.dumps.Load(p)
		if !known {
			if state, err = c.dump(c.disk(c.sc.disk.image(p, nil))); err != nil {
				return nil, last, fmt.Errorf("the store as it was without a cut: %w", err)
			}
			c.dumps.Store(p, state)
		}
		states = append(states, state.(string))
	}
	return states, last, nil
}

func (c *cutter) check(d *disk, allowed []string) error {
	got, err := c.dump(d)
	if err != nil {
		return err
	}
	if !slices.Contains(allowed, got) {
		return fmt.Errorf("the store holds\n%s\nand should hold\n%s", got, strings.Join(slices.Compact(allowed), "\nor\n"))
	}
	return nil
}

// dump opens the store and the bodies of a disk as a gateway does at its start,
// and returns all that is in them.
func (c *cutter) dump(d *disk) (text string, err error) {
	s, err := Open(c.t.Context(), c.path, Options{VFS: d.shm, Now: func() time.Time { return cutNow }})
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	bodies, err := body.OpenDirOn(d, "/bodies")
	if err != nil {
		return "", err
	}
	if err := claimFor(s, bodies); err != nil {
		return "", err
	}
	var b strings.Builder
	var refs []job.Body
	err = s.read(c.t.Context(), func(conn *conn) error {
		if err := intact(conn); err != nil {
			return err
		}
		if refs, err = named(conn); err != nil {
			return err
		}
		return dumpTables(conn, &b)
	})
	if err != nil {
		return "", err
	}
	for _, ref := range refs {
		if err := dumpBody(&b, bodies, ref); err != nil {
			return "", err
		}
	}
	if stored := d.bodies(); stored != len(refs) {
		return "", fmt.Errorf("%d bodies are stored, and %d named", stored, len(refs))
	}
	return b.String(), nil
}

// bodies counts the bodies on a disk.
func (d *disk) bodies() (n int) {
	for name := range maps.Keys(d.names) {
		if strings.Count(name, "/") == 3 {
			n++
		}
	}
	return n
}

func intact(c *conn) error {
	found, err := c.inspect()
	if err == nil && len(found) > 0 {
		err = fmt.Errorf("the store contradicts itself: %v", found)
	}
	return err
}

// named are the bodies that rows name.
func named(c *conn) (refs []job.Body, err error) {
	for _, table := range []string{"requests", "results"} {
		err = errors.Join(err, c.bind("SELECT body_ref, body_size FROM "+table+" WHERE body_ref IS NOT NULL ORDER BY key").
			each(func(row *scanner) { refs = append(refs, job.Body{Ref: row.text(), Size: row.int()}) }))
	}
	return refs, err
}

// dumpBody reads a body to its end.
func dumpBody(b *strings.Builder, bodies *body.Dir, ref job.Body) error {
	r, err := body.Open(bodies, ref)
	if err != nil {
		return err
	}
	content, err := io.ReadAll(r)
	fmt.Fprintf(b, "%s %x\n", ref.Ref, sha256.Sum256(content))
	return errors.Join(err, r.Close())
}

func dumpTables(c *conn, b *strings.Builder) error {
	for _, table := range []string{"settings", "apps", "keys", "endpoints", "idempotency", "jobs", "requests", "results", "waits", "questions", "runs", "callbacks",
		"callback_bodies", "attempts", "bulks"} {
		fmt.Fprintln(b, table)
		err := c.bind("SELECT * FROM " + table + " ORDER BY 1, 2").each(func(row *scanner) {
			for i := range row.st.ColumnCount() {
				text := row.st.ColumnRawText(i)
				if len(text) > 40 {
					text = fmt.Appendf(nil, "%x", sha256.Sum256(text))
				}
				fmt.Fprintf(b, " %q", text)
			}
			fmt.Fprintln(b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
