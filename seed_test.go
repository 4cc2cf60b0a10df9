package ringback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/clamtest"
	"github.com/ringback/ringback/sign"
)

// The tests of this file are named after what people said when they explained
// callback URLs to each other; each makes one of their sentences true.

// gated is a backend that is done when the test says so.
func gated(result string) (backend ringback.Func, open func(), started <-chan struct{}) {
	gate, began := make(chan struct{}), make(chan struct{}, 100)
	return func(ctx context.Context, call *ringback.Call, out *ringback.Result) error {
		began <- struct{}{}
		select {
		case <-gate:
		case <-ctx.Done():
			return ctx.Err()
		}
		out.ContentType = "application/json"
		_, err := io.WriteString(out, result)
		return err
	}, sync.OnceFunc(func() { close(gate) }), began
}

// "A callback URL will be invoked by the API method you're calling after it's
// done. […] when /foo is finished, it sends a request to http://my.server.com/bar."
func TestACallbackURLIsInvokedByTheMethodAfterItIsDone(t *testing.T) {
	t.Parallel()
	foo, finish, started := gated(`{"answer": 42}`)
	g := setup(t, operation("foo", "POST /api/foo", foo))
	url, messages := listen(t, g.appSecret, nil)
	accepted := g.call(t, client.Call{Path: "/api/foo", CallbackURL: url + "/bar"})
	<-started
	none(t, messages)
	finish()
	m := next(t, messages)
	if m.method != "POST" || m.path != "/bar" {
		t.Errorf("called %s %s, want POST /bar", m.method, m.path)
	}
	if m.envelope.Type != "foo.succeeded" || m.envelope.Data.Job.ID != accepted.ID || string(m.envelope.Data.Result) != `{"answer": 42}` {
		t.Errorf("the callback says %s", m.body)
	}
}

// "In my case I have a few callback URLs that I have to define myself. A popular
// one is a 'default callback URL'."
func TestAFewCallbackURLsThatIDefineMyselfOneOfThemTheDefault(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("foo", "POST /foo", ringback.Relay()), operation("scan", "POST /scan", ringback.Relay()))
	var endpoint string
	url, messages := listen(t, func() sign.Secret { return secretOf(t, g.app, endpoint) }, nil)
	for _, e := range []client.EndpointCreate{
		{Name: "everything", URL: url + "/default", Default: true},
		{Name: "scans", URL: url + "/scans", Default: true, Operations: []string{"scan"}},
		{Name: "special", URL: url + "/special", Method: "PUT", Headers: map[string]string{"X-Tenant": "7", "Authorization": "Basic c2VjcmV0"}},
	} {
		if _, err := g.app.CreateEndpoint(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ call, name, endpoint, path, source string }{
		{"/foo", "", "everything", "/default", "default_endpoint"},
		{"/scan", "", "scans", "/scans", "operation_endpoint"},
		{"/scan", "special", "special", "/special", "endpoint"},
	} {
		endpoint = c.endpoint
		accepted := g.call(t, client.Call{Path: c.call, Endpoint: c.name, Body: strings.NewReader("x")})
		if accepted.Callback.Source != c.source || accepted.Callback.Endpoint != c.endpoint {
			t.Errorf("%s: the answer says %+v", c.call, accepted.Callback)
		}
		m := next(t, messages)
		if m.path != c.path {
			t.Errorf("%s: called %s, want %s", c.call, m.path, c.path)
		}
		if c.endpoint == "special" && (m.method != "PUT" || m.header.Get("X-Tenant") != "7" || m.header.Get("Authorization") != "Basic c2VjcmV0") {
			t.Errorf("the endpoint's own wishes: %s %v", m.method, m.header)
		}
	}
}

// "It is the pre-addressed envelope: once you are done with it, I am listening on
// this callback URL waiting your response." Nothing of the address is changed, and
// what the caller put inside comes back with it.
func TestTheReturnEnvelopeComesBackAsItWasAddressed(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("form", "POST /form", ringback.Relay()))
	url, messages := listen(t, g.appSecret, nil)
	g.call(t, client.Call{Path: "/form", CallbackURL: url + "/a%2Fb//c?order=7&sig=a%2Bb%3D%3D&e=", State: "my own note: 7 & 8",
		Body: strings.NewReader("filled in"), ContentType: "text/plain"})
	m := next(t, messages)
	if m.query != "order=7&sig=a%2Bb%3D%3D&e=" || m.path != "/a/b//c" {
		t.Errorf("called %s?%s", m.path, m.query)
	}
	if m.envelope.Data.State != "my own note: 7 & 8" {
		t.Errorf("state: %q", m.envelope.Data.State)
	}
	if content, err := m.envelope.Data.Bytes(); err != nil || string(content) != "filled in" {
		t.Errorf("the form came back as %q, %v", content, err)
	}
}

