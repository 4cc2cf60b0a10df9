package callback

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

// bench is a sender over a real store, in a bubble of its own time. What it sends
// comes to answer, which says the status.
type bench struct {
	*Sender
	store *sqlite.Store
	mu    sync.Mutex
	heard []string // the events, with the time since the beginning
}

func newBench(t *testing.T, answer func(event string) int) *bench {
	t.Helper()
	store, err := sqlite.Open(context.Background(), filepath.Join(t.TempDir(), "r.db"), sqlite.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.New(make([]byte, seal.KeyBytes))
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{store: store}
	began := time.Now()
	dial := func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			for in := bufio.NewReader(theirs); ; {
				r, err := http.ReadRequest(in)
				if err != nil {
					return
				}
				body, err := io.ReadAll(r.Body)
				var e struct{ Type string }
				if err != nil || json.Unmarshal(body, &e) != nil {
					return
				}
				event := strings.TrimPrefix(e.Type, "scan.")
				b.mu.Lock()
				b.heard = append(b.heard, event+" "+time.Since(began).Round(time.Second).String())
				b.mu.Unlock()
				if _, err := fmt.Fprintf(theirs, "HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n", answer(event)); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}
	client, err := outbound.New(outbound.Policy{HTTP: true, Loopback: true}, outbound.Limits{}, outbound.Options{Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	op := job.Operation{Name: "scan", Callback: job.Contract{Events: job.AllEvents, Schedule: []time.Duration{10 * time.Second, 10 * time.Second, 10 * time.Second}}}
	b.Sender = New(Options{Store: store, Client: client, Seal: sealer, Operations: []job.Operation{op}, ResultLink: link, UserAgent: "Ringback/test",
		Log: discard, Now: time.Now, Registerer: prometheus.NewRegistry()})
	store.Committed(b.Committed)
	secret := sealer.Seal([]byte(sign.NewKeys().Reveal()), "secret")
	if err := store.CreateApp(t.Context(), job.App{Name: "shop", Secrets: job.Secrets{Current: secret}}, job.Key{App: "shop"}); err != nil {
		t.Fatal(err)
	}
	if err := b.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := b.Close(ctx); err != nil {
			t.Error(err)
		}
		client.Close()
		store.Close()
	})
	return b
}

// accept stores a job that is told of from its acceptance on.
func (b *bench) accept(t *testing.T) *job.Job {
	t.Helper()
	return b.acceptDue(t, 0)
}

// acceptDue has the callback due a while later.
func (b *bench) acceptDue(t *testing.T, after time.Duration) *job.Job {
	t.Helper()
	now := time.Now()
	j := &job.Job{ID: b.store.NewID(now), App: "shop", Operation: "scan", State: job.Accepted, CreatedAt: now, DueAt: now,
		Targets: []job.Target{{URL: "http://127.0.0.1:80/bar"}}}
	owed := b.OweAccepted(j)
	j.Early, owed[0].Callback.DueAt = true, now.Add(after)
	if _, err := b.store.Accept(t.Context(), job.Acceptance{Job: j, Claimed: true, Callbacks: owed}); err != nil {
		t.Fatal(err)
	}
	return j
}

func (b *bench) start(t *testing.T, j *job.Job) {
	t.Helper()
	now := time.Now()
	if err := b.store.StartRun(t.Context(), job.Start{Job: j, N: 1, At: now, Callbacks: b.OweEarly(t.Context(), j, job.EventRunning, now)}); err != nil {
		t.Fatal(err)
	}
}

func (b *bench) end(t *testing.T, j *job.Job) {
	t.Helper()
	now := time.Now()
	f := job.Finish{Job: j, State: job.Succeeded, At: now, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now}, Result: &job.Result{Status: 200, Echo: true}}
	f.Callbacks = b.Owe(t.Context(), j, f.State, now)
	if f.Callbacks[0].Claimed {
		t.Error("what may have to wait for an earlier callback has a place")
	}
	if err := b.store.FinishRun(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// after is what was heard a while later.
func (b *bench) after(d time.Duration) []string {
	<-time.After(d)
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.heard)
}

func (b *bench) standing(t *testing.T, j *job.Job) (words []string) {
	t.Helper()
	all, err := b.store.Callbacks(t.Context(), job.CallbackFilter{JobID: j.ID})
	if err != nil {
		t.Fatal(err)
	}
	for _, cb := range all {
		words = append(words, fmt.Sprint(cb.Event, " ", cb.State, " ", cb.Attempts))
	}
	slices.Reverse(words)
	return words
}

func TestARetryHoldsUpWhatComesLaterUntilTheJobEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		b := newBench(t, func(event string) int {
			if event == "accepted" && !mended.Load() {
				return 500
			}
			return 200
		})
		j := b.accept(t)
		b.start(t, j)
		if got := b.after(5 * time.Second); !slices.Equal(got, []string{"accepted 0s"}) {
			t.Fatalf("heard %v", got)
		}
		mended.Store(true) // the schedule has its own mind about when, give or take a fifth
		if got := b.after(15 * time.Second); len(got) != 3 || !strings.HasPrefix(got[1], "accepted ") || !strings.HasPrefix(got[2], "running ") {
			t.Fatalf("heard %v", got)
		}
		b.end(t, j)
		b.after(time.Second)
		if got := b.standing(t, j); !slices.Equal(got, []string{"accepted delivered 2", "running delivered 1", "succeeded delivered 1"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestTheEndComesAtOnceWhereAnEarlierOneRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(event string) int {
			if event == "accepted" {
				return 500
			}
			return 200
		})
		j := b.accept(t)
		b.start(t, j)
		b.after(time.Second)
		b.end(t, j)
		if got := b.after(time.Minute); !slices.Equal(got, []string{"accepted 0s", "succeeded 1s"}) {
			t.Errorf("heard %v", got)
		}
		if got := b.standing(t, j); !slices.Equal(got, []string{"accepted discarded 1", "running discarded 0", "succeeded delivered 1"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestAnAttemptInFlightIsTheLastOfAnEarlyCallbackWhoseJobHasEnded(t *testing.T) {
	for _, status := range []int{200, 500} {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, func(event string) int {
				if event == "accepted" {
					<-time.After(5 * time.Second)
					return status
				}
				return 200
			})
			j := b.accept(t)
			b.after(time.Second)
			b.end(t, j)
			if got := b.after(time.Second); !slices.Equal(got, []string{"accepted 0s"}) {
				t.Errorf("heard %v while it was in flight", got)
			}
			if got := b.after(time.Minute); !slices.Equal(got, []string{"accepted 0s", "succeeded 5s"}) {
				t.Errorf("heard %v", got)
			}
			want := map[int]string{200: "accepted delivered 1", 500: "accepted discarded 1"}[status]
			if got := b.standing(t, j); !slices.Equal(got, []string{want, "succeeded delivered 1"}) {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestWhatIsInMemoryWhenItsJobEndsIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, func(string) int { return 200 })
		j := b.acceptDue(t, time.Hour)
		// It is claimed by hand, so that the sender gets it when the job is over.
		due, _, err := b.store.ClaimCallbacks(t.Context(), "shop http://127.0.0.1:80", time.Now().Add(time.Hour), 1)
		if err != nil || len(due) != 1 {
			t.Fatalf("claimed %d, %v", len(due), err)
		}
		b.end(t, j)
		b.deliver(t.Context(), due[0], func() {})
		if got := b.after(time.Second); !slices.Equal(got, []string{"succeeded 0s"}) {
			t.Errorf("heard %v", got)
		}
		if got := b.standing(t, j); !slices.Equal(got, []string{"accepted discarded 0", "succeeded delivered 1"}) {
			t.Errorf("%v", got)
		}
	})
}

func TestAnEarlyCallbackSpeaksOfTheJobAsItWas(t *testing.T) {
	t.Parallel()
	ended := func(event job.Event, data string) (*job.Callback, *job.Job) {
		cb, j := fixture()
		cb.Event, cb.Data, cb.CreatedAt = event, []byte(data), j.StartedAt
		j.Error, j.Progress = &job.Error{Code: job.CodeTimeout}, []byte(`"all"`)
		return cb, j
	}
	type said struct {
		Type string
		Data struct {
			Job                 map[string]any
			Progress            any
			Result, Error, Text any
		}
	}
	for event, want := range map[job.Event]struct {
		status   string
		started  bool
		progress any
	}{
		job.EventAccepted: {"accepted", false, nil},
		job.EventRunning:  {"running", true, nil},
		job.EventProgress: {"running", true, map[string]any{"done": 0.5}},
	} {
		cb, j := ended(event, `{"done":0.5}`)
		late := appendEnvelope(nil, cb, asOf(cb, j))
		var got said
		if err := json.Unmarshal(late, &got); err != nil {
			t.Fatalf("%v\n%s", err, late)
		}
		_, finished := got.Data.Job["finished_at"]
		_, started := got.Data.Job["started_at"]
		if got.Type != "scan."+string(event) || got.Data.Job["status"] != want.status || started != want.started || finished ||
			fmt.Sprint(got.Data.Progress) != fmt.Sprint(want.progress) || got.Data.Result != nil || got.Data.Error != nil {
			t.Errorf("%s", late)
		}
		// The same to the byte as when it happened.
		early := *j
		early.State, early.FinishedAt, early.Result, early.Error, early.Progress = job.Running, time.Time{}, nil, nil, nil
		if event == job.EventRunning {
			early.StartedAt = time.Time{} // the start was not stored yet
		}
		if at := appendEnvelope(nil, cb, asOf(cb, &early)); string(at) != string(late) {
			t.Errorf("at first\n%s\nlater\n%s", at, late)
		}
	}
	cb, j := fixture()
	if asOf(cb, j) != j {
		t.Error("the job at its end is copied")
	}
}
