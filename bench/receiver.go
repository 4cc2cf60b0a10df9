package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// bench is the client of the API under test, the receiver of its callbacks, and
// the upstream of its http backend, in one process, so that submission and
// callback are timed by one clock.
type bench struct {
	server    *http.Server
	receivers []string // URLs, each an origin of its own
	upstream  string   // URL
	delays    delays
	slots     chan struct{} // bounds what is outstanding; nil: nothing does
	client    *http.Client

	received atomic.Int64
	last     atomic.Int64 // when the last callback came, Unix nanoseconds
	twice    atomic.Int64
	mu       sync.Mutex
	seen     []bool
	sent     []time.Time // by number, where latency is measured
	latency  []time.Duration
}

// delays are how long the other sides take.
type delays struct{ receiver, upstream time.Duration }

// newBench listens. Its receivers answer at as many origins.
func newBench(receivers int, d delays) (*bench, error) {
	b := &bench{delays: d, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 2048}, Timeout: 5 * time.Minute}}
	mux := http.NewServeMux()
	mux.HandleFunc("/cb", b.receive)
	mux.HandleFunc("/up", b.work)
	b.server = &http.Server{Handler: mux}
	for range receivers {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.close()
			return nil, err
		}
		origin := "http://" + listener.Addr().String()
		b.receivers = append(b.receivers, origin+"/cb")
		b.upstream = origin + "/up"
		go func() { _ = b.server.Serve(listener) }()
	}
	return b, nil
}

func (b *bench) close() {
	b.client.CloseIdleConnections()
	_ = b.server.Close() // its listeners are all it holds
}

// reset forgets what was counted; nothing may be on its way.
func (b *bench) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.received.Store(0)
	b.twice.Store(0)
	b.seen, b.sent, b.latency = nil, nil, nil
}

// work is the upstream: it answers with the request.
func (b *bench) work(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if b.delays.upstream > 0 {
		time.Sleep(b.delays.upstream)
	}
	w.Header().Set("Content-Type", "application/json")
	// A caller that is gone shows in the count of callbacks.
	_, _ = w.Write(body)
}

// receive takes a callback: its number is the URL's query.
func (b *bench) receive(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		return
	}
	n, err := strconv.Atoi(r.URL.RawQuery)
	if err != nil || n < 0 {
		http.Error(w, "no number", http.StatusBadRequest)
		return
	}
	if b.delays.receiver > 0 {
		time.Sleep(b.delays.receiver)
	}
	b.count(n, now)
}

func (b *bench) count(n int, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for n >= len(b.seen) {
		b.seen = append(b.seen, make([]bool, 1<<16)...)
	}
	if b.seen[n] {
		b.twice.Add(1)
		return
	}
	b.seen[n] = true
	b.received.Add(1)
	b.last.Store(now.UnixNano())
	if n < len(b.sent) {
		b.latency = append(b.latency, now.Sub(b.sent[n]))
	}
	if b.slots != nil {
		<-b.slots
	}
}

// await waits until so many callbacks came, each counted once.
func (b *bench) await(ctx context.Context, n int) error {
	for b.received.Load() < int64(n) {
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%d of %d accepted calls were called back in time", b.received.Load(), n), ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

// quantile is in milliseconds.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Microseconds()) / 1000
}
