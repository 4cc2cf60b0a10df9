package callback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

const (
	tokenTimeout = 10 * time.Second
	// maxTokenBytes is more than any token has that fits a header.
	maxTokenBytes = 8 << 10
	// tokenLasts is how long a token is used whose server says nothing usable of it,
	// longestToken how long any is.
	tokenLasts   = time.Minute
	longestToken = 24 * time.Hour
	// tokenMargin is how long before its end a token is replaced, at most.
	tokenMargin = 30 * time.Second
	// refusedTokenRest is how often a receiver that answers 401 to every token has a
	// new one fetched.
	refusedTokenRest = 10 * time.Second
	// maxTokenSources bounds the memory; above it all are fetched afresh.
	maxTokenSources = 10_000
)

// tokenSources keep the OAuth2 tokens of endpoints, through changes of other
// endpoints and of what else an endpoint says.
type tokenSources struct {
	client *outbound.Client
	now    func() time.Time
	log    *slog.Logger
	// timeout bounds a request for a token.
	timeout time.Duration

	mu  sync.Mutex
	all map[string]*tokenSource // by app and endpoint
}

func newTokenSources(opt Options) *tokenSources {
	return &tokenSources{client: opt.Client, now: opt.Now, log: opt.Log, timeout: tokenTimeout, all: map[string]*tokenSource{}}
}

// of returns the source of an endpoint's tokens; plain is what its Auth says, by
// which a change is told.
func (t *tokenSources) of(app, endpoint string, plain []byte, config job.OAuth2) *tokenSource {
	t.mu.Lock()
	defer t.mu.Unlock()
	key, digest := app+" "+endpoint, sha256.Sum256(plain)
	if known := t.all[key]; known != nil && known.digest == digest {
		return known
	}
	if len(t.all) >= maxTokenSources {
		clear(t.all)
	}
	t.all[key] = &tokenSource{tokenSources: t, name: key, digest: digest, config: config}
	return t.all[key]
}

// tokenSource gets the tokens of one endpoint by the client credentials grant
// (RFC 6749 §4.4): one request at a time, whose outcome all get who wait for it.
type tokenSource struct {
	*tokenSources
	name   string
	digest [32]byte
	config job.OAuth2

	mu        sync.Mutex
	value     string
	until     time.Time // from when value is not used any more
	replaceAt time.Time // before it, a refused value is not replaced
	fetch     *fetch    // under way; nil: none is
}

type fetch struct {
	done  chan struct{}
	value string
	err   error
}

// tokenError says why there is no token, in words that are safe to show.
type tokenError struct {
	reason string
	after  time.Duration // how long the server wants to be left alone
}

func (e *tokenError) Error() string { return "no OAuth2 token: " + e.reason }

// token returns the one that is good now, or fetches one.
func (t *tokenSource) token(ctx context.Context) (string, error) {
	t.mu.Lock()
	if t.value != "" && t.now().Before(t.until) {
		defer t.mu.Unlock()
		return t.value, nil
	}
	f := t.fetch
	if f != nil {
		t.mu.Unlock()
		select {
		case <-f.done:
			return f.value, f.err
		case <-ctx.Done():
			return "", &tokenError{reason: "the gateway stopped"}
		}
	}
	f = &fetch{done: make(chan struct{})}
	t.fetch = f
	t.mu.Unlock()
	asked := t.now()
	value, lasts, err := t.request(ctx)
	f.value, f.err = value, err
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fetch = nil
	t.value, t.until = value, asked.Add(lasts-min(tokenMargin, lasts/10))
	close(f.done)
	if err != nil && ctx.Err() == nil {
		t.log.Warn("no OAuth2 token", "lane", t.name, "error", err)
	}
	return value, err
}

// permitted says whether the policies permit the token URL: it comes from the app, as
// the URLs of its callbacks do.
func (t *tokenSource) permitted(p *job.Policy) error {
	target, err := t.client.Check(t.config.TokenURL)
	if err == nil {
		err = scope(p).Permit(target)
	}
	if err != nil {
		return &tokenError{reason: "the outbound policy, or that of the app, forbids the token URL"}
	}
	return nil
}

// refused tells that a receiver answered 401 to a token. The next attempt fetches
// another, but a receiver that refuses them all does not make us ask at each.
func (t *tokenSource) refused(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now := t.now(); t.value == token && !now.Before(t.replaceAt) {
		t.value, t.replaceAt = "", now.Add(refusedTokenRest)
	}
}

// request asks the server for a token. The URL was given by a stranger, and is
// called as a callback's is.
func (t *tokenSource) request(ctx context.Context) (value string, lasts time.Duration, err error) {
	target, err := t.client.Check(t.config.TokenURL)
	if err != nil {
		return "", 0, &tokenError{reason: "the outbound policy forbids the token URL"}
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if len(t.config.Scopes) > 0 {
		form.Set("scope", strings.Join(t.config.Scopes, " "))
	}
	if t.config.Audience != "" {
		form.Set("audience", t.config.Audience)
	}
	answer, err := t.client.Do(ctx, &outbound.Request{Target: target, Method: http.MethodPost, Body: []byte(form.Encode()), Timeout: t.timeout,
		Header: http.Header{
			"Content-Type": {"application/x-www-form-urlencoded"}, "Accept": {"application/json"},
			// RFC 6749 §2.3.1: both are form-encoded first.
			"Authorization": {basic(url.QueryEscape(t.config.ClientID), url.QueryEscape(t.config.ClientSecret))},
		}})
	if err != nil {
		reason := "the token URL cannot be called"
		var failed *outbound.Error
		if errors.As(err, &failed) {
			reason = failed.Error() // of the origin, and of nothing that the server sent
		}
		return "", 0, &tokenError{reason: reason}
	}
	if answer.Status != http.StatusOK {
		return "", 0, &tokenError{reason: "the token URL answered " + strconv.Itoa(answer.Status), after: retryAfter(answer.Header, answer.Status, t.now())}
	}
	if answer.Truncated {
		return "", 0, &tokenError{reason: "the token URL's answer is too long, or broke off"}
	}
	return readToken(answer.Body)
}

// readToken reads the answer of a token URL (RFC 6749 §5.1).
func readToken(body []byte) (value string, lasts time.Duration, err error) {
	var said struct {
		AccessToken string          `json:"access_token"`
		TokenType   string          `json:"token_type"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if json.Unmarshal(body, &said) != nil {
		return "", 0, &tokenError{reason: "the token URL's answer is not the JSON of a token"}
	}
	if said.TokenType != "" && !strings.EqualFold(said.TokenType, "bearer") {
		return "", 0, &tokenError{reason: "the token URL's token is not a bearer token"}
	}
	printable := !strings.ContainsFunc(said.AccessToken, func(r rune) bool { return r <= ' ' || r >= 0x7f })
	if said.AccessToken == "" || len(said.AccessToken) > maxTokenBytes || !printable {
		return "", 0, &tokenError{reason: "the token URL's token is missing, too long, or holds what no header may"}
	}
	// Some servers send the number as a string.
	seconds, err := strconv.ParseFloat(string(bytes.Trim(said.ExpiresIn, `"`)), 64)
	if err != nil || !(seconds > 0) { // NaN, too
		return said.AccessToken, tokenLasts, nil
	}
	return said.AccessToken, time.Duration(min(seconds, longestToken.Seconds()) * float64(time.Second)), nil
}
