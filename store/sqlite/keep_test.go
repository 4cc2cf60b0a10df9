package sqlite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

// notOfApp are tables with a column app that no erasure has to look at, and why.
var notOfApp = map[string]string{
	"jobs":      "EraseApp deletes them one by one",
	"callbacks": "go with their job",
	"audit":     "keeps that the app was there, and that it is no more",
}

// ofStore are tables that are no app's.
var ofStore = []string{"settings", "schema_migrations", "audit"}

// TestErasureKnowsEveryTableOfApps fails for a new table that an app has rows in and that
// EraseApp does not know.
func TestErasureKnowsEveryTableOfApps(t *testing.T) {
	t.Parallel()
	s := setup(t)
	for _, table := range tablesWith(t, s, "app") {
		_, other := notOfApp[table]
		if slices.Contains(ofApp, table) == other {
			t.Errorf("the table %s has apps: it belongs into ofApp, or into notOfApp", table)
		}
	}
	for _, table := range tablesWith(t, s, "lane") {
		if _, other := notOfApp[table]; slices.Contains(ofLane, table) == other {
			t.Errorf("the table %s has lanes: it belongs into ofLane, or into notOfApp", table)
		}
	}
	for _, table := range ofApp {
		if !slices.Contains(tablesWith(t, s, "app"), table) {
			t.Errorf("there is no table %s of apps", table)
		}
	}
}

// TestErasureLeavesNoRowOfAJob fails for a new table with rows of jobs or callbacks that
// deleteJob does not know.
func TestErasureLeavesNoRowOfAJob(t *testing.T) {
	t.Parallel()
	s := setup(t)
	fill(t, s, "shop", "marker", 3)
	for _, table := range tablesWith(t, s, "") {
		if !slices.Contains(ofStore, table) && rows(t, s, table) == 0 {
			t.Errorf("fill leaves the table %s empty: what erases its rows is not tested", table)
		}
	}
	erase(t, s, "shop")
	for _, table := range tablesWith(t, s, "") {
		if n := rows(t, s, table); !slices.Contains(ofStore, table) && n > 0 {
			t.Errorf("%d rows are left in %s", n, table)
		}
	}
}

func tablesWith(t *testing.T, s *Store, column string) (tables []string) {
	t.Helper()
	err := s.read(t.Context(), func(c *conn) error {
		return c.bind(`SELECT name FROM sqlite_schema s WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND (?1 = '' OR EXISTS (SELECT 1 FROM pragma_table_info(s.name) WHERE name = ?1))`).
			text(column).each(func(row *scanner) { tables = append(tables, row.text()) })
	})
	if err != nil || len(tables) == 0 {
		t.Fatal(tables, err)
	}
	return tables
}

