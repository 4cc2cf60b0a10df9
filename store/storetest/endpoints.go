package storetest

import (
	"time"

	"github.com/ringback/ringback/job"
)

var endpointTests = []test{
	{"EndpointIsReadBackWhole", endpointIsReadBackWhole},
	{"EndpointWithoutExtrasIsReadBackWhole", endpointWithoutExtras},
	{"EndpointNameIsTakenOnceInAnApp", endpointNameIsTakenOnce},
	{"UpdatedEndpointIsReplaced", updatedEndpointIsReplaced},
	{"DeletedEndpointIsGone", deletedEndpointIsGone},
	{"NewDefaultTakesTheOldOnesPlace", newDefaultTakesThePlace},
	{"UpdateToADefaultTakesTheOldOnesPlace", updateToADefault},
	{"EndpointsAreListedByName", endpointsAreListedByName},
	{"VerificationIsReadBackAndSurvivesAnUpdate", verificationIsReadBack},
	{"VerificationOfAnotherURLIsRefused", verificationOfAnotherURL},
	{"VerificationsAreDueInTheirOrder", verificationsAreDue},
	{"VerifiedEndpointsCallbacksAreDueAtOnce", verifiedCallbacksAreDue},
}

func (w *world) endpoint(app, name string, isDefault bool, operations ...string) job.Endpoint {
	w.t.Helper()
	e := job.Endpoint{App: app, Name: name, URL: "https://my.server/" + name, Default: isDefault, Operations: operations,
		CreatedAt: w.now(), UpdatedAt: w.now(), Secrets: job.Secrets{Current: []byte("secret")}}
	w.no(w.CreateEndpoint(w.ctx, e))
	return e
}

func (w *world) readEndpoint(app, name string) job.Endpoint {
	w.t.Helper()
	e, err := w.Endpoint(w.ctx, app, name)
	w.no(err)
	return e
}

func endpointIsReadBackWhole(w *world) {
	e := job.Endpoint{App: "shop", Name: "main", URL: "https://my.server/b?c=%00\xff", Default: true, Operations: []string{"scan", "report"},
		Events: []job.Event{job.EventFailed, job.EventExpired}, Method: "PUT", Format: "thin", Signature: `["v1","v1a"]`, Headers: map[string]string{"X-Tenant": "7: \xff", "X-Empty": ""},
		Concurrency: 8, Rate: job.Rate{Count: 50, Per: time.Minute}, Disabled: true, CreatedAt: w.now(), UpdatedAt: w.now().Add(time.Second), Authorization: []byte{0, 7}, Auth: []byte{0, 8},
		Secrets: job.Secrets{Current: []byte{1}, Previous: []byte{2, 0}, PreviousUntil: w.now().Add(time.Hour)}}
	w.no(w.CreateEndpoint(w.ctx, e))
	e.DisabledReason, e.DisabledAt = job.DisabledManual, e.CreatedAt
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	w.equal("changes", kinds(w.announced()), []job.ChangeKind{job.PauseChanged, job.EndpointChanged})
}

func endpointWithoutExtras(w *world) {
	e := w.endpoint("shop", "main", false)
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	_, err := w.Endpoint(w.ctx, "bank", "main")
	w.is(err, job.ErrNotFound)
}

func endpointNameIsTakenOnce(w *world) {
	e := w.endpoint("shop", "main", false)
	d := w.endpoint("shop", "default", true)
	w.endpoint("bank", "main", false)
	w.announced()
	w.is(w.CreateEndpoint(w.ctx, job.Endpoint{App: "shop", Name: "main", Default: true, Secrets: job.Secrets{Current: []byte{1}}}), job.ErrExists)
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	w.equal("default", w.readEndpoint("shop", "default"), d)
	w.equal("changes", len(w.announced()), 0)
}

func updatedEndpointIsReplaced(w *world) {
	e := w.endpoint("shop", "main", false)
	other := w.endpoint("bank", "main", false)
	e.URL, e.Headers, e.Method, e.UpdatedAt = "https://your.server/", map[string]string{"A": "b"}, "PATCH", w.pass(time.Second)
	e.Secrets.Current = []byte("new")
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("endpoint", w.readEndpoint("shop", "main"), e)
	w.equal("other app's", w.readEndpoint("bank", "main"), other)
	e.Name = "unknown"
	w.is(w.UpdateEndpoint(w.ctx, e), job.ErrNotFound)
}

func deletedEndpointIsGone(w *world) {
	w.endpoint("shop", "main", false)
	w.endpoint("bank", "main", false)
	w.announced()
	w.no(w.DeleteEndpoint(w.ctx, "shop", "main"))
	w.equal("changes", w.announced(), []job.Change{{Kind: job.EndpointChanged, App: "shop", Name: "main"}})
	_, err := w.Endpoint(w.ctx, "shop", "main")
	w.is(err, job.ErrNotFound)
	w.is(w.DeleteEndpoint(w.ctx, "shop", "main"), job.ErrNotFound)
	w.readEndpoint("bank", "main")
}

// defaults lists what the endpoints of the app shop are defaults for; "*" is all.
func (w *world) defaults() map[string][]string {
	w.t.Helper()
	all, err := w.ListEndpoints(w.ctx, "shop")
	w.no(err)
	d := map[string][]string{}
	for _, e := range all {
		switch {
		case e.Default && len(e.Operations) == 0:
			d[e.Name] = []string{"*"}
		case e.Default:
			d[e.Name] = e.Operations
		}
	}
	return d
}

func newDefaultTakesThePlace(w *world) {
	w.endpoint("bank", "other", true)
	w.endpoint("shop", "plain", false, "scan")
	w.endpoint("shop", "all", true)
	w.endpoint("shop", "two", true, "scan", "report")
	w.equal("defaults", w.defaults(), map[string][]string{"all": {"*"}, "two": {"scan", "report"}})
	w.announced()
	w.endpoint("shop", "one", true, "scan", "notify")
	w.equal("defaults", w.defaults(), map[string][]string{"all": {"*"}, "two": {"report"}, "one": {"scan", "notify"}})
	var changed []string
	for _, c := range w.announced() {
		changed = append(changed, c.Name)
	}
	w.equal("announced", changed, []string{"two", "one"})
	w.endpoint("shop", "last", true, "report")
	w.endpoint("shop", "any", true)
	w.equal("defaults", w.defaults(), map[string][]string{"any": {"*"}, "last": {"report"}, "one": {"scan", "notify"}})
	w.equal("other app's", w.readEndpoint("bank", "other").Default, true)
}

func updateToADefault(w *world) {
	w.endpoint("shop", "old", true)
	e := w.endpoint("shop", "new", false)
	e.Default = true
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("defaults", w.defaults(), map[string][]string{"new": {"*"}})
	w.no(w.UpdateEndpoint(w.ctx, e))
	w.equal("defaults after the same again", w.defaults(), map[string][]string{"new": {"*"}})
}

func endpointsAreListedByName(w *world) {
	b, a := w.endpoint("shop", "b", false), w.endpoint("shop", "a", true)
	w.endpoint("bank", "c", false)
	got, err := w.ListEndpoints(w.ctx, "shop")
	w.no(err)
	w.equal("endpoints", got, []job.Endpoint{a, b})
}
