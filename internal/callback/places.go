package callback

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/expression"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/internal/window"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// place is where a callback goes, ready to be called: parsed, checked, with
// opened secrets.
type place struct {
	endpoint job.Endpoint     // zero for a URL that was sent with a call
	lane     laneSettings     // of the endpoint
	target   *outbound.Target // nil: refused says why, or the URL has variables
	refused  error
	policy   job.Policy // of the app
	headers  http.Header
	auth     credentials
	order    *expression.Template // of an ordered endpoint; nil: one line for all
	schemes  sign.Schemes         // of the endpoint
	current  []sign.Keys
	// rotating are current and previous, rotatingOld previous and current, until the
	// previous one's end.
	rotating, rotatingOld []sign.Keys
	until                 time.Time
}

// places keeps the endpoints and secrets of apps in memory, so that an attempt
// reads none. A change of an app or of its endpoints drops what is kept of it.
type places struct {
	opt     Options
	tokens  *tokenSources
	mu      *sync.Mutex
	apps    map[string]map[string]*place // by app and endpoint; "" for its URLs
	version map[string]int               // of an app: counts its changes
	// settings are those of endpoints' lanes, as they were read last: a change must not
	// leave a lane without them until an attempt has read them again.
	settings map[window.Key]laneSettings
}

// maxPlacesApps bounds the memory of places: above it, all are read again.
const maxPlacesApps = 4096

func newPlaces(opt Options) places {
	return places{opt: opt, tokens: newTokenSources(opt), mu: &sync.Mutex{}, apps: map[string]map[string]*place{}, version: map[string]int{},
		settings: map[window.Key]laneSettings{}}
}

func (p places) forget(app string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.apps, app)
	p.version[app]++
}

// of finds where a callback goes. A URL that the policy refuses is a
// *outbound.URLError, an endpoint that is gone job.ErrNotFound.
func (p places) of(ctx context.Context, d *job.Delivery) (*place, error) {
	cb := d.Callback
	if cb.Endpoint != "" {
		pl, err := p.endpoint(ctx, cb.App, cb.Endpoint)
		switch {
		case err != nil:
			return nil, err
		case pl.target != nil:
			return pl, nil
		case pl.refused != nil:
			return nil, pl.refused
		}
		return p.expanded(pl, d)
	}
	target, err := p.opt.Client.Check(cb.URL)
	if err != nil {
		return nil, err
	}
	app, err := p.get(ctx, cb.App, "", p.readApp)
	if err != nil {
		return nil, err
	}
	with := *app
	with.target = target
	return &with, nil
}

// withQuery is the place with something behind the query of its URL.
func (p *place) withQuery(query string) *place {
	if query == "" {
		return p
	}
	with := *p
	with.target = p.target.WithQuery(query)
	return &with
}

// expanded is an endpoint whose URL has variables, as the place of one callback.
func (p places) expanded(pl *place, d *job.Delivery) (*place, error) {
	params := d.Job.Request.Params
	if params == nil {
		params = map[string]string{}
	}
	url, err := expand(pl.endpoint.URL, d.Callback, params)
	if err != nil {
		return nil, err
	}
	return p.with(pl, url)
}

// asked is an endpoint as the place where its receiver is asked something that no
// callback is about: variables have example values.
func (p places) asked(pl *place) (*place, error) {
	switch {
	case pl.refused != nil:
		return nil, pl.refused
	case pl.target != nil:
		return pl, nil
	}
	url, err := example(pl.endpoint.URL, nil)
	if err != nil {
		return nil, err
	}
	return p.with(pl, url)
}

// with is the place of an endpoint with the URL that was made of its own.
func (p places) with(pl *place, url string) (*place, error) {
	with := *pl
	var err error
	if with.target, err = p.opt.Client.Check(url); err != nil {
		return nil, err
	}
	return &with, scope(&pl.policy).Permit(with.target)
}

// endpointOf is that of a lane, nil for one that is no endpoint's.
func (p places) endpointOf(ctx context.Context, k window.Key) (*place, error) {
	if strings.Contains(k.Name, "://") {
		return nil, nil
	}
	return p.endpoint(ctx, k.Share, k.Name)
}

func (p places) endpoint(ctx context.Context, app, name string) (*place, error) {
	return p.get(ctx, app, name, p.readEndpoint)
}

