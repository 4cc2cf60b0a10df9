package ringback_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// again starts the gateway of a folder once more, for the same app.
func (g *gateway) again(t *testing.T, dir string, change func(*ringback.Options)) *gateway {
	t.Helper()
	g.stop()
	next := start(t, dir, change)
	next.key, next.secret = g.key, g.secret
	next.admin, next.app = next.client(t, adminKey), next.client(t, g.key)
	return next
}

func pause(t *testing.T, c *client.Client, what client.PauseCreate) *client.Pause {
	t.Helper()
	p, err := c.Pause(t.Context(), what)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func resume(t *testing.T, c *client.Client, p *client.Pause) {
	t.Helper()
	if _, err := c.Resume(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
}

func TestAPausedDestinationRestsAtOnceAndAcrossARestart(t *testing.T) {
	t.Parallel()
	dir, ahead := t.TempDir(), &atomic.Int64{}
	options := func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("relay", "POST /relay", ringback.Relay(), quick)}
		o.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	}
	g := start(t, dir, options)
	g.join(t)
	begun, end := make(chan struct{}, 10), make(chan struct{})
	var requests atomic.Int64
	url := stubbed(t, func(http.ResponseWriter, *http.Request) {
		requests.Add(1)
		begun <- struct{}{}
		<-end
	})
	if _, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "main", URL: url, Concurrency: 1}); err != nil {
		t.Fatal(err)
	}
	flying := g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID
	<-begun
	var queued []string
	for range 3 {
		queued = append(queued, g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID) // in memory, behind it
	}
	p := pause(t, g.app, client.PauseCreate{Endpoint: "main"})
	if p.Scope != "destination" || p.App != "shop" || p.By != "shop" || pause(t, g.app, client.PauseCreate{Endpoint: "main"}).ID != p.ID {
		t.Errorf("%+v", p)
	}
	late := g.call(t, client.Call{Path: "/relay", Endpoint: "main"}).ID
	close(end)
	if c := g.settled(t, flying); c.Status != "delivered" {
		t.Errorf("what was in flight: %+v", c)
	}
	for _, id := range append(slices.Clone(queued), late) {
		if c := g.waitsFor(t, id, "paused"); c.Attempts != 0 {
			t.Errorf("a pause has used up attempts: %+v", c)
		}
	}
	// Another destination goes on.
	other, messages := listen(t, g.appSecret, nil)
	g.call(t, client.Call{Path: "/relay", CallbackURL: other})
	next(t, messages)

	g = g.again(t, dir, options)
	ahead.Store(int64(200 * time.Hour)) // give_up_after is 72h
	if c := g.waitsFor(t, late, "paused"); !c.GiveUpAt.After(time.Now().Add(200 * time.Hour)) {
		t.Errorf("it would be given up at %v though it is paused", c.GiveUpAt)
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("%d requests to a paused destination", n-1)
	}
	resume(t, g.app, p)
	for _, id := range append(queued, late) {
		if c := g.settled(t, id); c.Status != "delivered" || c.Attempts != 1 {
			t.Errorf("after the pause: %+v", c)
		}
	}
}

func TestAPausedOriginRestsForOneAppAlone(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, g.appSecret, nil)
	p := pause(t, g.app, client.PauseCreate{Origin: strings.ToUpper(url[:4]) + url[4:] + "/some/path"})
	if p.Origin != url {
		t.Errorf("%+v, want the origin %s", p, url)
	}
	id := g.call(t, client.Call{Path: "/relay", CallbackURL: url + "/bar"}).ID
	g.waitsFor(t, id, "paused")
	none(t, messages)
	created, err := g.admin.CreateApp(t.Context(), "bank")
	if err != nil {
		t.Fatal(err)
	}
	bank := g.client(t, created.Key)
	heard := make(chan struct{}, 1)
	theirs := stubbed(t, func(http.ResponseWriter, *http.Request) { heard <- struct{}{} })
	if _, err := bank.Resume(t.Context(), p.ID); codeOf(err) != "not_found" {
		t.Errorf("another app ends the pause: %v", err)
	}
	for listed, err := range bank.Pauses(t.Context()) {
		t.Errorf("another app sees %+v, %v", listed, err)
	}
	ours := pause(t, g.app, client.PauseCreate{Origin: theirs})
	if _, err := bank.Call(t.Context(), client.Call{Path: "/relay", CallbackURL: theirs}); err != nil {
		t.Fatal(err)
	}
	<-heard
	resume(t, g.app, ours)
	resume(t, g.app, p)
	next(t, messages)
}

