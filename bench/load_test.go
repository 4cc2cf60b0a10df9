package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

func setup(t *testing.T, receivers int, d delays) *bench {
	t.Helper()
	b, err := newBench(receivers, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.close)
	return b
}

// limit starts the limit in this process.
func limit(t *testing.T, upstream string) string {
	t.Helper()
	server := httptest.NewServer(newLimit(upstream))
	t.Cleanup(server.Close)
	return server.URL
}

func TestAFloodIsCalledBackWhole(t *testing.T) {
	t.Parallel()
	b := setup(t, 3, delays{})
	b.slots = make(chan struct{}, 5)
	o, err := b.flood(t.Context(), limit(t, b.upstream), 8, document(500), 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if o.Accepted == 0 || int64(o.Accepted) != b.received.Load() || o.Twice != 0 || o.PerSecond <= 0 {
		t.Errorf("%+v, received %d", o, b.received.Load())
	}
	if len(b.slots) != 0 {
		t.Errorf("%d slots are still held", len(b.slots))
	}
}

func TestAPacedLoadCallsAsOftenAsAsked(t *testing.T) {
	t.Parallel()
	b := setup(t, 1, delays{receiver: time.Millisecond})
	o, err := b.pace(t.Context(), limit(t, ""), 500, document(500), 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if o.Accepted != 50 || len(b.latency) != 50 {
		t.Errorf("%d accepted, %d timed, want 50", o.Accepted, len(b.latency))
	}
	if o.P50 <= 0 || o.P99 < o.P50 || o.AcceptP99 < o.AcceptP50 {
		t.Errorf("latencies %+v", o)
	}
}

func TestARefusedCallIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t, 1, delays{})
	inner := newLimit("")
	var calls atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	o, err := b.flood(t.Context(), server.URL, 1, document(10), 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if o.Refused != 1 || o.Accepted == 0 || int64(o.Accepted) != b.received.Load() {
		t.Errorf("%+v, received %d", o, b.received.Load())
	}
}

func TestAnAnswerThatIsNo202EndsTheLoad(t *testing.T) {
	t.Parallel()
	b := setup(t, 1, delays{})
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	if _, err := b.flood(t.Context(), server.URL, 2, nil, time.Second); err == nil {
		t.Error("a flood of 404 was taken for a success")
	}
	if _, err := b.pace(t.Context(), server.URL, 100, nil, 50*time.Millisecond); err == nil || errors.Is(err, errRefused) {
		t.Errorf("a paced load of 404 ended with %v", err)
	}
}

func TestACallbackThatComesTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, 1, delays{})
	for range 2 {
		resp, err := http.Post(b.receivers[0]+"?7", "application/json", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if b.received.Load() != 1 || b.twice.Load() != 1 {
		t.Errorf("received %d, twice %d", b.received.Load(), b.twice.Load())
	}
}

func TestDocumentsAreJSONOfTheirSize(t *testing.T) {
	t.Parallel()
	for _, size := range []int{100, 500, 64 << 10} {
		if d := document(size); len(d) != size || !json.Valid(d) {
			t.Errorf("a document of %d bytes: %d bytes, JSON: %t", size, len(d), json.Valid(d))
		}
	}
	if len(document(0)) != 0 {
		t.Error("a document of no bytes has some")
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var all []time.Duration
	for i := 100; i > 0; i-- {
		all = append(all, time.Duration(i)*time.Millisecond)
	}
	if p50, p99 := quantile(all, 0.5), quantile(all, 0.99); p50 != 51 || p99 != 100 {
		t.Errorf("p50 %v, p99 %v", p50, p99)
	}
}

func TestAFilledStoreHoldsWhatItSays(t *testing.T) {
	t.Parallel()
	for stage, want := range map[stage]job.Backlog{unfinished: {Jobs: 50}, owed: {Callbacks: 50}, settled: {}} {
		dir := t.TempDir()
		if err := fill(t.Context(), dir, filling{n: 50, stage: stage, callbacks: []string{"http://127.0.0.1:9/dead"}}); err != nil {
			t.Fatal(err)
		}
		store, err := sqlite.Open(t.Context(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
		if err != nil {
			t.Fatal(err)
		}
		backlog, err := store.Backlog(t.Context())
		jobs, listErr := store.Jobs(t.Context(), job.JobFilter{Limit: 100})
		if err := errors.Join(err, listErr, store.Close()); err != nil {
			t.Fatal(err)
		}
		if backlog.Jobs != want.Jobs || backlog.Callbacks != want.Callbacks || len(jobs) != 50 {
			t.Errorf("stage %d: %d jobs, of them unfinished %d, callbacks owed %d; want %+v", stage, len(jobs), backlog.Jobs, backlog.Callbacks, want)
		}
	}
}
