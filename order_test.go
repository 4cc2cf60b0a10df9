package ringback_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

// orderly is a receiver of an ordered endpoint: it refuses some messages at first, and
// notes what breaks the order.
type orderly struct {
	url string
	// refuse says whether the nth request about a message is refused.
	refuse func(key string, number, n int) bool

	mu    sync.Mutex
	under map[string]bool  // a request of the key is under way
	taken map[string][]int // numbers, by key
	asked map[string]int
	most  int // at once
	wrong []string
}

func newOrderly(t *testing.T, refuse func(key string, number, n int) bool) *orderly {
	t.Helper()
	o := &orderly{refuse: refuse, under: map[string]bool{}, taken: map[string][]int{}, asked: map[string]int{}}
	server := httptest.NewServer(o)
	t.Cleanup(server.Close)
	o.url = server.URL
	return o
}

func (o *orderly) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	key := r.Header.Get("Ringback-Order-Key")
	number, err := strconv.Atoi(r.Header.Get("Ringback-Sequence"))
	o.mu.Lock()
	if err != nil {
		o.wrong = append(o.wrong, "no number: "+err.Error())
	}
	if o.under[key] {
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %d comes while another one is under way", key, number))
	}
	if last := o.last(key); number <= last {
		o.wrong = append(o.wrong, fmt.Sprintf("%s: %d comes behind %d", key, number, last))
	}
	o.under[key] = true
	o.most = max(o.most, len(o.under))
	message := key + " " + strconv.Itoa(number)
	o.asked[message]++
	n := o.asked[message]
	o.mu.Unlock()

	refused := o.refuse != nil && o.refuse(key, number, n)
	o.mu.Lock()
	delete(o.under, key)
	if !refused {
		o.taken[key] = append(o.taken[key], number)
	}
	o.mu.Unlock()
	if refused {
		w.WriteHeader(http.StatusInternalServerError)
	}
}

func (o *orderly) last(key string) int {
	if all := o.taken[key]; len(all) > 0 {
		return all[len(all)-1]
	}
	return 0
}

func (o *orderly) count() (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, all := range o.taken {
		n += len(all)
	}
	return n
}

func (o *orderly) check(t *testing.T) {
	t.Helper()
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, text := range o.wrong {
		t.Error(text)
	}
}

