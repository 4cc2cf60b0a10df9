package client

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// JobQuery selects jobs. Zero fields select all.
type JobQuery struct {
	Operation string
	Status    string
	PageSize  int // how many are asked for at once; 0: the gateway's default
}

// Job reads a job with its callbacks.
func (c *Client) Job(ctx context.Context, id string) (*Job, error) { return c.job(ctx, id, 0) }

func (c *Client) job(ctx context.Context, id string, wait time.Duration) (*Job, error) {
	path := "/jobs/" + url.PathEscape(id)
	if wait > 0 {
		path += "?wait=" + strconv.Itoa(int(wait/time.Second))
	}
	return ask[Job](ctx, c, "GET", path, nil)
}

const (
	longPoll = 30 * time.Second
	// A gateway that answers a long poll at once (it is shutting down, or allows
	// none) is not asked again before this has passed.
	minPollInterval = time.Second
)

// WaitJob waits until a job's status is final, and reads it. ctx bounds the wait. A
// gateway that is away for a time is waited for, once it has answered.
func (c *Client) WaitJob(ctx context.Context, id string) (*Job, error) {
	for found := false; ; {
		next := time.Now().Add(minPollInterval)
		job, err := c.job(ctx, id, longPoll)
		switch {
		case err == nil && job.Terminal():
			return job, nil
		case err == nil:
			found = true
		case !found || ctx.Err() != nil || !away(err):
			return nil, err
		}
		if err := pause(ctx, time.Until(next)); err != nil {
			return nil, err
		}
	}
}

// away tells whether err is of a gateway that may come back.
func away(err error) bool {
	p, ok := errors.AsType[*Problem](err)
	return errors.Is(err, ErrNoAnswer) || ok && p.Status == http.StatusServiceUnavailable
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Result reads a job's result, which the caller closes. While there is none yet
// both results are nil; where there will be none the error is a *Problem.
func (c *Client) Result(ctx context.Context, id string) (*Result, error) {
	req, err := c.request(ctx, "GET", "/jobs/"+url.PathEscape(id)+"/result", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "*/*")
	resp, err := c.do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 && resp.Header.Get(headerResultStatus) != "" {
		return resultOf(resp), nil
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusAccepted:
		_, err := decode[Job](c, resp)
		return nil, err
	case resp.StatusCode/100 == 2:
		return nil, c.foreign(resp, "no result of a job")
	}
	return nil, problemOf(resp)
}

// Cancel ends a job that has not ended. It fails with a *Problem of status 409
// where the job's end came first.
func (c *Client) Cancel(ctx context.Context, id string) error {
	_, err := ask[Job](ctx, c, "DELETE", "/jobs/"+url.PathEscape(id), nil)
	return err
}

// Jobs lists the app's jobs, newest first.
func (c *Client) Jobs(ctx context.Context, q JobQuery) iter.Seq2[Job, error] {
	return pages[Job](ctx, c, "/jobs", listQuery(q.PageSize, "operation", q.Operation, "status", q.Status))
}

// listQuery makes a query of pairs of name and value; empty values are left out.
func listQuery(pageSize int, pairs ...string) url.Values {
	query := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			query.Set(pairs[i], pairs[i+1])
		}
	}
	if pageSize > 0 {
		query.Set("limit", strconv.Itoa(pageSize))
	}
	return query
}

// CallbackQuery selects callbacks. Zero fields select all.
type CallbackQuery struct {
	JobID    string
	Endpoint string
	Status   string
	PageSize int // how many are asked for at once; 0: the gateway's default
}

// Callbacks lists the app's callbacks, newest first.
func (c *Client) Callbacks(ctx context.Context, q CallbackQuery) iter.Seq2[Callback, error] {
	return pages[Callback](ctx, c, "/callbacks",
		listQuery(q.PageSize, "job", q.JobID, "endpoint", q.Endpoint, "status", q.Status))
}

// Callback reads a callback.
func (c *Client) Callback(ctx context.Context, id string) (*Callback, error) {
	return ask[Callback](ctx, c, "GET", "/callbacks/"+url.PathEscape(id), nil)
}

// Attempts lists what was tried for a callback, in the gateway's order.
func (c *Client) Attempts(ctx context.Context, id string) iter.Seq2[Attempt, error] {
	return pages[Attempt](ctx, c, "/callbacks/"+url.PathEscape(id)+"/attempts", url.Values{})
}

// Resend makes a callback due at once, for another round of attempts.
func (c *Client) Resend(ctx context.Context, id string) (*Callback, error) {
	return ask[Callback](ctx, c, "POST", "/callbacks/"+url.PathEscape(id)+"/resend", nil)
}
