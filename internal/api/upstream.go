package api

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// upstream serves a whole API: requests that ask for a callback become jobs, all
// else passes through. Operations with routes of their own come first.
func (a *API) upstream(mux *http.ServeMux) (http.Handler, error) {
	op, err := a.newOperation(*a.opt.Upstream)
	if err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, _ := mux.Handler(r)
		_, routed := h.(*operation)
		switch {
		case routed:
			mux.ServeHTTP(w, r)
		case hasNoPath(r):
			answerAtOnce(w, r)
			kindNotFound.problem("").write(w)
		case asksForCallback(r):
			op.ServeHTTP(w, r)
		default:
			a.opt.Passthrough.ServeHTTP(w, r)
		}
	}), nil
}

// asksForCallback tells a request that shall become a job. The parameter
// "callback" alone is no sign: many an API knows it from JSONP.
func asksForCallback(r *http.Request) bool {
	if r.Header["X-Callback-Url"] != nil || r.Header["X-Callback"] != nil {
		return true
	}
	if prefer := r.Header["Prefer"]; prefer != nil && readPrefer(prefer, 0).respondAsync {
		return true
	}
	asks := false
	cutQuery(r.URL.RawQuery, func(name, _ string) bool {
		asks = asks || name == choices[chooseURL].query
		return false
	})
	return asks
}

// NewPassthrough makes the handler for requests that do not concern the gateway:
// they reach the upstream, and its answers the client, as if there were nothing in
// between. Path, query, Host, bodies, trailers and interim answers stay as they
// are, and both bodies stream at once. What net/http cannot keep is the spelling
// and order of header names, the reason phrase, and trailers of a request that
// were not announced; hop-by-hop headers are each connection's own (RFC 9110 §7.6.1).
func NewPassthrough(upstream *url.URL, log *slog.Logger) http.Handler {
	transport := &http.Transport{
		// No proxy from the environment: the upstream is ours.
		DialContext:           (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:   10 * time.Second,
		ExpectContinueTimeout: time.Second,
		MaxIdleConnsPerHost:   256,
		IdleConnTimeout:       90 * time.Second,
		DisableCompression:    true,
		WriteBufferSize:       32 << 10,
		ReadBufferSize:        32 << 10,
	}
	proxy := &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite:       func(pr *httputil.ProxyRequest) { rewrite(pr, upstream) },
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelWarn),
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			upstreamFailed(w, r, err, log)
		},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Else the server would swallow the rest of a request when the answer begins.
		_ = http.NewResponseController(w).EnableFullDuplex()
		passing := *r
		request := &passedBody{ReadCloser: r.Body}
		request.ended.Store(r.ContentLength == 0)
		passing.Body = request
		defer func() {
			if !request.ended.Load() {
				answerAtOnce(w, r)
			}
		}()
		proxy.ServeHTTP(&passedWriter{ResponseWriter: w, r: r, request: request}, &passing)
	})
}

// passedBody knows whether a request's body was read to its end.
type passedBody struct {
	io.ReadCloser
	ended atomic.Bool
}

// Read implements io.Reader.
func (b *passedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		b.ended.Store(true)
	}
	return n, err
}

// passedWriter keeps net/http from changing the upstream's answer.
type passedWriter struct {
	http.ResponseWriter
	r       *http.Request
	request *passedBody
}

// WriteHeader sends the answer's head.
func (w *passedWriter) WriteHeader(status int) {
	h := w.Header()
	if status >= http.StatusOK {
		if _, ok := h["Content-Type"]; !ok {
			h["Content-Type"] = nil // or it would be guessed from the body
		}
		if !w.request.ended.Load() && w.r.ProtoMajor == 1 {
			// What is left of the request must not be read as another one, and in full
			// duplex the server does not see to that.
			h["Connection"] = []string{"close"}
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap leads an http.ResponseController to the connection.
func (w *passedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// rewrite turns the request to the upstream, and puts back what ReverseProxy took.
func rewrite(pr *httputil.ProxyRequest, upstream *url.URL) {
	in, out := pr.In, pr.Out
	out.URL.Scheme, out.URL.Host = upstream.Scheme, upstream.Host
	path := strings.TrimSuffix(upstream.EscapedPath(), "/") + rawPath(in)
	// Opaque goes onto the wire as it is; but two slashes would begin a host there.
	if !strings.HasPrefix(path, "//") {
		out.URL.Opaque = path
	}
	out.URL.RawQuery, out.URL.ForceQuery = in.URL.RawQuery, in.URL.ForceQuery
	out.Trailer = in.Trailer // the same map: it is filled when the body ends
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if values := in.Header[name]; values != nil {
			out.Header[name] = values
		}
	}
	out.Header.Del("Ringback-Key")
}

func upstreamFailed(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the client is gone
	}
	// The error may name the upstream's URL, which is not for the client.
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	log.WarnContext(r.Context(), "upstream does not answer", "error", err)
	kindUpstream.problem("").write(w)
}
