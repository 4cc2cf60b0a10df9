// Package ringback is a gateway for asynchronous APIs with callback URLs, to be
// embedded in a program of one's own. It takes calls of operations in, keeps them
// safe, has them executed, and calls the callback URL with the result.
//
// The command ringback, in cmd/ringback, is this package with a configuration file.
package ringback

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/ringback/ringback/internal/api"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/callback"
	"github.com/ringback/ringback/internal/executor"
	"github.com/ringback/ringback/internal/keeper"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/internal/pause"
	"github.com/ringback/ringback/internal/repair"
	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

// Options configure a Gateway. SealKey, BodyDir and at least one operation or
// Upstream are required; every other zero value is usable.
type Options struct {
	Operations []Operation
	// Upstream puts the gateway in front of a whole API: every method and path of
	// it is an operation, and calls that ask for no callback pass straight through.
	Upstream *url.URL
	// BodyDir is the folder for bodies too large for the store.
	BodyDir string
	// SealKey, of 32 bytes, seals the secrets in the store. OldSealKeys open what was
	// sealed before, until it is sealed again.
	SealKey     []byte
	OldSealKeys [][]byte
	// AdminKey makes apps. Empty: the one of the last start, see Gateway.NewAdminKey.
	AdminKey string
	// PublicURL is what links in answers and callbacks are made of.
	PublicURL string
	// Prefix of the gateway's own routes; with Upstream UpstreamPrefix if empty.
	Prefix   string
	Outbound Outbound
	// Egress is the way that callbacks take: a proxy, a source address.
	Egress Egress
	// Proof is asked of registered endpoints before anything is sent there, and again
	// before ProofLasts (30 days) is over. None by default.
	Proof      job.Proof
	ProofLasts time.Duration
	// DisableAfter is how long a registered endpoint may bring nothing but failures before
	// it is disabled; 5 days, negative: for ever.
	DisableAfter time.Duration
	// SplitAdmin takes the routes of the admin key, and /metrics, out of Handler:
	// AdminHandler serves them.
	SplitAdmin bool
	// Limits of apps that have none of their own; none by default.
	Limits job.Limits
	// Proxies may say by X-Forwarded-For on whose behalf they ask.
	Proxies Proxies
	// OriginConcurrency is how many callbacks may be under way to one origin, of all
	// apps together; 256.
	OriginConcurrency int
	// Dev needs no keys, and lets callbacks go to loopback.
	Dev bool
	// NoDocs leaves out the page below /docs that describes the operations.
	NoDocs bool
	// NoDashboard leaves out the pages below /dashboard.
	NoDashboard bool
	// Retention is how long jobs are kept after they and their callbacks have come
	// to their end; 7 days.
	Retention time.Duration
	// AuditRetention is how long entries of the audit log are kept; a year.
	AuditRetention time.Duration
	// DrainTimeout bounds how long Run waits at its end for what is under way; DefaultDrainTimeout.
	DrainTimeout time.Duration
	// MaxWait bounds long polls and Prefer: wait; 60s.
	MaxWait time.Duration
	// BodyIdleTimeout ends an upload that makes no progress; 30s.
	BodyIdleTimeout time.Duration
	Log             *slog.Logger
	Now             func() time.Time
	Version         string
	// RootCAs sign the certificates of receivers, and of an https proxy; nil means the
	// system's.
	RootCAs *x509.CertPool
	// Resolver and Dial replace the machine's own for callbacks, for tests.
	Resolver outbound.Resolver
	Dial     outbound.DialFunc
}

// Operation is one thing that the API does: a route, a backend and a callback contract.
type Operation struct {
	job.Operation
	Backend Backend
}

// Backend executes jobs; HTTP, Command, Clamd, Func and Relay make the kinds there are.
type Backend = backend.Backend

// Proxies are the proxies in front of a gateway that it trusts.
type Proxies = api.Proxies

// Outbound says which addresses callbacks may go to.
type Outbound = outbound.Policy

// Egress says which way callbacks leave.
type Egress = outbound.Egress

