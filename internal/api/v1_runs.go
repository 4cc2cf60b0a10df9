package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// Runs hears what upstreams say about runs. A token is all that they need. Errors are
// those of package job: ErrNotFound for a token that is none, ErrGone where nobody waits
// for it any more, ErrExists where it contradicts what is there, ErrMalformed.
type Runs interface {
	// Complete ends a run with what is read. body.ErrTooLarge has ended it, too.
	Complete(ctx context.Context, token string, header http.Header, from io.Reader) error
	// Ask asks the caller, and waits up to hold for the answer: an open question has none
	// yet. ErrTooMany: it has asked too much; a *job.Error says why there is no answer.
	Ask(ctx context.Context, token, key string, question []byte, hold time.Duration) (*job.Question, error)
	// Progress takes how far a run is: JSON of at most job.MaxProgressBytes.
	Progress(ctx context.Context, token string, value json.RawMessage) error
}

// ReplyToken names the tokens by which a question is answered. One holds the ids of its
// job and of the callback that asks it.
const ReplyToken = "reply"

// What may be wrong with what an upstream says about a run.
var (
	kindQuestion   = newKind(409, "question_changed", "The key belongs to another question")
	kindQuestions  = newKind(409, "too_many_questions", "The job has asked as much as it may")
	kindUnanswered = newKind(409, "no_answer", "The question has no answer, and will have none")
	kindAnswered   = newKind(409, "question_answered", "The question is answered already")
	kindRunTold    = newKind(409, "run_being_completed", "Another completion of the run is being stored")
	kindGone       = newKind(410, "no_longer_awaited", "Nobody waits for this any more")
)

// noSuchToken is said of every token that is none: it tells nothing about jobs.
const noSuchToken = "the URL's token is none that this gateway has made"

// registerRuns adds the routes of upstreams. They need no key, since their URLs are
// secrets; huma would read the bodies into memory.
func (v *v1) registerRuns(mux *http.ServeMux) {
	v.talk(mux, "/v1/runs/{token}/result", v.completeRun, huma.Operation{OperationID: "complete-run", Summary: "Complete a run",
		Description: "For an upstream that answered 202: the body is the result, with its content type, or application/problem+json " +
			"for a failure. The URL is the request's Ringback-Completion-Url. It is good once, for one attempt.",
		Responses: map[string]*huma.Response{"204": {Description: "The run is completed"}}})
	anyJSON := map[string]*huma.MediaType{"application/json": {Schema: &huma.Schema{}}}
	v.talk(mux, "/v1/runs/{token}/questions", v.askCaller, huma.Operation{OperationID: "ask-caller", Summary: "Ask the caller",
		Description: "For an upstream in the middle of its work: the body is a question, JSON of at most 16 KiB, which the job's callback " +
			"URL is asked. The URL is the request's Ringback-Ask-Url.",
		Parameters: []*huma.Param{{Name: "key", In: "query", Required: true, Schema: &huma.Schema{Type: "string"},
			Description: "The question's name within the job: asked again, it has the same answer."}},
		RequestBody: &huma.RequestBody{Required: true, Content: anyJSON},
		Responses: map[string]*huma.Response{
			"200": {Description: "The answer, with its own content type", Content: map[string]*huma.MediaType{"*/*": {}}},
			"202": {Description: "There is none yet; ask again with the same key after Retry-After"}}})
	v.talk(mux, "/v1/runs/{token}/progress", v.takeProgress, huma.Operation{OperationID: "report-progress", Summary: "Say how far a run is",
		Description: "For an upstream: the body is any JSON of at most 16 KiB; the last one counts. The URL is the request's " +
			"Ringback-Progress-Url.",
		RequestBody: &huma.RequestBody{Required: true, Content: anyJSON},
		Responses:   map[string]*huma.Response{"204": {Description: "It is taken note of"}}})
	v.talk(mux, "/v1/replies/{token}", v.answerQuestion, huma.Operation{OperationID: "answer-question", Summary: "Answer a question",
		Description: "For a receiver that answered the callback of an ask event with 202: the body is the answer, of at most 16 KiB. The URL " +
			"is the event's reply_url. It is good once.",
		Responses: map[string]*huma.Response{"204": {Description: "The answer is stored"}}})
}

const (
	// maxHold is how long the request of a question waits for its answer.
	maxHold = 25 * time.Second
	// askAgainSeconds is when to ask again.
	askAgainSeconds = 1
)

func (v *v1) askCaller(w http.ResponseWriter, r *http.Request) {
	up := v.upload(w, r)
	key := r.URL.Query().Get("key")
	question, err := io.ReadAll(io.LimitReader(up, job.MaxQuestionBytes+1))
	switch {
	case err != nil:
		answerAtOnce(w, r)
		v.talkProblem(r, up, err).write(w)
		return
	case !job.IsQuestionKey(key):
		badParameter("key", "it must be 1 to 128 printable ASCII characters").write(w)
		return
	case len(question) > job.MaxQuestionBytes:
		answerAtOnce(w, r)
		kindTooLarge.problem("a question has at most 16 KiB").write(w)
		return
	}
	up.done()
	q, err := v.opt.Runs.Ask(r.Context(), r.PathValue("token"), key, question, min(maxHold, v.opt.MaxWait))
	why, closed := errors.AsType[*job.Error](err)
	switch {
	case closed:
		kindUnanswered.problem(why.Message).write(w)
	case errors.Is(err, job.ErrExists):
		kindQuestion.problem("").write(w)
	case errors.Is(err, job.ErrMalformed):
		kindBodyMalformed.problem("a question must be JSON, in UTF-8").write(w)
	case errors.Is(err, job.ErrTooMany):
		kindQuestions.problem(fmt.Sprintf("a job asks at most %d questions", job.MaxQuestions)).write(w)
	case err != nil:
		v.talkProblem(r, up, err).write(w)
	case q.State == job.Open:
		w.Header().Set("Retry-After", strconv.Itoa(askAgainSeconds))
		w.WriteHeader(http.StatusAccepted)
	default:
		w.Header().Set("Content-Type", cmp.Or(q.Answer.ContentType, "application/octet-stream"))
		_, _ = w.Write(q.Answer.Body) // it can be asked for again
	}
}

