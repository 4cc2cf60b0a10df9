package ringback_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// proving starts a gateway that asks endpoints for a proof. Its clock is ahead by
// what is in the number.
func proving(t *testing.T, dir string, proof job.Proof, change func(*ringback.Options)) (g *gateway, ahead *atomic.Int64) {
	t.Helper()
	ahead = &atomic.Int64{}
	return start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.Proof = proof
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
		if change != nil {
			change(o)
		}
	}), ahead
}

// verification waits until the endpoint "main" is in a state.
func (g *gateway) verification(t *testing.T, state string) (v client.Verification) {
	t.Helper()
	eventually(t, "the endpoint is "+state, func() bool {
		e, err := g.app.Endpoint(t.Context(), "main")
		if err != nil || e.Verification == nil {
			t.Fatal(e, err)
		}
		v = *e.Verification
		return v.State == state && (state == "unverified" || !v.CheckedAt.IsZero())
	})
	return v
}

// waits wants the only callback of a job to wait for the proof.
func (g *gateway) waits(t *testing.T, id string) {
	t.Helper()
	eventually(t, "the callback waits for the proof", func() bool {
		for c, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
			if err != nil || c.Attempts != 0 || c.Status != "pending" {
				t.Fatalf("%+v, %v", c, err)
			}
			return c.Waiting == "unverified"
		}
		return false
	})
}

// challengeOf is the challenge in a request, empty where it is another message.
func challengeOf(body []byte) string {
	var asked struct {
		Type string
		Data struct{ Endpoint, Challenge string }
	}
	if json.Unmarshal(body, &asked) != nil || asked.Type != "endpoint.verification" {
		return ""
	}
	return asked.Data.Challenge
}

// challenged is a receiver whose answer to a challenge is answer's. It hands on what
// else comes.
func challenged(t *testing.T, secret func() sign.Secret, answer func(w http.ResponseWriter, challenge string)) (url string, challenges *atomic.Int64, messages <-chan message) {
	t.Helper()
	challenges = &atomic.Int64{}
	got := make(chan message, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if _, err := sign.Verify(r.Header, body, time.Now(), secret()); err != nil && secret != nil {
			t.Errorf("signature: %v", err)
		}
		if challenge := challengeOf(body); challenge != "" {
			challenges.Add(1)
			answer(w, challenge)
			return
		}
		got <- message{method: r.Method, path: r.URL.Path, header: r.Header, body: body}
	}))
	t.Cleanup(server.Close)
	return server.URL, challenges, got
}

// consent answers a challenge as it should be.
func consent(w http.ResponseWriter, challenge string) { fmt.Fprintf(w, `{"challenge":%q}`, challenge) }

