package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

// begin sends the head of a request and the first octet of its body, and returns when
// the gateway reads the body: finish sends the rest, and returns the answer's status.
func (g *gateway) begin(method, path, key, body string, headers ...string) (finish func() int) {
	g.t.Helper()
	reading := make(chan struct{})
	entered := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = &noticed{ReadCloser: r.Body, reading: reading}
			next.ServeHTTP(w, r)
		})
	}
	server := httptest.NewServer(entered(g.api))
	g.t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { conn.Close() })
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", method, path, len(body))
	if key != "" {
		head += "Ringback-Key: " + key + "\r\n"
	}
	for i := 0; i < len(headers); i += 2 {
		head += headers[i] + ": " + headers[i+1] + "\r\n"
	}
	if _, err := conn.Write([]byte(head + "\r\n" + body[:1])); err != nil {
		g.t.Fatal(err)
	}
	<-reading
	return func() int {
		g.t.Helper()
		if _, err := conn.Write([]byte(body[1:])); err != nil {
			g.t.Fatal(err)
		}
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		defer answer.Body.Close()
		return answer.StatusCode
	}
}

// noticed tells when somebody has read its first octet.
type noticed struct {
	io.ReadCloser
	reading chan struct{}
	told    bool
}

func (n *noticed) Read(p []byte) (int, error) {
	got, err := n.ReadCloser.Read(p)
	if !n.told && got > 0 {
		n.told = true
		close(n.reading)
	}
	return got, err
}

func TestKeyThatIsRevokedWhileItsRequestComesInIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	first := g.app("shop")
	key, id := g.key("shop", "submit", "manage")
	finishes := map[string]func() int{}
	for route, body := range map[string]string{
		"POST /scan":         `{"a":1}`,
		"POST /v1/keys":      `{"name":"mine"}`,
		"POST /v1/endpoints": `{"name":"mine","url":"https://thief.example/"}`,
	} {
		method, path, _ := strings.Cut(route, " ")
		finishes[route] = g.begin(method, path, key, body)
	}
	g.call("DELETE", "/v1/keys/"+id, first, "").want(t, 204, "")
	for route, finish := range finishes {
		if status := finish(); status != 401 {
			t.Errorf("%s: %d", route, status)
		}
	}
	if keys, err := g.store.Keys(t.Context(), "shop", 0); err != nil || len(keys) != 1 {
		t.Errorf("keys: %v %v", keys, err)
	}
	if jobs, err := g.store.Jobs(t.Context(), job.JobFilter{App: "shop"}); err != nil || len(jobs) != 0 {
		t.Errorf("jobs: %v %v", jobs, err)
	}
}

func TestCallOfADeletedAppIsNotTakenByAnotherOfItsName(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	finish := g.begin("POST", "/scan", key, `{"a":1}`)
	g.call("DELETE", "/v1/apps/shop?confirm=shop", adminKey, "").want(t, 202, "")
	if _, done, err := g.store.EraseApp(t.Context(), "shop", 100); err != nil || !done {
		t.Fatal(done, err)
	}
	if err := g.store.ForgetApp(t.Context(), "shop"); err != nil {
		t.Fatal(err)
	}
	g.app("shop")
	if status := finish(); status != 401 {
		t.Errorf("the call of the app that was: %d", status)
	}
}

func TestAdminKeyThatIsReplacedWhileItsRequestComesInIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	finish := g.begin("POST", "/v1/apps", adminKey, `{"name":"mine"}`)
	g.call("POST", "/v1/admin-key/rotate", adminKey, "").want(t, 200, "")
	if status := finish(); status != 401 {
		t.Errorf("%d", status)
	}
	if _, err := g.store.App(t.Context(), "mine"); err == nil {
		t.Error("the app was made")
	}
}

// revokingStore revokes a key just before the next one is stored.
type revokingStore struct {
	job.Store
	revoke func()
}

func (s *revokingStore) CreateKey(ctx context.Context, k job.Key, most int) error {
	if s.revoke != nil {
		s.revoke()
	}
	return s.Store.CreateKey(ctx, k, most)
}

func TestKeyThatIsRevokedWhileItMakesAnotherLeavesNone(t *testing.T) {
	t.Parallel()
	var store *revokingStore
	g := setup(t, func(o *Options) {
		store = &revokingStore{Store: o.Store}
		o.Store = store
	})
	g.app("shop")
	key, id := g.key("shop", "manage")
	parsed, _ := job.ParseAPIKey(id)
	store.revoke = func() {
		if err := g.store.DeleteKey(t.Context(), "shop", parsed); err != nil {
			t.Error(err)
		}
	}
	g.call("POST", "/v1/keys", key, `{"name":"heir"}`).want(t, 401, "unauthenticated")
	if keys, err := g.store.Keys(t.Context(), "shop", 0); err != nil || len(keys) != 1 {
		t.Errorf("keys: %v %v", keys, err)
	}
}

func TestTimeThatIsNoneDoesNotLetAKeyOutliveItsMaker(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	first := g.app("shop")
	a := g.call("POST", "/v1/keys", first, `{"name":"short","expires_at":"2100-01-01T00:00:00Z"}`)
	a.want(t, 201, "")
	short := field[string](t, a, "key")
	for _, at := range []string{"0001-01-01T00:00:00Z", "0001-01-01T00:00:00.0004Z"} {
		g.call("POST", "/v1/keys", short, `{"name":"heir","expires_at":"`+at+`"}`).want(t, 400, "bad_request")
	}
	if keys, err := g.store.Keys(t.Context(), "shop", 0); err != nil || len(keys) != 2 {
		t.Errorf("keys: %v %v", keys, err)
	}
}

func TestSecretsOfASlowCallAreSealedWithTheKeyOfItsEnd(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	finish := g.begin("POST", "/scan", key, `{"a":1}`, "Cookie", "session=secret")
	fresh := make([]byte, seal.KeyBytes)
	fresh[0] = 1
	if err := g.seal.SetKeys(fresh, make([]byte, seal.KeyBytes)); err != nil {
		t.Fatal(err)
	}
	if status := finish(); status != 202 {
		t.Fatal(status)
	}
	jobs, err := g.store.Jobs(t.Context(), job.JobFilter{App: "shop"})
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	whole, err := g.store.WholeJob(t.Context(), "shop", jobs[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if id, ok := seal.KeyOf(whole.Request.Authorization); !ok || id != seal.IDOf(fresh) {
		t.Errorf("sealed with %v, want %v", id, seal.IDOf(fresh))
	}
}

func TestPublicSideDoesNotTellTheAdminKey(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.SplitAdmin = true })
	for _, path := range []string{"/v1/jobs", "/v1/audit", "/v1/pauses"} {
		g.call("GET", path, adminKey, "").want(t, 401, "unauthenticated")
	}
	g.call("POST", "/scan", adminKey, "{}").want(t, 401, "unauthenticated")
}

func TestFilterOfABulkIsBounded(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	words := strings.Repeat(`"dead",`, 50_000)
	body := `{"action":"resend","filter":{"status":[` + strings.TrimSuffix(words, ",") + `]}}`
	g.call("POST", "/v1/bulk", key, body).want(t, 400, "bad_request")
	g.call("POST", "/v1/bulk", key, `{"action":"resend","filter":{"status":["dead","dead"]}}`).want(t, 400, "bad_request")
}
