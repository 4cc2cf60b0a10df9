package ringback

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

// ErrSealKey is wrapped by what New and SetSealKeys return where something in the
// store is sealed with a key that is not among the given ones.
var ErrSealKey = errors.New("the seal key is not the one that the secrets in the store are sealed with")

const (
	// resealBatch is how many rows are sealed again in one transaction.
	resealBatch = 200
	// linkKeyBytes is the size of the key that signs links.
	linkKeyBytes = 32
	// sealSettle is how long after a change of keys what was sealed before it
	// may still arrive at the store: a request that was under way.
	sealSettle = time.Minute
	// resealRetry is when it is tried again after an error.
	resealRetry = 10 * time.Second
)

// SealStatus says which keys what is stored is sealed with.
type SealStatus struct {
	Keys []SealKeyStatus `json:"keys"` // the one that seals first
	// Done: everything is sealed with the first key, and nothing more can arrive that
	// is not. The others may go.
	Done bool `json:"done"`
}

// SealKeyStatus is a key, and how many stored values are sealed with it.
type SealKeyStatus struct {
	ID     string `json:"id"`
	Seals  bool   `json:"seals"` // else it only opens
	Values int64  `json:"values"`
}

// Sealed tells whether the store holds secrets already, so that New will take no
// other seal key than theirs.
func Sealed(ctx context.Context, store job.Store) (bool, error) {
	_, err := store.Setting(ctx, job.SettingSealCheck)
	if errors.Is(err, job.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// eachSealed calls f with all sealed values of the store, some at a time.
func (g *Gateway) eachSealed(ctx context.Context, f func([]job.Sealed) error) error {
	for cursor := ""; ; {
		values, next, err := g.store.Sealed(ctx, cursor, resealBatch)
		if err != nil {
			return err
		}
		if err := f(values); err != nil || next == "" {
			return err
		}
		cursor = next
	}
}

// countSealed counts the sealed values by their key, with an example of each.
func (g *Gateway) countSealed(ctx context.Context) (counts map[string]int64, example map[string]string, err error) {
	counts, example = map[string]int64{}, map[string]string{}
	err = g.eachSealed(ctx, func(values []job.Sealed) error {
		for _, v := range values {
			id := "unknown"
			if of, ok := seal.KeyOf(v.Value); ok {
				id = of.String()
			}
			counts[id]++
			if example[id] == "" {
				example[id] = v.Place
			}
		}
		return nil
	})
	return counts, example, err
}

// checkSealed makes sure that everything stored is sealed with one of these keys. It
// tells how many values are sealed with another one than the first.
func (g *Gateway) checkSealed(ctx context.Context, keys [][]byte) (others int64, err error) {
	counts, example, err := g.countSealed(ctx)
	if err != nil {
		return 0, fmt.Errorf("check the seal key: %w", err)
	}
	var ids []string
	for _, key := range keys {
		ids = append(ids, seal.IDOf(key).String())
	}
	for id, n := range counts {
		if !slices.Contains(ids, id) {
			return 0, fmt.Errorf("%w: %d values are sealed with the key %s, such as that of %s; configured is %s", ErrSealKey, n, id, example[id], strings.Join(ids, ", "))
		}
		if id != ids[0] {
			others += n
		}
	}
	return others, nil
}

// openSeals checks the keys against the store, and reads the key of links, which the
// first start makes.
func (g *Gateway) openSeals(ctx context.Context) error {
	others, err := g.checkSealed(ctx, g.sealKeys())
	if err != nil {
		return err
	}
	g.reseal = make(chan struct{}, 1)
	if others > 0 {
		g.reseal <- struct{}{}
	} else {
		g.resealed.Store(true)
	}
	if err := g.noteSealKey(ctx); err != nil {
		return err
	}
	sealed, err := g.store.Setting(ctx, job.SettingLinkKey)
	if errors.Is(err, job.ErrNotFound) {
		key := make([]byte, linkKeyBytes)
		rand.Read(key)
		sealed = g.seal.Seal(key, job.SettingLinkKey)
		err = g.store.SetSetting(ctx, job.SettingLinkKey, sealed)
	}
	if err != nil {
		return fmt.Errorf("read the key of links: %w", err)
	}
	key, err := g.seal.Open(sealed, job.SettingLinkKey)
	if err != nil {
		return fmt.Errorf("read the key of links: %w", err)
	}
	g.seal.SetLinkKey(key)
	return nil
}

// noteSealKey stores which key seals now, where it is another one than before.
func (g *Gateway) noteSealKey(ctx context.Context) error {
	check := g.seal.Seal(nil, job.SettingSealCheck)
	before, err := g.store.Setting(ctx, job.SettingSealCheck)
	id, _ := seal.KeyOf(before)
	switch first := g.seal.KeyIDs()[0]; {
	case errors.Is(err, job.ErrNotFound):
		err = g.store.SetSetting(ctx, job.SettingSealCheck, check)
	case err == nil && id != first:
		err = g.store.SetSealKey(context.WithoutCancel(ctx), check, first.String())
	case err == nil:
		_, err = g.seal.Open(before, job.SettingSealCheck)
	}
	if err != nil {
		return fmt.Errorf("check the seal key: %w", err)
	}
	return nil
}

func (g *Gateway) sealKeys() [][]byte { return append([][]byte{g.opt.SealKey}, g.opt.OldSealKeys...) }

// SetSealKeys takes other seal keys without a restart: the first seals from now on,
// all open, and what is stored is sealed with the first one again while the gateway
// works. It is ErrSealKey, and nothing is changed, where something is sealed with none
// of them. SealStatus tells when the old keys may go; this process goes on opening
// with them.
func (g *Gateway) SetSealKeys(ctx context.Context, keys [][]byte) error {
	g.sealing.Lock()
	defer g.sealing.Unlock()
	if _, err := seal.New(keys...); err != nil {
		return err
	}
	if _, err := g.checkSealed(ctx, keys); err != nil {
		return err
	}
	if err := g.seal.SetKeys(keys...); err != nil {
		return err
	}
	now := time.Now()
	g.rekeyed.Store(&now)
	g.resealed.Store(false)
	err := g.noteSealKey(ctx)
	select {
	case g.reseal <- struct{}{}:
	default:
	}
	return err
}

// SealStatus counts what is sealed with which key.
func (g *Gateway) SealStatus(ctx context.Context) (SealStatus, error) {
	done := g.resealed.Load() // before the count: what it tells must be true then
	counts, _, err := g.countSealed(ctx)
	if err != nil {
		return SealStatus{}, fmt.Errorf("seal status: %w", err)
	}
	s := SealStatus{Done: done}
	for i, id := range g.seal.KeyIDs() {
		s.Keys = append(s.Keys, SealKeyStatus{ID: id.String(), Seals: i == 0, Values: counts[id.String()]})
		if i > 0 && counts[id.String()] > 0 {
			s.Done = false
		}
	}
	return s, nil
}

// keepSealed seals with the first key what is sealed with another one, whenever the
// keys have changed, until ctx is done. It needs no note of how far it is: that shows
// in what is stored.
func (g *Gateway) keepSealed(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-g.reseal:
		}
		g.resealAll(ctx)
	}
}

