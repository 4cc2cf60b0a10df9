package backend

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/clamtest"
	"github.com/ringback/ringback/job"
)

// disk is the storage behind those of all tests: to make a folder takes longer
// than most tests.
var disk *body.Dir

func TestMain(m *testing.M) {
	path, err := os.MkdirTemp("", "backend")
	if err != nil {
		panic(err)
	}
	if disk, err = body.OpenDir(path); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if err := os.RemoveAll(path); err != nil {
			panic(err)
		}
		os.Exit(code)
	}))
}

// patience bounds what a test waits for; nothing takes that long.
const patience = 20 * time.Second

// kindTests are what each kind brings to the contract. A new kind adds itself here.
var kindTests = []kindTest{
	{name: "http", echo: echoHTTP, stuck: stuckHTTP, fails: failingHTTP, code: job.CodeBackendStatus},
	{name: "command", echo: echoCommand, stuck: stuckCommand, fails: failingCommand, code: job.CodeExit},
	{name: "clamd", echo: realClamd, stuck: stuckClamd, fails: failingClamd, code: job.CodeBackendError, small: true},
	{name: "func", echo: echoFunc, stuck: stuckFunc, fails: failingFunc, code: job.CodePanic},
	{name: "relay", echo: func(testing.TB) Backend { return Relay{} }, blind: true},
}

type kindTest struct {
	name string
	// echo makes a backend whose result is the request's body, or, where the
	// results are always small, one that holds the body's length in digits.
	echo  func(testing.TB) Backend
	small bool
	// stuck makes a backend that does not finish before it is stopped. It closes
	// started when the attempt is under way, and gone when nothing is left of it.
	// nil where a run cannot take long.
	stuck func(testing.TB) (b Backend, started, gone <-chan struct{})
	// fails makes a backend that fails with code after it began a large result
	// where it can. nil where a run cannot fail.
	fails func(testing.TB) Backend
	code  job.Code
	blind bool // never reads the request's body
}

func TestEveryKindOfTheConfigurationKeepsTheContract(t *testing.T) {
	t.Parallel()
	for name := range Kinds {
		found := false
		for _, k := range kindTests {
			found = found || k.name == name
		}
		if !found {
			t.Errorf("kind %s is not in kindTests", name)
		}
	}
}

func TestRunSucceeds(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			run := newRun(t, []byte("a document"))
			result, err := k.echo(t).Run(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			if result.Status != http.StatusOK || result.ContentType == "" {
				t.Errorf("status %d, content type %q", result.Status, result.ContentType)
			}
			k.checkEcho(t, run, result, []byte("a document"))
		})
	}
}

func TestEmptyDocumentIsADocument(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			run := newRun(t, nil)
			result, err := k.echo(t).Run(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			k.checkEcho(t, run, result, nil)
		})
	}
}

func TestLargeDocumentStreamsBothWays(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			document := bytes.Repeat([]byte("0123456789abcde\n"), 300_000)
			run := newRun(t, document)
			result, err := k.echo(t).Run(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			if !k.small && !result.Echo && result.Body.Ref == "" {
				t.Error("a large result is kept in memory")
			}
			k.checkEcho(t, run, result, document)
		})
	}
}

func TestResultOverTheLimitFailsForGood(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			for _, size := range []int{100, 3 << 20} {
				run := newRun(t, bytes.Repeat([]byte("a"), size))
				before := stored(run)
				run.MaxResult = int64(size) - 1
				if k.small {
					run.MaxResult = 10
				}
				_, err := k.echo(t).Run(t.Context(), run)
				wantFailure(t, err, job.CodeResultTooLarge, true)
				if after := stored(run); after != before {
					t.Errorf("%d bodies left behind", after-before)
				}
			}
		})
	}
}

func TestResultAtTheLimitIsWhole(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			if k.small {
				return
			}
			document := bytes.Repeat([]byte("a"), 100_000)
			run := newRun(t, document)
			run.MaxResult = int64(len(document))
			result, err := k.echo(t).Run(t.Context(), run)
			if err != nil {
				t.Fatal(err)
			}
			k.checkEcho(t, run, result, document)
		})
	}
}

func TestRunThatIsCanceledBeforeItBeginsDoesNothing(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := k.echo(t).Run(ctx, newRun(t, []byte("x"))); !errors.Is(err, context.Canceled) {
				t.Fatalf("err = %v", err)
			}
		})
	}
}