func TestCallbacksWaitForTheProofAndGoOutWithIt(t *testing.T) {
	t.Parallel()
	g, ahead := proving(t, t.TempDir(), job.ProofChallenge, nil)
	g.join(t)
	var refuse atomic.Bool
	refuse.Store(true)
	lenient := func() sign.Secret { return secretOf(t, g.app, "main") }
	url, challenges, messages := challenged(t, lenient, func(w http.ResponseWriter, challenge string) {
		if refuse.Load() {
			w.WriteHeader(http.StatusNotFound)
		}
		fmt.Fprintln(w, challenge)
	})
	g.create(t, url+"/bar", &client.EndpointAuth{Bearer: &client.BearerAuth{Token: "t"}})
	if v := g.verification(t, "pending"); v.Error != "no_consent" || v.Method != "challenge" {
		t.Errorf("%+v", v)
	}
	var waiting []string
	for range 5 {
		waiting = append(waiting, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
	}
	g.waits(t, waiting[0])
	none(t, messages)

	// Nobody is asked more often than every 10 s.
	refuse.Store(false)
	ahead.Store(int64(11 * time.Second))
	if _, err := g.app.VerifyEndpoint(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	v := g.verification(t, "verified")
	if lasts := time.Until(v.ExpiresAt.Time); lasts < 29*24*time.Hour || lasts > 31*24*time.Hour || v.Error != "" {
		t.Errorf("%+v", v)
	}
	for range waiting {
		if m := next(t, messages); m.path != "/bar" || m.header.Get("Authorization") != "Bearer t" {
			t.Errorf("%+v", m)
		}
	}
	for _, id := range waiting {
		if c := g.settled(t, id); c.Status != "delivered" || c.Attempts != 1 {
			t.Errorf("%+v", c)
		}
	}
	if n := challenges.Load(); n != 2 {
		t.Errorf("%d challenges", n)
	}

	// Another URL needs a proof of its own, and that of the first one ends.
	again := url + "/other"
	if _, err := g.app.UpdateEndpoint(t.Context(), "main", client.EndpointPatch{URL: &again}); err != nil {
		t.Fatal(err)
	}
	g.verification(t, "verified")
	if n := challenges.Load(); n != 3 {
		t.Errorf("%d challenges", n)
	}
}

func TestReceiverConsentsOnceItHasTheSecret(t *testing.T) {
	t.Parallel()
	g, ahead := proving(t, t.TempDir(), job.ProofChallenge, nil)
	g.join(t)
	late := &lateHandler{h: http.NotFoundHandler()}
	server := httptest.NewServer(late)
	t.Cleanup(server.Close)
	g.create(t, server.URL, nil)
	g.verification(t, "pending")
	handled := make(chan string, 10)
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secretOf(t, g.app, "main")}})
	if err != nil {
		t.Fatal(err)
	}
	late.set(rc.Handler(func(_ context.Context, m receiver.Message) error {
		handled <- m.Type
		return nil
	}))
	ahead.Store(int64(11 * time.Second))
	if _, err := g.app.VerifyEndpoint(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	g.verification(t, "verified")
	g.settled(t, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
	if got := <-handled; got != "relay.succeeded" {
		t.Errorf("the first message is %s", got)
	}
}

// Nobody has told the gateway yet which signature a receiver looks for.
func TestChallengeCanBeVerifiedByWhoKnowsThePublicKeyAlone(t *testing.T) {
	t.Parallel()
	g, ahead := proving(t, t.TempDir(), job.ProofChallenge, nil)
	g.join(t)
	late := &lateHandler{h: http.NotFoundHandler()}
	server := httptest.NewServer(late)
	t.Cleanup(server.Close)
	g.create(t, server.URL, nil)
	g.verification(t, "pending")
	secret, err := g.app.Secret(t.Context(), "main")
	if err != nil {
		t.Fatal(err)
	}
	public, err := sign.ParseSecret(secret.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rc, err := receiver.New(receiver.Options{Secrets: []sign.Secret{public}, RequireRFC9421: true})
	if err != nil {
		t.Fatal(err)
	}
	late.set(rc.Handler(func(context.Context, receiver.Message) error { return nil }))
	ahead.Store(int64(11 * time.Second))
	if _, err := g.app.VerifyEndpoint(t.Context(), "main"); err != nil {
		t.Fatal(err)
	}
	g.verification(t, "verified")
}

func TestWhatIsNoConsentIsNotTakenForIt(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"empty":   func(http.ResponseWriter, *http.Request) {},
		"an echo": func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) },
		"html":    func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>welcome</html>") },
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"refused with the challenge": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			w.WriteHeader(http.StatusForbidden)
			consent(w, challengeOf(body))
		},
		"endless": func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			consent(w, challengeOf(body))
			fmt.Fprint(w, strings.Repeat(" ", 1<<20))
		},
		"another's": func(w http.ResponseWriter, _ *http.Request) { consent(w, "AAAAAAAAAAAAAAAAAAAAAAAAAA") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, proof := range []job.Proof{job.ProofChallenge, job.ProofHandshake} {
				g, _ := proving(t, t.TempDir(), proof, nil)
				g.join(t)
				server := httptest.NewServer(answer)
				t.Cleanup(server.Close)
				g.create(t, server.URL, nil)
				if v := g.verification(t, "pending"); v.Error != "no_consent" {
					t.Errorf("%s: %+v", proof, v)
				}
				g.waits(t, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
			}
		})
	}
}

func TestReceiverThatIsNotThereIsToldOf(t *testing.T) {
	t.Parallel()
	g, _ := proving(t, t.TempDir(), job.ProofChallenge, nil)
	g.join(t)
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	g.create(t, server.URL, nil)
	if v := g.verification(t, "pending"); v.Error != "refused" {
		t.Errorf("%+v", v)
	}
}

