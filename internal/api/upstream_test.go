package api

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// setupUpstream starts a gateway in front of an upstream, and makes an app.
func setupUpstream(t *testing.T, upstream http.Handler, change func(*Options)) (g *gateway, behind *httptest.Server, key string) {
	t.Helper()
	behind = httptest.NewServer(upstream)
	t.Cleanup(behind.Close)
	at, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	g = setup(t, func(o *Options) {
		whole := job.Operation{Name: "upstream"}.WithDefaults()
		o.Operations, o.Upstream, o.Prefix = nil, &whole, "/.ringback"
		o.Passthrough = NewPassthrough(at, slog.New(slog.DiscardHandler))
		if change != nil {
			change(o)
		}
	})
	a := g.call("POST", "/.ringback/v1/apps", adminKey, `{"name":"shop"}`)
	a.want(t, http.StatusCreated, "")
	return g, behind, field[string](t, a, "key")
}

// mirror tells all that the upstream sees of a request.
func mirror(w http.ResponseWriter, r *http.Request) {
	content, err := io.ReadAll(r.Body)
	for _, name := range []string{"Connection", "Keep-Alive", "Te", "Upgrade"} {
		r.Header.Del(name) // each connection's own
	}
	json.NewEncoder(w).Encode(map[string]any{
		"method": r.Method, "target": r.RequestURI, "host": r.Host, "header": r.Header, "length": r.ContentLength,
		"coding": r.TransferEncoding, "trailer": r.Trailer, "body": fmt.Sprintf("%d %x", len(content), sha256.Sum256(content)), "error": fmt.Sprint(err),
	})
}

// behaviours are answers that a proxy might spoil.
var behaviours = map[string]http.HandlerFunc{
	"/empty":       func(http.ResponseWriter, *http.Request) {},
	"/no-content":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) },
	"/not-changed": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Etag", `"x"`); w.WriteHeader(304) },
	"/teapot":      func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "short and stout", http.StatusTeapot) },
	"/odd-status":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(299); io.WriteString(w, "odd") },
	"/moved": func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+r.Host+"/next?a=%zz", http.StatusFound)
	},
	"/untyped": func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil
		io.WriteString(w, "<html>looks like something")
	},
	"/typed-empty": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "")
		io.WriteString(w, "<html>")
	},
	"/headers": func(w http.ResponseWriter, _ *http.Request) {
		for _, name := range []string{"Set-Cookie", "X-Twice", "Cache-Control", "Warning"} {
			w.Header()[name] = []string{"a=1; Path=/", "b=2"}
		}
		w.Header().Set("Server", "upstream/1.0")
		w.Header().Set("Vary", "Accept")
		w.Header().Set("X-Empty", "")
		io.WriteString(w, "headers")
	},
	"/packed": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Write([]byte("\x1f\x8b this is not ours to unpack"))
	},
	"/chunks": func(w http.ResponseWriter, _ *http.Request) {
		for i := range 5 {
			fmt.Fprintf(w, "part %d\n", i)
			w.(http.Flusher).Flush()
		}
	},
	"/large": func(w http.ResponseWriter, _ *http.Request) {
		w.Write(bytes.Repeat([]byte("0123456789abcdef"), 1<<16))
	},
	"/trailers": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "body")
		w.Header().Set("X-Sum", "7")
		w.Header().Set(http.TrailerPrefix+"X-Late", "8")
	},
	"/early": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "1")
		io.WriteString(w, "final")
	},
	"/events": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\n")
	},
	"/dropped": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		io.WriteString(w, "cut")
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	},
}

func realUpstream() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if behave := behaviours[r.URL.Path]; behave != nil {
			behave(w, r)
			return
		}
		mirror(w, r)
	})
}

