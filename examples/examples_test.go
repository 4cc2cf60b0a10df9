// Package examples_test runs the examples against a gateway.
package examples_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/gatewaytest"
	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// setup starts a gateway, and returns a client of it.
func setup(t *testing.T) (*gatewaytest.Gateway, *client.Client) {
	t.Helper()
	g, err := gatewaytest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	c, err := client.New(g.URL, g.Key, client.Options{Transport: transport})
	if err != nil {
		t.Fatal(err)
	}
	return g, c
}

// program is the receiver in dir, ready to be started.
func program(t *testing.T, dir string) []string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		npmtest.Install(t, dir)
		return []string{"node", filepath.Join(dir, "receiver.mjs")}
	}
	binary := filepath.Join(t.TempDir(), "receiver")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./"+dir).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", dir, err, out)
	}
	return []string{binary}
}

// start starts a receiver as a process of its own, which ends with the test, and
// returns its URL and what it prints.
func start(t *testing.T, secret string, argv ...string) (url string, lines <-chan string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	command := exec.CommandContext(ctx, argv[0], argv[1:]...) // whose process the context kills
	command.Env = append(os.Environ(), "RINGBACK_SECRET="+secret, "ADDR=127.0.0.1:0", "PORT=0")
	command.Stderr = t.Output()
	stdout, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	printed := make(chan string, 100)
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer close(printed)
		for scanner := bufio.NewScanner(stdout); scanner.Scan(); {
			printed <- scanner.Text()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-read
		if err := command.Wait(); err == nil {
			t.Error("the receiver ended by itself")
		}
	})
	url, ok := strings.CutPrefix(next(t, printed), "listening on ")
	if !ok {
		t.Fatalf("the receiver says %q first", url)
	}
	return url, printed
}

func next(t *testing.T, lines <-chan string) string {
	t.Helper()
	select {
	case line, ok := <-lines:
		if !ok {
			t.Fatal("the receiver has ended")
		}
		return line
	case <-time.After(time.Minute):
		t.Fatal("the receiver says nothing")
	}
	return ""
}

// settle makes a call, and waits until it and its callback have come to their end.
func settle(t *testing.T, c *client.Client, call client.Call) *client.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	answer, err := c.Call(ctx, call)
	if err != nil {
		t.Fatal(err)
	}
	return follow(ctx, t, c, answer.Job.ID)
}

func follow(ctx context.Context, t *testing.T, c *client.Client, id string) *client.Job {
	t.Helper()
	var job client.Job
	for event, err := range c.Events(ctx, id) {
		if err != nil {
			t.Fatal(err)
		}
		job = event.Job
	}
	if len(job.Callbacks) != 1 || job.Callbacks[0].Status != client.CallbackDelivered {
		t.Fatalf("callbacks of the job: %+v", job.Callbacks)
	}
	return &job
}

func TestReceiversTakeEachCallbackOnceAndNoForgedOne(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{"receiver-go", "receiver-go-standardwebhooks", "receiver-node"} {
		t.Run(dir, func(t *testing.T) {
			t.Parallel()
			g, c := setup(t)
			url, lines := start(t, g.Secret, program(t, dir)...)

			job := settle(t, c, client.Call{Path: "/scan", Body: strings.NewReader("a virus"), CallbackURL: url})
			if got, want := next(t, lines), "scan.succeeded "+job.ID+` {"infected":true}`; got != want {
				t.Errorf("the receiver says %q, want %q", got, want)
			}
			if _, err := c.Resend(t.Context(), job.Callbacks[0].ID); err != nil {
				t.Fatal(err)
			}
			follow(t.Context(), t, c, job.ID)

			secret, err := sign.ParseSecret(g.Secret)
			if err != nil {
				t.Fatal(err)
			}
			for name, r := range map[string]*http.Request{
				"forged":         receivertest.Callback{URL: url}.Request(sign.NewSecret()),
				"old":            receivertest.Callback{URL: url, Timestamp: time.Now().Add(-time.Hour)}.Request(secret),
				"without a body": withHeader(t, http.MethodPost, url+"?type=scan.succeeded", signed(t, g.Secret, "").header),
				"too large":      receivertest.Callback{URL: url, Body: make([]byte, 5<<20)}.Request(secret),
			} {
				if status := send(t, r); status/100 != 4 {
					t.Errorf("%s: status %d, want 4xx", name, status)
				}
			}

			// The next thing that it says is about the next callback.
			job = settle(t, c, client.Call{Path: "/scan", Body: strings.NewReader("a letter"), CallbackURL: url})
			if got, want := next(t, lines), "scan.succeeded "+job.ID+` {"infected":false}`; got != want {
				t.Errorf("the receiver says %q, want %q", got, want)
			}
		})
	}
}

