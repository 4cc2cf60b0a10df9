package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var appTests = []test{
	{"AppIsFoundByNameAndByKey", appIsFound},
	{"NameIsTakenOnce", nameIsTakenOnce},
	{"ManyAtOnceWithOneNameMakeOneApp", manyAtOnceWithOneName},
	{"AppsAreListedByName", appsAreListedByName},
	{"SecretsAreReplaced", secretsAreReplaced},
	{"PolicyIsReplaced", policyIsReplaced},
	{"SettingIsKeptAndReplaced", settingIsKept},
}

func (w *world) app(name string) job.App {
	w.t.Helper()
	a := job.App{Name: name, CreatedAt: w.now(), Secrets: job.Secrets{Current: []byte("secret of " + name)}}
	w.no(w.CreateApp(w.ctx, a, w.key(name, name)))
	return a
}

func keyHash(name string) (hash [32]byte) {
	copy(hash[1:], name)
	return hash
}

func appIsFound(w *world) {
	w.app("bank")
	want := w.app("shop")
	c := w.announced()
	w.equal("changes", []any{len(c), c[1].Kind, c[1].App}, []any{2, job.AppChanged, "shop"})
	got, err := w.App(w.ctx, "shop")
	w.no(err)
	w.equal("by name", got, want)
	got, key, err := w.AppOfKey(w.ctx, keyHash("shop"))
	w.no(err)
	w.equal("by key", got, want)
	w.equal("key", []any{key.App, key.Hash, key.Hint, key.Name, key.Scopes, key.CreatedAt}, []any{"shop", keyHash("shop"), "rb_shop", "shop", job.AllScopes, w.now()})
	_, err = w.App(w.ctx, "nobody")
	w.is(err, job.ErrNotFound)
	_, _, err = w.AppOfKey(w.ctx, keyHash("nobody"))
	w.is(err, job.ErrNotFound)
}

func policyIsReplaced(w *world) {
	want := w.app("shop")
	w.announced()
	for _, p := range []job.Policy{
		{Registered: true},
		{Prefixes: []string{"https://my.server/hooks/", "https://b.example"}, HTTPS: true, Ports: []uint16{443, 8443}},
		{},
	} {
		w.no(w.SetAppPolicy(w.ctx, "shop", p))
		want.Policy = p
		got, err := w.App(w.ctx, "shop")
		w.no(err)
		w.equal("app", got, want)
		c := w.announced()
		w.equal("changes", []any{len(c), c[0].Kind, c[0].App}, []any{1, job.AppChanged, "shop"})
	}
	w.is(w.SetAppPolicy(w.ctx, "nobody", job.Policy{}), job.ErrNotFound)
	born := job.App{Name: "born", CreatedAt: w.now(), Secrets: job.Secrets{Current: []byte{1}}, Policy: job.Policy{HTTPS: true}}
	w.no(w.CreateApp(w.ctx, born, job.Key{Hash: keyHash("born"), App: "born", CreatedAt: w.now()}))
	got, _, err := w.AppOfKey(w.ctx, keyHash("born"))
	w.no(err)
	w.equal("app", got, born)
}

func nameIsTakenOnce(w *world) {
	want := w.app("shop")
	w.announced()
	err := w.CreateApp(w.ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte("other")}}, job.Key{Hash: [32]byte{9}, App: "shop"})
	w.is(err, job.ErrExists)
	got, err := w.App(w.ctx, "shop")
	w.no(err)
	w.equal("app", got, want)
	_, _, err = w.AppOfKey(w.ctx, [32]byte{9})
	w.is(err, job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
}

func manyAtOnceWithOneName(w *world) {
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			errs[i] = w.CreateApp(w.ctx, job.App{Name: "shop", Secrets: job.Secrets{Current: []byte{1}}}, job.Key{Hash: [32]byte{byte(i)}, App: "shop"})
		})
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, job.ErrExists) {
			w.no(err)
		}
	}
	w.equal("made", made, 1)
}

func appsAreListedByName(w *world) {
	c, a, b := w.app("c"), w.app("a"), w.app("b")
	got, err := w.ListApps(w.ctx)
	w.no(err)
	w.equal("apps", got, []job.App{a, b, c})
}

func secretsAreReplaced(w *world) {
	a := w.app("shop")
	w.app("bank")
	w.announced()
	a.Secrets = job.Secrets{Current: []byte{0, 1, 255}, Previous: a.Secrets.Current, PreviousUntil: w.now().Add(24 * time.Hour)}
	w.no(w.SetAppSecrets(w.ctx, "shop", a.Secrets))
	got, err := w.App(w.ctx, "shop")
	w.no(err)
	w.equal("app", got, a)
	c := w.announced()
	w.equal("changes", []any{len(c), c[0].Kind, c[0].App}, []any{1, job.AppChanged, "shop"})
	w.is(w.SetAppSecrets(w.ctx, "nobody", a.Secrets), job.ErrNotFound)
	other, err := w.App(w.ctx, "bank")
	w.no(err)
	w.equal("other", string(other.Secrets.Current), "secret of bank")
}

func settingIsKept(w *world) {
	_, err := w.Setting(w.ctx, "admin_key")
	w.is(err, job.ErrNotFound)
	for _, value := range [][]byte{{0, 1, 2}, {255}} {
		w.no(w.SetSetting(w.ctx, "admin_key", value))
		got, err := w.Setting(w.ctx, "admin_key")
		w.no(err)
		w.equal("setting", got, value)
	}
}