const (
	// UpstreamOperation names what the calls of an upstream are.
	UpstreamOperation = "upstream"
	// UpstreamPrefix is where the gateway's own routes stand in front of an
	// upstream, unless Options say otherwise.
	UpstreamPrefix = "/.ringback"
	// DefaultDrainTimeout is how long the end may take, unless Options say otherwise.
	DefaultDrainTimeout = 30 * time.Second
)

func (o Options) withDefaults() (Options, error) {
	o.Retention = cmp.Or(o.Retention, 7*24*time.Hour)
	o.AuditRetention = cmp.Or(o.AuditRetention, 365*24*time.Hour)
	o.ProofLasts = cmp.Or(o.ProofLasts, 30*24*time.Hour)
	o.DisableAfter = cmp.Or(o.DisableAfter, 5*24*time.Hour)
	o.DrainTimeout = cmp.Or(o.DrainTimeout, DefaultDrainTimeout)
	o.MaxWait = cmp.Or(o.MaxWait, time.Minute)
	o.BodyIdleTimeout = cmp.Or(o.BodyIdleTimeout, 30*time.Second)
	o.Version = cmp.Or(o.Version, "devel")
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Dev {
		o.Outbound.HTTP, o.Outbound.Loopback = true, true
	}
	if o.Upstream == nil {
		return o, nil
	}
	o.Prefix = cmp.Or(o.Prefix, UpstreamPrefix)
	if o.Upstream.Host == "" || strings.Trim(o.Upstream.Path, "/") != "" || o.Upstream.RawQuery != "" {
		return o, errors.New("upstream must be an origin such as http://127.0.0.1:9000: its paths are those of the calls")
	}
	b, err := backend.NewHTTP(backend.HTTPConfig{URL: o.Upstream.Scheme + "://" + o.Upstream.Host})
	if err != nil {
		return o, err
	}
	o.Operations = append(o.Operations, Operation{Operation: job.Operation{Name: UpstreamOperation}, Backend: b})
	return o, nil
}

// Gateway is the whole path from a request to its callback. Make it with New,
// serve Handler, and let Run do the work.
type Gateway struct {
	opt         Options
	store       job.Store
	bodies      *body.Holder
	backup      sync.Mutex // held while one is made
	client      *outbound.Client
	api         *api.API
	executor    *executor.Executor
	sender      *callback.Sender
	keeper      *keeper.Keeper
	pauses      pause.Set
	repair      *repair.Runner
	seal        *seal.Sealer
	newAdminKey string

	sealing  sync.Mutex                // held while the seal keys are changed
	reseal   chan struct{}             // filled when something may be sealed with an old key
	resealed atomic.Bool               // nothing is, and nothing more can come that is
	rekeyed  atomic.Pointer[time.Time] // the last change of keys; nil since the start
	settle   time.Duration             // as sealSettle
}

// New puts a gateway together on a store, which stays the caller's to close, after
// Run has returned.
func New(ctx context.Context, store job.Store, opt Options) (*Gateway, error) {
	opt, err := opt.withDefaults()
	if err != nil {
		return nil, err
	}
	if opt.Proof == job.ProofHandshake && hostOf(opt.PublicURL) == "" {
		return nil, errors.New("PublicURL must be set: a handshake introduces the gateway by its host")
	}
	g := &Gateway{opt: opt, store: store, settle: sealSettle}
	if g.seal, err = seal.New(g.sealKeys()...); err != nil {
		return nil, err
	}
	dir, err := body.OpenDir(opt.BodyDir)
	if err != nil {
		return nil, err
	}
	g.bodies = &body.Holder{Storage: dir}
	if g.client, err = outbound.New(opt.Outbound, outbound.Limits{}, outbound.Options{Egress: opt.Egress, Resolver: opt.Resolver, Dial: opt.Dial, RootCAs: opt.RootCAs}); err != nil {
		return nil, err
	}
	if err := g.assemble(ctx); err != nil {
		return nil, err
	}
	return g, g.provision(ctx)
}

