package callback

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/ringback/ringback/internal/outbound"
	"github.com/ringback/ringback/job"
)

// verdict is what follows from an attempt.
type verdict struct {
	kind  verdictKind
	after time.Duration // how long the receiver wants to be left alone; 0: it did not say
	place *place        // that was called; nil: none was
}

type verdictKind uint8

const (
	settled  verdictKind = iota + 1 // a complete 2xx header: the receiver has it
	retry                           // may succeed later
	giveUp                          // would fail again for certain
	unproven                        // no attempt was made: the endpoint is not verified
	putOff                          // no attempt was made: something of ours is wrong
	cutOff                          // the gateway stopped during the attempt
	obsolete                        // no attempt was made: the job has ended since
)

// judge says what an exchange means, and notes it in the attempt.
func judge(a *job.Attempt, answer *outbound.Answer, err error) verdict {
	if err != nil {
		var failed *outbound.Error
		var token *tokenError
		if errors.As(err, &token) {
			a.Error = job.ClassToken
			return verdict{kind: retry, after: token.after}
		}
		if !errors.As(err, &failed) {
			a.Error = job.ClassProtocol
			return verdict{kind: retry}
		}
		a.Error = job.Class(failed.Class)
		setTiming(a, failed.Timing)
		if failed.Addr.IsValid() {
			a.Address = failed.Addr.String()
		}
		if failed.Class == outbound.ClassPolicy || failed.Class == outbound.ClassRequest {
			return verdict{kind: giveUp}
		}
		return verdict{kind: retry}
	}
	a.Status, a.Body, a.Truncated = answer.Status, answer.Body, answer.Truncated
	if answer.Addr.IsValid() { // not where a proxy resolved the name
		a.Address = answer.Addr.String()
	}
	a.ContentType = answer.Header.Get("Content-Type")
	a.Header = keptHeader(answer.Header)
	setTiming(a, answer.Timing)
	if answer.Status/100 == 2 {
		return verdict{kind: settled}
	}
	a.Error = job.StatusClass(answer.Status)
	switch answer.Status {
	case http.StatusGone, http.StatusUnsupportedMediaType:
		return verdict{kind: giveUp}
	}
	return verdict{kind: retry, after: retryAfter(answer.Header, answer.Status, a.StartedAt)}
}

// maxHeaderBytes is how much of an answer's header is kept.
const maxHeaderBytes = 4 << 10

// notKept are header fields that concern the connection, that the attempt holds in
// another place, or that are secrets.
var notKept = []string{"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade", "Content-Length", "Content-Type", "Date", "Set-Cookie", "Set-Cookie2"}

// keptHeader is what is kept of an answer's header: h itself, with less in it; nil
// where nothing is left. Of one that is too long, the names that come first.
func keptHeader(h http.Header) http.Header {
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			h.Del(strings.TrimSpace(name))
		}
	}
	for _, name := range notKept {
		delete(h, name)
	}
	if len(h) == 0 {
		return nil
	}
	left := maxHeaderBytes
	for _, name := range slices.Sorted(maps.Keys(h)) {
		size := 0
		for _, value := range h[name] {
			size += len(name) + len(value) + len(": \n")
		}
		if left -= size; left < 0 {
			delete(h, name)
			left += size
		}
	}
	return h
}

func setTiming(a *job.Attempt, t outbound.Timing) {
	a.DNS, a.Connect, a.TLS, a.FirstByte, a.Total = t.DNS, t.Connect, t.TLS, t.FirstByte, t.Total
}

