package storetest

import (
	"errors"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

var keyTests = []test{
	{"KeyIsFoundWithAllThatItIs", keyIsFound},
	{"KeysAreListedByAppAndAge", keysAreListed},
	{"RevokedKeyIsGoneAtOnceAndForGood", revokedKeyIsGone},
	{"ManyAtOnceMakeNoMoreKeysThanThereMayBe", keysAreBounded},
	{"LastUseOnlyGrows", lastUseOnlyGrows},
}

// key is a key of an app that may do everything.
func (w *world) key(app, name string) job.Key {
	return job.Key{ID: w.NewID(w.now()), Hash: keyHash(name), App: app, Name: name, Hint: "rb_" + name, Scopes: job.AllScopes, CreatedAt: w.now()}
}

func keyIsFound(w *world) {
	shop := w.app("shop")
	w.announced()
	want := w.key("shop", "reader")
	want.Name, want.Scopes, want.ExpiresAt = "för läser \x00 \"'", job.ScopeRead|job.ScopeManage, w.now().Add(time.Hour)
	w.no(w.CreateKey(w.ctx, want, 10))
	c := w.announced()
	w.equal("changes", []any{len(c), c[0].Kind, c[0].App}, []any{1, job.AppChanged, "shop"})
	app, got, err := w.AppOfKey(w.ctx, want.Hash)
	w.no(err)
	w.equal("app", app, shop)
	w.equal("key", got, want)
	w.pass(2 * time.Hour)
	_, got, err = w.AppOfKey(w.ctx, want.Hash)
	w.no(err)
	w.equal("key after its time", got, want)
	w.is(w.CreateKey(w.ctx, w.key("nobody", "n"), 10), job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
}

func keysAreListed(w *world) {
	w.app("shop")
	w.app("bank")
	var want []job.Key
	for _, name := range []string{"z", "a", "m"} {
		k := w.key("shop", name)
		w.no(w.CreateKey(w.ctx, k, 10))
		want = append(want, k)
	}
	got, err := w.Keys(w.ctx, "shop", 0)
	w.no(err)
	w.equal("keys", got[1:], want)
	got, err = w.Keys(w.ctx, "shop", 2)
	w.no(err)
	w.equal("first two", []any{len(got), got[1]}, []any{2, want[0]})
	got, err = w.Keys(w.ctx, "", 0)
	w.no(err)
	w.equal("of all apps", len(got), 5)
	got, err = w.Keys(w.ctx, "nobody", 0)
	w.no(err)
	w.equal("of nobody", len(got), 0)
}

func revokedKeyIsGone(w *world) {
	w.app("shop")
	w.app("bank")
	k := w.key("shop", "leaked")
	w.no(w.CreateKey(w.ctx, k, 10))
	w.announced()
	w.is(w.DeleteKey(w.ctx, "bank", k.ID), job.ErrNotFound)
	w.equal("changes", len(w.announced()), 0)
	w.no(w.DeleteKey(w.ctx, "shop", k.ID))
	c := w.announced()
	w.equal("changes", []any{len(c), c[0].Kind, c[0].App}, []any{1, job.AppChanged, "shop"})
	w.crash()
	_, _, err := w.AppOfKey(w.ctx, k.Hash)
	w.is(err, job.ErrNotFound)
	w.is(w.DeleteKey(w.ctx, "shop", k.ID), job.ErrNotFound)
	_, _, err = w.AppOfKey(w.ctx, keyHash("shop"))
	w.no(err)
}

func keysAreBounded(w *world) {
	w.app("shop") // and its first key
	const most = 6
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		k := w.key("shop", "k"+string(rune('a'+i)))
		wg.Go(func() { errs[i] = w.CreateKey(w.ctx, k, most) })
	}
	wg.Wait()
	made := 1
	for _, err := range errs {
		if err == nil {
			made++
		} else if !errors.Is(err, job.ErrTooMany) {
			w.no(err)
		}
	}
	w.equal("keys", made, most)
}

func lastUseOnlyGrows(w *world) {
	w.app("shop")
	keys, err := w.Keys(w.ctx, "shop", 0)
	w.no(err)
	id := keys[0].ID
	w.announced()
	later, sooner := w.now().Add(time.Minute), w.now().Add(time.Second)
	w.no(w.KeysUsed(w.ctx, []job.KeyUse{{App: "shop", ID: id, At: later}, {App: "bank", ID: id, At: later.Add(time.Hour)}, {App: "shop", ID: w.NewID(w.now()), At: later}}))
	w.no(w.KeysUsed(w.ctx, []job.KeyUse{{App: "shop", ID: id, At: sooner}}))
	w.equal("changes", len(w.announced()), 0)
	w.crash()
	keys, err = w.Keys(w.ctx, "shop", 0)
	w.no(err)
	w.equal("last use", keys[0].LastUsedAt, later)
}
