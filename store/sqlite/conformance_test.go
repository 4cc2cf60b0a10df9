package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/storetest"
)

func TestStoreKeepsItsContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(tb testing.TB) storetest.Harness {
		tb.Helper()
		return &files{dir: tb.TempDir()}
	})
}

// files is a harness whose crashes go on with a copy of the files.
type files struct {
	dir     string
	crashes int
}

func (f *files) path(crashes int) string {
	return filepath.Join(f.dir, strconv.Itoa(crashes)+".db")
}

func (f *files) Open(tb testing.TB, now func() time.Time) job.Store {
	tb.Helper()
	s, err := Open(context.Background(), f.path(f.crashes), Options{Now: now})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (f *files) Crash(tb testing.TB, s job.Store) {
	tb.Helper()
	if err := copyFiles(s.(*Store), f.path(f.crashes), f.path(f.crashes+1)); err != nil {
		tb.Fatal(err)
	}
	if err := s.Close(); err != nil {
		tb.Fatal(err)
	}
	f.crashes++
}

// copyFiles copies the files of an open store as they are on disk, between two
// commits: what kill -9 would leave at that moment.
func copyFiles(s *Store, from, to string) error {
	return s.write(context.Background(), func(*conn) error {
		for _, suffix := range []string{"", "-wal"} {
			content, err := os.ReadFile(from + suffix)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if err := os.WriteFile(to+suffix, content, 0o600); err != nil {
				return err
			}
		}
		return nil
	}, nil)
}
