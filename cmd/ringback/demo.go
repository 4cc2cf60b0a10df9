package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/internal/demo"
	"github.com/ringback/ringback/job"
)

const (
	demoPort         = 8080
	demoShopPort     = 8081
	demoStartTimeout = 30 * time.Second
	demoStopTimeout  = time.Second // nobody waits for its jobs
)

// demoScanTime is what a scan takes at least. One of our few signatures takes some
// milliseconds, in which nobody would see that the shop need not wait. The page names it.
const demoScanTime = 3 * time.Second

// demoSchedule is short, so that one can watch it, and just long enough for the
// three failures that the page offers.
var demoSchedule = []time.Duration{2 * time.Second, 4 * time.Second, 8 * time.Second}

func newDemoCmd(c *cli) *cobra.Command {
	var port, shopPort int
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show it: a gateway, a virus scanner and a small web shop",
		Long: `Run a gateway, a ClamAV daemon, and a small web shop that is a client of the
gateway. The shop's page shows each message between the two.

All of it listens on loopback and keeps its files in a temporary folder, which is
deleted at the end. The scanner knows the EICAR test file and the page's samples,
and no real virus. Where 8080 or 8081 is taken, and was not asked for, a free port is
used instead: the page's address is printed.`,
		Example: `  ringback demo
  ringback demo --port 0 --shop-port 0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, p := range []int{port, shopPort} {
				if p < 0 || p > 65535 {
					return usagef("--port and --shop-port take numbers from 0 to 65535")
				}
			}
			d, err := startDemo(cmd.Context(), demoOptions{
				gateway:  demoAddress{port, cmd.Flags().Changed("port")},
				shop:     demoAddress{shopPort, cmd.Flags().Changed("shop-port")},
				pause:    demoPause,
				schedule: demoSchedule,
				log:      c.logger(config.Log{Level: slog.LevelWarn}),
			})
			if err != nil {
				return err
			}
			c.say("open this page in a browser; Ctrl-C ends the demo")
			if err := errors.Join(c.print(d.shopURL+"/"), d.run(cmd.Context())); err != nil {
				return err
			}
			c.say("stopped")
			return nil
		},
	}
	cmd.Flags().IntVar(&port, "port", demoPort, "the gateway's port; 0: a free one, as where the default is taken")
	cmd.Flags().IntVar(&shopPort, "shop-port", demoShopPort, "the shop's port; 0: a free one, as where the default is taken")
	return cmd
}

type demoOptions struct {
	gateway, shop demoAddress
	pause         func(context.Context) error // before each scan
	schedule      []time.Duration             // of the callbacks
	log           *slog.Logger
}

// demoAddress is a port of loopback.
type demoAddress struct {
	port   int
	chosen bool // and no other will do
}

func (a demoAddress) String() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.port)) }

// instead is a free port for one that is taken, where another will do.
func (a demoAddress) instead(err error) (demoAddress, bool) {
	return demoAddress{chosen: true}, !a.chosen && errors.Is(err, syscall.EADDRINUSE)
}

// demoRun is what the demo consists of.
type demoRun struct {
	dir     string
	scanner *clamd.Process
	gateway *server
	shop    *demo.Shop
	shopURL string
	http    *http.Server
	stop    context.CancelFunc // ends the streams that pages hold open
	failed  chan error
}

// startDemo starts the three, and leaves nothing behind where that fails.
func startDemo(ctx context.Context, o demoOptions) (_ *demoRun, err error) {
	ctx, cancel := context.WithTimeout(ctx, demoStartTimeout)
	defer cancel()
	d := &demoRun{failed: make(chan error, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.close())
		}
	}()
	if d.dir, err = os.MkdirTemp("", "ringback-demo-"); err != nil {
		return nil, err
	}
	if d.scanner, err = clamd.Start(ctx, d.dir, clamd.Options{}); errors.Is(err, clamd.ErrNotInstalled) {
		return nil, &failure{code: exitFailure, err: errors.New("the demo needs a virus scanner, and clamd is not installed"),
			hint: "sudo apt-get install --no-install-recommends clamav-daemon, or: brew install clamav"}
	} else if err != nil {
		return nil, err
	}
	ln, err := net.Listen("tcp", o.shop.String())
	if other, ok := o.shop.instead(err); ok {
		ln, err = net.Listen("tcp", other.String())
	}
	if err != nil {
		return nil, &failure{code: exitFailure, err: fmt.Errorf("listen: %w", err), hint: "--shop-port takes another port"}
	}
	d.shopURL = "http://" + ln.Addr().String()
	key, err := d.startGateway(ctx, o, ln.Addr().String())
	if err == nil {
		d.shop, err = demo.New(ctx, demo.Options{URL: d.shopURL, GatewayURL: d.gateway.URL(), Key: key, Log: o.log})
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	d.serve(ln, o.log)
	return d, nil
}

// demoPause lasts for demoScanTime.
func demoPause(ctx context.Context) error {
	timer := time.NewTimer(demoScanTime)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// slowScanner scans after a pause.
type slowScanner struct {
	scanner ringback.Backend
	pause   func(context.Context) error
}

// Run implements ringback.Backend.
func (s slowScanner) Run(ctx context.Context, run *backend.Run) (*job.Result, error) {
	if err := s.pause(ctx); err != nil {
		return nil, err
	}
	return s.scanner.Run(ctx, run)
}

// startGateway starts a gateway whose callbacks may go to the shop, and nowhere
// else on this machine, and makes the shop an app of its own.
func (d *demoRun) startGateway(ctx context.Context, o demoOptions, shop string) (key string, err error) {
	scan, err := ringback.Clamd(ringback.ClamdConfig{Address: d.scanner.Address()})
	if err != nil {
		return "", err
	}
	settings := &config.Settings{Listen: o.gateway.String(), Store: filepath.Join(d.dir, "ringback.db"), Options: ringback.Options{
		BodyDir: filepath.Join(d.dir, "bodies"), AdminKey: rand.Text(),
		Outbound:     ringback.Outbound{HTTP: true, Allow: []string{shop}},
		DrainTimeout: demoStopTimeout,
		Operations: []ringback.Operation{{Backend: slowScanner{scan, o.pause}, Operation: job.Operation{
			Name: "scan", Route: "POST /scan", MaxBodyBytes: demo.MaxDocumentBytes,
			Retry:    job.Retry{Attempts: 4, Backoff: time.Second},
			Callback: job.Contract{Required: true, Schedule: o.schedule},
		}}},
	}}
	d.gateway, err = startServer(ctx, settings, o.log)
	if other, ok := o.gateway.instead(err); ok {
		settings.Listen = other.String()
		d.gateway, err = startServer(ctx, settings, o.log)
	}
	if errors.Is(err, syscall.EADDRINUSE) {
		return "", &failure{code: exitFailure, err: err, hint: "--port takes another port"}
	}
	if err != nil {
		return "", err
	}
	admin, err := client.New(d.gateway.URL(), settings.Options.AdminKey, client.Options{})
	if err != nil {
		return "", err
	}
	app, err := admin.CreateApp(ctx, "shop")
	if err != nil {
		return "", fmt.Errorf("create the shop's app: %w", err)
	}
	return app.Key, nil
}

// serve opens the shop.
func (d *demoRun) serve(ln net.Listener, log *slog.Logger) {
	ctx, cancel := context.WithCancel(context.Background())
	d.stop = cancel
	d.http = &http.Server{
		Handler:           d.shop,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	go func() { d.failed <- d.http.Serve(ln) }()
}

// run returns when ctx is done, or a server has failed, and all is closed.
func (d *demoRun) run(ctx context.Context) error {
	var err error
	select {
	case err = <-d.failed:
	case err = <-d.gateway.failed:
	case <-ctx.Done():
	}
	return errors.Join(err, d.close())
}

// close ends what has been started, the callers before the called.
func (d *demoRun) close() error {
	var errs []error
	if d.http != nil {
		d.stop()
		ctx, cancel := context.WithTimeout(context.Background(), demoStopTimeout)
		defer cancel()
		if d.http.Shutdown(ctx) != nil {
			errs = append(errs, d.http.Close())
		}
	}
	if d.shop != nil {
		d.shop.Close()
	}
	if d.gateway != nil {
		errs = append(errs, d.gateway.Close())
	}
	if d.scanner != nil {
		d.scanner.Stop()
	}
	if d.dir != "" {
		errs = append(errs, os.RemoveAll(d.dir))
	}
	return errors.Join(errs...)
}
