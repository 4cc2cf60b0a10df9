package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ncruces/go-sqlite3"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/store/sqlite"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// writeTimeout is for what net/http answers on its own; the gateway gives each
	// step of its answers a deadline that takes the place of this one.
	writeTimeout   = 30 * time.Second
	maxHeaderBytes = 64 << 10
)

// server is a gateway that listens, on its own store. It works from Start to Close.
type server struct {
	gateway *ringback.Gateway
	store   *sqlite.Store
	control *control // nil where the socket could not be made
	http    *http.Server
	url     string
	ln      net.Listener
	// admin, adminLn and adminURL are those of the admin key's routes, nil and empty
	// where these have no listener of their own.
	admin    *http.Server
	adminLn  net.Listener
	adminURL string
	drain    time.Duration

	stop    context.CancelFunc // ends the gateway's work
	failed  chan error         // of what has ended unasked
	working sync.WaitGroup
	closing sync.Once
	closed  error
}

// startServer opens a server and starts it.
func startServer(ctx context.Context, s *config.Settings, log *slog.Logger) (*server, error) {
	srv, err := openServer(ctx, s, log)
	if err == nil {
		srv.Start()
	}
	return srv, err
}

// takeOverPatience is far above what the kernel needs to end a child.
const takeOverPatience = time.Second

// takeOver is openServer as soon as address and store are free. A gateway that was
// killed while it started a command leaves them, for some milliseconds, to a child
// that does not run its program yet.
func takeOver(ctx context.Context, s *config.Settings, log *slog.Logger) (*server, error) {
	for deadline := time.Now().Add(takeOverPatience); ; {
		srv, err := openServer(ctx, s, log)
		held := errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, sqlite.ErrLocked)
		if !held || time.Now().After(deadline) {
			return srv, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// openServer takes the address, opens the store and puts the gateway together:
// callers can connect, and wait for Start. It leaves nothing open where it fails.
func openServer(ctx context.Context, s *config.Settings, log *slog.Logger) (_ *server, err error) {
	srv := &server{stop: func() {}, failed: make(chan error, 3)}
	var cert *certificate
	defer func() {
		if err != nil {
			err = errors.Join(err, srv.closeListeners(), srv.closeStore())
		}
	}()
	if err := srv.listen(s); err != nil {
		return nil, err
	}
	if s.TLS != nil {
		if cert, err = openCertificate(*s.TLS, log); err != nil {
			return nil, err
		}
		srv.url, srv.adminURL = secured(srv.url), secured(srv.adminURL)
	}
	if srv.store, err = sqlite.Open(ctx, s.Store, sqlite.Options{}); err != nil {
		return nil, storeFailure(s.Store, err)
	}
	opt := s.Options
	opt.Log, opt.Version = log, buildVersion()
	if opt.PublicURL == "" && !strings.HasPrefix(srv.url, "unix:") {
		opt.PublicURL = srv.url
	}
	keys, err := loadSealKeys(ctx, s, srv.store)
	if err != nil {
		return nil, err
	}
	opt.SealKey, opt.OldSealKeys = keys[0], keys[1:]
	srv.gateway, err = ringback.New(ctx, srv.store, opt)
	if err != nil {
		return nil, gatewayFailure(s, err)
	}
	srv.http = newHTTPServer(srv.gateway.Handler(), cert, isSocket(srv.ln), log)
	if srv.adminLn != nil {
		srv.admin = newHTTPServer(srv.gateway.AdminHandler(), cert, isSocket(srv.adminLn), log)
	}
	srv.drain = cmp.Or(opt.DrainTimeout, ringback.DefaultDrainTimeout)
	if srv.control, err = openControl(s.Store, controlAnswers(s, srv.gateway, srv.store)); err != nil {
		// Not every file system has sockets, and a gateway without one still works.
		log.Warn("no backup can be made while the gateway runs", "error", err)
	}
	return srv, nil
}

// newHTTPServer makes a server whose callers have a time for each thing they do. A
// Unix socket has no need for TLS.
func newHTTPServer(h http.Handler, cert *certificate, socket bool, log *slog.Logger) *http.Server {
	s := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		WriteTimeout:      writeTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	if !socket {
		cert.secure(s)
	}
	return s
}

// listen takes the addresses.
func (s *server) listen(conf *config.Settings) (err error) {
	connections := cmp.Or(conf.MaxConnections, defaultMaxConnections)
	if s.ln, err = listenOn(conf.Listen, connections); err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("listen: %w", err), hint: "--listen HOST:PORT takes another address"}
	}
	s.url = urlOf(conf.Listen, s.ln)
	if conf.AdminListen == "" {
		return nil
	}
	if s.adminLn, err = listenOn(conf.AdminListen, connections); err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("listen: %w", err), hint: "--admin-listen HOST:PORT takes another address"}
	}
	s.adminURL = urlOf(conf.AdminListen, s.adminLn)
	return nil
}

