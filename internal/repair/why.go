package repair

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/job"
)

const (
	// whyAttempts is how many attempts an explanation shows.
	whyAttempts = 20
	// whyCallbacks is how many callbacks that of a job explains.
	whyCallbacks = 50
)

// waiting says what each of job.WaitingReasons means, and what to do about it.
var waiting = map[string]struct{ means, do string }{
	job.WaitingBackoff:    {"the last attempt failed; the next one is due by the schedule", ""},
	job.WaitingOrder:      {"an earlier callback to the same destination comes first", "look why that one has not arrived; if it never will, discard it"},
	job.WaitingBreaker:    {"its receiver failed again and again, and is left alone for a while; then a single attempt tries it", "see that the receiver works: the first answer opens the way for all"},
	job.WaitingRate:       {"its destination is sent no more for now: its rate is reached, or its receiver asked for a rest", "nothing, or let the receiver take more"},
	job.WaitingPaused:     {"somebody paused it", "end the pause"},
	job.WaitingDisabled:   {"its endpoint is disabled", "see that its receiver works, then enable the endpoint"},
	job.WaitingScheduled:  {"it was asked for later", ""},
	job.WaitingUnverified: {"its endpoint is to prove first that it wants callbacks", "let the receiver consent, then `ringback endpoint verify`"},
	waitingTurn:           {"it is being sent, or others to the same destination are", ""},
}

// waitingTurn is said of a callback that is due and waits for nothing but its turn.
const waitingTurn = "turn"

// Why explains why a callback of an app has not arrived.
func (r *Runner) Why(ctx context.Context, app string, id job.ID) (client.Why, error) {
	cb, err := r.opt.Store.Callback(ctx, app, id)
	if err != nil {
		return client.Why{}, err
	}
	return r.why(ctx, cb)
}

func (r *Runner) why(ctx context.Context, cb *job.Callback) (client.Why, error) {
	w := client.Why{Callback: cb.ID.Callback(), JobID: cb.JobID.Job(), Event: string(cb.Event), Endpoint: cb.Endpoint,
		Status: cb.State.String(), Tried: cb.Attempts}
	if cb.Endpoint == "" {
		w.Origin = job.Origin(cb.URL)
	}
	attempts, err := r.opt.Store.Attempts(ctx, cb.ID)
	if err != nil {
		return w, err
	}
	for _, a := range slices.Backward(attempts[max(len(attempts)-whyAttempts, 0):]) {
		w.Attempts = append(w.Attempts, client.WhyAttempt{N: a.N, At: client.At(a.StartedAt), Outcome: outcome(a), Address: a.Address,
			Total: float64(a.Total.Microseconds()) / 1000})
	}
	if cb.LastError != "" && cb.State != job.Delivered {
		info, _ := cb.LastError.Info()
		w.Error = &client.WhyError{Class: string(info.Class), Status: cb.LastStatus, Side: string(info.Side), Means: info.Means, Do: info.Do}
	}
	switch cb.State {
	case job.Delivered:
		w.Summary = fmt.Sprintf("It arrived: the receiver took it at %s, in attempt %d.", at(cb.SettledAt), cb.Attempts)
		w.Next = "Nothing: it is delivered."
	case job.Discarded:
		r.discarded(cb, &w)
	case job.Dead:
		r.dead(cb, &w)
	default:
		err = r.pending(ctx, cb, &w)
	}
	return w, err
}

