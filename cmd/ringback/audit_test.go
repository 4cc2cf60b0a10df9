package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
)

// command runs a command line as its user would, and returns what it wrote.
func command(t *testing.T, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	code = execute(t.Context(), args, &term{in: strings.NewReader(""), out: &out, err: &errs})
	return out.String(), errs.String(), code
}

// TestEveryCommandThatChangesSomethingLeavesOneEntry runs them against a gateway of
// their own.
func TestEveryCommandThatChangesSomethingLeavesOneEntry(t *testing.T) {
	t.Parallel()
	store := shortStore(t)
	dir := filepath.Dir(store)
	const admin = "the-admin-key-of-this-test"
	s := &config.Settings{Listen: "127.0.0.1:0", Store: store, Options: ringback.Options{
		AdminKey: admin, BodyDir: filepath.Join(dir, "bodies"), DrainTimeout: 50 * time.Millisecond, Proof: job.ProofChallenge,
		Outbound:   ringback.Outbound{HTTP: true, Allow: []string{"127.0.0.0/8"}},
		Operations: []ringback.Operation{{Operation: job.Operation{Name: "relay", Route: "POST /relay"}, Backend: ringback.Relay()}}}}
	srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	log := func() (all []client.Audit) {
		out, errs, code := command(t, "audit", "--json", "--since", "1h", "--url", srv.URL(), "--key", admin)
		if code != 0 {
			t.Fatal(errs)
		}
		for line := range strings.Lines(out) {
			var a client.Audit
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			all = append(all, a)
		}
		return all
	}
	key := ""
	change := func(as string, action job.Action, subject string, args ...string) string {
		t.Helper()
		before := len(log())
		out, errs, code := command(t, append(args, "--url", srv.URL(), "--key", as, "-o", "jsonl")...)
		if code != 0 {
			t.Fatalf("%q: %s", args, errs)
		}
		after := log()
		want := client.AuditActor{Kind: "admin", Remote: "127.0.0.1"}
		if as != admin {
			want = client.AuditActor{Kind: "app", App: "shop", Key: key[:9], Remote: "127.0.0.1"}
		}
		if len(after) != before+1 || after[0].Action != string(action) || after[0].Subject != subject || after[0].Actor != want {
			t.Errorf("%q left %d entries, the last of them %+v", args, len(after)-before, after[0])
		}
		return out
	}
	var made client.AppCreated
	if err := json.Unmarshal([]byte(change(admin, job.AppCreate, "shop", "app", "create", "shop")), &made); err != nil {
		t.Fatal(err)
	}
	key = made.Key
	change(admin, job.AppPolicy, "shop", "app", "policy", "shop", "--any")
	change(key, job.EndpointCreate, "main", "endpoint", "create", "main", "http://127.0.0.1:10109/")
	change(key, job.EndpointUpdate, "main", "endpoint", "update", "main", "http://127.0.0.1:10110/")
	change(key, job.EndpointVerify, "main", "endpoint", "verify", "main")
	change(key, job.EndpointSecretRotate, "main", "endpoint", "rotate", "main")
	change(key, job.AppSecretRotate, "shop", "endpoint", "rotate")
	change(key, job.EndpointDelete, "main", "endpoint", "delete", "main")

	before, backup := len(log()), filepath.Join(dir, "backup")
	if _, errs, code := command(t, "db", "backup", backup, "--store", "sqlite:"+store); code != 0 {
		t.Fatal(errs)
	}
	if after := log(); len(after) != before+1 || after[0].Action != string(job.BackupCreate) || after[0].Subject != backup || after[0].Actor != (client.AuditActor{Kind: "control"}) {
		t.Errorf("the backup left %+v", after[0])
	}

	table, errs, code := command(t, "audit", "--action", "endpoint.update", "--url", srv.URL(), "--key", key)
	if code != 0 || !strings.Contains(table, "endpoint.update  shop  main     shop "+key[:9]+"  127.0.0.1  url from http://127.0.0.1:10109 to http://127.0.0.1:10110") {
		t.Errorf("the table is\n%s%s", table, errs)
	}
	for _, bad := range [][]string{{"--since", "yesterday"}, {"--until", "-1h"}, {"--limit", "-1"}, {"--since", "d"}} {
		if _, _, code := command(t, append([]string{"audit", "--url", srv.URL(), "--key", key}, bad...)...); code != exitUsage {
			t.Errorf("%q: %d", bad, code)
		}
	}
}

func TestMomentsAreTimesOrHowLongAgo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]string{"90m": "2026-03-01T10:30:00Z", "7d": "2026-02-22T12:00:00Z", "2026-01-02T03:04:05+01:00": "2026-01-02T02:04:05Z", "0s": "2026-03-01T12:00:00Z"} {
		got, err := momentFlag("--since", text, now)
		if err != nil || got.UTC().Format(time.RFC3339) != want {
			t.Errorf("%s is %v, %v", text, got, err)
		}
	}
}
