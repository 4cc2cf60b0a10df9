package config

import (
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
)

// loadText reads a configuration that stands in a file ringback.yaml.
func loadText(t *testing.T, text string, s Sources, env map[string]string) (*Settings, error) {
	t.Helper()
	s.Path = "ringback.yaml"
	s.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	return load(s, []byte(text), func(path string) ([]byte, error) {
		if path == "/run/secrets/admin" {
			return []byte("an-admin-key-in-a-file\n"), nil
		}
		return nil, os.ErrNotExist
	})
}

func mustLoad(t *testing.T, text string, s Sources, env map[string]string) *Settings {
	t.Helper()
	settings, err := loadText(t, text, s, env)
	if err != nil {
		t.Fatal(err)
	}
	return settings
}

var testKey = base64.StdEncoding.EncodeToString(make([]byte, 32))

func TestNothingAtAllMeansTheDefaults(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "", Sources{}, nil)
	if s.Listen != "127.0.0.1:8080" || s.Store != "ringback.db" || s.Options.BodyDir != "ringback-bodies" {
		t.Errorf("got %+v", s)
	}
	if s.Options.Dev || !s.SealKey.IsZero() || s.Options.Upstream != nil || len(s.Options.Operations) != 0 {
		t.Errorf("got %+v", s.Options)
	}
}

func TestBodiesStandBesideTheStore(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "store: sqlite:/var/lib/ringback/main.db", Sources{}, nil)
	if s.Options.BodyDir != "/var/lib/ringback/main-bodies" {
		t.Errorf("got %s", s.Options.BodyDir)
	}
}

func TestEveryKeyIsRead(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, `
listen: ":8443"
store: sqlite:/data/r.db
bodies: dir:/data/b
public_url: https://api.example.com/gw/
prefix: /.rb
docs: false
dashboard: false
outbound: {http: true, allow: [10.20.0.0/16, "hooks.internal:8443"]}
admin_key: ${ADMIN}
seal_key: `+testKey+`
retention: 2d12h
drain_timeout: 5s
max_wait: 1m30s
log: {level: warn, format: text}
operations:
  scan:
    route: POST /scan/{kind}
    backend: {http: {url: "http://127.0.0.1:9/x/{kind}", method: PUT, headers: {X-A: 7, Authorization: "Bearer ${ADMIN}"}}}
    timeout: 10m
    deadline: 1h
    max_body: 5MiB
    max_result: 1GB
    concurrency: 8
    run: at_most_once
    retry: {attempts: 4, backoff: 500ms, max_backoff: 10s}
    callback:
      url: ["{$request.query.cb}", "https://example.com/bar"]
      required: true
      method: PUT
      format: raw
      template: '{n: .result}'
      events: [succeeded]
      schedule: [1s, 1m]
      timeout: 3s
      give_up_after: 1d
      caller_may: []
      signature: [v1, {legacy: {header: "X-${ADMIN}", signed: "{timestamp}.{body}"}}]
`, Sources{}, map[string]string{"ADMIN": "0123456789abcdef"})
	if s.Listen != ":8443" || s.Store != "/data/r.db" || s.Log != (Log{Level: slog.LevelWarn, Format: "text"}) {
		t.Errorf("got %+v", s)
	}
	o := s.Options
	if o.BodyDir != "/data/b" || o.PublicURL != "https://api.example.com/gw" || o.Prefix != "/.rb" || !o.NoDocs || !o.NoDashboard || o.AdminKey != "0123456789abcdef" ||
		len(s.SealKey.keys) != 1 || o.Retention != 60*time.Hour || o.DrainTimeout != 5*time.Second || o.MaxWait != 90*time.Second {
		t.Errorf("got %+v", o)
	}
	if !o.Outbound.HTTP || o.Outbound.Loopback || !reflect.DeepEqual(o.Outbound.Allow, []string{"10.20.0.0/16", "hooks.internal:8443"}) {
		t.Errorf("got %+v", o.Outbound)
	}
	want := job.Operation{Name: "scan", Route: "POST /scan/{kind}", Timeout: 10 * time.Minute, Deadline: time.Hour, MaxBodyBytes: 5 << 20,
		MaxResultBytes: 1e9, Concurrency: 8, AtMostOnce: true,
		Retry: job.Retry{Attempts: 4, Backoff: 500 * time.Millisecond, MaxBackoff: 10 * time.Second},
		Callback: job.Contract{URL: []string{"{$request.query.cb}", "https://example.com/bar"}, Required: true, Method: "PUT", Format: "raw", Template: "{n: .result}",
			Events: []job.Event{"succeeded"}, Schedule: []time.Duration{time.Second, time.Minute}, Timeout: 3 * time.Second,
			GiveUpAfter: 24 * time.Hour, CallerMay: []string{},
			Signature: `["v1",{"legacy":{"header":"X-0123456789abcdef","signed":"{timestamp}.{body}"}}]`}}
	if len(o.Operations) != 1 || !reflect.DeepEqual(o.Operations[0].Operation, want) {
		t.Errorf("got  %+v\nwant %+v", o.Operations, want)
	}
	if _, ok := o.Operations[0].Backend.(*backend.HTTP); !ok {
		t.Errorf("got a %T", o.Operations[0].Backend)
	}
}