func TestCloudEventsAreReadByTheOfficialSDK(t *testing.T) {
	t.Parallel()
	g, c := setup(t)
	url, lines := start(t, g.Secret, program(t, "receiver-cloudevents")...)
	if status := send(t, receivertest.Callback{URL: url}.Request(sign.NewSecret())); status != http.StatusForbidden {
		t.Errorf("forged: status %d, want 403", status)
	}
	for document, want := range map[string]string{"a virus": `{"infected":true}`, "a letter": `{"infected":false}`} {
		job := settle(t, c, client.Call{Path: "/scan_event", Body: strings.NewReader(document), CallbackURL: url})
		if got, want := next(t, lines), "scan_event.succeeded "+job.ID+" "+want; got != want {
			t.Errorf("the receiver says %q, want %q", got, want)
		}
		if _, err := c.Resend(t.Context(), job.Callbacks[0].ID); err != nil {
			t.Fatal(err)
		}
		follow(t.Context(), t, c, job.ID)
	}
}

func withHeader(t *testing.T, method, url string, header http.Header) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	return r
}

func send(t *testing.T, r *http.Request) int {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	answer, err := transport.RoundTrip(r.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

// callback is a request as it came.
type callback struct {
	header http.Header
	body   []byte
}

// capture makes a call of an operation whose callback it returns.
func capture(t *testing.T, c *client.Client) callback {
	t.Helper()
	url, got := listen(t)
	settle(t, c, client.Call{Path: "/notify", Body: strings.NewReader(`{"text":"Grüße\n"}`), ContentType: "application/json", CallbackURL: url})
	return <-got
}

// listen takes one callback.
func listen(t *testing.T) (url string, got <-chan callback) {
	t.Helper()
	all := make(chan callback, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		all <- callback{r.Header, slices.Clip(body)}
	}))
	t.Cleanup(server.Close)
	return server.URL, all
}

func TestOpenSSLAloneVerifies(t *testing.T) {
	t.Parallel()
	g, c := setup(t)
	cb := capture(t, c)
	id, timestamp, signature := cb.header.Get("webhook-id"), cb.header.Get("webhook-timestamp"), cb.header.Get("webhook-signature")
	empty := signed(t, g.Secret, "")
	old := fmt.Sprint(time.Now().Add(-time.Hour).Unix())
	for name, tc := range map[string]struct {
		args   []string
		secret string
		body   []byte
		want   string
	}{
		"genuine":            {[]string{id, timestamp, signature}, g.Secret, cb.body, "genuine: " + id},
		"of a rotation":      {[]string{id, timestamp, "v1,AA== " + signature}, g.Secret, cb.body, "genuine: " + id},
		"no body":            {[]string{"cb_1", empty.header.Get("webhook-timestamp"), empty.header.Get("webhook-signature")}, g.Secret, nil, "there is no body"},
		"other body":         {[]string{id, timestamp, signature}, g.Secret, append(cb.body, 'x'), "no signature matches"},
		"other id":           {[]string{"cb_1", timestamp, signature}, g.Secret, cb.body, "no signature matches"},
		"other secret":       {[]string{id, timestamp, signature}, sign.NewSecret().Reveal(), cb.body, "no signature matches"},
		"pattern":            {[]string{id, timestamp, "*"}, g.Secret, cb.body, "no signature matches"},
		"old":                {[]string{id, old, signature}, g.Secret, cb.body, " s in the past"},
		"time of nonsense":   {[]string{id, "1+$(id)", signature}, g.Secret, cb.body, "not a number of seconds"},
		"secret of nonsense": {[]string{id, timestamp, signature}, "rb_key", cb.body, "does not begin with whsec_"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), "./verify.sh", tc.args...)
			command.Env = append(os.Environ(), "RINGBACK_SECRET="+tc.secret)
			command.Stdin = bytes.NewReader(tc.body)
			out, err := command.CombinedOutput()
			genuine := strings.HasPrefix(tc.want, "genuine")
			if (err == nil) != genuine || !strings.Contains(string(out), tc.want) {
				t.Errorf("%v: %s, want %q", err, out, tc.want)
			}
		})
	}
}

func TestCurlRegistersCallsAndFollows(t *testing.T) {
	t.Parallel()
	g, c := setup(t)
	for range 2 { // the second finds the endpoint of the first
		url, got := listen(t)
		command := exec.CommandContext(t.Context(), "./curl.sh", url, "/scan")
		command.Env = append(os.Environ(), "RINGBACK_URL="+g.URL, "RINGBACK_KEY="+g.Key)
		command.Stdin = strings.NewReader("a virus")
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for _, want := range []string{"whsec_", "accepted: job_", "succeeded\n", `{"infected":true}`} {
			if !strings.Contains(string(out), want) {
				t.Errorf("printed %s\nwant %q in it", out, want)
			}
		}
		text, err := c.Secret(t.Context(), "curl")
		if err != nil {
			t.Fatal(err)
		}
		secret, err := sign.ParseSecret(text.Secret)
		if err != nil {
			t.Fatal(err)
		}
		cb := <-got
		if _, err := sign.Verify(cb.header, cb.body, time.Now(), secret); err != nil {
			t.Error(err)
		}
	}
	command := exec.CommandContext(t.Context(), "./curl.sh", g.URL, "/nothing")
	command.Env = append(os.Environ(), "RINGBACK_URL="+g.URL, "RINGBACK_KEY="+g.Key)
	if out, err := command.CombinedOutput(); err == nil || !strings.Contains(string(out), "not_found") {
		t.Errorf("no such operation: %v, printed %s", err, out)
	}
}