func TestAPausedOperationBeginsNothingAndEndsWhatRuns(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	begun, end := make(chan string, 10), make(chan struct{})
	slow := ringback.Func(func(ctx context.Context, call *ringback.Call, result *ringback.Result) error {
		begun <- call.JobID
		select {
		case <-end:
		case <-ctx.Done():
		}
		_, err := fmt.Fprint(result, "done")
		return err
	})
	options := func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("slow", "POST /slow", slow, quick, func(op *job.Operation) { op.Concurrency = 1 }),
			operation("relay", "POST /relay", ringback.Relay(), quick)}
	}
	g := start(t, dir, options)
	g.join(t)
	running := g.call(t, client.Call{Path: "/slow"}).ID
	<-begun
	queued := g.call(t, client.Call{Path: "/slow"}).ID
	p := pause(t, g.admin, client.PauseCreate{Operation: "slow"})
	instant := pause(t, g.admin, client.PauseCreate{Operation: "relay"})
	if p.Scope != "operation" || p.By != "admin" {
		t.Errorf("%+v", p)
	}
	late, relayed := g.call(t, client.Call{Path: "/slow"}).ID, g.call(t, client.Call{Path: "/relay"}).ID
	close(end)
	if j := g.done(t, running); j.Status != "succeeded" {
		t.Errorf("what ran: %+v", j)
	}
	g = g.again(t, dir, options)
	for _, id := range []string{queued, late, relayed} {
		if j, err := g.app.Job(t.Context(), id); err != nil || j.Status != "accepted" || j.Attempts != 0 {
			t.Errorf("in a pause: %+v, %v", j, err)
		}
	}
	if len(begun) > 0 {
		t.Errorf("%s was begun in the pause", <-begun)
	}
	resume(t, g.admin, p)
	for _, id := range []string{queued, late} {
		if j := g.done(t, id); j.Status != "succeeded" {
			t.Errorf("after the pause: %+v", j)
		}
	}
	if j, err := g.app.Job(t.Context(), relayed); err != nil || j.Status != "accepted" {
		t.Errorf("the other operation is still paused: %+v, %v", j, err)
	}
	resume(t, g.admin, instant)
	if j := g.done(t, relayed); j.Status != "succeeded" {
		t.Errorf("after the pause: %+v", j)
	}
}

func TestWhereEverythingIsPausedCallsAreAccepted(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, messages := listen(t, g.appSecret, answers(500))
	first := g.call(t, client.Call{Path: "/relay", CallbackURL: url}).ID
	next(t, messages)
	all := pause(t, g.admin, client.PauseCreate{Everything: true})
	var ids []string
	for range 5 {
		ids = append(ids, g.call(t, client.Call{Path: "/relay", CallbackURL: url}).ID)
	}
	for _, id := range ids {
		if j, err := g.app.Job(t.Context(), id); err != nil || j.Status != "accepted" {
			t.Errorf("in a pause: %+v, %v", j, err)
		}
	}
	var listed []string
	for p, err := range g.app.Pauses(t.Context()) { // it concerns the app, too
		if err != nil {
			t.Fatal(err)
		}
		listed = append(listed, p.Scope)
	}
	if !slices.Equal(listed, []string{"everything"}) {
		t.Errorf("listed: %v", listed)
	}
	if _, err := g.app.Resume(t.Context(), all.ID); codeOf(err) != "not_found" {
		t.Errorf("an app ends it: %v", err)
	}
	resume(t, g.admin, all)
	for _, id := range append(ids, first) {
		if c := g.settled(t, id); c.Status != "delivered" {
			t.Errorf("after the pause: %+v", c)
		}
	}
}

func TestWhatCannotBePausedIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("relay", "POST /relay", ringback.Relay(), quick))
	url, _ := listen(t, g.appSecret, nil)
	g.create(t, url, nil)
	for _, tt := range []struct {
		who  *client.Client
		what client.PauseCreate
		code string
	}{
		{g.app, client.PauseCreate{Everything: true}, "forbidden"},
		{g.app, client.PauseCreate{Operation: "relay"}, "forbidden"},
		{g.app, client.PauseCreate{}, "bad_request"},
		{g.app, client.PauseCreate{Endpoint: "main", Origin: url}, "bad_request"},
		{g.app, client.PauseCreate{Endpoint: "none"}, "not_found"},
		{g.app, client.PauseCreate{Endpoint: "../x"}, "not_found"},
		{g.app, client.PauseCreate{Endpoint: "main", App: "bank"}, "not_found"},
		{g.app, client.PauseCreate{Origin: "nonsense"}, "callback_url_invalid"},
		{g.admin, client.PauseCreate{Operation: "none"}, "bad_request"},
		{g.admin, client.PauseCreate{Operation: "relay", App: "shop"}, "bad_request"},
		{g.admin, client.PauseCreate{Endpoint: "main"}, "bad_request"},
		{g.admin, client.PauseCreate{Endpoint: "main", App: "nobody"}, "not_found"},
	} {
		if p, err := tt.who.Pause(t.Context(), tt.what); codeOf(err) != tt.code {
			t.Errorf("%+v: %+v, %v, want %s", tt.what, p, err, tt.code)
		}
	}
	for _, id := range []string{"7", "pause_", "pause_0", "pause_-1", "pause_x", "pause_99999999999999999999", "pause_77"} {
		if _, err := g.admin.Resume(t.Context(), id); codeOf(err) != "not_found" {
			t.Errorf("%s is resumed: %v", id, err)
		}
	}
	p := pause(t, g.admin, client.PauseCreate{Endpoint: "main", App: "shop"})
	if p.By != "admin" || p.App != "shop" {
		t.Errorf("%+v", p)
	}
	resume(t, g.app, p) // it is the app's own
}

// stubbed is a receiver that does what answer does.
func stubbed(t *testing.T, answer http.HandlerFunc) (url string) {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	return server.URL
}
