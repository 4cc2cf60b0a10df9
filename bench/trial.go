package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// trial is one run of load against one system: what is called, how, and what the
// other sides are like. The zero value of a field is the simplest.
type trial struct {
	operation   string // of operations
	size        int    // of a request's body
	connections int    // for a flood
	rate        int    // calls a second; 0: a flood
	outstanding int    // most calls not called back yet; 0: any number
	receivers   int    // origins; 0: one
	delays      delays
	during      time.Duration
	dir         string // of a store that holds something; empty: a fresh one
}

// operations is the configuration of Ringback, with the upstream's URL to fill in.
// What the http backend may have in flight is what the limit may.
const operations = `drain_timeout: 5s
operations:
  relay: {route: POST /relay, backend: {relay: {}}}
  http: {route: POST /http, backend: {http: {url: %q}}, concurrency: 256}
  command: {route: POST /command, backend: {command: {argv: [cat], output_type: application/json}}}
`

// sample is what a trial came to.
type sample struct {
	outcome
	CPU     float64 `json:"cpu_us"`            // per message
	RSS     float64 `json:"rss_mib"`           // the peak
	Written float64 `json:"written_bytes"`     // per message
	Starts  float64 `json:"start_ms"`          // to the first 202; 0 for the limit
	Read    float64 `json:"slowest_read_ms"`   // of the readers beside it; 0 for the limit
	Sync    float64 `json:"sync_ms,omitempty"` // the disk's own, just before; paced only
}

const mib = 1 << 20

// limit runs a trial against the limit.
func (s *session) limit(t trial) (sample, error) {
	b, err := newBench(max(t.receivers, 1), t.delays)
	if err != nil {
		return sample{}, err
	}
	defer b.close()
	upstream := ""
	if t.operation == "http" {
		upstream = b.upstream
	}
	p, err := startLimit(s.ctx, upstream)
	if err != nil {
		return sample{}, err
	}
	out, err := s.load(p, b, t)
	return out, errors.Join(err, p.stop())
}

// ringback runs a trial against Ringback, with readers open.
func (s *session) ringback(t trial) (sample, error) {
	b, err := newBench(max(t.receivers, 1), t.delays)
	if err != nil {
		return sample{}, err
	}
	defer b.close()
	dir := t.dir
	if dir == "" {
		var remove func()
		if dir, remove, err = s.folder(); err != nil {
			return sample{}, err
		}
		defer remove()
	}
	p, err := startRingback(s.ctx, s.binary, dir, fmt.Sprintf(operations, b.upstream))
	if err != nil {
		return sample{}, err
	}
	slowest, stopReaders := read(s.ctx, p.base)
	out, err := s.load(p, b, t)
	err = errors.Join(err, stopReaders(), p.stop())
	out.Starts, out.Read = milliseconds(p.starts), milliseconds(*slowest)
	return out, err
}

// folder makes a new one for a store.
func (s *session) folder() (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(s.tmp, "store")
	// What cannot be removed yet goes with the session.
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

const warmUp = 300 * time.Millisecond

// load warms a system up and measures it.
func (s *session) load(p *process, b *bench, t trial) (sample, error) {
	body, target := document(t.size), p.base+"/"+t.operation
	if t.outstanding > 0 {
		b.slots = make(chan struct{}, t.outstanding)
	}
	if _, err := b.flood(s.ctx, target, min(max(t.connections, 1), 64), body, warmUp); err != nil {
		return sample{}, fmt.Errorf("warm up: %w", err)
	}
	b.reset()
	before, err := p.usage()
	if err == nil {
		err = p.forgetPeak()
	}
	if err != nil {
		return sample{}, err
	}
	var o outcome
	if t.rate > 0 {
		o, err = b.pace(s.ctx, target, t.rate, body, t.during)
	} else {
		o, err = b.flood(s.ctx, target, t.connections, body, t.during)
	}
	if err != nil {
		return sample{}, err
	}
	after, err := p.usage()
	n := float64(max(o.Accepted, 1))
	return sample{outcome: o, CPU: float64((after.cpu - before.cpu).Microseconds()) / n, RSS: float64(after.peakRSS) / mib,
		Written: float64(after.written-before.written) / n}, err
}

// read keeps readers open until stop is called: a list of jobs and a scrape of the
// metrics each second. slowest is the longest that one took, good after stop.
func read(ctx context.Context, base string) (slowest *time.Duration, stop func() error) {
	ctx, cancel := context.WithCancel(ctx)
	slowest, ended := new(time.Duration), make(chan error, 1)
	go func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			for _, path := range []string{"/v1/jobs", "/metrics"} {
				began := time.Now()
				if err := get(ctx, base+path); err != nil && ctx.Err() == nil {
					ended <- err
					return
				}
				*slowest = max(*slowest, time.Since(began))
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				ended <- nil
				return
			}
		}
	}()
	return slowest, func() error {
		cancel()
		return <-ended
	}
}

func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s was answered %s", req.URL.Path, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// syncTimes measures the disk alone: 4 KiB written over and synced, as often a
// second as a paced load does.
func (s *session) syncTimes(n, rate int) ([]time.Duration, error) {
	const block = 4096
	f, err := os.Create(filepath.Join(s.tmp, "sync"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 256*block)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	times := make([]time.Duration, 0, n)
	page := document(block)
	for i := range n {
		time.Sleep(time.Second / time.Duration(rate))
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i%256)*block); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
		times = append(times, time.Since(began))
	}
	return times, s.ctx.Err()
}
