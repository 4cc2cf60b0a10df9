// Package gatewaytest runs a whole gateway on loopback, for examples and for tests of
// what calls a gateway and is called back.
package gatewaytest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// Gateway serves POST /notify, whose result is its request, and POST /scan, which
// finds a virus in what holds the word; POST /scan_event does the same and calls back
// with CloudEvents. Callbacks may go to loopback.
type Gateway struct {
	URL    string
	Key    string // of the app "shop"
	Secret string // of callbacks to URLs sent with a call

	closers []func() error // in the order of their making
}

const adminKey = "rb_admin_of_a_test"

// Start starts a gateway with a store of its own. The caller closes it.
func Start(ctx context.Context) (*Gateway, error) {
	g := &Gateway{}
	if err := g.start(ctx); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// Close drains the gateway and removes its store.
func (g *Gateway) Close() error {
	var all error
	for i := len(g.closers) - 1; i >= 0; i-- {
		all = errors.Join(all, g.closers[i]())
	}
	return all
}

func (g *Gateway) start(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "ringback")
	if err != nil {
		return err
	}
	g.closers = append(g.closers, func() error { return os.RemoveAll(dir) })
	store, err := sqlite.Open(ctx, filepath.Join(dir, "ringback.db"), sqlite.Options{})
	if err != nil {
		return err
	}
	g.closers = append(g.closers, store.Close)
	server := httptest.NewUnstartedServer(nil)
	g.URL = "http://" + server.Listener.Addr().String()
	gateway, err := ringback.New(ctx, store, ringback.Options{
		Operations: []ringback.Operation{
			{Operation: job.Operation{Name: "notify", Route: "POST /notify"}, Backend: ringback.Relay()},
			{Operation: job.Operation{Name: "scan", Route: "POST /scan"}, Backend: ringback.Func(scan)},
			{Operation: job.Operation{Name: "scan_event", Route: "POST /scan_event",
				Callback: job.Contract{Format: job.FormatCloudEventsStructured}}, Backend: ringback.Func(scan)},
		},
		BodyDir: filepath.Join(dir, "bodies"), SealKey: make([]byte, 32), AdminKey: adminKey, PublicURL: g.URL,
		Outbound: ringback.Outbound{HTTP: true, Allow: []string{"127.0.0.0/8"}},
	})
	if err != nil {
		return errors.Join(err, server.Listener.Close())
	}
	server.Config.Handler = gateway.Handler()
	server.Start()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan error, 1)
	go func() { done <- gateway.Run(ctx) }()
	g.closers = append(g.closers, func() error {
		cancel()
		err := <-done
		server.Close()
		return err
	})
	return g.join(ctx)
}

// join makes the app.
func (g *Gateway) join(ctx context.Context) error {
	admin, err := client.New(g.URL, adminKey, client.Options{})
	if err != nil {
		return err
	}
	app, err := admin.CreateApp(ctx, "shop")
	if err != nil {
		return err
	}
	g.Key = app.Key
	own, err := client.New(g.URL, app.Key, client.Options{})
	if err != nil {
		return err
	}
	secret, err := own.Secret(ctx, "")
	if err != nil {
		return err
	}
	g.Secret = secret.Secret
	return nil
}

func scan(_ context.Context, call *ringback.Call, result *ringback.Result) error {
	document, err := io.ReadAll(call.Body)
	if err != nil {
		return err
	}
	result.ContentType = "application/json"
	_, err = fmt.Fprintf(result, `{"infected":%t}`, bytes.Contains(document, []byte("virus")))
	return err
}
