package storetest

import (
	"maps"
	"slices"
	"time"

	"github.com/ringback/ringback/job"
)

var sealTests = []test{
	{"EverySealedValueIsFound", everySealedValueIsFound},
	{"SealedValueIsReplacedWhereItStillIsWhatItWas", sealedValueIsReplaced},
	{"ResealingGoesOnAfterACrash", resealingSurvives},
}

// sealed reads all sealed values, in pages of size rows.
func (w *world) sealed(size int) map[string]job.Sealed {
	w.t.Helper()
	all := map[string]job.Sealed{}
	for cursor, pages := "", 0; pages < 1000; pages++ {
		values, next, err := w.Sealed(w.ctx, cursor, size)
		w.no(err)
		for _, v := range values {
			if _, twice := all[v.Place]; twice {
				w.t.Fatalf("%s is listed twice", v.Place)
			}
			all[v.Place] = v
		}
		if next == "" {
			return all
		}
		cursor = next
	}
	w.t.Fatalf("the list has no end")
	return nil
}

// sealSomething stores a sealed value of every kind, and returns them by use.
func (w *world) sealSomething() (values []string, job1 *job.Job) {
	w.no(w.SetSetting(w.ctx, job.SettingSealCheck, []byte("v1")))
	w.no(w.SetSetting(w.ctx, job.SettingLinkKey, []byte("v2")))
	w.no(w.SetSetting(w.ctx, "another", []byte("not sealed")))
	until := w.now().Add(time.Hour)
	for i, app := range []string{"bank", "shop"} {
		w.no(w.CreateApp(w.ctx, job.App{Name: app, CreatedAt: w.now(), Secrets: job.Secrets{Current: []byte("v3" + app), Previous: []byte("v4" + app), PreviousUntil: until}},
			job.Key{Hash: keyHash(app), App: app, CreatedAt: w.now()}))
		w.no(w.CreateEndpoint(w.ctx, job.Endpoint{App: app, Name: "main", URL: "https://my.server/", Method: "POST", CreatedAt: w.now(), UpdatedAt: w.now(),
			Secrets: job.Secrets{Current: []byte("v5" + app), Previous: []byte("v6" + app), PreviousUntil: until}, Auth: []byte("v7" + app), Authorization: []byte("v8" + app)}))
		values = append(values, "v3"+app, "v4"+app, "v5"+app, "v6"+app, "v7"+app, "v8"+app)
		j := w.newJob(app, "scan")
		j.Request.Authorization = []byte("v9" + app)
		w.accept(j, i == 0)
		values = append(values, "v9"+app)
		job1 = j
	}
	bare := w.newJob("shop", "scan")
	bare.Request.Authorization = nil
	w.accept(bare, false)
	return append(values, "v1", "v2"), job1
}

func everySealedValueIsFound(w *world) {
	w.equal("of an empty store", len(w.sealed(10)), 0)
	want, _ := w.sealSomething()
	slices.Sort(want)
	for _, size := range []int{1, 2, 3, 100} {
		all := w.sealed(size)
		var got []string
		for _, v := range all {
			got = append(got, string(v.Value))
		}
		slices.Sort(got)
		w.equal("values", got, want)
	}
	uses := map[string]string{"setting " + job.SettingLinkKey + ": value": job.SettingLinkKey, "app shop: secret": "secret", "app shop: secret_previous": "secret",
		"endpoint shop/main: auth": "auth", "endpoint shop/main: authorization": "authorization", "endpoint bank/main: secret_previous": "secret"}
	all := w.sealed(100)
	for place, use := range uses {
		w.equal(place, all[place].Use, use)
	}
	_, _, err := w.Sealed(w.ctx, "nonsense", 1)
	w.is(err, job.ErrMalformed)
}

func sealedValueIsReplaced(w *world) {
	_, j := w.sealSomething()
	var replace []job.Resealed
	for _, v := range w.sealed(100) {
		replace = append(replace, job.Resealed{Place: v.Place, Before: v.Value, After: append([]byte("new "), v.Value...)})
	}
	// One of them has changed meanwhile, one is gone.
	fresh := job.Secrets{Current: []byte("fresh")}
	w.no(w.SetAppSecrets(w.ctx, "shop", fresh))
	w.no(w.FinishRun(w.ctx, job.Finish{Job: j, State: job.Canceled, At: w.now()}))
	w.announced()
	n, err := w.Reseal(w.ctx, replace)
	w.no(err)
	w.equal("replaced", n, len(replace)-3)
	a, err := w.App(w.ctx, "shop")
	w.no(err)
	w.equal("what was changed meanwhile", a.Secrets, fresh)
	for place, v := range w.sealed(100) {
		if place != "app shop: secret" && string(v.Value[:4]) != "new " {
			w.t.Fatalf("%s is %q", place, v.Value)
		}
	}
	told := map[string]bool{}
	for _, ch := range w.announced() {
		told[ch.App+"/"+ch.Name] = true
	}
	w.equal("announced", slices.Sorted(maps.Keys(told)), []string{"bank/", "bank/main", "shop/main"})
	_, err = w.Reseal(w.ctx, []job.Resealed{{Place: "nowhere"}})
	w.is(err, job.ErrMalformed)
}

func resealingSurvives(w *world) {
	w.sealSomething()
	all := w.sealed(100)
	v := all["endpoint shop/main: auth"]
	_, err := w.Reseal(w.ctx, []job.Resealed{{Place: v.Place, Before: v.Value, After: []byte("new")}})
	w.no(err)
	w.crash()
	got := w.sealed(2)
	w.equal("values", len(got), len(all))
	w.equal("replaced", string(got[v.Place].Value), "new")
}
