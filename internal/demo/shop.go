// Package demo is a small print shop on the web that has its customers' documents
// scanned by the API of a gateway: the client of that API, as anybody would write
// one. Its page shows each message that passes between the two.
package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// callbackPath is where the shop is called back.
const callbackPath = "/callbacks/scan"

// MaxDocumentBytes is what the shop tells its customers that the API takes: the
// limit of the operation must be the same.
const MaxDocumentBytes = 8_000_000

// Options say whose client the shop is. All are required.
type Options struct {
	// URL is the shop's own, as the gateway reaches it: "http://127.0.0.1:8081".
	URL string
	// GatewayURL and Key are the API's, whose operation is POST /scan.
	GatewayURL string
	Key        string
	Log        *slog.Logger
}

// Shop is the web shop. Make it with New, serve it, and Close it.
type Shop struct {
	opt       Options
	gateway   *client.Client
	transport *http.Transport
	mux       *http.ServeMux
	counter   counter
	ctx       context.Context // ends with Close
	cancel    context.CancelFunc
	followers sync.WaitGroup
}

// New makes a shop. It asks the gateway for the secret that callbacks are signed
// with.
func New(ctx context.Context, opt Options) (*Shop, error) {
	s := &Shop{opt: opt, transport: &http.Transport{ExpectContinueTimeout: time.Second}, mux: http.NewServeMux()}
	s.counter.init()
	var err error
	if s.gateway, err = client.New(opt.GatewayURL, opt.Key, client.Options{
		Transport: &recorder{next: s.transport, shop: s}, UserAgent: "print-shop", Attempts: 1,
	}); err != nil {
		return nil, fmt.Errorf("new shop: %w", err)
	}
	answer, err := s.gateway.Secret(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("new shop: %w", err)
	}
	secret, err := sign.ParseSecret(answer.Secret)
	if err != nil {
		return nil, fmt.Errorf("new shop: %w", err)
	}
	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}, Logger: opt.Log})
	if err != nil {
		return nil, fmt.Errorf("new shop: %w", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	s.mux.HandleFunc("GET /{$}", s.servePage)
	s.mux.Handle("GET /assets/", http.FileServerFS(assets))
	s.mux.HandleFunc("GET /events", s.serveEvents)
	s.mux.Handle("POST /documents", http.NewCrossOriginProtection().Handler(http.HandlerFunc(s.takeDocuments)))
	s.mux.HandleFunc("GET /documents/{number}/job", s.serveJob)
	s.mux.Handle("POST "+callbackPath, callbacks.Middleware(http.HandlerFunc(s.takeCallback)))
	return s, nil
}

// Close ends what the shop does by itself, once its server has ended.
func (s *Shop) Close() {
	s.cancel()
	s.followers.Wait()
	s.transport.CloseIdleConnections()
}

// contentSecurityPolicy lets a page load what this shop serves as files, and run
// nothing that stands in the page itself.
const contentSecurityPolicy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; " +
	"connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// ServeHTTP serves the page, the customers' uploads, and the callback URL.
func (s *Shop) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if r.URL.Path != callbackPath {
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-cache")
	}
	s.mux.ServeHTTP(w, r)
}

// follow reads what the gateway tells of a job until it has no more to tell. The
// shop's work needs none of it: it is for the page, which shows when the gateway
// tries again.
func (s *Shop) follow(d *document, jobID string) {
	for event, err := range s.gateway.Events(s.ctx, jobID) {
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				s.opt.Log.Warn("follow a job", "job", jobID, "error", err)
			}
			return
		}
		s.counter.note(d, event)
	}
}
