package api

import (
	"context"
	"sync"

	"github.com/ringback/ringback/job"
)

// maxCachedDefaults bounds the apps whose default endpoints are remembered.
const maxCachedDefaults = 10_000

// defaults remembers the default endpoints of the apps that call without saying
// where their callback goes, until a change of an app's endpoints is committed.
type defaults struct {
	store job.Endpoints

	mu   sync.RWMutex
	apps map[string][]job.Endpoint
	// changes counts the changes of endpoints: what was read from the store before
	// one must not be remembered after it.
	changes uint64
}

func newDefaults(store job.Endpoints) *defaults {
	return &defaults{store: store, apps: map[string][]job.Endpoint{}}
}

// committed forgets the endpoints of an app that changed one.
func (d *defaults) committed(ch job.Change) {
	if ch.Kind != job.EndpointChanged {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changes++
	delete(d.apps, ch.App)
}

// of returns name, URL, operations and method of an app's default endpoints, in the
// order of their names. They are shared: read only.
func (d *defaults) of(ctx context.Context, app string) ([]job.Endpoint, error) {
	d.mu.RLock()
	found, ok := d.apps[app]
	before := d.changes
	d.mu.RUnlock()
	if ok {
		return found, nil
	}
	all, err := d.store.ListEndpoints(ctx, app)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		if e.Default {
			found = append(found, job.Endpoint{Name: e.Name, URL: e.URL, Operations: e.Operations, Method: e.Method})
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.changes == before {
		if len(d.apps) >= maxCachedDefaults {
			clear(d.apps) // so many apps at once are rare; they are read again
		}
		d.apps[app] = found
	}
	return found, nil
}
