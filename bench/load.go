package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// document is JSON of size bytes; no bytes at all for 0.
func document(size int) []byte {
	const head, tail = `{"document":"`, `"}`
	if size == 0 {
		return nil
	}
	text := bytes.Repeat([]byte("x"), max(size-len(head)-len(tail), 0))
	return append(append([]byte(head), text...), tail...)
}

var errRefused = errors.New("refused")

// submit makes a call, and tells how long its 202 took.
func (b *bench) submit(ctx context.Context, target string, n int, body []byte) (time.Duration, error) {
	callback := b.receivers[n%len(b.receivers)] + "?" + strconv.Itoa(n)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target+"?callbackURL="+url.QueryEscape(callback), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	resp, err := b.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err
	}
	if resp.StatusCode == http.StatusServiceUnavailable {
		return 0, errRefused
	}
	if resp.StatusCode != http.StatusAccepted {
		return 0, fmt.Errorf("answered %s: %s", resp.Status, answer)
	}
	return time.Since(began), nil
}

// outcome is what a run of load came to. Times are in milliseconds.
type outcome struct {
	Accepted  int     `json:"accepted"`
	Refused   int     `json:"refused"` // 503
	Twice     int     `json:"twice"`   // called back more than once
	PerSecond float64 `json:"per_second"`
	// Of the submission to the callback, and to the 202.
	P50       float64 `json:"p50_ms,omitempty"`
	P99       float64 `json:"p99_ms,omitempty"`
	AcceptP50 float64 `json:"accept_p50_ms,omitempty"`
	AcceptP99 float64 `json:"accept_p99_ms,omitempty"`
}

// flood submits from many connections, each as fast as it is answered, for a
// while, and waits until all is called back. The rate is that of callbacks, to
// the last one.
func (b *bench) flood(ctx context.Context, target string, connections int, body []byte, during time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, during+2*time.Minute)
	defer cancel()
	var numbers, accepted, refused atomic.Int64
	began := time.Now()
	err := together(connections, func() error {
		for time.Since(began) < during {
			if err := b.slot(ctx); err != nil {
				return err
			}
			n := int(numbers.Add(1)) - 1
			_, err := b.submit(ctx, target, n, body)
			for ; errors.Is(err, errRefused); _, err = b.submit(ctx, target, n, body) {
				refused.Add(1)
				time.Sleep(10 * time.Millisecond)
			}
			if err != nil {
				return err
			}
			accepted.Add(1)
		}
		return nil
	})
	if err != nil {
		return outcome{}, err
	}
	if err := b.await(ctx, int(accepted.Load())); err != nil {
		return outcome{}, err
	}
	took := time.Unix(0, b.last.Load()).Sub(began).Seconds()
	return outcome{Accepted: int(accepted.Load()), Refused: int(refused.Load()), Twice: int(b.twice.Load()), PerSecond: float64(accepted.Load()) / took}, nil
}

// slot waits until one more may be outstanding.
func (b *bench) slot(ctx context.Context) error {
	if b.slots == nil {
		return nil
	}
	select {
	case b.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// together runs f in n goroutines and returns the first error.
func together(n int, f func() error) error {
	errs := make(chan error, n)
	for range n {
		go func() { errs <- f() }()
	}
	var first error
	for range n {
		if err := <-errs; err != nil && first == nil {
			first = err
		}
	}
	return first
}

// maxPaced bounds how many paced calls are under way; those above it wait, and
// that counts as their latency.
const maxPaced = 1000

// pace submits at a constant rate, whether or not earlier calls were answered.
// Latency counts from when a call was due to be made.
func (b *bench) pace(ctx context.Context, target string, rate int, body []byte, during time.Duration) (outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, during+time.Minute)
	defer cancel()
	total := int(during.Seconds() * float64(rate))
	b.mu.Lock()
	b.sent = make([]time.Time, total)
	b.mu.Unlock()
	p := pacing{turn: make(chan struct{}, maxPaced)}
	began := time.Now()
	for n := range total {
		time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(rate))))
		b.mu.Lock()
		b.sent[n] = time.Now()
		b.mu.Unlock()
		p.calls.Go(func() {
			p.turn <- struct{}{}
			took, err := b.submit(ctx, target, n, body)
			<-p.turn
			p.note(took, err)
		})
	}
	p.calls.Wait()
	if p.failed != nil {
		return outcome{}, p.failed
	}
	if err := b.await(ctx, len(p.accepts)); err != nil {
		return outcome{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return outcome{Accepted: len(p.accepts), Refused: p.refused, Twice: int(b.twice.Load()),
		PerSecond: float64(len(p.accepts)) / time.Unix(0, b.last.Load()).Sub(began).Seconds(),
		P50:       quantile(b.latency, 0.5), P99: quantile(b.latency, 0.99),
		AcceptP50: quantile(p.accepts, 0.5), AcceptP99: quantile(p.accepts, 0.99)}, nil
}

// pacing is what paced calls came to.
type pacing struct {
	calls   sync.WaitGroup
	turn    chan struct{}
	mu      sync.Mutex
	accepts []time.Duration
	refused int
	failed  error
}

func (p *pacing) note(took time.Duration, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case errors.Is(err, errRefused):
		p.refused++
	case err != nil:
		p.failed = err
	default:
		p.accepts = append(p.accepts, took)
	}
}