// retryAfter reads how long a receiver wants to be left alone: RFC 9110 §10.2.3
// on a 429 or 503. What cannot be read, or is past, is 0.
func retryAfter(h http.Header, status int, now time.Time) time.Duration {
	if status != http.StatusTooManyRequests && status != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0
	}
	if strings.Trim(value, "0123456789") == "" {
		seconds, err := strconv.ParseInt(value, 10, 32)
		if err != nil {
			seconds = 1<<31 - 1 // digits that overflow mean very long
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return max(at.Sub(now), 0)
}

// next decides what the store is told: the callback's end, or when the next
// attempt is due.
func (s *Sender) next(d job.Delivery, a *job.Attempt, v verdict) job.Settlement {
	now := s.opt.Now()
	st := job.Settlement{Callback: d.Callback, Attempt: a, At: now}
	schedule := s.contract(d.Callback.Operation).Schedule
	made := a.N - d.Callback.Round // in this round
	giveUpAt := s.GiveUpAt(d.Callback)
	switch {
	case v.kind == putOff && now.Before(giveUpAt):
		st.State, st.DueAt, st.Attempt = job.Pending, now.Add(putOffDelay), nil
	case v.kind == putOff:
		a.Error = job.ClassInternal
		st.State = job.Dead
	case v.kind == cutOff:
		st.State, st.DueAt = job.Pending, now
	case v.kind == obsolete:
		st.State, st.Attempt = job.Discarded, nil
	case v.kind == settled:
		st.State = job.Delivered
	case v.kind == giveUp, made > len(schedule), !now.Before(giveUpAt):
		st.State = job.Dead
		s.opt.Log.Warn("callback dead", "callback", d.Callback.ID.Callback(), "lane", d.Callback.Lane(), "attempts", a.N, "error", a.Error, "status", a.Status)
	default:
		delay := jitter(schedule[made-1])
		// Never before the receiver wants, but no receiver puts us off for ever.
		delay = max(delay, min(v.after, longest(schedule)))
		st.State, st.Waiting, st.DueAt = job.Pending, job.WaitingBackoff, now.Add(delay)
		if st.DueAt.After(giveUpAt) {
			st.DueAt = giveUpAt
		}
	}
	if end := d.Callback.ExpiresAt; st.State == job.Pending && !end.IsZero() && st.DueAt.After(end) {
		st.DueAt = end // it is discarded then
	}
	return st
}

// pausedDelay is how long a callback rests whose endpoint is not verified.
const pausedDelay = time.Minute

// putOffDelay is how long a callback waits after an error of our own.
const putOffDelay = 5 * time.Second

// jitter spreads a delay by ±20 %, so that what failed together is not repeated
// together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}

func longest(schedule []time.Duration) (most time.Duration) {
	for _, d := range schedule {
		most = max(most, d)
	}
	return most
}

// metrics count what the sender does.
type metrics struct {
	settled  *prometheus.CounterVec
	attempts *prometheus.CounterVec
	seconds  prometheus.Histogram

	templateErrors *prometheus.CounterVec
	endpointEvents *prometheus.CounterVec
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		settled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_callbacks_settled_total",
			Help: "Callbacks that came to their end, by state."}, []string{"state"}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_attempts_total",
			Help: "Attempts at callbacks, by outcome: the class of the status (2xx to 5xx), or the error class."}, []string{"outcome"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "ringback_attempt_seconds",
			Help: "Duration of attempts at callbacks.", Buckets: prometheus.ExponentialBuckets(0.001, 3, 10)}),
		templateErrors: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_template_errors_total",
			Help: "Callbacks whose template failed, so that an envelope takes its place."}, []string{"operation"}),
		endpointEvents: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "ringback_endpoint_events_total",
			Help: "Endpoints that fail, have recovered or were disabled, by event."}, []string{"event"}),
	}
	r.MustRegister(m.settled, m.attempts, m.seconds, m.templateErrors, m.endpointEvents)
	return m
}

func (m metrics) tried(a *job.Attempt, took time.Duration) {
	outcome := string(a.Error)
	if a.Status != 0 {
		outcome = strconv.Itoa(a.Status/100) + "xx"
	}
	m.attempts.WithLabelValues(outcome).Inc()
	m.seconds.Observe(took.Seconds())
}
