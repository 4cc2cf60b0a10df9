package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// stage is how far the jobs that fill a store have come.
type stage int

const (
	unfinished stage = iota // claimed by a process that is gone
	owed                    // done; their callbacks are due
	settled                 // done and called back
)

// fillers write at once: as many as share a commit.
const fillers = 1024

// filling is what a store is filled with: jobs of 500 bytes.
type filling struct {
	n         int
	stage     stage
	app       string   // empty: dev
	callbacks []string // URLs, in turn; the number of the job is their query
	due       time.Time
}

// fill puts jobs into a store in dir.
func fill(ctx context.Context, dir string, f filling) error {
	store, err := sqlite.Open(ctx, filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		return err
	}
	var made atomic.Int64
	err = together(fillers, func() error {
		for n := int(made.Add(1)) - 1; n < f.n; n = int(made.Add(1)) - 1 {
			if err := fillOne(ctx, store, &f, n); err != nil {
				return err
			}
		}
		return nil
	})
	if err = errors.Join(err, store.Close()); err != nil {
		return fmt.Errorf("fill: %w", err)
	}
	return nil
}

func fillOne(ctx context.Context, store *sqlite.Store, f *filling, n int) error {
	now := time.Now()
	body := document(500)
	callback := f.callbacks[n%len(f.callbacks)] + "?" + strconv.Itoa(n)
	j := &job.Job{ID: store.NewID(now), App: cmp.Or(f.app, "dev"), Operation: "relay", State: job.Accepted, CreatedAt: now,
		Request: job.Request{Method: "POST", Path: "/relay", Body: job.Body{Inline: body, Size: int64(len(body))},
			Header: map[string][]string{"Content-Type": {"application/json"}}},
		Targets: []job.Target{{URL: callback, Source: job.SourceRequest}}}
	if _, err := store.Accept(ctx, job.Acceptance{Job: j, Claimed: true}); err != nil || f.stage == unfinished {
		return err
	}
	cb := &job.Callback{ID: store.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventSucceeded,
		URL: callback, Method: "POST", CreatedAt: now, GiveUpAt: now.Add(72 * time.Hour), State: job.Pending, DueAt: f.due}
	if f.due.IsZero() {
		cb.DueAt = now
	}
	err := store.FinishRun(ctx, job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now},
		Result:    &job.Result{Status: 200, ContentType: "application/json", Echo: true},
		Callbacks: []job.OwedCallback{{Callback: cb, Claimed: f.stage == settled}}})
	if err != nil || f.stage == owed {
		return err
	}
	return store.SettleAttempt(ctx, job.Settlement{Callback: cb, State: job.Delivered, At: now,
		Attempt: &job.Attempt{N: 1, StartedAt: now, Total: time.Millisecond, Address: "127.0.0.1:9", Status: 200}})
}

// dead is a destination that is down: nothing listens there, or, while it is
// silent, what listens never answers.
type dead struct {
	addr string
	ln   net.Listener
}

func newDead() (*dead, error) {
	d := &dead{addr: "127.0.0.1:0"}
	if err := d.silence(); err != nil {
		return nil, err
	}
	d.addr = d.ln.Addr().String()
	d.refuse()
	return d, nil
}

func (d *dead) url() string { return "http://" + d.addr + "/dead" }

// silence takes connections, reads them, and says nothing.
func (d *dead) silence() (err error) {
	if d.ln, err = net.Listen("tcp", d.addr); err != nil {
		return err
	}
	go func() {
		for {
			conn, err := d.ln.Accept()
			if err != nil {
				return
			}
			go drain(conn, conn)
		}
	}()
	return nil
}

func (d *dead) refuse() { d.ln.Close() }
