package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// listenOptions are the flags of listen.
type listenOptions struct {
	addr, secret, forward, fail, answer string
	status, failFirst                   int
}

func newListenCmd(c *cli) *cobra.Command {
	var o listenOptions
	cmd := &cobra.Command{
		Use:   "listen",
		Short: "Receive callbacks, verify them and print them",
		Long: `Receive callbacks at any path, verify them and print them: a receiver to try
things out with.

It answers 200; --status, --fail and --fail-first make it answer otherwise, so that
retries can be watched, and --forward makes it answer what another receiver answers.
The question of a backend (the event "ask") is answered with --answer, else with nothing.
Without --secret nothing is verified. "ringback endpoint secret" prints the secret.`,
		Example: `  ringback listen --secret "$(ringback endpoint secret shop)"
  ringback listen --fail 30% --status 503
  ringback listen --answer '{"password":"hunter2"}'
  ringback listen --forward http://127.0.0.1:3000/callbacks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := newListener(c, o)
			if err != nil {
				return err
			}
			return l.serve(cmd.Context(), o.addr)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.addr, "addr", "127.0.0.1:9999", "the address to listen on")
	// The secret is no default value, which help would show.
	f.StringVar(&o.secret, "secret", "", "the signing secret, whsec_…, or the public key, whpk_… (RINGBACK_SECRET)")
	f.StringVar(&o.forward, "forward", "", "the URL to pass verified callbacks on to")
	f.StringVar(&o.answer, "answer", "", "what to answer questions with: JSON, or another text")
	f.IntVar(&o.status, "status", 0, "answer with this status: always, or where --fail or --fail-first applies")
	f.StringVar(&o.fail, "fail", "", "fail so many of the attempts, by chance, such as 30%")
	f.IntVar(&o.failFirst, "fail-first", 0, "fail the first so many attempts of each callback")
	return cmd
}

// listener is the receiver behind the command.
type listener struct {
	c       *cli
	verify  *receiver.Receiver // nil: nothing is verified
	forward http.Handler       // nil: nothing is forwarded
	faults  faults
	answer  string // to questions

	mu       sync.Mutex // also keeps what is printed of one callback together
	attempts map[string]int
}

// maxAnswerBytes is how much of an answer to a question a gateway reads.
const maxAnswerBytes = 16 << 10

// maxRemembered bounds how many callbacks have their attempts counted.
const maxRemembered = 10_000

// faults say which attempts to fail.
type faults struct {
	always bool
	chance float64
	first  int
	status int
}

func newListener(c *cli, o listenOptions) (*listener, error) {
	if len(o.answer) > maxAnswerBytes {
		return nil, usagef("--answer takes up to 16 KiB: gateways read no more")
	}
	if o.answer != "" && o.forward != "" {
		return nil, usagef("the receiver behind --forward answers questions, too: leave out --answer")
	}
	l := &listener{c: c, answer: o.answer, attempts: map[string]int{}}
	var err error
	if l.faults, err = parseFaults(o); err != nil {
		return nil, err
	}
	if text := cmp.Or(o.secret, os.Getenv("RINGBACK_SECRET")); text != "" {
		secret, err := sign.ParseSecret(text)
		if err != nil {
			return nil, usagef("--secret: %w", err)
		}
		if l.verify, err = receiver.New(receiver.Options{Secrets: []sign.Secret{secret}}); err != nil {
			return nil, err
		}
	}
	if o.forward != "" {
		if l.forward, err = newForward(o.forward); err != nil {
			return nil, err
		}
	}
	return l, nil
}

func parseFaults(o listenOptions) (faults, error) {
	f := faults{first: o.failFirst, status: cmp.Or(o.status, http.StatusInternalServerError)}
	if o.status != 0 && (o.status < 200 || o.status > 599) {
		return f, usagef("--status takes a number from 200 to 599")
	}
	if o.failFirst < 0 {
		return f, usagef("--fail-first takes a number from 0")
	}
	if o.fail != "" {
		number, ok := strings.CutSuffix(o.fail, "%")
		percent, err := strconv.ParseFloat(number, 64)
		// Written so that NaN is refused too.
		if !ok || err != nil || !(percent >= 0 && percent <= 100) {
			return f, usagef("--fail takes a share such as 30%%")
		}
		f.chance = percent / 100
	}
	f.always = o.status != 0 && o.fail == "" && o.failFirst == 0
	if f.always && o.forward != "" {
		return f, usagef("with --status nothing would be left to --forward")
	}
	return f, nil
}

// statusFor is what to answer the nth attempt of a callback with; 0: with success.
func (f faults) statusFor(attempt int) int {
	if f.always || attempt <= f.first || rand.Float64() < f.chance {
		return f.status
	}
	return 0
}

func (l *listener) serve(ctx context.Context, addr string) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("listen: %w", err), hint: "--addr HOST:PORT takes another address"}
	}
	server := &http.Server{
		Handler:           l,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       time.Minute,
		IdleTimeout:       time.Minute,
	}
	l.c.say("listening on http://%s/", ln.Addr())
	if l.verify == nil {
		l.c.say("signatures are not verified: --secret takes the secret")
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("listen: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		err = errors.Join(err, server.Close())
		return fmt.Errorf("stop listening: %w", err)
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// ServeHTTP receives a callback.
func (l *listener) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	got := received{At: time.Now(), Method: r.Method, Path: r.URL.RequestURI(), ContentType: r.Header.Get("Content-Type"),
		ID: r.Header.Get(sign.HeaderID)}
	var refused error
	got.body, got.Verified, refused = l.read(r)
	if refused != nil {
		got.Refused, got.Status = refused.Error(), receiver.Status(refused)
		http.Error(w, got.Refused, got.Status)
		l.print(&got)
		return
	}
	got.Attempt, got.Question = l.count(got.ID), asks(r.Header, got.body)
	switch status := l.faults.statusFor(got.Attempt); {
	case status/100 == 2 && got.Question:
		l.reply(w, &got, status)
	case status != 0:
		got.Status = status
		http.Error(w, "failed on purpose", status)
	case l.forward != nil:
		answer := &statusWriter{ResponseWriter: w}
		l.forward.ServeHTTP(answer, got.requestFor(r))
		got.Status = answer.status
	case got.Question:
		l.reply(w, &got, http.StatusOK)
	default:
		got.Status = http.StatusOK
		if challenge := (receiver.Message{ID: got.ID, Body: got.body}).Challenge(); challenge != "" {
			receiver.Consent(w, challenge)
			break
		}
		w.WriteHeader(http.StatusOK)
	}
	l.print(&got)
}

// reply answers a question.
func (l *listener) reply(w http.ResponseWriter, got *received, status int) {
	got.Status = status
	if status != http.StatusAccepted && status != http.StatusNoContent {
		got.Answer = l.answer
	}
	switch {
	case got.Answer == "":
	case json.Valid([]byte(l.answer)):
		w.Header().Set("Content-Type", "application/json")
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, got.Answer) // the sender may have gone; it will ask again
}

// count notes another attempt of a callback and says which it is. What has no id
// is one callback to it.
func (l *listener) count(id string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.attempts) >= maxRemembered && l.attempts[id] == 0 {
		clear(l.attempts)
	}
	l.attempts[id]++
	return l.attempts[id]
}

// statusWriter notes the status that was answered.
type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	if w.status == 0 && status >= 200 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	w.status = cmp.Or(w.status, http.StatusOK)
	return w.ResponseWriter.Write(b)
}

// newForward passes requests on to one URL, whatever path they came to. A query
// of theirs goes along.
func newForward(rawURL string) (http.Handler, error) {
	target, err := url.Parse(rawURL)
	if err != nil || target.Host == "" || (target.Scheme != "http" && target.Scheme != "https") {
		return nil, usagef("--forward takes an http or https URL")
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			query := r.In.URL.RawQuery
			r.Out.URL, r.Out.Host = new(*target), ""
			if target.RawQuery != "" && query != "" {
				query = target.RawQuery + "&" + query
			}
			r.Out.URL.RawQuery = cmp.Or(query, target.RawQuery)
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			http.Error(w, "the receiver behind --forward did not answer", http.StatusBadGateway)
		},
	}, nil
}
