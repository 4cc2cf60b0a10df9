package sqlite

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/job"
)

// onDisk opens a store on a disk that can break.
func onDisk(t *testing.T, d *disk, path string) *Store {
	t.Helper()
	s, err := Open(t.Context(), path, Options{VFS: d.shm})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // again, mostly
	return s
}

func (d *disk) breakOn(fault func(event) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fault = fault
}

func holds(t *testing.T, s *Store, want ...*job.Job) {
	t.Helper()
	got, err := s.Jobs(t.Context(), job.JobFilter{})
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d jobs are stored, and %d were acknowledged; %v", len(got), len(want), err)
	}
	for _, j := range want {
		if _, err := s.WholeJob(t.Context(), "", j.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func refuses(t *testing.T, s *Store, why string) {
	t.Helper()
	_, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s), Claimed: true})
	if !errors.Is(err, job.ErrUnavailable) {
		t.Fatalf("Accept: %v, want ErrUnavailable", err)
	}
	if err := s.Ready(t.Context()); !errors.Is(err, job.ErrUnavailable) || !strings.Contains(err.Error(), why) {
		t.Fatalf("Ready: %v, want ErrUnavailable because of: %s", err, why)
	}
}

func TestAfterAFailedSyncNothingIsAcknowledgedUntilTheStoreIsSound(t *testing.T) {
	t.Parallel()
	inDatabase := func(e event) bool { return e.kind == evSync && strings.HasSuffix(e.name, ".db") }
	for name, first := range map[string]func(event) bool{
		"of a commit":                            isLogSync,
		"of a commit, whose log was not written": func(e event) bool { return e.kind == evWrite && strings.HasSuffix(e.name, "-wal") },
		"of a checkpoint":                        inDatabase,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, path := newDisk(t), filepath.Join(t.TempDir(), "a.db")
			synctest.Test(t, func(t *testing.T) {
				s := onDisk(t, d, path)
				kept := accept(t, s, true)
				once := failOnce(first, syscall.EIO)
				sick := true
				d.breakOn(func(e event) error {
					if err := once(e); err != nil {
						return err
					}
					if sick && inDatabase(e) {
						return syscall.EIO
					}
					return nil
				})
				if name == "of a checkpoint" {
					onWriter(t, s, func(*conn) error { s.w.checkpointAt = 0; s.w.grown(s.w.logPages); return nil })
					synctest.Wait()
				}
				// The next syncs of the log would go well.
				for range 3 {
					refuses(t, s, "disk I/O error")
					holds(t, s, kept)
					time.Sleep(maxRepairAfter)
				}
				d.mu.Lock()
				sick = false
				d.mu.Unlock()
				time.Sleep(maxRepairAfter)
				synctest.Wait()
				if err := s.Ready(t.Context()); err != nil {
					t.Fatal(err)
				}
				// What was refused is gone, claim and all.
				holds(t, s, kept)
				holds(t, s, kept, accept(t, s, true))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}

func TestStoreThatIsDamagedTakesNothingMore(t *testing.T) {
	t.Parallel()
	d, path := newDisk(t), filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		s := onDisk(t, d, path)
		for range 200 {
			accept(t, s, false)
		}
		broken := failOnce(isLogSync, syscall.EIO)
		d.breakOn(func(e event) error {
			const tables = 60 * 4096 // from here on there are rows
			if strings.HasSuffix(e.name, ".db") && e.kind == evWrite && e.off > tables {
				clear(e.data[3000:]) // as it is written
			}
			return broken(e)
		})
		if _, err := s.Accept(t.Context(), job.Acceptance{Job: newJob(s)}); !errors.Is(err, job.ErrUnavailable) {
			t.Fatalf("Accept: %v, want ErrUnavailable", err)
		}
		for range 3 {
			time.Sleep(maxRepairAfter)
			synctest.Wait()
			refuses(t, s, "damaged")
		}
	})
}

func TestCloseOfAStoreThatIsNotSoundReturns(t *testing.T) {
	t.Parallel()
	d, path := newDisk(t), filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		s := onDisk(t, d, path)
		kept := accept(t, s, false)
		d.breakOn(func(e event) error {
			if e.kind == evSync {
				return syscall.EIO
			}
			return nil
		})
		refuses(t, s, "disk I/O error")
		_ = s.Close() // what it says about the disk is no news
		d.breakOn(nil)
		again := onDisk(t, d, path)
		if _, err := again.WholeJob(t.Context(), "", kept.ID); err != nil {
			t.Error(err)
		}
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestFullDiskNeedsNoRepair(t *testing.T) {
	t.Parallel()
	d, path := newDisk(t), filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		s := onDisk(t, d, path)
		kept := accept(t, s, true)
		d.breakOn(func(e event) error {
			if e.kind == evWrite {
				return syscall.ENOSPC
			}
			return nil
		})
		refuses(t, s, "disk is full")
		if err := s.FinishRun(t.Context(), finishOf(s, kept)); !errors.Is(err, job.ErrUnavailable) {
			t.Fatalf("FinishRun: %v, want ErrUnavailable", err)
		}
		d.breakOn(nil)
		// No time has passed in this bubble.
		if err := s.FinishRun(t.Context(), finishOf(s, kept)); err != nil {
			t.Fatalf("with room again: %v", err)
		}
		if err := s.Ready(t.Context()); err != nil {
			t.Fatal(err)
		}
		holds(t, s, kept)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestLogOfACrashIsTheSameAfterItIsWrittenOnceMore(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	content := make([]byte, 3<<20+123)
	rand.NewChaCha8([32]byte{}).Read(content)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := rewrite(path); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, content) {
		t.Errorf("it differs, or: %v", err)
	}
	if err := rewrite(path + ".missing"); err != nil {
		t.Error(err)
	}
}

func TestWhatIsClaimedAndCannotBeReadIsDueAgainOnceTheStoreIsSound(t *testing.T) {
	t.Parallel()
	d, path := newDisk(t), filepath.Join(t.TempDir(), "a.db")
	synctest.Test(t, func(t *testing.T) {
		s := onDisk(t, d, path)
		j := accept(t, s, true)
		now := time.Now()
		cb := &job.Callback{ID: s.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventCanceled,
			URL: "https://my.server/bar", Method: "POST", CreatedAt: now, DueAt: now, GiveUpAt: now.Add(time.Hour), State: job.Pending}
		err := s.FinishRun(t.Context(), job.Finish{Job: j, State: job.Canceled, At: now, Callbacks: []job.OwedCallback{{Callback: cb}}})
		if err != nil {
			t.Fatal(err)
		}
		onWriter(t, s, func(c *conn) error { return c.Exec("ALTER TABLE requests RENAME TO unreadable") })
		claims := 0
		d.breakOn(func(e event) error {
			if isLogSync(e) {
				if claims++; claims == 2 { // the second write puts the claim back
					return syscall.EIO
				}
			}
			return nil
		})
		if _, _, err := s.ClaimCallbacks(t.Context(), cb.Lane(), now, 1); err == nil {
			t.Fatal("it was read")
		}
		if claims < 2 {
			t.Errorf("%d syncs", claims)
		}
		due, err := s.DueCallbacks(t.Context(), job.Due{}, 100)
		if err != nil || len(due) != 1 {
			t.Errorf("due: %v, %v", due, err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}