func TestStoppedRunLeavesNothingRunning(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		for _, why := range []error{context.Canceled, context.DeadlineExceeded} {
			t.Run(k.name+" "+why.Error(), func(t *testing.T) {
				t.Parallel()
				if k.stuck == nil {
					return
				}
				b, started, gone := k.stuck(t)
				run := newRun(t, []byte("x"))
				ctx := ending{t.Context(), make(chan struct{}), why}
				ended := make(chan error, 1)
				go func() {
					_, err := b.Run(ctx, run)
					ended <- err
				}()
				await(t, "start", started)
				close(ctx.done)
				select {
				case err := <-ended:
					if !errors.Is(err, why) {
						t.Errorf("err = %v", err)
					}
				case <-time.After(patience):
					t.Fatal("the run goes on")
				}
				await(t, "end of the work", gone)
				if n := stored(run); n != 0 {
					t.Errorf("%d bodies left behind", n)
				}
			})
		}
	}
}

// ending is a context that is done when, and for the reason that, a test wants:
// a real deadline could come before the attempt is under way.
type ending struct {
	context.Context
	done chan struct{}
	err  error
}

func (e ending) Done() <-chan struct{} { return e.done }

func (e ending) Err() error {
	select {
	case <-e.done:
		return e.err
	default:
		return nil
	}
}

func TestFailedRunSaysWhyAndLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			if k.fails == nil {
				return
			}
			run := newRun(t, []byte("x"))
			_, err := k.fails(t).Run(t.Context(), run)
			wantFailure(t, err, k.code, false)
			if n := stored(run); n != 0 {
				t.Errorf("%d bodies left behind", n)
			}
		})
	}
}

func TestLostOrShortenedDocumentFailsForGood(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			if k.blind {
				return
			}
			b := k.echo(t)
			run := newRun(t, bytes.Repeat([]byte("a"), 100_000))
			run.Job.Request.Body.Size++
			_, err := b.Run(t.Context(), run)
			wantFailure(t, err, job.CodeBodyLost, true)
			if err := run.Bodies.Delete(run.Job.Request.Body.Ref); err != nil {
				t.Fatal(err)
			}
			_, err = b.Run(t.Context(), run)
			wantFailure(t, err, job.CodeBodyLost, true)
		})
	}
}

func TestRunsAtOnceDoNotMix(t *testing.T) {
	t.Parallel()
	for _, k := range kindTests {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			b := k.echo(t)
			bodies := newRun(t, nil).Bodies
			var all sync.WaitGroup
			for i := range 12 {
				all.Go(func() {
					document := bytes.Repeat([]byte{byte('a' + i)}, 1+i*15_000)
					run := newRunWith(t, bodies, document)
					result, err := b.Run(t.Context(), run)
					if err != nil {
						t.Error(err)
						return
					}
					k.checkEcho(t, run, result, document)
				})
			}
			all.Wait()
		})
	}
}

// newRun makes the first attempt at a job with a document, in a storage of its own.
func newRun(t testing.TB, document []byte) *Run {
	t.Helper()
	return newRunWith(t, &counted{Storage: disk}, document)
}

// counted is a storage that knows how many bodies are in it.
type counted struct {
	body.Storage
	n atomic.Int64
}

func (c *counted) Put(ctx context.Context, r io.Reader, limit int64) (ref string, size int64, err error) {
	if ref, size, err = c.Storage.Put(ctx, r, limit); err == nil {
		c.n.Add(1)
	}
	return ref, size, err
}

func (c *counted) Delete(ref string) error {
	c.n.Add(-1)
	return c.Storage.Delete(ref)
}

var ids job.IDs

func newRunWith(t testing.TB, bodies body.Storage, document []byte) *Run {
	t.Helper()
	b, err := body.Read(t.Context(), bodies, bytes.NewReader(document), 1<<40)
	if err != nil {
		t.Error(err)
	}
	return &Run{
		Job: &job.Job{
			ID: ids.New(time.Now()), App: "shop", Operation: "scan",
			Request: job.Request{Method: "POST", Path: "/scan", Header: http.Header{"Content-Type": {"text/plain"}}, Body: b},
		},
		N: 1, Bodies: bodies, MaxResult: 64 << 20,
	}
}

func (k kindTest) checkEcho(t testing.TB, run *Run, result *job.Result, document []byte) {
	t.Helper()
	run.Job.Result = result
	got := read(t, run, run.Job.ResultBody())
	if k.small {
		if want := fmt.Sprintf(`"bytes":%d,`, len(document)); !strings.Contains(got, want) {
			t.Errorf("result is %s, want %s in it", got, want)
		}
		return
	}
	if got != string(document) {
		t.Errorf("result has %d octets that are not the document's %d", len(got), len(document))
	}
}

func read(t testing.TB, run *Run, b job.Body) string {
	t.Helper()
	r, err := body.Open(run.Bodies, b)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(text)
}

