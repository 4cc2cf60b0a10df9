package sqlite

import (
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
	storetest.Run(t, func(t testing.TB) storetest.Harness {
		return &files{dir: t.TempDir()}
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

func (f *files) Open(t testing.TB, now func() time.Time) job.Store {
	s, err := Open(t.Context(), f.path(f.crashes), Options{Now: now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (f *files) Crash(t testing.TB, s job.Store) {
	if err := copyFiles(t, s.(*Store), f.path(f.crashes), f.path(f.crashes+1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f.crashes++
}

// copyFiles copies the files of an open store as they are on disk, between two
// commits: what kill -9 would leave at that moment.
func copyFiles(t testing.TB, s *Store, from, to string) error {
	return s.write(t.Context(), func(*conn) error {
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
