package ringback_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// slowBacklog takes its time to count, and counts how often it is asked.
type slowBacklog struct {
	job.Store
	n atomic.Int64
}

func (s *slowBacklog) Backlog(ctx context.Context) (job.Backlog, error) {
	s.n.Add(1)
	<-time.After(100 * time.Millisecond)
	return s.Store.Backlog(ctx)
}

func TestManyWhoAskForMetricsShareOneCountOfTheBacklog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	slow := &slowBacklog{Store: store}
	g, err := ringback.New(t.Context(), slow, ringback.Options{
		Operations: []ringback.Operation{operation("relay", "POST /relay", ringback.Relay())}, BodyDir: filepath.Join(dir, "bodies"),
		SealKey: make([]byte, 32),
	})
	if err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for range 20 {
		asking.Go(func() {
			w := httptest.NewRecorder()
			g.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if w.Code != http.StatusOK {
				t.Errorf("status %d", w.Code)
			}
		})
	}
	asking.Wait()
	if n := slow.n.Load(); n > 1 {
		t.Errorf("the backlog was counted %d times", n)
	}
}