// assemble wires the parts. They meet in the store, and hear of each other's work
// by its announcements alone.
func (g *Gateway) assemble(ctx context.Context) error {
	opt, registry := g.opt, prometheus.NewRegistry()
	operations := make([]job.Operation, len(opt.Operations))
	runs := make([]executor.Operation, len(opt.Operations))
	for i, op := range opt.Operations {
		if op.Name == callback.OperationEvents {
			return fmt.Errorf("operation %s: the name is taken: it is that of the gateway's own events", op.Name)
		}
		if field, err := callback.CheckContract(op.Callback); err != nil {
			return fmt.Errorf("operation %s: callback.%s: %w", op.Name, field, err)
		}
		operations[i] = op.WithDefaults()
		runs[i] = executor.Operation{Operation: operations[i], Backend: op.Backend}
		if h, ok := op.Backend.(*backend.HTTP); ok && h.NeedsPublicURL() && opt.PublicURL == "" {
			return fmt.Errorf("operation %s: async: ringback needs a public URL, for the completion URL is made of it", op.Name)
		}
	}
	g.sender = callback.New(callback.Options{Store: g.store, Client: g.client, Seal: g.seal, Operations: operations, Pauses: &g.pauses, DisableAfter: opt.DisableAfter, ResultLink: g.resultLink, ReplyURL: g.replyURL,
		Proof: opt.Proof, ProofLasts: opt.ProofLasts, Origin: hostOf(opt.PublicURL), OriginConcurrency: opt.OriginConcurrency,
		OpenBody:  func(b job.Body) (io.ReadCloser, error) { return body.Open(g.bodies, b) },
		UserAgent: "Ringback/" + opt.Version, Log: opt.Log, Now: opt.Now, Registerer: registry})
	g.executor = executor.New(executor.Options{Store: g.store, Bodies: g.bodies, Seal: g.seal, Operations: runs, Owe: g.sender.Owe,
		Disown: g.sender.Disown, Early: g.sender, Reader: g.store, RunURL: g.runURL, Asker: g.sender, Questions: g.store, Pauses: &g.pauses, Log: opt.Log, Now: opt.Now, Registerer: registry})
	g.repair = repair.New(repair.Options{Store: g.store, Contract: g.sender.Contract, Owed: g.sender.OweUnclaimed, Waits: g.sender.Waits,
		GiveUpAt: g.sender.GiveUpAt, Log: opt.Log, Now: opt.Now})
	apiOptions := api.Options{Store: g.store, Repair: g.repair, Bodies: g.bodies, Seal: g.seal, Slots: g.executor, Runs: g.executor, CheckHeader: outbound.CheckHeader,
		CheckURL: func(url string) error { _, err := g.client.Check(url); return err },
		Owed:     g.sender.OweUnclaimed, OwedAccepted: g.sender.OweAccepted, Waits: g.sender.Waits, GiveUpAt: g.sender.GiveUpAt, Proof: opt.Proof, Prefix: opt.Prefix, PublicURL: opt.PublicURL, Dev: opt.Dev,
		MaxWait: opt.MaxWait, BodyIdleTimeout: opt.BodyIdleTimeout, Log: opt.Log, Now: opt.Now, Version: opt.Version,
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}), Examples: g.examples, NoDocs: opt.NoDocs, NoDashboard: opt.NoDashboard, DevKeys: g.devKeys,
		AdminKeyFixed: opt.AdminKey != "", Proxies: opt.Proxies, SplitAdmin: opt.SplitAdmin, Limits: opt.Limits}
	for i, op := range operations {
		if op.Name == UpstreamOperation && opt.Upstream != nil {
			apiOptions.Upstream, apiOptions.Passthrough = &operations[i], api.NewPassthrough(opt.Upstream, opt.Log)
			continue
		}
		apiOptions.Operations = append(apiOptions.Operations, op)
	}
	apiOptions.ReadPolicy, apiOptions.ExplainURL = callback.ReadPolicy, g.explainURL
	apiOptions.CheckOrderKey = func(text string) error { _, err := callback.ParseOrderKey(text); return err }
	apiOptions.CheckPolicy = func(url string, p *job.Policy) error { return callback.CheckPolicy(g.client, url, p) }
	apiOptions.EndpointURL = func(url string, j *job.Job) (string, error) { return callback.EndpointURL(g.client, url, j) }
	pauses, err := g.store.ListPauses(ctx)
	if err != nil {
		return fmt.Errorf("read the pauses: %w", err)
	}
	g.pauses.Load(pauses)
	registry.MustRegister(g.pauses.Gauges()...)
	registry.MustRegister(newBacklogCollector(ctx, g.store, opt.Now))
	if g.api, err = api.New(apiOptions); err != nil {
		return err
	}
	if g.keeper, err = keeper.New(keeper.Options{Store: g.store, Bodies: g.bodies, Operations: operations, Retention: opt.Retention, AuditRetention: opt.AuditRetention, Log: opt.Log, Now: opt.Now}); err != nil {
		return err
	}
	g.store.Committed(func(ch job.Change) {
		g.pauses.Committed(ch)
		g.keeper.Committed(ch)
		g.executor.Committed(ch)
		g.sender.Committed(ch)
		g.api.Committed(ch)
		g.repair.Committed(ch)
	})
	return nil
}