func (v *v1) takeProgress(w http.ResponseWriter, r *http.Request) {
	up := v.upload(w, r)
	value, err := io.ReadAll(io.LimitReader(up, job.MaxProgressBytes+1))
	switch {
	case err != nil:
	case len(value) > job.MaxProgressBytes:
		answerAtOnce(w, r)
		kindTooLarge.problem("a progress has at most 16 KiB").write(w)
		return
	case !utf8.Valid(value) || !json.Valid(value):
		kindBodyMalformed.problem("a progress must be JSON, in UTF-8").write(w)
		return
	default:
		up.done()
		err = v.opt.Runs.Progress(r.Context(), r.PathValue("token"), value)
	}
	if err != nil {
		v.talkProblem(r, up, err).write(w)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (v *v1) answerQuestion(w http.ResponseWriter, r *http.Request) {
	ids, ok := v.opt.Seal.OpenToken(ReplyToken, r.PathValue("token"))
	var id, callback job.ID
	if !ok || len(ids) != len(id)+len(callback) {
		answerAtOnce(w, r)
		kindNotFound.problem(noSuchToken).write(w)
		return
	}
	copy(callback[:], ids[copy(id[:], ids):])
	up := v.upload(w, r)
	answer, err := io.ReadAll(io.LimitReader(up, job.MaxAnswerBytes+1))
	if err == nil && len(answer) > job.MaxAnswerBytes {
		answerAtOnce(w, r)
		kindTooLarge.problem("an answer has at most 16 KiB").write(w)
		return
	}
	if err == nil {
		up.done()
		err = v.opt.Store.Answer(whole(r.Context()), id, callback,
			job.QuestionEnd{Answer: &job.Answer{ContentType: r.Header.Get("Content-Type"), Body: answer}}, v.now())
	}
	switch {
	case errors.Is(err, job.ErrExists):
		kindAnswered.problem("").write(w)
	case errors.Is(err, job.ErrGone), errors.Is(err, job.ErrNotFound):
		kindGone.problem("the question is closed").write(w)
	case err != nil:
		v.talkProblem(r, up, err).write(w)
	default:
		w.WriteHeader(http.StatusNoContent)
	}
}

// talk adds a route whose URL is a secret.
func (v *v1) talk(mux *http.ServeMux, path string, handle http.HandlerFunc, op huma.Operation) {
	problem := v.huma.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[client.Problem](), true, "Problem")
	op.Method, op.Path, op.Tags, op.Security = http.MethodPost, path, []string{"Upstreams"}, []map[string][]string{{}}
	op.Parameters = append(op.Parameters, &huma.Param{Name: "token", In: "path", Required: true,
		Schema: &huma.Schema{Type: "string"}, Description: "The secret that the URL holds."})
	if op.RequestBody == nil {
		op.RequestBody = &huma.RequestBody{Content: map[string]*huma.MediaType{"*/*": {}}}
	}
	op.Responses["default"] = &huma.Response{
		Description: "A problem (RFC 9457): 404 for a token that is none, 410 where nobody waits any more",
		Content:     map[string]*huma.MediaType{"application/problem+json": {Schema: problem}},
	}
	v.huma.OpenAPI().AddOperation(&op)
	mux.HandleFunc("POST "+v.opt.Prefix+path, func(w http.ResponseWriter, r *http.Request) {
		if v.opt.Runs == nil {
			kindNotFound.problem(noSuchToken).write(w)
			return
		}
		handle(w, r)
	})
}

func (v *v1) completeRun(w http.ResponseWriter, r *http.Request) {
	up := v.upload(w, r)
	if err := v.opt.Runs.Complete(r.Context(), r.PathValue("token"), r.Header, up); err != nil {
		answerAtOnce(w, r)
		v.talkProblem(r, up, err).write(w)
		return
	}
	up.done()
	w.WriteHeader(http.StatusNoContent)
}

func (a *API) upload(w http.ResponseWriter, r *http.Request) *upload {
	return &upload{body: r.Body, control: *http.NewResponseController(w), idle: a.opt.BodyIdleTimeout}
}

// talkProblem describes an error of Runs.
func (a *API) talkProblem(r *http.Request, up *upload, err error) *Problem {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return kindNotFound.problem(noSuchToken)
	case errors.Is(err, job.ErrGone):
		return kindGone.problem("the run is at its end, or another attempt has taken its place")
	case errors.Is(err, job.ErrExists):
		return kindRunTold.problem("")
	case errors.Is(err, job.ErrMalformed):
		return kindBodyMalformed.problem("")
	case errors.Is(err, body.ErrTooLarge):
		return kindTooLarge.problem("the result is larger than the operation allows, so the run has failed")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return kindTimeout.problem(fmt.Sprintf("the body brought less than %d octets within %v", progressBytes, up.idle))
	case errors.Is(err, io.ErrUnexpectedEOF), r.Context().Err() != nil:
		return kindBodyIncomplete.problem("")
	case errors.Is(err, body.ErrStorage):
		err = fmt.Errorf("%w: %w", job.ErrUnavailable, err)
	}
	return storeProblem(r.Context(), a.opt.Log, "hear of a run", err)
}