func TestFlagsWinOverTheEnvironmentAndThatOverTheFile(t *testing.T) {
	t.Parallel()
	text := "listen: a:1\nstore: sqlite:file.db\nretention: 1h\n" +
		"operations: {scan: {route: POST /a, backend: {clamd: {address: 'tcp:nowhere:1'}}, timeout: 1s}}"
	env := map[string]string{"RINGBACK_LISTEN": "b:2", "RINGBACK_STORE": "sqlite:env.db", "RINGBACK_OUTBOUND_ALLOW": "10.0.0.0/8, hooks:8443",
		"RINGBACK_OUTBOUND_HTTP": "true", "RINGBACK_LOG_LEVEL": "debug", "RINGBACK_RETENTION": "", "RINGBACK_ADMIN_KEY": "file:/run/secrets/admin",
		"RINGBACK_OPERATIONS_SCAN_TIMEOUT": "7s", "RINGBACK_OPERATIONS_SCAN_BACKEND_CLAMD_ADDRESS": "unix:/clamd",
		"RINGBACK_OPERATIONS_SCAN_CALLBACK_CALLER_MAY": "url,state", "RINGBACK_OPERATIONS_SCAN_CALLBACK_SIGNATURE": "v1,v1a"}
	s := mustLoad(t, text, Sources{Flags: map[string]string{"listen": "c:3"}}, env)
	if s.Listen != "c:3" || s.Store != "env.db" || s.Log.Level != slog.LevelDebug || s.Options.Retention != time.Hour ||
		s.Options.AdminKey != "an-admin-key-in-a-file" || !s.Options.Outbound.HTTP ||
		!reflect.DeepEqual(s.Options.Outbound.Allow, []string{"10.0.0.0/8", "hooks:8443"}) {
		t.Errorf("got %+v", s)
	}
	scan := s.Options.Operations[0]
	if scan.Callback.Signature != `["v1","v1a"]` {
		t.Errorf("signature %s", scan.Callback.Signature)
	}
	if scan.Timeout != 7*time.Second || !reflect.DeepEqual(scan.Callback.CallerMay, []string{"url", "state"}) {
		t.Errorf("got %+v", scan)
	}
	want, err := backend.NewClamd(backend.ClamdConfig{Address: "unix:/clamd"})
	if err != nil || !reflect.DeepEqual(scan.Backend, want) {
		t.Errorf("got %+v", scan.Backend)
	}
}

func TestDevOpensLoopbackAndPlainHTTP(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, "operations: {a: {route: POST /a, backend: {relay: {}}, callback: {url: 'http://127.0.0.1:9/bar'}}}", Sources{Dev: true}, nil)
	if !s.Options.Dev || !s.Options.Outbound.HTTP || !s.Options.Outbound.Loopback {
		t.Errorf("got %+v", s.Options)
	}
	for _, listen := range []string{"localhost:0", "[::1]:80", "127.0.0.9:80"} {
		mustLoad(t, "", Sources{Dev: true, Flags: map[string]string{"listen": listen}}, nil)
	}
}

func TestDollarsAndAliases(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, `
operations:
  a:
    route: POST /a
    backend: &relay {relay: }
    callback: {url: &url "https://example.com/${PATH}/$y"}
  b:
    route: POST /b
    backend: *relay
    callback: {url: [*url]}
  c: {route: POST /c, backend: {relay: null}, callback: }
`, Sources{}, map[string]string{"PATH": "p,[&*"})
	if got := s.Options.Operations[1].Callback.URL[0]; got != "https://example.com/p,[&*/$y" {
		t.Errorf("got %s", got)
	}
}

func TestWhatAVariableHoldsIsNotExpandedAgain(t *testing.T) {
	t.Parallel()
	d := &decoder{expansions: map[string]string{}, lookupEnv: func(name string) (string, bool) { return "<${" + name + "}>", true }}
	for text, want := range map[string]string{"a${B}c": "a<${B}>c", "$${B}": "${B}", "$${${B}": "${<${B}>", "$B {$b} $": "$B {$b} $", "": ""} {
		if got, ok := d.expanded(text, ""); !ok || got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}

func TestTheFileMayBeMissing(t *testing.T) {
	t.Parallel()
	_, err := Load(Sources{Path: filepath.Join(t.TempDir(), "no.yaml")})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestProblemsAreSortedByPlace(t *testing.T) {
	t.Parallel()
	_, err := loadText(t, "max_wait: soon\nlisten: nowhere\noperatoins: {}\n", Sources{}, nil)
	problems, ok := errors.AsType[Problems](err)
	if !ok || len(problems) != 3 {
		t.Fatalf("got %v", err)
	}
	if got := strings.Count(err.Error(), "\n"); got != 2 || problems[0].Key != "max_wait" || problems[2].Key != "operatoins" {
		t.Errorf("got %v", err)
	}
}
