package examples_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/npmtest"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

// snippet is the code in a language that docs/receiving.md shows.
func snippet(t *testing.T, language string) string {
	t.Helper()
	return snippetOf(t, "../docs/receiving.md", language)
}

func snippetOf(t *testing.T, file, language string) string {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllSubmatch(page, -1)
	if len(found) != 1 {
		t.Fatalf("%d snippets in %s", len(found), language)
	}
	return string(found[0][1])
}

// The snippets in a program of their own, which exits with 0 for a genuine callback. It
// gets the headers as a JSON object in HEADERS and in variables, the body from stdin.
const (
	goProgram = `package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

func main() {
	SNIPPET
	r := httptest.NewRequest("POST", "/bar", os.Stdin)
	var headers map[string]string
	check(json.Unmarshal([]byte(os.Getenv("HEADERS")), &headers))
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	http.DefaultServeMux.ServeHTTP(w, r)
	if w.Code != 200 {
		os.Exit(1)
	}
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
`
	jsProgram = `import { readFileSync } from "node:fs";
SNIPPET
verify(JSON.parse(process.env.HEADERS), readFileSync(0));
`
	pythonProgram = `import json, os, sys
SNIPPET
verify(json.loads(os.environ["HEADERS"]), sys.stdin.buffer.read(), os.environ["RINGBACK_SECRET"])
`
	shellProgram = `set -eu
SNIPPET
`
)

func TestSnippetsOfTheDocumentationVerify(t *testing.T) {
	t.Parallel()
	g, c := setup(t)
	cb := capture(t, c)
	for name, prepare := range map[string]func(t *testing.T) []string{
		"go": func(t *testing.T) []string {
			t.Helper()
			code := strings.ReplaceAll(snippet(t, "go"), "// …", "check(err)")
			program := filepath.Join(t.TempDir(), "verify")
			source := write(t, "main.go", strings.Replace(goProgram, "SNIPPET", code, 1))
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, source).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			return []string{program}
		},
		"js": func(t *testing.T) []string {
			t.Helper()
			npmtest.Install(t, "receiver-node")
			packages, err := filepath.Abs("receiver-node/node_modules")
			if err != nil {
				t.Fatal(err)
			}
			source := write(t, "verify.mjs", strings.Replace(jsProgram, "SNIPPET", snippet(t, "js"), 1))
			if err := os.Symlink(packages, filepath.Join(filepath.Dir(source), "node_modules")); err != nil {
				t.Fatal(err)
			}
			return []string{"node", source}
		},
		"javascript": func(t *testing.T) []string {
			t.Helper()
			return []string{"node", write(t, "verify.mjs", strings.Replace(jsProgram, "SNIPPET", snippet(t, "javascript"), 1))}
		},
		"python": func(t *testing.T) []string {
			t.Helper()
			return []string{"python3", write(t, "verify.py", strings.Replace(pythonProgram, "SNIPPET", snippet(t, "python"), 1))}
		},
		"sh": func(t *testing.T) []string {
			t.Helper()
			return []string{"sh", write(t, "verify.sh", strings.Replace(shellProgram, "SNIPPET", snippet(t, "sh"), 1))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program := prepare(t)
			if out, err := verify(t, program, cb, g.Secret); err != nil {
				t.Errorf("a genuine callback is refused: %v\n%s", err, out)
			}
			two := callback{cb.header.Clone(), cb.body}
			two.header.Set("webhook-signature", "v1,AA== "+cb.header.Get("webhook-signature"))
			if out, err := verify(t, program, two, g.Secret); err != nil {
				t.Errorf("one with two signatures is refused: %v\n%s", err, out)
			}
			if out, err := verify(t, program, signed(t, g.Secret, "--\xff\x00\r\n"), g.Secret); (err == nil) != (name != "js") {
				t.Errorf("of a body that is no JSON: %v\n%s", err, out) // the official library of js reads JSON alone
			}
			for name, bad := range map[string]callback{
				"no body":    signed(t, g.Secret, ""),
				"old":        signedAt(t, g.Secret, -time.Hour),
				"from ahead": signedAt(t, g.Secret, time.Hour),
				"other body": {cb.header, append(cb.body, ' ')},
				"other scheme": {http.Header{"Webhook-Id": cb.header["Webhook-Id"], "Webhook-Timestamp": cb.header["Webhook-Timestamp"],
					"Webhook-Signature": {strings.Replace(cb.header.Get("webhook-signature"), "v1", "v2", 1)}}, cb.body},
			} {
				if _, err := verify(t, program, bad, g.Secret); err == nil {
					t.Errorf("%s: accepted", name)
				}
			}
			if out, err := verify(t, program, signedAt(t, g.Secret, time.Minute), g.Secret); err != nil {
				t.Errorf("one of another clock is refused: %v\n%s", err, out)
			}
			if _, err := verify(t, program, cb, sign.NewSecret().Reveal()); err == nil {
				t.Error("another secret: accepted")
			}
		})
	}
}

