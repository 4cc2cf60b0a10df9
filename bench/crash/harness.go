package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/ringback/ringback/client"
)

// plan is what a run does.
type plan struct {
	seed     uint64
	dir      string
	kills    int
	restarts int // by SIGTERM
	maxCalls int
	commit   time.Duration // how long after an answer its commit may take

	// Of a run with faults: how long it lasts, whatever kills is, how many calls a second
	// there are, and what the gateway may take of memory.
	chaos  time.Duration
	rate   int
	maxRSS int64
}

// harness is a gateway under load, the load and the receiver.
type harness struct {
	plan
	random   *rand.Rand
	gateway  *gateway
	load     *load
	receiver *receiver
	report   report
	moments  []moment
	faults   *faults // nil: none
}

// run carries a plan out. The report is whole where there is no error; what is
// wrong with the gateway is in its Violations.
func run(ctx context.Context, p plan) (_ *report, err error) {
	h := &harness{plan: p, random: rand.New(rand.NewPCG(p.seed, 0)), report: report{Seed: p.seed, Violations: []string{}}}
	began := time.Now()
	if h.gateway, err = newGateway(ctx, p.dir); err != nil {
		return nil, err
	}
	if p.chaos > 0 {
		h.faults = &faults{}
	}
	if h.receiver, err = newReceiver(p.seed, h.faults); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, h.receiver.close()) }()
	if h.load, err = newLoad(p.seed, p.maxCalls, h.gateway.url(), h.receiver.url+"/steady"); err != nil {
		return nil, err
	}
	h.load.rate = p.rate
	defer h.gateway.kill()
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		cancel()
		h.load.clients.Wait()
	}()
	if err := h.trouble(ctx); err != nil {
		return nil, err
	}
	if err := h.settle(ctx); err != nil {
		return nil, err
	}
	h.sum()
	if err := h.checkFiles(); err != nil {
		return nil, err
	}
	h.report.Seconds = time.Since(began).Seconds()
	return &h.report, nil
}

// trouble kills and restarts the gateway under load, as often as planned, and
// leaves it running.
func (h *harness) trouble(ctx context.Context) error {
	if err := h.gateway.start(); err != nil {
		return err
	}
	if err := h.prepare(ctx); err != nil {
		return err
	}
	h.load.start(ctx)
	if h.chaos > 0 {
		return h.storm(ctx)
	}
	for range h.kills {
		answered := h.load.answered.Load()
		if err := h.gateway.run(ctx, h.lifetime()); err != nil {
			return err
		}
		h.moments = append(h.moments, h.gateway.kill())
		h.report.Kills++
		if h.load.answered.Load() == answered {
			h.report.KillsBeforeServe++
		}
		if err := h.gateway.start(); err != nil {
			return err
		}
	}
	for i := range h.restarts {
		if err := h.underLoad(ctx); err != nil {
			return err
		}
		h.burst(ctx, i)
		began := time.Now()
		if err := h.gateway.stop(); err != nil {
			return err
		}
		h.report.Restarts++
		h.report.SlowestStop = max(h.report.SlowestStop, time.Since(began).Seconds())
		if err := h.gateway.start(); err != nil {
			return err
		}
	}
	return nil
}

// lifetime is how long the next process lives. One in five is killed while it is
// still starting, or nearly so.
func (h *harness) lifetime() time.Duration {
	if h.random.IntN(5) == 0 {
		return time.Duration(h.random.IntN(50)) * time.Millisecond
	}
	return time.Duration(50+h.random.IntN(900)) * time.Millisecond
}

// underLoad waits until the process serves, and for a random time.
func (h *harness) underLoad(ctx context.Context) error {
	answered := h.load.answered.Load()
	for h.load.answered.Load() < answered+clients {
		if err := h.gateway.run(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
	return h.gateway.run(ctx, time.Duration(h.random.IntN(1000))*time.Millisecond)
}

// burst makes the calls of the nth burst, and returns when all are accepted.
func (h *harness) burst(ctx context.Context, n int) {
	var calls sync.WaitGroup
	for i := range burst {
		calls.Go(func() { h.load.make(ctx, callOf(h.seed, firstBurst+n*burst+i)) })
	}
	calls.Wait()
}

// prepare makes the endpoints, as soon as the gateway serves.
func (h *harness) prepare(ctx context.Context) error {
	for _, name := range []string{flakyEndpoint, tardyEndpoint, orderedEndpoint} {
		for {
			_, err := h.load.api.CreateEndpoint(ctx, client.EndpointCreate{Name: name, URL: h.receiver.url + "/" + name, Ordered: name == orderedEndpoint})
			if err == nil {
				break
			}
			if stopped := h.gateway.run(ctx, 20*time.Millisecond); stopped != nil {
				return fmt.Errorf("create an endpoint: %w: %w", stopped, err)
			}
		}
	}
	return nil
}

// settlePatience bounds how long the gateway may take to finish what is left.
const settlePatience = 2 * time.Minute

// settle lets the load end and the gateway come to the end of its work, fetches the
// large results, and stops the gateway.
func (h *harness) settle(ctx context.Context) error {
	h.load.stop()
	deadline := time.Now().Add(settlePatience)
	for unfinished := 1; unfinished > 0; {
		if err := h.gateway.run(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		var err error
		if unfinished, err = h.unfinished(ctx); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			h.report.violate("the gateway has not come to the end of its work: %d jobs or callbacks, at least, are not settled", unfinished)
			break
		}
	}
	if err := h.fetchLarge(ctx); err != nil {
		return err
	}
	return h.gateway.stop()
}

// unfinished is 0 when every job and callback has come to its end.
func (h *harness) unfinished(ctx context.Context) (n int, err error) {
	for _, status := range []string{client.StatusAccepted, client.StatusRunning} {
		for _, err := range h.load.api.Jobs(ctx, client.JobQuery{Status: status, PageSize: 1}) {
			if err != nil {
				return 0, err
			}
			n++
			break
		}
	}
	for _, err := range h.load.api.Callbacks(ctx, client.CallbackQuery{Status: "pending", PageSize: 1}) {
		if err != nil {
			return 0, err
		}
		n++
		break
	}
	return n, nil
}

// fetchLarge compares the results that were sent as links.
func (h *harness) fetchLarge(ctx context.Context) error {
	for id, m := range h.receiver.received() {
		if m.resultURL == "" {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, "GET", m.resultURL, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return fmt.Errorf("fetch a result: %w", err)
		}
		result, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		h.report.Large++
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(result, callOf(h.seed, m.number).body) {
			h.report.violate("the result behind the link of callback %s: %s, %d bytes, %v", id, resp.Status, len(result), err)
		}
	}
	return nil
}

// sum judges what clients and receiver have seen.
func (h *harness) sum() {
	r, l := &h.report, h.load
	r.Calls, r.Unanswered = int(l.calls.Load()), int(l.unanswered.Load())
	r.Refused, r.Repeated = int(l.refused.Load()), int(l.repeated.Load())
	messages := h.receiver.received()
	r.Violations = append(append(r.Violations, l.wrong...), h.receiver.wrong...)
	r.judge(evidence{seed: h.seed, acknowledged: l.acknowledged, messages: messages, kills: h.moments, commit: h.commit})
	r.judgeOrder(messages)
	if h.faults != nil {
		counts := h.faults.counts()
		r.Faults = &counts
	}
	lines, err := os.ReadFile(h.gateway.path("runs"))
	if err != nil {
		r.violate("no command that runs at most once ever ran: %v", err)
	}
	r.judgeOnce(h.seed, string(lines), messages)
}
