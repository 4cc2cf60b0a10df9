package api

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/ringback/ringback/job"
)

// What an app has too much of.
var (
	kindLimitCalls     = newKind(http.StatusTooManyRequests, "limit_calls", "The app asks too often")
	kindLimitJobs      = newKind(http.StatusTooManyRequests, "limit_jobs", "The app has as many jobs under way as it may")
	kindLimitBytes     = newKind(http.StatusTooManyRequests, "limit_bytes", "The app has as much stored as it may")
	kindLimitEndpoints = newKind(http.StatusTooManyRequests, "limit_endpoints", "The app has as many endpoints as it may have")
)

// When to come again where nobody knows: jobs end soon, what is stored is kept for long.
const (
	jobsRetrySeconds      = 5
	bytesRetrySeconds     = 60
	endpointsRetrySeconds = 60
)

// limiter keeps the buckets of the apps whose calls are limited.
type limiter struct {
	mu      sync.Mutex
	buckets map[string]*bucket
}

// bucketOf is the bucket of an app, a full one where its limit is new; nil for none.
func (l *limiter) bucketOf(app string, limits job.Limits, now time.Time) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if limits.Calls <= 0 {
		delete(l.buckets, app)
		return nil
	}
	b := l.buckets[app]
	if b == nil || b.calls != limits.Calls || b.per != limits.Per {
		b = &bucket{calls: limits.Calls, per: limits.Per, left: float64(limits.Calls), at: now}
		b.policy = fmt.Sprintf(`"calls";q=%d;w=%d`, b.calls, int64(b.per.Seconds()))
		l.buckets[app] = b
	}
	return b
}

// bucket holds the calls that an app may still make, and fills up again by and by.
type bucket struct {
	calls  int64
	per    time.Duration
	policy string // the RateLimit-Policy

	mu   sync.Mutex
	left float64 // at the time at
	at   time.Time
}

// take takes a call, or says when there is one again. It writes the fields of
// draft-ietf-httpapi-ratelimit-headers: r calls may be made within the next t seconds,
// after which there are more.
func (b *bucket) take(h http.Header, now time.Time) *Problem {
	b.mu.Lock()
	each := b.per.Seconds() / float64(b.calls) // seconds for a call
	if passed := now.Sub(b.at).Seconds(); passed > 0 {
		b.left, b.at = min(float64(b.calls), b.left+passed/each), now
	}
	ok := b.left >= 1
	wait := (1 - b.left) * each
	if ok {
		b.left--
		wait = (float64(b.calls) - b.left) * each
	}
	left := int64(b.left)
	b.mu.Unlock()
	seconds := max(1, int(math.Ceil(wait)))
	h["Ratelimit-Policy"] = []string{b.policy}
	h["Ratelimit"] = []string{`"calls";r=` + strconv.FormatInt(left, 10) + `;t=` + strconv.Itoa(seconds)}
	if ok {
		return nil
	}
	p := kindLimitCalls.problem(fmt.Sprintf("the app may make %s requests", job.Limits{Calls: b.calls, Per: b.per}.CallsText()))
	p.retryAfter = seconds
	return p
}

// limited describes a limit other than that of calls that is reached.
func limited(k kind, policy string, limit int64, retryAfter int) *Problem {
	p := k.problem(fmt.Sprintf("the app's limit is %d", limit))
	p.retryAfter = retryAfter
	p.ratePolicy, p.rate = fmt.Sprintf(`%q;q=%d`, policy, limit), fmt.Sprintf(`%q;r=0;t=%d`, policy, retryAfter)
	return p.withHint("GET /v1/usage says how much of what there is")
}

func overLimit(over *job.LimitError) *Problem {
	if over.Bytes {
		return limited(kindLimitBytes, "bytes", over.Limit, bytesRetrySeconds)
	}
	return limited(kindLimitJobs, "jobs", over.Limit, jobsRetrySeconds)
}