// captureOutside makes a call whose callback goes to an endpoint by GET, with all that it
// says behind the URL, signed by a legacy scheme with a secret that was brought along.
func captureOutside(t *testing.T, c *client.Client, legacySecret string) (r *http.Request, secret string) {
	t.Helper()
	got := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got <- r }))
	t.Cleanup(server.Close)
	if _, err := c.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "shop", URL: server.URL + "/bar?file=7", Default: true,
		Method: http.MethodGet, Format: "query", Signature: map[string]string{"legacy": "github"}, Secret: legacySecret}); err != nil {
		t.Fatal(err)
	}
	s, err := c.Secret(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	settle(t, c, client.Call{Path: "/notify", Body: strings.NewReader(`{"text":"hi"}`), ContentType: "application/json", State: "7"})
	return <-got, s.Secret
}

func TestSnippetsOfSignaturesVerify(t *testing.T) {
	t.Parallel()
	const legacySecret = "It's a Secret to Everybody"
	_, c := setup(t)
	r, secret := captureOutside(t, c, legacySecret)
	genuine := callback{r.Header, nil}
	whole := write(t, "rfc9421.py", "import json, os, sys\n"+snippetOf(t, "../docs/signatures.md", "python")+`
verify(sys.argv[1], sys.argv[2], json.loads(os.environ["HEADERS"]), sys.stdin.buffer.read(), os.environ["RINGBACK_SECRET"])
`)
	target := "http://" + r.Host + r.URL.RequestURI()
	added, stripped := r.Header.Clone(), r.Header.Clone()
	added.Set("Ringback-Event", "notify.failed")
	stripped.Del("Signature-Input")
	for name, tc := range map[string]struct {
		method, url, secret string
		cb                  callback
		genuine             bool
	}{
		"genuine":        {r.Method, target, secret, genuine, true},
		"other method":   {http.MethodPost, target, secret, genuine, false},
		"other URL":      {r.Method, target + "&x=1", secret, genuine, false},
		"other secret":   {r.Method, target, sign.NewSecret().Reveal(), genuine, false},
		"other body":     {r.Method, target, secret, callback{r.Header, []byte("x")}, false},
		"a header more":  {r.Method, target, secret, callback{added, nil}, false},
		"without itself": {r.Method, target, secret, callback{stripped, nil}, false},
	} {
		if out, err := verify(t, []string{"python3", whole, tc.method, tc.url}, tc.cb, tc.secret); (err == nil) != tc.genuine {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}

	legacy := []string{"python3", write(t, "legacy.py", "import hmac, json, os, sys\n"+snippetOf(t, "../docs/signatures.md", "py")+`
verify(json.loads(os.environ["HEADERS"]), sys.stdin.buffer.read(), os.environ["RINGBACK_SECRET"])
`)}
	if out, err := verify(t, legacy, genuine, legacySecret); err != nil {
		t.Errorf("legacy: %v\n%s", err, out)
	}
	if _, err := verify(t, legacy, genuine, secret); err == nil {
		t.Error("legacy, by the other secret: accepted")
	}
}

// signedAt is a callback as it is at another time.
func signedAt(t *testing.T, secret string, later time.Duration) callback {
	t.Helper()
	key, err := sign.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	r := receivertest.Callback{Timestamp: time.Now().Add(later)}.Request(key)
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return callback{r.Header, body}
}

// signed is a callback of a body, signed by v1 alone.
func signed(t *testing.T, secret, body string) callback {
	t.Helper()
	key, err := sign.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	header := http.Header{}
	if err := sign.Sign(header, sign.Message{ID: "cb_1", Timestamp: time.Now(), Body: []byte(body)}, key); err != nil {
		t.Fatal(err)
	}
	return callback{header, []byte(body)}
}

func verify(t *testing.T, program []string, cb callback, secret string) (out []byte, err error) {
	t.Helper()
	headers := map[string]string{}
	for name := range cb.header {
		headers[strings.ToLower(name)] = cb.header.Get(name)
	}
	text, err := json.Marshal(headers)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program[0], program[1:]...)
	command.Env = append(os.Environ(), "RINGBACK_SECRET="+secret, "HEADERS="+string(text),
		"id="+headers["webhook-id"], "timestamp="+headers["webhook-timestamp"], "signature="+headers["webhook-signature"])
	command.Stdin = bytes.NewReader(cb.body)
	return command.CombinedOutput()
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