// hostOf is the name in a URL, without the port; empty for none.
func hostOf(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// Handler serves the operations and the gateway's own routes.
func (g *Gateway) Handler() http.Handler { return g.api }

// AdminHandler serves the gateway's own routes, all of them, and no operations. It is
// nil without Options.SplitAdmin.
func (g *Gateway) AdminHandler() http.Handler { return g.api.Admin }

// Run does the work until ctx is done. Then it takes nothing new, waits up to
// DrainTimeout for what is under way, and returns; what is unfinished goes on at
// the next start.
func (g *Gateway) Run(ctx context.Context) error {
	// A stop that comes this early is an orderly one, too.
	open := context.WithoutCancel(ctx)
	swept, err := g.bodies.Sweep(open, g.store.KnownBodies)
	if err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if swept > 0 {
		g.opt.Log.Info("deleted what a crash had left behind", "bodies", swept)
	}
	if err := g.executor.Open(open); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	if err := g.sender.Open(open); err != nil {
		return errors.Join(fmt.Errorf("run: %w", err), g.drain())
	}
	var beside sync.WaitGroup
	beside.Go(func() { g.keepSealed(ctx) })
	beside.Go(func() { g.api.KeepKeyUses(ctx) })
	g.repair.Open()
	g.keeper.Run(ctx)
	g.repair.Close()
	beside.Wait()
	return g.drain()
}

// drain ends the work: first that of backends, whose results owe callbacks, then
// those. The callbacks have a quarter of the time to themselves: a run that lasts too
// long must not have those cut off, and sent again, that are in flight.
func (g *Gateway) drain() error {
	end, own := time.Now().Add(g.opt.DrainTimeout), g.opt.DrainTimeout/4
	runs, cancel := context.WithDeadline(context.Background(), end.Add(-own))
	defer cancel()
	g.api.Drain()
	err := g.executor.Close(runs)
	callbacks, stop := context.WithTimeout(context.Background(), max(time.Until(end), own))
	defer stop()
	err = errors.Join(err, g.sender.Close(callbacks))
	g.client.Close()
	for _, op := range g.opt.Operations {
		if c, ok := op.Backend.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}

// runURL is what the URLs begin with by which an upstream speaks about a run.
func (g *Gateway) runURL(token string) string {
	return g.opt.PublicURL + g.opt.Prefix + "/v1/runs/" + token
}

// replyURL is where the answer to a question goes.
func (g *Gateway) replyURL(id, callback job.ID) string {
	return g.opt.PublicURL + g.opt.Prefix + "/v1/replies/" + g.seal.Token(api.ReplyToken, slices.Concat(id[:], callback[:]))
}

// resultLink is a link to a job's result that needs no key.
func (g *Gateway) resultLink(id job.ID) string {
	name := id.Job()
	return g.opt.PublicURL + g.opt.Prefix + "/v1/jobs/" + name + "/result?token=" + g.seal.LinkToken(name)
}