// get returns what is kept, or reads it. What changed while it was read is not
// kept.
func (p places) get(ctx context.Context, app, name string, read func(ctx context.Context, app, name string) (*place, error)) (*place, error) {
	p.mu.Lock()
	pl, version := p.apps[app][name], p.version[app]
	p.mu.Unlock()
	if pl != nil {
		return pl, nil
	}
	// What is owed must not depend on who waits for it.
	pl, err := read(context.WithoutCancel(ctx), app, name)
	if err != nil {
		if errors.Is(err, job.ErrNotFound) {
			p.mu.Lock()
			delete(p.settings, window.Key{Share: app, Name: name})
			p.mu.Unlock()
		}
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version[app] != version {
		return pl, nil
	}
	if len(p.apps) >= maxPlacesApps {
		clear(p.apps)
	}
	if p.apps[app] == nil {
		p.apps[app] = map[string]*place{}
	}
	p.apps[app][name] = pl
	if name != "" {
		if len(p.settings) >= maxLanes {
			clear(p.settings)
		}
		p.settings[window.Key{Share: app, Name: name}] = pl.lane
	}
	return pl, nil
}

func (p places) readApp(ctx context.Context, name, _ string) (*place, error) {
	app, err := p.opt.Store.App(ctx, name)
	if err != nil {
		return nil, err
	}
	pl := &place{policy: app.Policy}
	return pl, p.open(pl, app.Secrets)
}

func (p places) readEndpoint(ctx context.Context, app, name string) (*place, error) {
	e, err := p.opt.Store.Endpoint(ctx, app, name)
	if err != nil {
		return nil, err
	}
	pl := &place{endpoint: e, headers: http.Header{}, lane: p.laneOfEndpoint(&e)}
	for name, value := range e.Headers {
		pl.headers.Set(name, value)
	}
	if len(e.Authorization) > 0 {
		plain, err := p.opt.Seal.Open(e.Authorization, "authorization")
		if err != nil {
			return nil, fmt.Errorf("authorization of endpoint %s: %w", name, err)
		}
		pl.headers.Set("Authorization", string(plain))
	}
	if pl.schemes, err = sign.ParseSchemes(e.Signature); err != nil {
		return nil, fmt.Errorf("signature of endpoint %s: %w", name, err)
	}
	if e.OrderKey != "" {
		if pl.order, err = ParseOrderKey(e.OrderKey); err != nil {
			return nil, fmt.Errorf("order key of endpoint %s: %w", name, err)
		}
	}
	if pl.auth, err = p.credentialsOf(&e); err != nil {
		return nil, err
	}
	if p.opt.Proof == job.ProofHandshake {
		pl.headers[originField] = []string{p.opt.Origin}
	}
	of, err := p.opt.Store.App(ctx, app)
	if err != nil {
		return nil, fmt.Errorf("app of endpoint %s: %w", name, err)
	}
	pl.policy = of.Policy
	if pl.auth.tokens != nil {
		pl.auth.forbidden = pl.auth.tokens.permitted(&pl.policy)
	}
	// Refused URLs are kept, too: the attempt says why.
	if !hasVariables(e.URL) {
		if pl.target, pl.refused = p.opt.Client.Check(e.URL); pl.refused == nil {
			pl.refused = scope(&pl.policy).Permit(pl.target)
		}
		if pl.refused != nil {
			pl.target = nil
		}
	}
	return pl, p.open(pl, e.Secrets)
}

// open puts the secrets of s into pl.
func (p places) open(pl *place, s job.Secrets) error {
	for i, sealed := range [][]byte{s.Current, s.Previous} {
		if len(sealed) == 0 {
			continue
		}
		text, err := p.opt.Seal.Open(sealed, "secret")
		if err != nil {
			return fmt.Errorf("signing secret: %w", err)
		}
		keys, err := sign.ParseKeys(string(text))
		if err != nil {
			return fmt.Errorf("signing secret: %w", err)
		}
		if i == 0 {
			pl.current = []sign.Keys{keys}
		}
		pl.rotating = append(pl.rotating, keys)
	}
	pl.rotatingOld = slices.Clone(pl.rotating)
	slices.Reverse(pl.rotatingOld)
	pl.until = s.PreviousUntil
	return nil
}

// laneSettings are what is configured of a lane.
type laneSettings struct {
	origin      string        // that it leads to; empty where it is not known now
	concurrency int           // how far it may grow; 0: the default
	interval    time.Duration // between two callbacks; 0: any
}

// lane is what is known of a lane without reading it.
func (p places) lane(k window.Key) laneSettings {
	if strings.Contains(k.Name, "://") {
		return laneSettings{origin: k.Name}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.settings[k]
}

// laneOfEndpoint is what an endpoint, and its receiver's handshake, say of its lane.
func (p places) laneOfEndpoint(e *job.Endpoint) laneSettings {
	set := laneSettings{origin: job.Origin(e.URL), concurrency: e.Concurrency}
	if e.Rate.Count > 0 {
		set.interval = e.Rate.Per / time.Duration(e.Rate.Count)
	}
	if allowed := e.Verification.Rate; allowed > 0 && p.opt.Proof == job.ProofHandshake {
		set.interval = max(set.interval, time.Minute/time.Duration(allowed))
	}
	return set
}