// ordered registers an ordered endpoint as the default.
func (g *gateway) ordered(t *testing.T, url, key string) *client.Endpoint {
	t.Helper()
	e, err := g.app.CreateEndpoint(t.Context(), client.EndpointCreate{Name: "line", URL: url, Default: true, Ordered: true, OrderKey: key})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (g *gateway) order(t *testing.T, customer string) *client.AcceptedJob {
	t.Helper()
	return g.call(t, client.Call{Path: "/order", ContentType: "application/json", Body: strings.NewReader(`{"customer": "` + customer + `"}`)})
}

func TestOrderedCallbacksAreSentOneAfterTheOtherThroughFailuresAndRestarts(t *testing.T) {
	t.Parallel()
	const customers, each = 5, 12
	r := newOrderly(t, func(_ string, number, n int) bool { return number%3 == 0 && n <= 2 })
	dir, relay := t.TempDir(), operation("order", "POST /order", ringback.Relay(), quick)
	with := func(o *ringback.Options) { o.Operations = []ringback.Operation{relay} }
	g := start(t, dir, with)
	g.join(t)
	e := g.ordered(t, r.url, "$request.body#/customer")
	if !e.Ordered || e.OrderKey != "$request.body#/customer" {
		t.Errorf("the endpoint is %+v", e)
	}
	for i := range customers * each {
		g.order(t, fmt.Sprint("customer ", i%customers))
		if i == customers*each/2 {
			key := g.key
			g.stop()
			g = start(t, dir, with)
			g.key, g.app = key, g.client(t, key)
		}
	}
	eventually(t, "all are taken", func() bool { return r.count() >= customers*each })
	r.check(t)
	for key, numbers := range r.taken {
		for i, n := range numbers {
			if n != i+1 {
				t.Errorf("%s got %v", key, numbers)
				break
			}
		}
	}
	if len(r.taken) != customers {
		t.Errorf("%d lines, want %d", len(r.taken), customers)
	}
}

// TestLinesOfAnEndpointDoNotWaitForEachOther holds one request of each line back until
// all are there.
func TestLinesOfAnEndpointDoNotWaitForEachOther(t *testing.T) {
	t.Parallel()
	const customers = 16
	var all sync.WaitGroup
	all.Add(customers)
	r := newOrderly(t, func(_ string, number, n int) bool {
		if number == 1 && n == 1 {
			all.Done()
			all.Wait()
		}
		return false
	})
	g := setup(t, operation("order", "POST /order", ringback.Relay(), quick))
	g.ordered(t, r.url, "$request.body#/customer")
	for i := range 2 * customers {
		g.order(t, fmt.Sprint(i%customers))
	}
	eventually(t, "all are taken", func() bool { return r.count() == 2*customers })
	r.check(t)
	if r.most != customers {
		t.Errorf("%d at once, want %d", r.most, customers)
	}
}

func TestPoisonMessageHoldsItsLineUntilItIsSkipped(t *testing.T) {
	t.Parallel()
	r := newOrderly(t, func(key string, number, _ int) bool { return key == "bad" && number == 1 })
	g := setup(t, operation("order", "POST /order", ringback.Relay(), func(op *job.Operation) {
		op.Callback.Schedule = []time.Duration{time.Hour, time.Hour}
	}))
	g.ordered(t, r.url, "{$request.body#/customer}")
	poison, next := g.order(t, "bad"), g.order(t, "bad")
	g.order(t, "good")
	eventually(t, "the other line goes on", func() bool { return r.count() == 1 })
	head := g.only(t, poison.ID)
	eventually(t, "the first attempt is stored", func() bool { head = g.only(t, poison.ID); return head.Waiting == "backoff" })
	behind := g.only(t, next.ID)
	if behind.Waiting != "order" || behind.WaitsFor != head.ID || behind.Sequence != 2 || behind.OrderKey != "bad" || !behind.NextAttemptAt.IsZero() {
		t.Errorf("what waits is shown as %+v", behind)
	}
	skipped, err := g.app.DiscardCallback(t.Context(), head.ID)
	if err != nil || skipped.Status != client.CallbackDiscarded || skipped.Reason != "skipped" {
		t.Errorf("discarded: %+v, %v", skipped, err)
	}
	eventually(t, "the line goes on", func() bool { return r.count() == 2 })
	if _, err := g.app.DiscardCallback(t.Context(), head.ID); !hasCode(err, "callback_settled") {
		t.Errorf("discarded twice: %v", err)
	}
	if _, err := g.app.DiscardCallback(t.Context(), "cb_01kf3q8m9b3x8p5t2a7y0n4q6s"); !hasCode(err, "not_found") {
		t.Errorf("discarded what is not there: %v", err)
	}
}

func hasCode(err error, code string) bool {
	p, ok := errors.AsType[*client.Problem](err)
	return ok && p.Code == code
}

// only is the one callback of a job.
func (g *gateway) only(t *testing.T, id string) *client.Callback {
	t.Helper()
	for cb, err := range g.app.Callbacks(t.Context(), client.CallbackQuery{JobID: id}) {
		if err != nil {
			t.Fatal(err)
		}
		one, err := g.app.Callback(t.Context(), cb.ID)
		if err != nil {
			t.Fatal(err)
		}
		if one.WaitsFor != cb.WaitsFor {
			t.Errorf("the list says that it waits for %q, it itself %q", cb.WaitsFor, one.WaitsFor)
		}
		return one
	}
	t.Fatal("the job owes nothing")
	return nil
}

func TestPlaceInTheLineIsSigned(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("order", "POST /order", ringback.Relay()))
	got := make(chan *http.Request, 1)
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(strings.NewReader(string(body)))
		got <- r
	}))
	t.Cleanup(server.Close)
	g.ordered(t, server.URL, "$response.body#/customer")
	g.order(t, "élan")
	r := <-got
	if n, key := r.Header.Get("Ringback-Sequence"), r.Header.Get("Ringback-Order-Key"); n != "1" || key != "%C3%A9lan" {
		t.Errorf("number %q, key %q", n, key)
	}
	covered := strings.ToLower(r.Header.Get("Signature-Input"))
	for _, name := range []string{`"ringback-sequence"`, `"ringback-order-key"`} {
		if !strings.Contains(covered, name) {
			t.Errorf("the signature is over %s, without %s", covered, name)
		}
	}
}

func TestOrderIsForWhatIsOwedFromThenOn(t *testing.T) {
	t.Parallel()
	hold := make(chan struct{})
	defer close(hold)
	r := newOrderly(t, func(_ string, number, _ int) bool {
		if number == 1 {
			<-hold
		}
		return true
	})
	g := setup(t, operation("order", "POST /order", ringback.Relay(), quick))
	e := g.ordered(t, r.url, "")
	g.order(t, "7")
	second := g.order(t, "7")
	off := false
	if _, err := g.app.UpdateEndpoint(t.Context(), e.Name, client.EndpointPatch{Ordered: &off}); err != nil {
		t.Fatal(err)
	}
	third := g.order(t, "7")
	if cb := g.only(t, second.ID); cb.Waiting != "order" || cb.Sequence != 2 {
		t.Errorf("what stood in the line is %+v", cb)
	}
	if cb := g.only(t, third.ID); cb.Waiting == "order" || cb.Sequence != 0 {
		t.Errorf("what came later is %+v", cb)
	}
}

func TestWrongOrderOfAnEndpointIsRefused(t *testing.T) {
	t.Parallel()
	g := setup(t, operation("order", "POST /order", ringback.Relay()))
	for _, body := range []client.EndpointCreate{
		{OrderKey: "$request.body#/customer"},
		{Ordered: true, OrderKey: "$request.body#customer"},
		{Ordered: true, OrderKey: "customer"},
		{Ordered: true, OrderKey: "$url"},
		{Ordered: true, OrderKey: "$statusCode"},
		{Ordered: true, OrderKey: "$request.header.Authorization"},
		{Ordered: true, OrderKey: "$request.body#/" + strings.Repeat("a", 600)},
	} {
		body.Name, body.URL = "line", "http://127.0.0.1:9/"
		_, err := g.app.CreateEndpoint(t.Context(), body)
		if p, ok := errors.AsType[*client.Problem](err); !ok || len(p.Errors) != 1 || !strings.HasPrefix(p.Errors[0].Pointer, "#/order_key") && p.Errors[0].Pointer != "/order_key" {
			t.Errorf("%q: %v", body.OrderKey, err)
		}
	}
}
