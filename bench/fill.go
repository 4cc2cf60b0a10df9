package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
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

// fill puts jobs of 500 bytes into a store in dir.
func fill(ctx context.Context, dir string, n int, to stage, callback string) error {
	store, err := sqlite.Open(ctx, filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		return err
	}
	var made atomic.Int64
	err = together(fillers, func() error {
		for made.Add(1) <= int64(n) {
			if err := fillOne(ctx, store, to, callback); err != nil {
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

func fillOne(ctx context.Context, store *sqlite.Store, to stage, callback string) error {
	now := time.Now()
	body := document(500)
	j := &job.Job{ID: store.NewID(now), App: "dev", Operation: "relay", State: job.Accepted, CreatedAt: now,
		Request: job.Request{Method: "POST", Path: "/relay", Body: job.Body{Inline: body, Size: int64(len(body))},
			Header: map[string][]string{"Content-Type": {"application/json"}}},
		Targets: []job.Target{{URL: callback, Source: job.SourceRequest}}}
	if _, err := store.Accept(ctx, job.Acceptance{Job: j, Claimed: true}); err != nil || to == unfinished {
		return err
	}
	cb := &job.Callback{ID: store.NewID(now), JobID: j.ID, App: j.App, Operation: j.Operation, Event: job.EventSucceeded,
		URL: callback, Method: "POST", CreatedAt: now, GiveUpAt: now.Add(72 * time.Hour), State: job.Pending, DueAt: now}
	err := store.FinishRun(ctx, job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now},
		Result:    &job.Result{Status: 200, ContentType: "application/json", Echo: true},
		Callbacks: []job.OwedCallback{{Callback: cb, Claimed: to == settled}}})
	if err != nil || to == owed {
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
