package ringback

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/internal/api"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/sign"
)

// provision stores what a gateway needs before its first call: the admin key's
// hash, and with Dev the app that everything belongs to.
func (g *Gateway) provision(ctx context.Context) error {
	if err := g.openSeals(ctx); err != nil {
		return err
	}
	if err := g.claimBodies(ctx); err != nil {
		return err
	}
	if g.opt.Dev {
		return g.provisionDev(ctx)
	}
	key := g.opt.AdminKey
	before, err := g.store.Setting(ctx, api.AdminKeySetting)
	if err != nil && !errors.Is(err, job.ErrNotFound) {
		return err
	}
	if key == "" {
		if before != nil {
			return nil
		}
		key = api.NewKey()
		g.newAdminKey = key
	}
	hash := api.HashKey(key)
	if bytes.Equal(before, hash[:]) {
		return nil
	}
	// Another admin key belongs into the audit log.
	return g.store.SetSetting(job.WithActor(ctx, job.Actor{Kind: job.ActorGateway}), api.AdminKeySetting, hash[:])
}

const storeIDSetting = "store_id"

// claimBodies makes sure that the body folder is this store's: the sweep at the
// start would take another store's files for leftovers.
func (g *Gateway) claimBodies(ctx context.Context) error {
	id, err := g.store.Setting(ctx, storeIDSetting)
	if errors.Is(err, job.ErrNotFound) {
		id = []byte(rand.Text())
		err = g.store.SetSetting(ctx, storeIDSetting, id)
	}
	if err != nil {
		return fmt.Errorf("claim bodies: %w", err)
	}
	return g.bodies.Claim(string(id))
}

// NewAdminKey is the admin key that this start made, since there was none: only
// its hash is stored, so it must be shown or written down now. Else it is empty.
func (g *Gateway) NewAdminKey() string { return g.newAdminKey }

func (g *Gateway) provisionDev(ctx context.Context) error {
	_, err := g.store.App(ctx, api.DevApp)
	if !errors.Is(err, job.ErrNotFound) {
		return err
	}
	// Its key is dropped: with Dev none is asked for, and without it nobody has it.
	_, _, err = api.CreateApp(ctx, g.store, g.seal, api.DevApp, g.opt.Now())
	return err
}

// DevSecret is the signing secret of the app "dev", for those who verify its
// callbacks.
func (g *Gateway) DevSecret(ctx context.Context) (string, error) {
	app, err := g.store.App(ctx, api.DevApp)
	if err != nil {
		return "", fmt.Errorf("dev secret: %w", err)
	}
	plain, err := g.seal.Open(app.Secrets.Current, "secret")
	if err != nil {
		return "", fmt.Errorf("dev secret: %w", err)
	}
	keys, err := sign.ParseKeys(string(plain))
	return keys.Shared.Reveal(), err
}

// backlogCollector reports what is unfinished. With a large backlog counting it is
// work: a count is good for twenty times as long as it took.
type backlogCollector struct {
	ctx            context.Context
	store          job.Store
	now            func() time.Time
	unfinished     *prometheus.Desc
	oldest         *prometheus.Desc
	storeAvailable *prometheus.Desc

	mu    sync.Mutex
	last  job.Backlog
	until time.Time // when last is too old
}

func newBacklogCollector(ctx context.Context, store job.Store, now func() time.Time) *backlogCollector {
	return &backlogCollector{ctx: context.WithoutCancel(ctx), store: store, now: now,
		unfinished:     prometheus.NewDesc("ringback_backlog", "What has not come to its end.", []string{"what"}, nil),
		oldest:         prometheus.NewDesc("ringback_backlog_oldest_seconds", "Age of the oldest of them; 0 where there is none.", []string{"what"}, nil),
		storeAvailable: prometheus.NewDesc("ringback_store_available", "1 where the store answers.", nil, nil)}
}

// Describe implements prometheus.Collector.
func (c *backlogCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.unfinished
	ch <- c.oldest
	ch <- c.storeAvailable
}

func (c *backlogCollector) count() (job.Backlog, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if began.Before(c.until) {
		return c.last, nil
	}
	ctx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
	defer cancel()
	b, err := c.store.Backlog(ctx)
	if err == nil {
		now := time.Now()
		c.last, c.until = b, now.Add(20*now.Sub(began))
	}
	return b, err
}

// Collect implements prometheus.Collector.
func (c *backlogCollector) Collect(ch chan<- prometheus.Metric) {
	b, err := c.count()
	if err != nil {
		ch <- prometheus.MustNewConstMetric(c.storeAvailable, prometheus.GaugeValue, 0)
		return
	}
	ch <- prometheus.MustNewConstMetric(c.storeAvailable, prometheus.GaugeValue, 1)
	for what, v := range map[string]struct {
		n      int64
		oldest time.Time
	}{"jobs": {b.Jobs, b.OldestJob}, "callbacks": {b.Callbacks, b.OldestCallback}} {
		age := 0.0
		if !v.oldest.IsZero() {
			age = max(c.now().Sub(v.oldest).Seconds(), 0)
		}
		ch <- prometheus.MustNewConstMetric(c.unfinished, prometheus.GaugeValue, float64(v.n), what)
		ch <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, age, what)
	}
}