// stored is how many bodies are in a run's storage.
func stored(run *Run) int64 { return run.Bodies.(*counted).n.Load() }

func wantFailure(t testing.TB, err error, code job.Code, final bool) {
	t.Helper()
	failure := asFailure(t, err)
	if failure.Code != code || failure.Final != final {
		t.Fatalf("err = %v, final %v, want code %s, final %v", err, failure.Final, code, final)
	}
	if failure.Message == "" || strings.Contains(failure.Message+failure.Detail, "127.0.0.1") {
		t.Errorf("message %q, detail %q", failure.Message, failure.Detail)
	}
}

func asFailure(t testing.TB, err error) *Failure {
	t.Helper()
	failure, ok := errors.AsType[*Failure](err)
	if !ok {
		t.Fatalf("err = %v, want a *Failure", err)
	}
	return failure
}

func await(t testing.TB, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-time.After(patience):
		t.Fatalf("waited too long for the %s", what)
	}
}

func newHTTP(t testing.TB, c HTTPConfig) *HTTP {
	t.Helper()
	h, err := NewHTTP(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

func upstream(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func echoHTTP(t testing.TB) Backend {
	t.Helper()
	return newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		document, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(document)
	})})
}

func stuckHTTP(t testing.TB) (b Backend, started, gone <-chan struct{}) {
	t.Helper()
	begun, ended := make(chan struct{}), make(chan struct{})
	url := upstream(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("a"), 100_000)) // the result has begun
		_ = http.NewResponseController(w).Flush()
		close(begun)
		<-r.Context().Done()
		close(ended)
	})
	return newHTTP(t, HTTPConfig{URL: url}), begun, ended
}

func failingHTTP(t testing.TB) Backend {
	t.Helper()
	return newHTTP(t, HTTPConfig{URL: upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, strings.Repeat("out of order\n", 100_000), http.StatusInternalServerError)
	})})
}

func newCommand(t testing.TB, c CommandConfig) *Command {
	t.Helper()
	b, err := NewCommand(c)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func echoCommand(t testing.TB) Backend {
	t.Helper()
	return newCommand(t, CommandConfig{Argv: []string{"cat"}, OutputType: "text/plain"})
}

// stuckCommand runs a shell and a child of it that both ignore SIGTERM.
func stuckCommand(t testing.TB) (b Backend, started, gone <-chan struct{}) {
	t.Helper()
	fifo, started, gone := newFifo(t)
	const script = `trap "" TERM; exec 3>"$0"; head -c 100000 /dev/zero; sleep 1000 & echo >&3; while :; do sleep 1000; done`
	return newCommand(t, CommandConfig{Argv: []string{"sh", "-c", script, fifo}}), started, gone
}

// newFifo makes a named pipe and closes started when something is written into
// it, and gone when the last process that holds it open has ended.
func newFifo(t testing.TB) (path string, started, gone <-chan struct{}) {
	t.Helper()
	path = makeFifo(t)
	begun, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		f, err := os.Open(path) // waits for the writer
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		if _, err := f.Read(make([]byte, 1)); err != nil {
			t.Error(err)
		}
		close(begun)
		_, _ = io.Copy(io.Discard, f)
	}()
	return path, begun, ended
}

func makeFifo(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if out, err := exec.Command("mkfifo", path).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

func failingCommand(t testing.TB) Backend {
	t.Helper()
	return newCommand(t, CommandConfig{Argv: []string{"sh", "-c", "head -c 1000000 /dev/zero; exit 3"}})
}

func newClamd(t testing.TB, address string) *Clamd {
	t.Helper()
	b, err := NewClamd(ClamdConfig{Address: address})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func realClamd(t testing.TB) Backend {
	t.Helper()
	return newClamd(t, clamtest.Start(t, clamd.Options{}).Address())
}

func echoFunc(testing.TB) Backend {
	return Func(func(_ context.Context, call *Call, result *Result) error {
		result.ContentType = call.Header.Get("Content-Type")
		_, err := io.Copy(result, call.Body)
		return err
	})
}

func stuckFunc(testing.TB) (b Backend, started, gone <-chan struct{}) {
	begun, ended := make(chan struct{}), make(chan struct{})
	return Func(func(ctx context.Context, _ *Call, result *Result) error {
		defer close(ended)
		if _, err := result.Write(make([]byte, 100_000)); err != nil {
			return err
		}
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	}), begun, ended
}

func failingFunc(testing.TB) Backend {
	return Func(func(_ context.Context, _ *Call, result *Result) error {
		if _, err := result.Write(make([]byte, 1_000_000)); err != nil {
			return err
		}
		panic("index out of range, with the secret 4711")
	})
}
