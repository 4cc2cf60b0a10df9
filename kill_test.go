package ringback_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
	"github.com/ringback/ringback/store/sqlite"
)

// gatewayProcess makes the test binary a gateway on the folder that it names, so
// that it can be killed.
const gatewayProcess = "RINGBACK_TEST_GATEWAY"

// gatewayUpstream is where the operation "chained" of such a process has its work done.
const gatewayUpstream = "RINGBACK_TEST_UPSTREAM"

// runGatewayProcess serves until it is killed, or its standard input ends with the
// test. The first run of an operation "slow" or "once" never ends.
func runGatewayProcess(dir string) {
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	store, err := sqlite.Open(context.Background(), filepath.Join(dir, "ringback.db"), sqlite.Options{})
	fail(err)
	slow := ringback.Func(func(ctx context.Context, call *ringback.Call, out *ringback.Result) error {
		marker, err := os.OpenFile(filepath.Join(dir, call.JobID), os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			_, err = io.WriteString(out, "ran again")
			return err
		}
		fail(err)
		marker.Close()
		<-ctx.Done()
		return ctx.Err()
	})
	opt := options(dir)
	opt.Operations = []ringback.Operation{
		operation("relay", "POST /relay", ringback.Relay(), quick),
		operation("slow", "POST /slow", slow, quick),
		operation("steps", "POST /steps", stepsOf(dir), everything, quick),
		operation("once", "POST /once", slow, quick, func(op *job.Operation) { op.AtMostOnce = true }),
	}
	opt.Operations = append(opt.Operations, operation("ask", "POST /ask", ringback.Func(func(ctx context.Context, call *ringback.Call, out *ringback.Result) error {
		color, err := call.Ask(ctx, "color", map[string]string{"which": "color"})
		if err != nil {
			return err
		}
		size, err := call.Ask(ctx, "size", "how large?")
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(out, "%s, %s", color.Body, size.Body)
		return err
	}), quick, func(op *job.Operation) { op.Retry.Attempts = 5 }))
	if upstream := os.Getenv(gatewayUpstream); upstream != "" {
		for _, async := range []string{"callback", "poll"} {
			b, err := ringback.HTTP(ringback.HTTPConfig{URL: upstream + "/" + async, Async: async})
			fail(err)
			opt.Operations = append(opt.Operations, operation(async, "POST /"+async, b, quick))
		}
	}
	g, err := ringback.New(context.Background(), store, opt)
	fail(err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	fail(err)
	fmt.Println(listener.Addr())
	go func() { fail(http.Serve(listener, g.Handler())) }()
	fail(g.Run(context.Background()))
}

// killable is a gateway in a process of its own.
type killable struct {
	gateway
	dir string
	env []string
	cmd *exec.Cmd
	in  io.Closer
}

func startKillable(t *testing.T, env ...string) *killable {
	t.Helper()
	k := &killable{dir: t.TempDir(), env: env}
	k.run(t)
	k.join(t)
	return k
}

// run starts the process on its folder.
func (k *killable) run(t *testing.T) {
	t.Helper()
	k.cmd = exec.Command(os.Args[0])
	k.cmd.Env = append(append(os.Environ(), gatewayProcess+"="+k.dir), k.env...)
	k.cmd.Stderr = t.Output()
	out, err := k.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if k.in, err = k.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.kill)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the gateway did not start: %v", err)
	}
	k.url = "http://" + strings.TrimSpace(address)
	if k.key != "" {
		k.app = k.client(t, k.key)
	}
}

// kill is kill -9.
func (k *killable) kill() {
	if k.cmd.ProcessState == nil {
		k.cmd.Process.Signal(syscall.SIGKILL)
		k.cmd.Wait()
		k.in.Close()
	}
}

func (k *killable) appSecret() sign.Secret { return k.secret }

