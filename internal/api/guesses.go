package api

import (
	"context"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

var (
	kindTooManyAttempts = newKind(http.StatusTooManyRequests, "too_many_attempts", "Too many unknown keys came from this address")
	kindKeyExpired      = newKind(http.StatusUnauthorized, "key_expired", "The API key has expired")
	kindScope           = newKind(http.StatusForbidden, "scope_missing", "The key does not have the scope that this takes")
)

const (
	// guessBurst is how many unknown keys an address may present at once, and
	// guessInterval how long it takes until it may present one more.
	guessBurst    = 20
	guessInterval = 6 * time.Second
	// maxGuessers bounds the addresses that are kept; those that find no place share
	// one count.
	maxGuessers = 4096
	// maxExempt bounds the keys that are looked for in memory while an address is
	// throttled: 32 octets each.
	maxExempt = 100_000
	// maxAdmins bounds the addresses from which the admin key was used.
	maxAdmins = 256
)

// guesses throttles those who try keys. An address that has presented too many
// unknown ones is answered with 429 before anything is looked for, except for
//
//   - keys in memory, which never come here, and all other keys of apps that there
//     are: with 256 random bits they cannot be guessed, and nobody who shares an
//     address with a guesser is locked out;
//   - the admin key, which may be weaker, from an address that has used it before.
//
// The admin key from another such address waits at most guessInterval between two
// attempts.
type guesses struct {
	opt Options

	mu    sync.Mutex
	by    map[netip.Prefix]*attempts
	rest  attempts  // of those without a place
	swept time.Time // when by was last rid of who had stopped
	// keys are those of apps, while somebody is throttled; nil: to be read.
	keys   map[[32]byte]struct{}
	admins map[netip.Prefix][32]byte // the hash of the admin key that was used
}

// attempts is how much an address may still try: a bucket that fills up again.
type attempts struct {
	spent float64 // at the time at
	at    time.Time
}

// used is how many attempts are spent now.
func (a *attempts) used(now time.Time) float64 {
	return max(0, a.spent-now.Sub(a.at).Seconds()/guessInterval.Seconds())
}

func newGuesses(opt Options) *guesses {
	return &guesses{opt: opt, by: map[netip.Prefix]*attempts{}, admins: map[netip.Prefix][32]byte{}}
}

// admit lets a key be looked for, or says when it may come again.
func (g *guesses) admit(r *http.Request, hash [32]byte) *Problem {
	from := neighbours(g.opt.Proxies.remote(r))
	g.mu.Lock()
	wait := g.wait(from)
	exempt := g.admins[from] == hash
	g.mu.Unlock()
	if wait <= 0 || exempt || g.isKey(r.Context(), hash) {
		return nil
	}
	p := kindTooManyAttempts.problem("the address that this request comes from has presented too many unknown keys")
	p.retryAfter = int(math.Ceil(wait.Seconds()))
	return p.withHint("check the key; a key of an app that is right is let pass all the same")
}

// wait is how long an address has to wait before its next attempt; mu is held.
func (g *guesses) wait(from netip.Prefix) time.Duration {
	a := g.by[from]
	if a == nil {
		if len(g.by) < maxGuessers {
			return 0
		}
		a = &g.rest
	}
	over := a.used(g.opt.Now()) - (guessBurst - 1)
	return time.Duration(over * float64(guessInterval))
}

// wrong counts an unknown key.
func (g *guesses) wrong(r *http.Request) {
	from, now := neighbours(g.opt.Proxies.remote(r)), g.opt.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	a := g.by[from]
	if a == nil {
		g.sweep(now)
		if a = &g.rest; len(g.by) < maxGuessers {
			a = &attempts{}
			g.by[from] = a
		}
	}
	a.spent, a.at = a.used(now)+1, now
}

// sweep forgets, at most once a second and where there is no place, who has stopped;
// mu is held.
func (g *guesses) sweep(now time.Time) {
	if len(g.by) < maxGuessers || now.Sub(g.swept) < time.Second {
		return
	}
	g.swept = now
	for from, a := range g.by {
		if a.used(now) == 0 {
			delete(g.by, from)
		}
	}
	if len(g.by) == 0 {
		g.keys = nil
	}
}

// right remembers from where the admin key was used.
func (g *guesses) right(r *http.Request, hash [32]byte) {
	from := neighbours(g.opt.Proxies.remote(r))
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.admins) >= maxAdmins {
		clear(g.admins)
	}
	g.admins[from] = hash
}

// keysChanged forgets the keys of apps: some are new, or gone.
func (g *guesses) keysChanged() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.keys = nil
}

// isKey tells whether there is a key of this hash. It asks the store once for all,
// and not again until a key has changed.
func (g *guesses) isKey(ctx context.Context, hash [32]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.keys == nil {
		all, err := g.opt.Store.Keys(ctx, "", maxExempt)
		if err != nil {
			g.opt.Log.WarnContext(ctx, "read keys", "error", err)
			return false
		}
		g.keys = make(map[[32]byte]struct{}, len(all))
		for i := range all {
			g.keys[all[i].Hash] = struct{}{}
		}
	}
	_, ok := g.keys[hash]
	return ok
}