// "Your API allows users to send documents to it and virus scan them. Then you
// send a report after. The scan could take maybe 3 minutes. The user cannot be
// waiting for 3 minutes."
func TestDocumentsAreScannedAndTheReportIsSentAfter(t *testing.T) {
	t.Parallel()
	scanner := clamtest.Start(t, clamd.Options{})
	slow := newSlowScanner(t, scanner.Address())
	backend, err := ringback.Clamd(ringback.ClamdConfig{Address: "unix:" + slow.path})
	if err != nil {
		t.Fatal(err)
	}
	g := setup(t, operation("scan", "POST /scan", backend, quick))
	url, messages := listen(t, g.appSecret, nil)
	for _, sample := range clamd.Samples() {
		slow.hold()
		accepted := g.call(t, client.Call{Path: "/scan", CallbackURL: url + "/bar?file=" + sample.Name, Body: bytes.NewReader(sample.Content),
			ContentType: "application/octet-stream"})
		// The answer is here while the scan has only begun.
		<-slow.began
		none(t, messages)
		slow.release()
		m := next(t, messages)
		var verdict struct {
			Infected  bool
			Signature string
			Bytes     int
		}
		if err := json.Unmarshal(m.envelope.Data.Result, &verdict); err != nil {
			t.Fatalf("%s: %v", m.body, err)
		}
		if verdict.Infected != (sample.Signature != "") || !strings.HasPrefix(verdict.Signature, sample.Signature) || verdict.Bytes != len(sample.Content) {
			t.Errorf("%s: verdict %+v, want signature %q", sample.Name, verdict, sample.Signature)
		}
		if m.envelope.Data.Job.ID != accepted.ID || m.query != "file="+sample.Name {
			t.Errorf("%s: the report is about %s, at %s", sample.Name, m.envelope.Data.Job.ID, m.query)
		}
	}
}

// "That means API can connect to you later (after API call). 1. YOU send data
// using request to API. 2. API sends data using second request to YOU."
func TestTheAPIConnectsToYouLaterWithASecondRequest(t *testing.T) {
	t.Parallel()
	work, finish, _ := gated(`"done"`)
	g := setup(t, operation("work", "POST /work", work))
	url, messages := listen(t, g.appSecret, nil)
	g.call(t, client.Call{Path: "/work", CallbackURL: url})
	// The first request is over, its connection gone; the caller may go home.
	http.DefaultClient.CloseIdleConnections()
	finish()
	next(t, messages)
}

// "1. your app invokes the url, passing as parameter the callback url. 2. the api
// responds with a 20x http code. 3. the api works on your request for a certain
// amount of time. 4. the api invokes your app to give you the results." And: "you
// can tell your user the request is 'processing', and then update the status."
func TestTheSequenceIsTheFollowing(t *testing.T) {
	t.Parallel()
	work, finish, started := gated(`"done"`)
	g := setup(t, operation("work", "POST /work", work))
	url, messages := listen(t, g.appSecret, nil)
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.url+"/work?callbackURL="+url+"/results", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var accepted client.AcceptedJob
	if err := json.NewDecoder(resp.Body).Decode(&accepted); err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != 202 || accepted.Status != "accepted" || resp.Header.Get("Location") != accepted.Links.Self || resp.Header.Get("Retry-After") == "" {
		t.Errorf("answered %d %v %+v", resp.StatusCode, resp.Header, accepted)
	}
	<-started
	// The status says "running" as soon as the start is written.
	eventually(t, "the job is shown as running", func() bool {
		j, err := g.app.Job(t.Context(), accepted.ID)
		return err == nil && j.Status == "running"
	})
	finish()
	if m := next(t, messages); m.path != "/results" {
		t.Errorf("the results came to %s", m.path)
	}
	if j := g.done(t, accepted.ID); j.Status != "succeeded" {
		t.Errorf("afterwards the job is %s", j.Status)
	}
}

func (g *gateway) appSecret() sign.Secret { return g.secret }

// slowScanner stands before a scanner, and can hold a document up in the middle.
type slowScanner struct {
	path  string
	began chan struct{}
	mu    sync.Mutex
	gate  chan struct{}
}

func newSlowScanner(t *testing.T, address string) *slowScanner {
	t.Helper()
	s := &slowScanner{path: filepath.Join(shortDir(t), "slow.sock"), began: make(chan struct{}, 1000), gate: make(chan struct{})}
	close(s.gate)
	l, err := net.Listen("unix", s.path)
	if err != nil {
		t.Fatal(err)
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { s.serve(c, address) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.release()
		conns.Wait()
	})
	return s
}

func (s *slowScanner) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

func (s *slowScanner) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.gate:
	default:
		close(s.gate)
	}
}

// serve passes a connection on. While it is held, the scanner gets the first
// octets of the document and waits for the others.
func (s *slowScanner) serve(c net.Conn, address string) {
	defer c.Close()
	up, err := net.Dial("unix", strings.TrimPrefix(address, "unix:"))
	if err != nil {
		return
	}
	defer up.Close()
	var back sync.WaitGroup
	back.Go(func() {
		io.Copy(c, up)
		c.Close()
	})
	defer back.Wait()
	defer up.Close()
	first := make([]byte, 20)
	n, err := c.Read(first)
	if err != nil {
		return
	}
	if _, err := up.Write(first[:n]); err != nil {
		return
	}
	if bytes.Contains(first[:n], []byte("INSTREAM")) {
		s.began <- struct{}{}
		s.mu.Lock()
		gate := s.gate
		s.mu.Unlock()
		<-gate
	}
	io.Copy(up, c)
}

// "Exact definition should be in API documentation."
func TestTheDefinitionIsInTheDocumentation(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("scan", "POST /scan/{region}", ringback.Relay()))
	resp, err := http.Get(g.url + "/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Callbacks map[string]any
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Paths["/scan/{region}"]["post"].Callbacks) == 0 {
		t.Errorf("no callback is described: %s", fmt.Sprint(doc.Paths["/scan/{region}"]))
	}
}