// exchange sends a request as it is, and tells everything that comes back but
// what differs from answer to answer.
func exchange(t *testing.T, address, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	go io.WriteString(conn, request)
	var seen strings.Builder
	for r := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("%.60q: %v", request, err)
		}
		content, err := io.ReadAll(resp.Body)
		resp.Header.Del("Date")
		fmt.Fprintf(&seen, "%s %s\n%v\nlength %d %q\nbody %q %v\ntrailer %v\n", resp.Proto, resp.Status, resp.Header,
			resp.ContentLength, resp.TransferEncoding, content, err, resp.Trailer)
		if resp.StatusCode >= 200 {
			return seen.String()
		}
	}
}

func TestClientsOfTheUpstreamNoticeNothing(t *testing.T) {
	t.Parallel()
	g, behind, _ := setupUpstream(t, realUpstream(), nil)
	const host = "Host: api.example:8080\r\n"
	large := strings.Repeat("0123456789abcdef", 1<<14)
	requests := []string{
		"GET / HTTP/1.1\r\n" + host + "\r\n",
		"GET /a//b/../c/./%2e%2e/%2F%zz HTTP/1.0\r\n\r\n",
		"GET /a//b/../c/./%2e%2e/%2F HTTP/1.1\r\n" + host + "\r\n",
		"GET //double HTTP/1.1\r\n" + host + "\r\n",
		"GET /odd|characters\"<>^`{}[] HTTP/1.1\r\n" + host + "\r\n",
		"GET /caf\xc3\xa9?q=\xff;a=b&&c&=&%zz&d=%41+e HTTP/1.1\r\n" + host + "\r\n",
		"GET /question? HTTP/1.1\r\n" + host + "\r\n",
		"GET /jsonp?callback=show&a=1 HTTP/1.1\r\n" + host + "\r\n",
		"GET /v1/jobs HTTP/1.1\r\n" + host + "\r\n",
		"GET /healthz HTTP/1.1\r\n" + host + "\r\n",
		"OPTIONS / HTTP/1.1\r\n" + host + "Origin: https://web.example\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
		"TRACE /x HTTP/1.1\r\n" + host + "\r\n",
		"BREW /pot HTTP/1.1\r\n" + host + "\r\n",
		"DELETE /thing HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc",
		"HEAD /headers HTTP/1.1\r\n" + host + "\r\n",
		"HEAD /large HTTP/1.1\r\n" + host + "\r\n",
		"GET /headers HTTP/1.1\r\n" + host + "Accept: a/b\r\nAccept: c/d\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n" +
			"Forwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nVia: 1.1 a\r\n\r\n",
		"GET /mirror HTTP/1.1\r\n" + host + "Accept: a/b\r\nAccept: c/d\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 5.6.7.8\r\n" +
			"Forwarded: for=1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: h\r\nVia: 1.1 a\r\nAuthorization: Basic dTpw\r\nCookie: a=1\r\n" +
			"Cookie: b=2\r\nAccept-Encoding: br\r\nUser-Agent: test/1\r\nX-Empty:\r\nIf-None-Match: \"x\"\r\nRange: bytes=0-3\r\nTraceparent: " + validParent + "\r\n" +
			"Idempotency-Key: k\r\nPrefer: return=minimal\r\nX-Callback-State: s\r\n\r\n",
		"POST /mirror HTTP/1.1\r\n" + host + "Content-Length: 5\r\nContent-Type: x/y\r\n\r\nhello",
		"POST /mirror HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n",
		"POST /mirror HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"POST /mirror HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\n\r\n",
		"PUT /mirror HTTP/1.1\r\n" + host + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large,
		"PUT /mirror HTTP/1.1\r\n" + host + "Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello",
		"POST /teapot HTTP/1.1\r\n" + host + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(large)) + large,
	}
	for path := range behaviours {
		requests = append(requests, "GET "+path+" HTTP/1.1\r\n"+host+"\r\n", "GET "+path+" HTTP/1.0\r\n"+host+"\r\n")
	}
	direct, through := behind.Listener.Addr().String(), g.server.Listener.Addr().String()
	for _, request := range requests {
		if strings.Contains(request, "HTTP/1.0") {
			// Over HTTP/1.0 the end of an answer is the connection's, so only the
			// content can be compared.
			if want, got := content(exchange(t, direct, request)), content(exchange(t, through, request)); got != want {
				t.Errorf("%.80q\nthrough the gateway: %s\ndirectly: %s", request, got, want)
			}
			continue
		}
		want, got := exchange(t, direct, request), exchange(t, through, request)
		if strings.HasPrefix(request, "POST /teapot") {
			// The upstream answers before it has read the body: what the connection is
			// good for afterwards is each connection's own.
			want, got = content(want), content(got)
		}
		if got != want {
			t.Errorf("%.80q\nthrough the gateway: %s\ndirectly: %s", request, got, want)
		}
	}
	if n := g.jobs(); n != 0 {
		t.Errorf("%d jobs", n)
	}
}

