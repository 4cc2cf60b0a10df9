package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ringback/ringback/client"
)

// load calls the gateway from many clients until it is told to stop, and keeps what
// was acknowledged.
type load struct {
	seed     uint64
	maxCalls int
	api      *client.Client
	callback string // the URL that is sent with calls
	rate     int    // calls a second, about; 0: as many as there can be, with pauses. Some are in order then
	stopping chan struct{}
	clients  sync.WaitGroup

	calls, unanswered, refused, repeated, answered atomic.Int64

	mu           sync.Mutex
	acknowledged map[int]string // the job's id by the call's number
	wrong        []string
}

const clients = 32

func newLoad(seed uint64, maxCalls int, gatewayURL, callbackURL string) (*load, error) {
	api, err := client.New(gatewayURL, "", client.Options{Transport: &http.Transport{MaxIdleConnsPerHost: clients}, Attempts: 1})
	if err != nil {
		return nil, err
	}
	return &load{seed: seed, maxCalls: maxCalls, api: api, callback: callbackURL,
		stopping: make(chan struct{}), acknowledged: map[int]string{}}, nil
}

// start lets the clients begin. Each ends after stop, when its last call has been
// acknowledged, or with ctx.
func (l *load) start(ctx context.Context) {
	for range clients {
		l.clients.Go(func() {
			for l.goesOn(ctx) {
				number := int(l.calls.Add(1)) - 1
				if number >= l.maxCalls {
					l.calls.Add(-1)
					return
				}
				began := time.Now()
				l.make(ctx, l.callOf(number))
				if l.rate > 0 {
					pause(ctx, time.Until(began.Add(time.Second*clients/time.Duration(l.rate))))
					continue
				}
				pause(ctx, time.Duration(rand.IntN(30))*time.Millisecond)
			}
		})
	}
}

// callOf is the call of a number; of a run with faults every tenth relayed one goes to the
// ordered endpoint.
func (l *load) callOf(number int) call {
	c := callOf(l.seed, number)
	if l.rate > 0 && c.endpoint == "" && c.path == pathRelay && number%10 == 0 {
		c.endpoint = orderedEndpoint
	}
	return c
}

func (l *load) goesOn(ctx context.Context) bool {
	select {
	case <-l.stopping:
		return false
	case <-ctx.Done():
		return false
	default:
		return true
	}
}

// stop returns when all clients have ended.
func (l *load) stop() {
	close(l.stopping)
	l.clients.Wait()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// make makes a call, with its key as often as it takes until it is acknowledged.
func (l *load) make(ctx context.Context, c call) {
	for repeat := false; ctx.Err() == nil; {
		if repeat {
			l.repeated.Add(1)
		}
		id, err := l.send(ctx, c)
		var problem *client.Problem
		switch {
		case err == nil:
			l.answered.Add(1)
			l.acknowledge(c, id)
			if !c.again {
				return
			}
			c.again = false
		case errors.As(err, &problem) && (problem.Status == http.StatusServiceUnavailable || problem.Status == http.StatusConflict):
			l.refused.Add(1)
			pause(ctx, 50*time.Millisecond)
		case errors.As(err, &problem):
			l.complain("call %d was answered %v", c.number, problem)
			return
		case ctx.Err() == nil:
			l.unanswered.Add(1)
			if c.key == "" {
				return
			}
			pause(ctx, 20*time.Millisecond)
		}
		repeat = true
	}
}

// callTimeout bounds a call that gets no answer: one to a gateway that hangs.
const callTimeout = 30 * time.Second

func (l *load) send(ctx context.Context, c call) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	request := client.Call{Path: c.path, Body: bytes.NewReader(c.body), ContentType: "text/plain",
		Endpoint: c.endpoint, State: fmt.Sprint(c.number), IdempotencyKey: c.key}
	if c.endpoint == "" {
		request.CallbackURL = l.callback
	}
	answer, err := l.api.Call(ctx, request)
	if err != nil {
		return "", err
	}
	return answer.Job.ID, nil
}

func (l *load) acknowledge(c call, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.acknowledged[c.number]; first != "" && first != id {
		l.wrong = append(l.wrong, fmt.Sprintf("call %d with one key became two jobs: %s and %s", c.number, first, id))
	}
	l.acknowledged[c.number] = id
}

func (l *load) complain(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong = append(l.wrong, fmt.Sprintf(format, args...))
}