func isSocket(ln net.Listener) bool { return ln.Addr().Network() == "unix" }

// urlOf is how a listener can be called from this machine: a URL, or unix:PATH.
func urlOf(address string, ln net.Listener) string {
	if isSocket(ln) {
		return address
	}
	return "http://" + reachable(ln.Addr())
}

// secured is a URL with TLS; a socket has none.
func secured(url string) string {
	if rest, ok := strings.CutPrefix(url, "http://"); ok {
		return "https://" + rest
	}
	return url
}

// closeListeners closes what is open.
func (s *server) closeListeners() error {
	var errs []error
	for _, ln := range []net.Listener{s.ln, s.adminLn} {
		if ln != nil {
			errs = append(errs, ln.Close())
		}
	}
	return errors.Join(errs...)
}

// reachable is how the address that was bound can be called from this machine.
func reachable(addr net.Addr) string {
	host, port, err := net.SplitHostPort(addr.String())
	if ip := net.ParseIP(host); err == nil && ip.IsUnspecified() {
		return net.JoinHostPort("localhost", port)
	}
	return addr.String()
}

// gatewayFailure says what to do where a gateway does not fit its store.
func gatewayFailure(s *config.Settings, err error) error {
	switch {
	case errors.Is(err, ringback.ErrSealKey):
		return &failure{code: exitFailure, err: err, hint: "put back the " + sealKeyFile(s) + " that was made with the store, or the seal_key that was configured; a key that is to be replaced stays behind the new one until nothing is sealed with it"}
	case errors.Is(err, body.ErrForeign):
		return &failure{code: exitFailure, err: err,
			hint: "take another folder, --bodies dir:FOLDER; if this one is left over from a store that is gone, delete it"}
	}
	return err
}

func storeFailure(path string, err error) error {
	switch {
	case errors.Is(err, sqlite3.NOTADB):
		return &failure{code: exitFailure, err: fmt.Errorf("open store %s: this is not a SQLite database", path),
			hint: "--store sqlite:FILE takes another file; docs/backup.md says how a backup is restored"}
	case errors.Is(err, sqlite3.CORRUPT):
		return &failure{code: exitFailure, err: err,
			hint: `"ringback db check" says what is damaged, docs/backup.md how a backup is restored`}
	case errors.Is(err, sqlite.ErrLocked):
		return &failure{code: exitFailure, err: err, hint: "stop the other ringback, or give this one a store of its own: --store sqlite:FILE"}
	case errors.Is(err, sqlite.ErrNewerSchema):
		return &failure{code: exitFailure, err: err, hint: "start the version that wrote it, or a newer one; " + path + " is unchanged"}
	}
	return &failure{code: exitFailure, err: err, hint: "the folder must be there, and writable for the user who runs ringback"}
}

// Start begins to serve and to execute.
func (s *server) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	s.working.Go(func() {
		if err := s.gateway.Run(ctx); err != nil {
			s.failed <- err
		}
	})
	s.working.Go(func() {
		if err := serveOn(s.http, s.ln); err != nil {
			s.failed <- err
		}
	})
	if s.admin != nil {
		s.working.Go(func() {
			if err := serveOn(s.admin, s.adminLn); err != nil {
				s.failed <- err
			}
		})
	}
}

// URL is where the server can be called, without a slash at the end.
func (s *server) URL() string { return s.url }

// Run returns when ctx is done, or something has failed, and the server is closed.
func (s *server) Run(ctx context.Context) error {
	var err error
	select {
	case err = <-s.failed:
	case <-ctx.Done():
	}
	return errors.Join(err, s.Close())
}

// Close takes no more calls, waits up to the drain timeout for what is under way,
// and closes the store. What is unfinished goes on at the next start.
func (s *server) Close() error {
	s.closing.Do(func() {
		// Both at once: the streams that Shutdown waits for end when the gateway does.
		s.stop()
		ctx, cancel := context.WithTimeout(context.Background(), s.drain)
		defer cancel()
		for _, h := range []*http.Server{s.http, s.admin} {
			if h == nil {
				continue
			}
			if err := h.Shutdown(ctx); err != nil {
				s.closed = errors.Join(s.closed, h.Close())
			}
		}
		s.working.Wait()
		// Serve has closed the listeners, unless it never ran.
		_ = s.closeListeners()
		s.closed = errors.Join(s.closed, s.control.Close(), s.closeStore())
	})
	return s.closed
}

func (s *server) closeStore() error {
	if s.store == nil {
		return nil
	}
	return s.store.Close()
}

// isUnspecified tells whether links made of the server's own URL work elsewhere.
func isUnspecified(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	ip := net.ParseIP(host)
	return err == nil && (host == "" || ip.IsUnspecified())
}

// origin is a URL cut down to what may be logged.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }
