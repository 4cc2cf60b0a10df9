package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func ignoreProgress(int64, int64) {}
func ignoreBody(job.Body) error   { return nil }

// whole makes a store with an app and n finished jobs, the first with a body of its own.
func whole(t *testing.T, n int) *Store {
	t.Helper()
	s := setup(t)
	if err := s.CreateApp(t.Context(), job.App{Name: "shop", CreatedAt: time.Now(), Secrets: job.Secrets{Current: []byte("sealed")}}, job.Key{App: "shop"}); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		j := newJob(s)
		j.Request.Body = job.Body{Inline: make([]byte, 60_000), Size: 60_000}
		if i == 0 {
			j.Request.Body = job.Body{Ref: strings.Repeat("a", 40), Size: 100_000}
		}
		if _, err := s.Accept(t.Context(), job.Acceptance{Job: j, Claimed: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.FinishRun(t.Context(), finishOf(s, j)); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func TestBackupIsOfOneMoment(t *testing.T) {
	t.Parallel()
	s := whole(t, 60)
	var late *job.Job
	var bodies []job.Body
	path := filepath.Join(t.TempDir(), "copy?%#&.db")
	v, err := s.Backup(t.Context(), path, func(done, total int64) {
		if late == nil && done < total {
			late = accept(t, s, false) // the copy is under way, and the writer is free
		}
	}, func(b job.Body) error {
		bodies = append(bodies, b)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if late == nil {
		t.Fatal("the store is too small to be copied in steps")
	}
	if v.Jobs["succeeded"] != 60 || len(v.Jobs) != 1 || v.Callbacks["pending"] != 60 || v.Apps != 1 || v.Schema != 1 || v.OldestUnfinished.IsZero() {
		t.Errorf("contents %+v", v)
	}
	if len(bodies) != 1 || bodies[0].Size != 100_000 || v.Bodies != 1 || v.BodyBytes != 100_000 {
		t.Errorf("bodies %v, %+v", bodies, v)
	}
	now, err := s.Contents(t.Context())
	if err != nil || now.Jobs["accepted"] != 1 {
		t.Errorf("%+v, %v", now, err)
	}
	restored := openAt(t, path)
	if _, err := restored.Job(t.Context(), "shop", late.ID); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("what came later: %v", err)
	}
}

func TestBackupThatIsGivenUpEndsSoon(t *testing.T) {
	t.Parallel()
	s := whole(t, 60)
	ctx, cancel := context.WithCancel(t.Context())
	var copied, all int64
	_, err := s.Backup(ctx, filepath.Join(t.TempDir(), "copy.db"), func(done, total int64) {
		copied, all = done, total
		cancel()
	}, ignoreBody)
	if !errors.Is(err, context.Canceled) || copied >= all {
		t.Errorf("after %d of %d: %v", copied, all, err)
	}
	broken := errors.New("no room")
	if _, err := s.Backup(t.Context(), filepath.Join(t.TempDir(), "copy.db"), ignoreProgress, func(job.Body) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	here := filepath.Join(t.TempDir(), "here")
	if err := os.WriteFile(here, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Backup(t.Context(), here, ignoreProgress, ignoreBody); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file that is there: %v", err)
	}
}

func TestStoppedStoreIsOneProcessesOwn(t *testing.T) {
	t.Parallel()
	s := whole(t, 1)
	if _, err := OpenStopped(s.path); !errors.Is(err, ErrLocked) {
		t.Errorf("of a running one: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := OpenStopped(s.path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), s.path, Options{}); !errors.Is(err, ErrLocked) {
		t.Errorf("while it is looked at: %v", err)
	}
	found, err := f.Check(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	if known, err := f.KnownBodies(t.Context(), []string{strings.Repeat("a", 40), strings.Repeat("b", 40)}); err != nil || !known[0] || known[1] {
		t.Errorf("%v, %v", known, err)
	}
	if v, err := f.Backup(t.Context(), s.path+".copy", ignoreProgress, ignoreBody); err != nil || v.Bodies != 1 {
		t.Errorf("%+v, %v", v, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	openAt(t, s.path)
}

func TestCopyIsLookedAtWithoutATrace(t *testing.T) {
	t.Parallel()
	s := whole(t, 1)
	dir := t.TempDir()
	path := filepath.Join(dir, "copy.db")
	if _, err := s.Backup(t.Context(), path, ignoreProgress, ignoreBody); err != nil {
		t.Fatal(err)
	}
	f, err := OpenCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	found, err := f.Check(t.Context())
	if err = errors.Join(err, f.Close()); err != nil || len(found) > 0 {
		t.Errorf("%v, %v", found, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func TestOtherFilesAreNoStores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, empty, newer := filepath.Join(dir, "text"), filepath.Join(dir, "empty"), filepath.Join(dir, "newer")
	for _, err := range []error{
		os.WriteFile(text, []byte(strings.Repeat("no store\n", 1000)), 0o600),
		os.WriteFile(empty, nil, 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := Open(t.Context(), newer, Options{})
	if err != nil {
		t.Fatal(err)
	}
	onWriter(t, s, func(c *conn) error { return c.Exec("INSERT INTO schema_migrations (version) VALUES (99)") })
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{text: ErrNoStore, empty: ErrNoStore, newer: ErrNewerSchema, filepath.Join(dir, "nowhere"): fs.ErrNotExist} {
		for name, open := range map[string]func(string) (*File, error){"stopped": OpenStopped, "copy": OpenCopy} {
			if _, err := open(path); !errors.Is(err, want) {
				t.Errorf("%s %s: %v, want %v", name, path, err, want)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "nowhere.lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a lock was made for no store: %v", err)
	}
}

func TestCheckFindsRowsThatContradictEachOther(t *testing.T) {
	t.Parallel()
	for what, sql := range map[string]string{
		"jobs without a request":                               `DELETE FROM requests`,
		"requests without a job":                               `DELETE FROM jobs`,
		"jobs whose result is missing":                         `UPDATE jobs SET result_status = 200, result_echo = 0; DELETE FROM results`,
		"results without a job":                                `INSERT OR REPLACE INTO results (key, header, body_size) VALUES (7, '', 0)`,
		"runs without a job":                                   `INSERT INTO runs (job, n, started_at, finished_at, error) VALUES (7, 1, 1, 1, '')`,
		"questions without a job":                              `INSERT INTO questions (job, key, run, body, callback, state, asked_at, closed_at) VALUES (7, 'k', 1, x'00', x'00', 2, 1, 1)`,
		"open questions of jobs at their end":                  `INSERT INTO questions (job, key, run, body, callback, state, asked_at, closed_at) SELECT key, 'k', 1, x'00', x'00', 1, 1, 1 FROM jobs`,
		"waits without a job that waits":                       `INSERT INTO waits (key, started_at, until, polls) SELECT key, 1, 1, 0 FROM jobs`,
		"callbacks without a job":                              `UPDATE callbacks SET job_id = x'00'`,
		"attempts without a callback":                          `DELETE FROM callbacks; INSERT INTO attempts VALUES (7,1,1,1,1,1,1,1,'',0,'','',0,NULL,NULL)`,
		"bodies without a callback":                            `INSERT INTO callback_bodies (key) VALUES (7)`,
		"jobs without an app":                                  `DELETE FROM apps`,
		"keys without an app":                                  `DELETE FROM apps`,
		"endpoints without an app":                             `INSERT INTO endpoints (app, name, url, is_default, operations, events, method, headers, format, signature, concurrency, progress_every, disabled, created_at, updated_at, secret, previous_until) VALUES ('gone','shop','',0,'','','','','','',0,0,0,1,1,x'00',0)`,
		"jobs in a state that there is not":                    `UPDATE jobs SET state = 300`,
		"jobs that are at their end and still due, or neither": `UPDATE jobs SET due_at = 1`,
		"callbacks in a state that there is not":               `UPDATE callbacks SET state = 0`,
		"callbacks that wait for none before them":             `UPDATE callbacks SET due_at = -1`,
		"callbacks that are settled and still due, or neither": `UPDATE callbacks SET due_at = NULL`,
		"request bodies of another size":                       `UPDATE requests SET body_ref = NULL`,
		"result bodies of another size":                        `INSERT OR REPLACE INTO results (key, header, body_size, body) SELECT key, '', 5, x'00' FROM jobs`,
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := whole(t, 1)
			onWriter(t, s, func(c *conn) error { return c.Exec(sql) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			f, err := OpenStopped(s.path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			found, err := f.Check(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, is := range found {
				if is.What == what && is.Rows == 1 {
					return
				}
			}
			t.Errorf("found %v", found)
		})
	}
}

func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	s := whole(t, 100)
	path := filepath.Join(t.TempDir(), "copy.db")
	if _, err := s.Backup(t.Context(), path, ignoreProgress, ignoreBody); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	// The second half is pages of rows and indexes.
	zeros := make([]byte, info.Size()/2)
	if _, err = f.WriteAt(zeros, info.Size()-int64(len(zeros))); errors.Join(err, f.Close()) != nil {
		t.Fatal(err)
	}
	broken, err := OpenCopy(path)
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	if found, err := broken.Check(t.Context()); err == nil && len(found) == 0 {
		t.Error("nothing was found")
	}
}
