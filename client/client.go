package client

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Options change what a Client does; the zero value is usable.
type Options struct {
	// Transport sends the requests; nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Prefix is where the gateway's own routes stand, without a slash at the end:
	// "/.ringback" for one that was started with --upstream. Operations are called
	// without it.
	Prefix string
	// UserAgent names the program; empty: "ringback-client".
	UserAgent string
	// Attempts is how often an exchange is tried at most, with growing waits or those
	// that Retry-After asks for; 0: 5, 1: no repetition. Repeated is what was answered
	// with 503 or 429, and where no answer came, what only reads and what has an
	// Idempotency-Key, which a Call is given if it has none. A body that is neither in
	// memory nor a file cannot be sent twice.
	Attempts int
}

// Client calls a gateway as one app. It is safe for concurrent use.
//
// Its methods return a *Problem where the gateway answered with an error. No error
// holds the key, or more of a URL than its origin.
type Client struct {
	base   string // without a slash at the end
	origin string
	key    string
	opt    Options
	http   *http.Client
}

// ErrNoAnswer is in every error where the gateway was not reached, or did not
// answer. What was asked may have been done all the same.
var ErrNoAnswer = errors.New("no answer")

// maxAnswerBytes bounds an answer of the API itself; results are not bounded.
const maxAnswerBytes = 16 << 20

// New makes a client of the gateway at rawURL, such as "https://api.example.com",
// with an app's key; without one, for a gateway in --dev mode.
func New(rawURL, key string, opt Options) (*Client, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, errors.New("the gateway's URL must begin with http:// or https:// and name a host")
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the gateway's URL must have no user, query or fragment")
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("the key must be printable ASCII without spaces")
	}
	if opt.Attempts < 0 {
		return nil, errors.New("the number of attempts must not be negative")
	}
	opt.UserAgent = cmp.Or(opt.UserAgent, "ringback-client")
	opt.Attempts = cmp.Or(opt.Attempts, defaultAttempts)
	return &Client{
		base:   strings.TrimRight(u.String(), "/"),
		origin: u.Scheme + "://" + u.Host,
		key:    key,
		opt:    opt,
		http: &http.Client{
			Transport: opt.Transport,
			// net/http would take the key along to another host.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// send makes an exchange. The caller closes the answer's body.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	if c.key != "" {
		// Not Authorization, which belongs to the upstream where there is one.
		req.Header.Set("Ringback-Key", c.key)
	}
	req.Header.Set("User-Agent", c.opt.UserAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w: %w", req.Method, c.origin, ErrNoAnswer, withoutURL(err))
	}
	return resp, nil
}

// withoutURL takes the URL, which may hold secrets of a caller, out of an error
// of net/http or net/url.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// request makes a request below /v1. path is escaped, begins with a slash and may
// have a query; a nil body is none.
func (c *Client) request(ctx context.Context, method, path string, body any) (*http.Request, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		content = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+c.opt.Prefix+"/v1"+path, content)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, c.origin, withoutURL(err))
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	return req, nil
}

// ask makes an exchange below /v1 whose answer is a T.
func ask[T any, A answer[T]](ctx context.Context, c *Client, method, path string, body any) (A, error) {
	resp, err := c.exchange(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return decode[T, A](c, resp)
}

// exchange makes an exchange below /v1, and an error of an answer that is no
// success. The caller closes the answer's body.
func (c *Client) exchange(ctx context.Context, method, path string, body any) (*http.Response, error) {
	req, err := c.request(ctx, method, path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		defer resp.Body.Close()
		return nil, problemOf(resp)
	}
	return resp, nil
}

func decode[T any, A answer[T]](c *Client, resp *http.Response) (A, error) {
	if kind := mediaType(resp); kind != "application/json" {
		return nil, c.foreign(resp, fmt.Sprintf("%q where JSON was expected", kind))
	}
	out := A(new(T))
	err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(out)
	if _, other := errors.AsType[*json.UnmarshalTypeError](err); other || err == nil && !out.whole() {
		return nil, c.foreign(resp, "other JSON than was expected")
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.origin, err)
	}
	return out, nil
}

func mediaType(resp *http.Response) string {
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return kind
}

// problemOf reads an answer that is no success. One without problem details,
// such as a proxy's, becomes a Problem without a code.
func problemOf(resp *http.Response) *Problem {
	p := &Problem{}
	if mediaType(resp) == "application/problem+json" {
		// What cannot be read is as good as none.
		_ = json.NewDecoder(io.LimitReader(resp.Body, maxAnswerBytes)).Decode(p)
	}
	p.Status = resp.StatusCode
	if p.Title == "" {
		p.Title = strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))
	}
	p.JobID = resp.Header.Get(headerJobID)
	p.RetryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	return p
}

// retryAfter reads the header in both its forms (RFC 9110 §10.2.3), in seconds;
// 0 for none, for a past time and for nonsense.
func retryAfter(value string, now time.Time) int {
	if n, err := strconv.Atoi(value); err == nil {
		return max(n, 0)
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(int(at.Sub(now).Round(time.Second)/time.Second), 0)
}