func content(exchanged string) string {
	_, body, _ := strings.Cut(exchanged, "\nbody ")
	return body
}

func TestUpstreamStreamsBothWaysAtOnce(t *testing.T) {
	t.Parallel()
	g, _, _ := setupUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).EnableFullDuplex()
		lines := bufio.NewScanner(r.Body)
		w.WriteHeader(200)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			w.(http.Flusher).Flush()
		}
	}), nil)
	in, out := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.server.URL+"/chat", in)
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(out, "first\n")
	resp, err := g.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answers := bufio.NewScanner(resp.Body)
	for _, line := range []string{"first", "second", "third"} {
		if !answers.Scan() || answers.Text() != "echo "+line {
			t.Fatalf("got %q, %v", answers.Text(), answers.Err())
		}
		if line != "third" {
			next := map[string]string{"first": "second\n", "second": "third\n"}[line]
			if _, err := io.WriteString(out, next); err != nil {
				t.Fatal(err)
			}
		}
	}
	out.Close()
	if answers.Scan() {
		t.Errorf("more: %q", answers.Text())
	}
}

func TestUpstreamCanTakeAConnectionOver(t *testing.T) {
	t.Parallel()
	g, _, _ := setupUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.Header.Get("Upgrade"))
		rw.Flush()
		line, _ := rw.ReadString('\n')
		fmt.Fprintf(rw, "echo %s", line)
		rw.Flush()
	}), nil)
	conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
	r := bufio.NewReader(conn)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusSwitchingProtocols || resp.Header.Get("Upgrade") != "chat" {
		t.Fatal(resp, err)
	}
	io.WriteString(conn, "hello\n")
	if line, err := r.ReadString('\n'); err != nil || line != "echo hello\n" {
		t.Errorf("got %q, %v", line, err)
	}
}

func TestEarlyAnswerOfTheUpstreamReachesAClientThatStillSends(t *testing.T) {
	t.Parallel()
	g, _, _ := setupUpstream(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "enough", http.StatusRequestEntityTooLarge)
	}), nil)
	for _, rest := range []string{"abc", strings.Repeat("a", 300_000)} {
		a := g.raw("POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + rest)
		if !strings.HasPrefix(a, "HTTP/1.1 413 ") || !strings.HasSuffix(a, "enough\n") {
			t.Errorf("got %.200q", a)
		}
	}
}

func TestUnreachableUpstreamIsAProblem(t *testing.T) {
	t.Parallel()
	g, behind, _ := setupUpstream(t, realUpstream(), nil)
	behind.Close()
	a := g.call("GET", "/secret-path", "", "")
	a.want(t, http.StatusBadGateway, "upstream_unreachable")
	if strings.Contains(a.body, behind.Listener.Addr().String()) || strings.Contains(a.body, "secret-path") {
		t.Errorf("the answer tells too much: %s", a.body)
	}
}