// resealAll goes through the store until nothing is sealed with an old key, and what
// was under way when the keys were changed has arrived.
func (g *Gateway) resealAll(ctx context.Context) {
	for {
		began := time.Now()
		n, err := g.resealOnce(ctx)
		wait := time.Duration(0) // at the start nothing is under way
		if changed := g.rekeyed.Load(); changed != nil {
			wait = changed.Add(g.settle).Sub(began)
		}
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			g.opt.Log.Error("seal the secrets with the new key", "error", err)
			wait = resealRetry
		case n > 0:
			g.opt.Log.Info("secrets are sealed with the new key", "key", g.seal.KeyIDs()[0].String(), "values", n)
			wait = max(wait, 0)
		case wait <= 0:
			g.resealed.Store(true)
			g.opt.Log.Info("everything is sealed with the first key: the others may go", "key", g.seal.KeyIDs()[0].String())
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-g.reseal:
		case <-time.After(wait):
		}
	}
}

// resealOnce goes through the store once, and returns how much it has sealed again.
// What cannot be opened it leaves.
func (g *Gateway) resealOnce(ctx context.Context) (n int, err error) {
	var damaged error
	err = g.eachSealed(ctx, func(values []job.Sealed) error {
		var again []job.Resealed
		for _, v := range values {
			sealed, changed, err := g.seal.Reseal(v.Value, v.Use)
			if err != nil {
				damaged = fmt.Errorf("%s: %w", v.Place, err)
			}
			if changed {
				again = append(again, job.Resealed{Place: v.Place, Before: v.Value, After: sealed})
			}
		}
		if len(again) == 0 {
			return nil
		}
		did, err := g.store.Reseal(context.WithoutCancel(ctx), again)
		n += did
		return err
	})
	return n, cmp.Or(err, damaged)
}