func TestNothingAcknowledgedIsLostByAKillInTheMiddleOfAccept(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	url, messages := listen(t, k.appSecret, nil)
	acknowledged, enough := sync.Map{}, make(chan struct{})
	count := 0
	var mu sync.Mutex
	var clients sync.WaitGroup
	for range 16 {
		clients.Go(func() {
			for {
				// Every third document is large enough for a file of its own.
				body := strings.NewReader("small")
				mu.Lock()
				if count++; count%3 == 0 {
					body = strings.NewReader(strings.Repeat("large ", 20_000))
				}
				if count == 300 {
					close(enough)
				}
				mu.Unlock()
				a, err := k.app.Call(t.Context(), client.Call{Path: "/relay", CallbackURL: url, Body: body})
				if err != nil {
					return
				}
				acknowledged.Store(a.Job.ID, true)
			}
		})
	}
	<-enough
	k.kill()
	clients.Wait()
	k.run(t)
	missing := func() (n int) {
		acknowledged.Range(func(any, any) bool { n++; return true })
		return n
	}
	if missing() < 200 {
		t.Fatalf("only %d calls were acknowledged", missing())
	}
	for missing() > 0 {
		m := next(t, messages)
		acknowledged.Delete(m.envelope.Data.Job.ID)
		if m.envelope.Type != "relay.succeeded" {
			t.Errorf("%s", m.body)
		}
	}
}

func TestAKillInTheMiddleOfARunRepeatsItUnlessItRunsAtMostOnce(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	url, messages := listen(t, k.appSecret, nil)
	slow := k.call(t, client.Call{Path: "/slow", CallbackURL: url})
	once := k.call(t, client.Call{Path: "/once", CallbackURL: url})
	for _, id := range []string{slow.ID, once.ID} {
		eventually(t, "the start of "+id+" is stored", func() bool {
			j, err := k.app.Job(t.Context(), id)
			_, missing := os.Stat(filepath.Join(k.dir, id))
			return err == nil && j.Status == "running" && missing == nil
		})
	}
	k.kill()
	none(t, messages)
	k.run(t)
	outcome := map[string]message{}
	for range 2 {
		m := next(t, messages)
		outcome[m.envelope.Data.Job.ID] = m
	}
	if m := outcome[slow.ID]; m.envelope.Type != "slow.succeeded" {
		t.Errorf("the repeatable job: %s", m.body)
	}
	if m := outcome[once.ID]; m.envelope.Type != "once.failed" || m.envelope.Data.Error == nil || m.envelope.Data.Error.Code != "interrupted" {
		t.Errorf("the job that runs at most once: %s", m.body)
	}
	if j := k.done(t, slow.ID); j.Attempts != 2 {
		t.Errorf("%d attempts are counted, want the interrupted one and its repetition", j.Attempts)
	}
}

func TestAKillInTheMiddleOfASendSendsTheSameMessageAgain(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	killed := make(chan struct{})
	url, messages := listen(t, k.appSecret, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 1 {
			<-killed // the answer never leaves
		}
	})
	defer sync.OnceFunc(func() { close(killed) })()
	accepted := k.call(t, client.Call{Path: "/relay", CallbackURL: url, Body: strings.NewReader("once more")})
	first := next(t, messages)
	callback := first.header.Get("webhook-id")
	eventually(t, "the start of the attempt is stored", func() bool {
		c, err := k.app.Callback(t.Context(), callback)
		return err == nil && c.Attempts == 1
	})
	k.kill()
	k.run(t)
	again := next(t, messages)
	if again.header.Get("webhook-id") != callback || string(again.body) != string(first.body) {
		t.Errorf("first %s %s\nthen  %s %s", callback, first.body, again.header.Get("webhook-id"), again.body)
	}
	eventually(t, "the callback is settled", func() bool {
		c, err := k.app.Callback(t.Context(), callback)
		return err == nil && c.Status == "delivered"
	})
	var errs []string
	for a, err := range k.app.Attempts(t.Context(), callback) {
		if err != nil {
			t.Fatal(err)
		}
		errs = append(errs, a.Error)
	}
	if strings.Join(errs, ",") != ",interrupted" { // the newest first
		t.Errorf("attempts of %s: %q", accepted.ID, errs)
	}
}

