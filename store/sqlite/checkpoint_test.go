package sqlite

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// relay keeps one reader or another in the store at all times, until the end of
// the test or of its caller.
func relay(t *testing.T, s *Store) (stop func()) {
	t.Helper()
	baton, done := make(chan struct{}), make(chan struct{})
	var readers sync.WaitGroup
	readers.Go(func() { <-baton })
	for range 2 {
		readers.Go(func() {
			for over := false; !over; {
				err := s.read(t.Context(), func(c *conn) error {
					err := c.bind("SELECT count(*) FROM settings").each(func(*scanner) {})
					select {
					case baton <- struct{}{}: // the one before may leave
					case <-done:
						over = true
						return err
					}
					<-time.After(5 * time.Millisecond) // several commits
					select {
					case <-baton:
					case <-done:
						over = true
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	return func() {
		close(done)
		readers.Wait()
	}
}

func TestLogIsBoundedThoughThereIsAlwaysAReader(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a.db")
	s := openAt(t, path)
	stop := relay(t, s)
	const pageBytes = 4096
	var longest int64
	for written := int64(0); written < 4*maxLogPages*pageBytes; written += 1 << 16 {
		onWriter(t, s, func(c *conn) error {
			return c.bind("INSERT INTO settings (name, value) VALUES ('large', randomblob(65536)) ON CONFLICT DO UPDATE SET value = excluded.value").exec()
		})
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		longest = max(longest, info.Size())
	}
	stop()
	t.Logf("the log was %d MiB long at most", longest>>20)
	if longest > 2*maxLogPages*pageBytes {
		t.Errorf("the log became %d bytes long", longest)
	}
}
