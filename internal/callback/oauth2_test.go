package callback

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// tokenServer is an OAuth2 server whose nth answer is what answer writes, and a
// source that asks it.
type tokenServer struct {
	*tokenSource
	asked atomic.Int64
	clock atomic.Int64 // nanoseconds that the source's clock is ahead
	log   strings.Builder
}

func newTokenServer(t *testing.T, answer func(n int64, w http.ResponseWriter, r *http.Request)) *tokenServer {
	t.Helper()
	s := &tokenServer{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { answer(s.asked.Add(1), w, r) }))
	t.Cleanup(server.Close)
	client, err := outbound.New(outbound.Policy{Loopback: true}, outbound.Limits{}, outbound.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	sources := newTokenSources(Options{Client: client, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		Now: func() time.Time { return time.Now().Add(time.Duration(s.clock.Load())) }})
	s.tokenSource = sources.of("shop", "main", []byte("1"), job.OAuth2{TokenURL: server.URL + "/token?tenant=7", ClientID: "id:1", ClientSecret: "s%cret",
		Scopes: []string{"a", "b"}, Audience: "https://api.example"})
	return s
}

// tokens answers with a fresh token each time.
func tokens(n int64, w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, n)
}

func (s *tokenServer) want(t *testing.T, want string) {
	t.Helper()
	if got, err := s.token(t.Context()); err != nil || got != want {
		t.Errorf("token %q, %v; want %q", got, err, want)
	}
}

func TestTokenRequestIsThatOfTheClientCredentialsGrant(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		id, secret, _ := r.BasicAuth()
		if r.Method != "POST" || r.URL.RawQuery != "tenant=7" || id != "id%3A1" || secret != "s%25cret" || r.ParseForm() != nil ||
			r.PostForm.Encode() != "audience=https%3A%2F%2Fapi.example&grant_type=client_credentials&scope=a+b" {
			t.Errorf("%s %s by %s:%s: %v", r.Method, r.URL, id, secret, r.PostForm)
		}
		tokens(n, w, r)
	})
	s.want(t, "t1")
}

func TestTokenIsFetchedOnceForAllWhoWait(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := newTokenServer(t, func(n int64, w http.ResponseWriter, r *http.Request) {
		<-release
		tokens(n, w, r)
	})
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { s.want(t, "t1") })
	}
	close(release)
	all.Wait()
	if n := s.asked.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestTokenIsReplacedShortlyBeforeItsEnd(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t, tokens)
	s.want(t, "t1")
	s.clock.Store(int64(3600*time.Second - tokenMargin - time.Minute))
	s.want(t, "t1")
	s.clock.Store(int64(3600*time.Second - tokenMargin))
	s.want(t, "t2")
}

func TestRefusedTokenIsReplacedButNotAtEachAttempt(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t, tokens)
	s.want(t, "t1")
	s.refused("t0") // an attempt that began before t1 was there
	s.want(t, "t1")
	s.refused("t1")
	s.want(t, "t2")
	s.refused("t1")
	s.refused("t2")
	s.want(t, "t2")
	s.clock.Store(int64(refusedTokenRest + time.Second))
	s.refused("t2")
	s.want(t, "t3")
}

func TestTokenOfOtherCredentialsIsFetchedAfresh(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t, tokens)
	s.want(t, "t1")
	if same := s.of("shop", "main", []byte("1"), s.config); same != s.tokenSource {
		t.Error("the same credentials have another source")
	}
	for _, other := range []*tokenSource{s.of("shop", "other", []byte("1"), s.config), s.of("bank", "main", []byte("1"), s.config), s.of("shop", "main", []byte("2"), s.config)} {
		if other == s.tokenSource {
			t.Error("other credentials have the same source")
		}
	}
}

