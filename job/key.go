package job

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Key is an API key of an app; the key itself is never stored.
type Key struct {
	ID        ID
	Hash      [32]byte // SHA-256 of the key
	App       string
	Name      string // what it is for, in the words of whoever made it
	Hint      string // the key's first characters, to tell it from others
	Scopes    Scopes
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
	// LastUsedAt is about when it was used last; zero: never.
	LastUsedAt time.Time
}

// Expired tells whether the key's time is over.
func (k *Key) Expired(now time.Time) bool {
	return !k.ExpiresAt.IsZero() && !now.Before(k.ExpiresAt)
}

// Scopes are what a key permits, of its app's own.
type Scopes uint8

// The scopes of a key. None implies another.
const (
	ScopeSubmit Scopes = 1 << iota // call operations
	ScopeRead                      // read jobs, results, callbacks, endpoints
	ScopeManage                    // change whatever can be changed; read and replace secrets, make and revoke keys

	AllScopes = ScopeSubmit | ScopeRead | ScopeManage
)

// ScopeNames are the words for the scopes, in their order.
var ScopeNames = []string{"submit", "read", "manage"}

// Has tells whether all of want is permitted.
func (s Scopes) Has(want Scopes) bool { return s&want == want }

// Names are the scopes as words.
func (s Scopes) Names() []string {
	var names []string
	for i, name := range ScopeNames {
		if s.Has(1 << i) {
			names = append(names, name)
		}
	}
	return names
}

// String is the words with a space between.
func (s Scopes) String() string { return strings.Join(s.Names(), " ") }

// ParseScopes reads words as Names writes them, in any order.
func ParseScopes(names []string) (s Scopes, err error) {
next:
	for _, name := range names {
		for i, known := range ScopeNames {
			if name == known {
				s |= 1 << i
				continue next
			}
		}
		return 0, fmt.Errorf("%q is none of %s", name, strings.Join(ScopeNames, ", "))
	}
	return s, nil
}

// Keys keeps the API keys of apps.
type Keys interface {
	// CreateKey stores a further key of an app, and announces the app as changed.
	// ErrNotFound where there is no such app, ErrTooMany where it has as many keys as
	// it may, most; the two MUST be found in the transaction of the insert, so that
	// many at once make no more. A key whose time is over counts.
	CreateKey(ctx context.Context, k Key, most int) error
	// Keys returns the keys of an app, oldest first, at most limit; of all apps where
	// app is empty. An app that is not there has none.
	Keys(ctx context.Context, app string, limit int) ([]Key, error)
	// DeleteKey revokes a key of an app, and announces the app as changed. ErrNotFound
	// where the app has no such key.
	DeleteKey(ctx context.Context, app string, id ID) error
	// KeysUsed stores when keys were used, unless a later time is stored. Keys that are
	// gone are left out. It announces nothing: what a key permits is the same.
	KeysUsed(context.Context, []KeyUse) error
}

// KeyUse is when a key was used.
type KeyUse struct {
	App string
	ID  ID
	At  time.Time
}