func TestAKillWhileAnUpstreamHasTheJobRepeatsNothing(t *testing.T) {
	t.Parallel()
	u := newUpstream(t)
	k := startKillable(t, gatewayUpstream+"="+u.url)
	url, messages := listen(t, k.appSecret, nil)
	completed := k.call(t, client.Call{Path: "/callback", CallbackURL: url})
	completion := u.next(t)
	completion.later()
	k.is(t, completed.ID, "waiting")
	polled := k.call(t, client.Call{Path: "/poll", CallbackURL: url})
	u.next(t).later("Location", "/status/7")
	k.is(t, polled.ID, "waiting")
	u.next(t) // the poll is under way when the gateway dies
	k.kill()
	k.run(t)
	again := u.next(t)
	if again.RequestURI != "/status/7" {
		t.Fatalf("the upstream got %s %s", again.Method, again.RequestURI)
	}
	again.say(200, "text/plain", "polled")
	if m := next(t, messages); m.envelope.Data.Job.ID != polled.ID || *m.envelope.Data.ResultText != "polled" {
		t.Errorf("%s", m.body)
	}
	path := completion.Header.Get("Ringback-Completion-Url") // relative, without a public URL
	if status, said := post(t, k.url+path, "text/plain", "completed"); status != 204 {
		t.Fatalf("completion: %d %s", status, said)
	}
	k.kill() // right behind the acknowledgement
	k.run(t)
	if m := next(t, messages); m.envelope.Data.Job.ID != completed.ID || *m.envelope.Data.ResultText != "completed" {
		t.Errorf("%s", m.body)
	}
	if status, _ := post(t, k.url+path, "text/plain", "again"); status != 410 {
		t.Errorf("the second completion: %d", status)
	}
	for _, id := range []string{completed.ID, polled.ID} {
		if j := k.done(t, id); j.Attempts != 1 {
			t.Errorf("%+v", j)
		}
	}
	if len(u.calls) > 0 {
		t.Error("the upstream was called once more")
	}
}

func TestAKillLosesNeitherAQuestionNorItsAnswer(t *testing.T) {
	t.Parallel()
	k := startKillable(t)
	url, messages := listen(t, k.appSecret, func(_ int, w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) })
	accepted := k.call(t, client.Call{Path: "/ask", CallbackURL: url})
	color := next(t, messages)
	if color.envelope.Type != "ask.ask" || string(color.envelope.Data.Question) != `{"which":"color"}` {
		t.Fatalf("%s", color.body)
	}
	k.is(t, accepted.ID, "waiting")
	eventually(t, "the receiver's 202 is stored", func() bool { return len(k.attempts(t, color.header.Get("webhook-id"))) == 1 })
	k.kill()
	k.run(t)
	k.is(t, accepted.ID, "waiting") // it has asked again, and nobody was called
	if status, said := post(t, k.url+color.envelope.Data.ReplyURL, "text/plain", "blue"); status != 204 {
		t.Fatalf("reply: %d %s", status, said)
	}
	size := next(t, messages)
	if string(size.envelope.Data.Question) != `"how large?"` {
		t.Fatalf("%s", size.body)
	}
	eventually(t, "the receiver's 202 is stored", func() bool { return len(k.attempts(t, size.header.Get("webhook-id"))) == 1 })
	k.kill()
	k.run(t)
	k.is(t, accepted.ID, "waiting")
	if status, said := post(t, k.url+size.envelope.Data.ReplyURL, "text/plain", "large"); status != 204 {
		t.Fatalf("reply: %d %s", status, said)
	}
	k.kill() // right behind the acknowledgement
	k.run(t)
	if m := next(t, messages); m.envelope.Type != "ask.succeeded" || *m.envelope.Data.ResultText != "blue, large" {
		t.Errorf("%s", m.body)
	}
	none(t, messages)
}