func TestTokenServersUselessAnswersAreToldApartFromTokens(t *testing.T) {
	t.Parallel()
	json := func(text string) func(int64, http.ResponseWriter, *http.Request) {
		return func(_ int64, w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	status := func(status int) func(int64, http.ResponseWriter, *http.Request) {
		return func(n int64, w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/token")
			w.WriteHeader(status)
			tokens(n, w, r)
		}
	}
	for name, answer := range map[string]func(int64, http.ResponseWriter, *http.Request){
		"html":           json("<html><body>hunter2</body></html>"),
		"nothing":        json(""),
		"array":          json(`["hunter2"]`),
		"no token":       json(`{"token_type":"bearer","expires_in":60}`),
		"number":         json(`{"access_token":7}`),
		"line break":     json(`{"access_token":"hunter2\r\nX-Injected: 1"}`),
		"beyond ASCII":   json(`{"access_token":"hunter2é"}`),
		"huge token":     json(`{"access_token":"` + strings.Repeat("hunter2", maxTokenBytes/7+1) + `"}`),
		"endless answer": json(`{"access_token":"hunter2","x":"` + strings.Repeat("x", 1<<20) + `"}`),
		"another type":   json(`{"access_token":"hunter2","token_type":"mac"}`),
		"an error":       json(`{"error":"invalid_client","error_description":"hunter2"}`),
		"redirect":       status(http.StatusFound),
		"refused":        status(http.StatusUnauthorized),
		"broken":         status(http.StatusInternalServerError),
		"created":        status(http.StatusCreated),
		"cut off":        func(int64, http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"slow": func(_ int64, _ http.ResponseWriter, r *http.Request) {
			_, _ = r.Body.Read(make([]byte, 1000))
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newTokenServer(t, answer)
			if name == "slow" {
				s.timeout = 50 * time.Millisecond
			}
			token, err := s.token(t.Context())
			if err == nil || token != "" {
				t.Fatalf("token %.50q, %v", token, err)
			}
			var a job.Attempt
			if v := judge(&a, nil, err); v.kind != retry || a.Error != job.ClassToken {
				t.Errorf("%v: verdict %v, class %s", err, v, a.Error)
			}
			if n := s.asked.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
			for _, secret := range []string{"hunter2", "s%cret", "cyUyNWNyZXQ", "tenant"} {
				if text := err.Error() + s.log.String(); strings.Contains(text, secret) {
					t.Errorf("%s is in %s", secret, text)
				}
			}
			// The next attempt asks again.
			if _, err := s.token(t.Context()); err == nil || s.asked.Load() != 2 {
				t.Errorf("%v after %d requests", err, s.asked.Load())
			}
		})
	}
}

func TestTokensLastAsLongAsTheirServerSaysWithinReason(t *testing.T) {
	t.Parallel()
	for expires, want := range map[string]time.Duration{
		`,"expires_in":60`: time.Minute, `,"expires_in":"90"`: 90 * time.Second, `,"expires_in":1.5`: 1500 * time.Millisecond,
		``: tokenLasts, `,"expires_in":null`: tokenLasts, `,"expires_in":-1`: tokenLasts, `,"expires_in":0`: tokenLasts, `,"expires_in":"soon"`: tokenLasts,
		`,"expires_in":"NaN"`: tokenLasts, `,"expires_in":{"a":1}`: tokenLasts, `,"expires_in":1e300`: longestToken, `,"expires_in":1e999`: tokenLasts,
	} {
		token, lasts, err := readToken([]byte(`{"access_token":"t"` + expires + `}`))
		if err != nil || token != "t" || lasts != want {
			t.Errorf("%s: %q lasts %v, %v; want %v", expires, token, lasts, err, want)
		}
	}
}

func TestTokenURLThatThePolicyForbidsIsNotCalled(t *testing.T) {
	t.Parallel()
	s := newTokenServer(t, tokens)
	s.config.TokenURL = "http://10.0.0.1/token?secret=hunter2"
	if token, err := s.token(t.Context()); err == nil || token != "" || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%q, %v", token, err)
	}
	if n := s.asked.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func FuzzReadToken(f *testing.F) {
	for _, seed := range []string{`{"access_token":"t","token_type":"bearer","expires_in":60}`, `{"access_token":"t","expires_in":"1e9"}`, `<html>`, `{}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		token, lasts, err := readToken(body)
		if err != nil {
			return
		}
		if lasts <= 0 || lasts > longestToken {
			// A token of less than a nanosecond is good for the attempt that fetched it.
			if lasts != 0 {
				t.Fatalf("lasts %v", lasts)
			}
		}
		if token == "" || outbound.CheckHeader("X-Token", token) != nil {
			t.Fatalf("token %q", token)
		}
	})
}