func rows(t *testing.T, s *Store, table string) (n int64) {
	t.Helper()
	err := s.read(t.Context(), func(c *conn) error {
		return c.bind(`SELECT count(*) FROM ` + table).each(func(row *scanner) { n = row.int() })
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func erase(t *testing.T, s *Store, app string) {
	t.Helper()
	if err := s.DeleteApp(t.Context(), app, time.Now()); err != nil {
		t.Fatal(err)
	}
	for {
		_, done, err := s.EraseApp(t.Context(), app, 10)
		if err != nil {
			t.Fatal(err)
		}
		if done {
			break
		}
	}
	for _, step := range []func(context.Context) error{s.Scrub, func(ctx context.Context) error { return s.ForgetApp(ctx, app) }} {
		if err := step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// fill gives an app n times every row that there is, with a marker in each text.
func fill(t *testing.T, s *Store, app, marker string, n int) {
	t.Helper()
	ctx, now := t.Context(), time.Now()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	long := strings.Repeat(marker+" ", 1000) // more than a page
	secrets := job.Secrets{Current: []byte(marker), Previous: []byte(marker)}
	check(s.CreateApp(ctx, job.App{Name: app, Secrets: secrets}, job.Key{Hash: [32]byte([]byte(marker + strings.Repeat("-", 32))[:32]), App: app, Hint: marker}))
	for i := range n {
		name := fmt.Sprint(marker, i)
		check(s.CreateEndpoint(ctx, job.Endpoint{App: app, Name: name, URL: "https://" + marker, Headers: map[string]string{"X": marker}, Authorization: []byte(marker), Secrets: secrets}))
		bulk := &job.Bulk{ID: s.NewID(now), App: app, Action: job.BulkResend, Filter: job.BulkFilter{Endpoint: name}, CreatedAt: now}
		check(s.CreateBulk(job.WithActor(ctx, job.Actor{Kind: job.ActorApp, App: app, Key: marker, Remote: marker}), bulk))
		_, err := s.StopBulk(ctx, app, bulk.ID, now)
		check(err)
		_, err = s.Pause(ctx, job.Pause{App: app, Origin: "https://" + name, From: now})
		check(err)
		early := job.OwedCallback{Callback: callbackOf(s, app, marker, now)}
		j := newJob(s)
		j.App, j.Echo, j.Early, j.Request.RawQuery = app, marker, true, marker
		j.Request.Header = map[string][]string{"X": {marker}}
		j.Request.Authorization, j.Request.Body = []byte(marker), job.Body{Inline: []byte(long), Size: int64(len(long))}
		j.Targets = []job.Target{{URL: "https://" + marker}}
		early.Callback.JobID, early.Callback.Event = j.ID, job.EventAccepted
		_, err = s.Accept(ctx, job.Acceptance{Job: j, Claimed: true, Key: name, Callbacks: []job.OwedCallback{early}})
		check(err)
		check(s.StartRun(ctx, job.Start{Job: j, N: 1, At: now, Await: true}))
		check(s.Progress(ctx, job.Progress{Job: j, N: 1, Value: []byte(`"` + long + `"`), At: now}))
		asks := callbackOf(s, app, marker, now)
		asks.JobID, asks.Event = j.ID, job.EventAsk
		_, err = s.Ask(ctx, job.Asking{Job: j, Run: 1, StartedAt: now, Key: marker, Body: []byte(`"` + marker + `"`), At: now, Callback: asks})
		check(err)
		check(s.Answer(ctx, j.ID, asks.ID, job.QuestionEnd{Answer: &job.Answer{ContentType: "text/plain", Body: []byte(marker)}}, now))
		failure := &job.Error{Code: job.CodeBackendError, Message: marker, Detail: long[:4000]}
		check(s.FinishRun(ctx, job.Finish{Job: j, State: job.Accepted, At: now, DueAt: now, Error: failure, Run: &job.Run{N: 1, StartedAt: now, FinishedAt: now, Error: failure}}))
		f := finishOf(s, j)
		f.Result = &job.Result{Status: 200, ContentType: marker, Header: map[string][]string{"X": {marker}}, Body: job.Body{Inline: []byte(long), Size: int64(len(long))}}
		cb := callbackOf(s, app, marker, now)
		cb.JobID, cb.Body, cb.Data, cb.Link = j.ID, []byte(long), []byte(`"`+marker+`"`), "https://"+marker
		cb.Ordered, cb.OrderKey = true, name
		f.Callbacks, f.Run.N = []job.OwedCallback{{Callback: cb}}, 2
		check(s.FinishRun(ctx, f))
		check(s.SettleAttempt(ctx, job.Settlement{Callback: cb, State: job.Pending, DueAt: now, At: now, Waiting: "backoff",
			Attempt: &job.Attempt{N: 1, StartedAt: now, Address: marker, ContentType: marker, Header: map[string][]string{"X": {marker}}, Body: []byte(long), Error: "status", Status: 500}}))
		onWriter(t, s, func(c *conn) error {
			return c.bind(`INSERT INTO sequence_floors (lane, last) VALUES (?, 7)`).text(app + " " + name).exec()
		})
		waits := newJob(s)
		waits.App = app
		_, err = s.Accept(ctx, job.Acceptance{Job: waits, Claimed: true})
		check(err)
		check(s.FinishRun(ctx, job.Finish{Job: waits, State: job.Waiting, At: now, DueAt: now.Add(time.Hour), Run: &job.Run{N: 1, StartedAt: now},
			Wait: &job.Wait{StartedAt: now, Until: now.Add(time.Hour), Location: "/" + marker, Token: []byte(marker)}}))
	}
}

func callbackOf(s *Store, app, marker string, now time.Time) *job.Callback {
	return &job.Callback{ID: s.NewID(now), App: app, Operation: "scan", Event: job.EventSucceeded, URL: "https://" + marker, Method: "POST",
		CreatedAt: now, GiveUpAt: now.Add(time.Hour), State: job.Pending, DueAt: now}
}

// TestErasureLeavesNoTraceInTheFiles looks for an app in the bytes of the store, in what is
// free in them, too.
func TestErasureLeavesNoTraceInTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := Open(context.Background(), filepath.Join(dir, "ringback.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	const marker, other = "kerbstone", "quicksand"
	// Rows of both lie side by side, in pages that were split again and again.
	fill(t, s, "first", other, 20)
	fill(t, s, "second", marker, 40)
	fill(t, s, "third", other+"1", 20)
	if found := traces(t, dir, marker); len(found) == 0 {
		t.Fatal("the app is not found where it is")
	}
	erase(t, s, "second")
	if found := traces(t, dir, marker); len(found) > 0 {
		t.Errorf("traces of the app: %q", found)
	}
	if found := traces(t, dir, other); len(found) == 0 {
		t.Error("the other app is gone, too")
	}
	onWriter(t, s, func(c *conn) error {
		found, err := c.inspect()
		if len(found) > 0 {
			t.Errorf("the store is not sound: %v", found)
		}
		return err
	})
}

// traces is what stands around a marker in the files of a folder.
func traces(t *testing.T, dir, marker string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; len(found) < 20; {
			i := bytes.Index(content[at:], []byte(marker))
			if i < 0 {
				break
			}
			at += i
			found = append(found, fmt.Sprintf("%s %d (page %d): %s", e.Name(), at, at/4096, content[max(at-40, 0):min(at+40, len(content))]))
			at += 4096 - at%4096
		}
	}
	return found
}