func TestGatewaysKeyIsNotPassedOn(t *testing.T) {
	t.Parallel()
	g, _, key := setupUpstream(t, realUpstream(), nil)
	if a := g.call("GET", "/x", "", "", "Ringback-Key", key); a.status != 200 || strings.Contains(a.body, key) {
		t.Errorf("%d %s", a.status, a.body)
	}
	g.call("CONNECT", "/x", "", "").want(t, http.StatusNotFound, "not_found")
}

func TestCallThatAsksForItBecomesAJobOfTheUpstream(t *testing.T) {
	t.Parallel()
	g, _, key := setupUpstream(t, realUpstream(), nil)
	for _, test := range []struct {
		path, query, header, value string
	}{
		{"/a%2Fb//c?x=%zz&callbackURL=https://a.example/cb&y", "x=%zz&y", "X-Any", "1"},
		{"/a?callback%55RL=https://a.example/cb", "", "X-Any", "1"},
		{"/a?x=1", "x=1", "X-Callback-Url", "https://a.example/cb"},
		{"/a?x=1", "x=1", "Prefer", "respond-async"},
		{"/a?x=1", "x=1", "Prefer", "handling=strict, Respond-Async; a=b, wait=0"},
	} {
		g.call("PATCH", test.path, key, "{}", test.header, test.value).want(t, http.StatusUnauthorized, "unauthenticated")
		a := g.call("PATCH", test.path, "", "{}", test.header, test.value, "Ringback-Key", key, "Authorization", "Basic dTpw", "Cookie", "a=1", "Cookie", "b=2")
		j := g.stored(a)
		path, _, _ := strings.Cut(test.path, "?")
		if j.Operation != "upstream" || j.Request.Method != "PATCH" || j.Request.Path != path || j.Request.RawQuery != test.query {
			t.Errorf("%s: %s %+v", test.path, j.Operation, j.Request)
		}
		sealed, err := g.seal.Open(j.Request.Authorization, authorizationUse)
		if err != nil || string(sealed) != "Basic dTpw\na=1; b=2" {
			t.Errorf("Authorization and Cookie are kept as %q, %v", sealed, err)
		}
		for _, name := range []string{"Authorization", "Cookie", "Ringback-Key", "Prefer", "X-Callback-Url"} {
			if j.Request.Header[name] != nil {
				t.Errorf("the upstream would see %s", name)
			}
		}
		if !strings.HasPrefix(a.header.Get("Location"), "/.ringback/v1/jobs/") {
			t.Errorf("Location: %s", a.header.Get("Location"))
		}
	}
	g.call("GET", "/a", "", "", "X-Callback", "nosuch", "Ringback-Key", key).want(t, http.StatusBadRequest, "callback_unknown_endpoint")
	g.call("GET", "/a?callbackURL=https://a.example", "", "", "Ringback-Key", key, "Authorization", "a", "Authorization", "b").
		want(t, http.StatusBadRequest, "bad_request")
	if n := g.jobs(); n != 5 {
		t.Errorf("%d jobs, want 5", n)
	}
}

func TestPassthroughKeepsThePathOfItsUpstream(t *testing.T) {
	t.Parallel()
	behind := httptest.NewServer(http.HandlerFunc(mirror))
	defer behind.Close()
	at, err := url.Parse(behind.URL + "/base%2Fpath/")
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(NewPassthrough(at, slog.New(slog.DiscardHandler)))
	defer front.Close()
	got := exchange(t, front.Listener.Addr().String(), "GET //a%2fb?c HTTP/1.1\r\nHost: a\r\n\r\n")
	if want := `\"target\":\"/base%2Fpath//a%2fb?c\"`; !strings.Contains(got, want) {
		t.Errorf("%s lacks %s", got, want)
	}
	if names := []string{"Forwarded", "X-Forwarded-For", "Via", "User-Agent", "Accept-Encoding"}; slices.ContainsFunc(names, func(name string) bool { return strings.Contains(got, name) }) {
		t.Errorf("a header was added: %s", got)
	}
}