func TestHandshakeIsThatOfCloudEvents(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		origins, rates []string // the fields of the answer
		consents       bool
		rate           int
	}{
		{[]string{"*"}, []string{"120"}, true, 120},
		{[]string{"127.0.0.1"}, []string{"*"}, true, 0},
		{[]string{"127.0.0.1"}, nil, true, 0},
		{[]string{"*"}, []string{"0"}, true, 0},
		{[]string{"*"}, []string{"-5"}, true, 0},
		{[]string{"*"}, []string{"many"}, true, 0},
		{[]string{"*"}, []string{"99999999999999999999"}, true, 0},
		{[]string{"other.example"}, []string{"120"}, false, 0},
		{[]string{"127.0.0.1.other.example"}, nil, false, 0},
		{[]string{"other.example", "127.0.0.1"}, nil, false, 0},
		{[]string{"other.example, 127.0.0.1"}, nil, false, 0},
		{[]string{""}, nil, false, 0},
		{nil, []string{"120"}, false, 0},
	} {
		t.Run(fmt.Sprint(test.origins, test.rates), func(t *testing.T) {
			t.Parallel()
			g, _ := proving(t, t.TempDir(), job.ProofHandshake, nil)
			g.join(t)
			messages := make(chan message, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodOptions {
					if r.RequestURI != "/bar?file=7" || r.Header.Get("WebHook-Request-Origin") != "127.0.0.1" || r.Header.Get("X-Tenant") != "7" {
						t.Errorf("%s %v", r.RequestURI, r.Header)
					}
					w.Header()["Webhook-Allowed-Origin"] = test.origins
					w.Header()["Webhook-Allowed-Rate"] = test.rates
					w.WriteHeader(http.StatusMethodNotAllowed) // the status says nothing
					return
				}
				messages <- message{header: r.Header}
			}))
			t.Cleanup(server.Close)
			_, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: server.URL + "/bar?file=7", Headers: map[string]string{"X-Tenant": "7"}})
			if err != nil {
				t.Fatal(err)
			}
			accepted := g.call(t, client.Call{Path: "/relay", Endpoint: "main", Body: strings.NewReader("x")})
			if !test.consents {
				g.verification(t, "pending")
				g.waits(t, accepted.ID)
				return
			}
			if v := g.verification(t, "verified"); v.AllowedRate != test.rate || v.Method != "handshake" {
				t.Errorf("%+v", v)
			}
			if m := next(t, messages); m.header.Get("WebHook-Request-Origin") != "127.0.0.1" {
				t.Errorf("delivered with %v", m.header)
			}
		})
	}
}

func TestProofIsRepeatedBeforeItEnds(t *testing.T) {
	t.Parallel()
	g, _ := proving(t, t.TempDir(), job.ProofChallenge, func(o *ringback.Options) { o.ProofLasts = 50 * time.Millisecond })
	g.join(t)
	url, challenges, _ := challenged(t, func() sign.Secret { return secretOf(t, g.app, "main") }, consent)
	g.create(t, url, nil)
	eventually(t, "the proof is repeated", func() bool { return challenges.Load() >= 4 })
}

func TestProofThatHasEndedHoldsCallbacksUp(t *testing.T) {
	t.Parallel()
	g, ahead := proving(t, t.TempDir(), job.ProofChallenge, nil)
	g.join(t)
	var silent atomic.Bool
	url, _, messages := challenged(t, func() sign.Secret { return secretOf(t, g.app, "main") }, func(w http.ResponseWriter, challenge string) {
		if !silent.Load() {
			consent(w, challenge)
		}
	})
	g.create(t, url, nil)
	g.verification(t, "verified")
	g.settled(t, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
	next(t, messages)
	silent.Store(true)
	ahead.Store(int64(30 * 24 * time.Hour))
	g.verification(t, "unverified")
	g.waits(t, g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")}).ID)
	none(t, messages)
}

func TestProofThatWasPendingIsAskedForAtTheNextStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	asked := make(chan struct{}, 10)
	var consents atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if !consents.Load() {
			asked <- struct{}{}
			<-r.Context().Done() // the gateway stops meanwhile
			return
		}
		consent(w, challengeOf(body))
	}))
	t.Cleanup(server.Close)
	g, _ := proving(t, dir, job.ProofChallenge, nil)
	g.join(t)
	g.create(t, server.URL, nil)
	accepted := g.call(t, client.Call{Path: "/relay", Body: strings.NewReader("x")})
	<-asked
	g.waits(t, accepted.ID)
	g.stop()

	consents.Store(true)
	again, _ := proving(t, dir, job.ProofChallenge, nil)
	again.app = again.client(t, g.key)
	again.verification(t, "verified")
	if c := again.settled(t, accepted.ID); c.Status != "delivered" {
		t.Errorf("%+v", c)
	}
}

func TestEndpointsOfBeforeThePolicyAreAskedToo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
	})
	g.join(t)
	app := g.app
	url, challenges, _ := challenged(t, func() sign.Secret { return secretOf(t, app, "main") }, consent)
	if e := g.create(t, url, nil); e.Verification != nil {
		t.Errorf("%+v", e.Verification)
	}
	g.stop()
	again, _ := proving(t, dir, job.ProofChallenge, nil)
	again.app = again.client(t, g.key)
	app = again.app
	again.verification(t, "verified")
	if n := challenges.Load(); n != 1 {
		t.Errorf("%d challenges", n)
	}
}