// at is a moment in a sentence.
func at(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func outcome(a job.Attempt) string {
	words := []string{}
	if a.Status != 0 {
		words = append(words, strconv.Itoa(a.Status))
	}
	if a.Error != "" {
		words = append(words, string(a.Error))
	}
	return strings.Join(words, " ")
}

// failure is a clause that tells of the last error.
func failure(w *client.Why) string {
	switch {
	case w.Error == nil:
		return ""
	case w.Error.Status != 0:
		return fmt.Sprintf("%s (%s, status %d)", w.Error.Means, w.Error.Class, w.Error.Status)
	}
	return fmt.Sprintf("%s (%s)", w.Error.Means, w.Error.Class)
}

func (r *Runner) discarded(cb *job.Callback, w *client.Why) {
	why := "a later event of its job made it pointless"
	switch cb.Reason {
	case job.ReasonExpired:
		why = "nobody wanted it any more: it had expired (`expires_in`)"
	case job.ReasonSkipped:
		why = "somebody discarded it"
	}
	w.Summary = fmt.Sprintf("It was not sent any more: %s, at %s.", why, at(cb.SettledAt))
	w.Next = "Nothing, unless somebody resends it."
}

func (r *Runner) dead(cb *job.Callback, w *client.Why) {
	made := fmt.Sprintf("after %s", times(cb.Attempts-cb.Round, "attempt"))
	w.Summary = fmt.Sprintf("It was given up at %s %s.", at(cb.SettledAt), made)
	if w.Error != nil {
		w.Summary = fmt.Sprintf("It was given up at %s %s: %s.", at(cb.SettledAt), made, failure(w))
		w.Do = w.Error.Do
	}
	w.Next = "Nothing, unless somebody resends it."
	w.Do = strings.TrimPrefix(w.Do+"; then resend it: `ringback callback resend "+w.Callback+"`", "; ")
}

func times(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

func (r *Runner) pending(ctx context.Context, cb *job.Callback, w *client.Why) error {
	reason, until := r.opt.Waits(cb)
	reason = cmp.Or(reason, waitingTurn)
	if reason == waitingTurn {
		until = time.Time{}
	}
	said := waiting[reason]
	w.Waiting = &client.WhyWaiting{For: reason, Means: said.means, Until: client.At(until)}
	if err := r.origin(ctx, cb, w.Waiting); err != nil {
		return err
	}
	end, left := r.opt.GiveUpAt(cb), max(len(r.opt.Contract(cb.Operation).Schedule)+1-(cb.Attempts-cb.Round), 0)
	if !cb.ExpiresAt.IsZero() && cb.ExpiresAt.Before(end) {
		end = cb.ExpiresAt
	}
	w.EndsAt = client.At(end)
	w.Do = said.do
	w.Summary = "It waits: " + said.means + "."
	if w.Error != nil {
		w.Summary = fmt.Sprintf("It waits: %s. The last of %s failed: %s.", said.means, times(cb.Attempts, "attempt"), failure(w))
		if reason == job.WaitingBackoff || reason == job.WaitingBreaker {
			w.Do = w.Error.Do
		}
	}
	switch {
	case reason == job.WaitingOrder:
		w.Next = "It is sent as soon as the one before it has come to its end."
	case reason == waitingTurn:
		w.Next = "It is sent in its turn."
	case !until.IsZero():
		w.NextAt = client.At(until)
		w.Next = fmt.Sprintf("The next attempt is due at %s.", at(until))
	default:
		w.Next = "It is sent as soon as that is over."
	}
	w.Next += fmt.Sprintf(" It is given up at %s, or after %s.", at(end), times(left, "more attempt"))
	return nil
}

// origin adds where it comes from that a callback waits: behind which one it is, or who
// wanted it so, and since when.
func (r *Runner) origin(ctx context.Context, cb *job.Callback, w *client.WhyWaiting) error {
	switch w.For {
	case job.WaitingOrder:
		before, err := r.opt.Store.WaitsFor(ctx, []*job.Callback{cb})
		if err == nil && len(before) > 0 && !before[0].IsZero() {
			w.Behind = before[0].Callback()
		}
		return err
	case job.WaitingDisabled:
		e, err := r.opt.Store.Endpoint(ctx, cb.App, cb.Endpoint)
		if err == nil {
			w.By, w.Since = e.DisabledReason, client.At(e.DisabledAt)
		}
		if errors.Is(err, job.ErrNotFound) {
			err = nil
		}
		return err
	case job.WaitingPaused:
		pauses, err := r.opt.Store.ListPauses(ctx)
		for _, p := range pauses {
			if lane := p.Lane(); p.To.IsZero() && !p.Disabled && (lane == cb.Lane() || lane == "" && p.Operation == "") {
				w.By, w.Since = p.Who, client.At(p.From)
			}
		}
		return err
	}
	return nil
}

// WhyJob explains why the callbacks of a job of an app have not arrived, or why there
// are none.
func (r *Runner) WhyJob(ctx context.Context, app string, id job.ID) (client.JobWhy, error) {
	j, err := r.opt.Store.Job(ctx, app, id)
	if err != nil {
		return client.JobWhy{}, err
	}
	w := client.JobWhy{JobID: j.ID.Job(), Status: j.State.String(), Callbacks: []client.Why{}}
	callbacks, err := r.opt.Store.Callbacks(ctx, job.CallbackFilter{App: app, JobID: id, Limit: whyCallbacks})
	if err != nil {
		return w, err
	}
	for _, cb := range callbacks {
		one, err := r.why(ctx, cb)
		if err != nil {
			return w, err
		}
		w.Callbacks = append(w.Callbacks, one)
	}
	if len(callbacks) > 0 {
		w.Summary = sum(j, callbacks)
		return w, nil
	}
	w.Summary, w.Do, err = r.none(ctx, j)
	return w, err
}

// sum says how the callbacks of a job stand.
func sum(j *job.Job, callbacks []*job.Callback) string {
	counts := map[job.CallbackState]int{}
	for _, cb := range callbacks {
		counts[cb.State]++
	}
	var words []string
	for _, s := range []job.CallbackState{job.Pending, job.Dead, job.Delivered, job.Discarded} {
		if counts[s] > 0 {
			words = append(words, fmt.Sprintf("%d %s", counts[s], s))
		}
	}
	end := ""
	if !j.State.Terminal() {
		end = " The job has not ended yet: its last ones are still to come."
	}
	return fmt.Sprintf("Of %s: %s.%s", times(len(callbacks), "callback"), strings.Join(words, ", "), end)
}

// none says why a job has no callbacks.
func (r *Runner) none(ctx context.Context, j *job.Job) (summary, do string, err error) {
	paused, err := r.paused(ctx, j)
	if err != nil {
		return "", "", err
	}
	switch {
	case len(j.Targets) == 0:
		return "No callback is owed: no callback URL came with the call, and neither the app nor the operation has a default.",
			"send `callbackURL` with the call, or register a default endpoint: `ringback endpoint create NAME URL --default`", nil
	case j.State == job.Waiting:
		return "No callback is owed yet: the job waits for what its upstream or its caller is to say.", "", nil
	case j.State == job.Running:
		return fmt.Sprintf("No callback is owed yet: the job is running, since %s.", at(j.StartedAt)), "", nil
	case paused:
		return fmt.Sprintf("No callback is owed yet: somebody paused the operation %s, so that the job does not run.", j.Operation), "end the pause", nil
	case j.State == job.Accepted && j.Error != nil:
		return fmt.Sprintf("No callback is owed yet: the job's last run failed (%s), and another one is due at %s.", j.Error.Code, at(j.DueAt)), "", nil
	case j.State == job.Accepted && j.ScheduledAt.After(r.opt.Now()):
		return fmt.Sprintf("No callback is owed yet: the job is to run at %s.", at(j.ScheduledAt)), "", nil
	case j.State == job.Accepted:
		return "No callback is owed yet: the job waits for a place to run.", "", nil
	}
	return fmt.Sprintf("No callback is owed: the job has %s, and none of its destinations wants to hear of that.", j.State),
		fmt.Sprintf("ask for the event `%s`: by `callbackEvents` of the call, `events` of the endpoint, or `callback.events` of the operation", j.State.Event()), nil
}

// paused tells whether a job that would run does not, by somebody's order.
func (r *Runner) paused(ctx context.Context, j *job.Job) (bool, error) {
	if j.State != job.Accepted {
		return false, nil
	}
	pauses, err := r.opt.Store.ListPauses(ctx)
	return slices.ContainsFunc(pauses, func(p job.Pause) bool {
		return p.To.IsZero() && !p.Disabled && (p.Operation == j.Operation || p.Operation == "" && p.App == "")
	}), err
}
