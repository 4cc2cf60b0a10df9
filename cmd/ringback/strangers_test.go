package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/ringback/ringback/internal/config"
)

// evil is what a stranger may want to have printed: it clears the screen, sets the
// title, begins a line that looks like ours, writes backwards, and is no UTF-8.
const evil = "\x1b[2J\x1b]0;x\x07\u009b31m\nringback: all is well\r\u202egnp.exe\u2066\u200b\x00<script>alert(1)</script>\xff\xc0"

// wantHarmless fails where output could do anything to a terminal.
func wantHarmless(t *testing.T, from, output string) {
	t.Helper()
	for i, r := range output {
		if r == utf8.RuneError && !strings.HasPrefix(output[i:], "\ufffd") {
			t.Errorf("%s writes what is no UTF-8: %q", from, output[i:min(len(output), i+20)])
			return
		}
		if !unicode.IsGraphic(r) && r != '\n' && r != '\t' {
			t.Errorf("%s writes %q in %q", from, r, output[max(0, i-20):min(len(output), i+20)])
			return
		}
	}
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "ringback: all is well") {
			t.Errorf("%s lets a stranger write a line of its own: %q", from, output)
		}
	}
}

func TestLogsCarryNothingThatSteersATerminal(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "text", ""} {
		for _, tty := range []bool{false, true} {
			var out bytes.Buffer
			log := (&term{err: &out, errTTY: tty, noColour: true}).logger(config.Log{Format: format})
			log.Warn("http: "+evil, "lane", evil, "error", errors.New(evil), "wrapped", fmt.Errorf("call: %w", errors.New(evil)), "n", 7)
			name := fmt.Sprintf("the log in %q, terminal %v,", format, tty)
			wantHarmless(t, name, out.String())
			if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "all is well") {
				t.Errorf("%s: %d lines: %q", name, n, out.String())
			}
		}
	}
}

// TestCommandsShowNothingThatSteersATerminal has a gateway answer with evil text in every
// field that it can stand in.
func TestCommandsShowNothingThatSteersATerminal(t *testing.T) {
	t.Parallel()
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		thing := map[string]any{}
		for _, name := range []string{"id", "job_id", "operation", "status", "url", "source", "endpoint", "event", "method", "format", "last_error", "error", "waiting",
			"content_type", "body", "name", "app", "hint", "key", "secret", "state", "order_key", "action", "subject", "kind", "detail", "remote", "callback", "address", "step", "origin"} {
			thing[name] = evil
		}
		delete(thing, "callback")
		delete(thing, "app")
		thing["headers"] = map[string]string{"X-Evil": evil}
		switch {
		case strings.HasPrefix(r.URL.Path, "/v1/jobs"):
			thing["error"] = map[string]any{"code": evil, "message": evil, "detail": evil}
		case strings.HasSuffix(r.URL.Path, "/attempts"):
			thing["status"], thing["n"] = 500, 1
		}
		answer := any(thing)
		w.Header().Set("Content-Type", "application/json")
		if strings.Contains(r.URL.Path, "refuse") {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusConflict)
			answer = map[string]any{"title": evil, "status": 409, "code": "conflict", "detail": evil, "hint": evil, "instance": evil}
		} else if r.URL.Path == "/v1/check-url" {
			answer = map[string]any{"allowed": false, "origin": evil, "steps": []any{map[string]any{"step": evil, "ok": false, "detail": evil}}, "addresses": []string{evil}}
		} else if parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/"); r.Method == http.MethodGet && (len(parts) == 2 || parts[len(parts)-1] == "attempts" || parts[len(parts)-1] == "callbacks") {
			answer = map[string]any{"data": []any{thing, thing}}
		}
		b, err := json.Marshal(answer)
		if err != nil {
			t.Error(err)
		}
		// What is no UTF-8 stays so.
		_, _ = w.Write(bytes.ReplaceAll(b, []byte(`\ufffd`), []byte("\xff")))
	}))
	defer gateway.Close()
	shown := 0
	for _, line := range []string{
		"job list", "job get job_1", "job get job_refuse", "job cancel job_1", "callback list", "callback get cb_1", "callback get cb_refuse", "callback attempts cb_1", "callback resend cb_1",
		"endpoint list", "endpoint get shop", "endpoint secret", "endpoint create shop https://my.server/", "app list", "audit", "check --url https://my.server/ --app shop",
	} {
		for _, format := range []string{"table", "json", "jsonl"} {
			args := append(strings.Fields(line), "-o", format)
			if strings.HasPrefix(line, "check") {
				args = append(args, "--gateway", gateway.URL)
			} else {
				args = append(args, "--url", gateway.URL)
			}
			stdout, stderr, _ := command(t, args...)
			wantHarmless(t, line+" -o "+format+" (stdout)", stdout)
			wantHarmless(t, line+" -o "+format+" (stderr)", stderr)
			if strings.Contains(stdout+stderr, "all is well") {
				shown++
			}
		}
	}
	if shown < 36 {
		t.Errorf("only %d of the outputs show what strangers wrote", shown)
	}
}
