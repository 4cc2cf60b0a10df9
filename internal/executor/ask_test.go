package executor

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/internal/backend"
	"github.com/ringback/ringback/job"
)

// A question that comes while the run's end is being stored would be nobody's: it waits,
// and is asked for what the run has come to.
func TestAQuestionThatComesWhileItsBackendReturnsIsAskedAfterwards(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, store, c, id, token := talking(t)
		e.mu.Lock()
		e.held[id].talk.returned = true
		e.mu.Unlock()
		asked := make(chan *job.Question, 1)
		go func() {
			q, err := e.Ask(context.Background(), token, "page", []byte(`7`), time.Minute)
			if err != nil {
				t.Error(err)
			}
			asked <- q
		}()
		synctest.Wait()
		if q, err := store.Question(t.Context(), id, "page"); !errors.Is(err, job.ErrNotFound) {
			t.Errorf("it is stored for a run that is over: %+v, %v", q, err)
		}
		c.goOn <- struct{}{}
		if q := <-asked; q == nil || q.State != job.Open {
			t.Errorf("%+v", q)
		}
		if j, err := store.Job(t.Context(), "shop", id); err != nil || j.State != job.Waiting || j.Wait == nil {
			t.Errorf("%+v, %v", j, err)
		}
	})
}

func TestAnUpstreamThatAsksDoesNotHoldTheEndUp(t *testing.T) {
	t.Parallel()
	for name, running := range map[string]bool{"while it waits": false, "while it runs, at most once": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := &chatty{links: make(chan *backend.Links, 1), goOn: make(chan struct{})}
				e, store := idle(t, job.Operation{AtMostOnce: true}, c)
				_, token := callChatty(t, e, store, c)
				if !running {
					c.goOn <- struct{}{}
				}
				held := make(chan time.Duration, 1)
				go func() {
					begin := time.Now()
					if q, err := e.Ask(context.Background(), token, "page", []byte(`7`), time.Minute); err != nil || q.State != job.Open {
						t.Errorf("%+v, %v", q, err)
					}
					held <- time.Since(begin)
				}()
				synctest.Wait()
				closed := make(chan error, 1)
				go func() { closed <- e.Close(context.Background()) }()
				if took := <-held; took != 0 {
					t.Errorf("the request was held for %v", took)
				}
				if running {
					c.goOn <- struct{}{}
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestARunThatHasItsAnswerMayEndWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answered, goOn := make(chan struct{}), make(chan struct{})
		e, store := idle(t, job.Operation{}, backend.Func(func(ctx context.Context, call *backend.Call, _ *backend.Result) error {
			if _, err := call.Ask(ctx, "page", json.RawMessage(`7`)); err != nil {
				return err
			}
			close(answered)
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return ctx.Err()
		}))
		id := submit(t, e, store)
		synctest.Wait()
		q, err := store.Question(t.Context(), id, "page")
		if err != nil {
			t.Fatal(err)
		}
		if err := store.Answer(t.Context(), id, q.Callback, job.QuestionEnd{Answer: &job.Answer{Body: []byte("8")}}, time.Now()); err != nil {
			t.Fatal(err)
		}
		<-answered
		closed := make(chan error, 1)
		go func() { closed <- e.Close(context.Background()) }()
		synctest.Wait()
		close(goOn)
		if err := <-closed; err != nil {
			t.Error(err)
		}
		if j, err := store.Job(t.Context(), "shop", id); err != nil || j.State != job.Succeeded {
			t.Errorf("%+v, %v", j, err)
		}
	})
}

func TestAQuestionOfAnEarlierRunWithoutAnAnswerIsAskedAnew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		runs := 0
		e, store := idle(t, job.Operation{Retry: job.Retry{Attempts: 1}}, backend.Func(func(ctx context.Context, call *backend.Call, result *backend.Result) error {
			runs++
			answer, err := call.Ask(ctx, "page", json.RawMessage(`7`))
			if err == nil {
				_, err = result.Write(answer.Body)
			}
			return err
		}))
		id := submit(t, e, store)
		synctest.Wait()
		first, err := store.Question(t.Context(), id, "page")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		e.mu.Lock()
		e.held[id].cancel(errStopping) // it is handed back, and begins once more
		e.mu.Unlock()
		time.Sleep(time.Second)
		end := func(callback job.ID, end job.QuestionEnd) {
			t.Helper()
			if err := store.Answer(t.Context(), id, callback, end, time.Now()); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		end(first.Callback, job.QuestionEnd{Error: &job.Error{Code: job.CodeUnanswered, Message: "too late"}})
		second, err := store.Question(t.Context(), id, "page")
		if err != nil || second.State != job.Open || second.Callback == first.Callback {
			t.Fatalf("%+v, %v", second, err)
		}
		end(second.Callback, job.QuestionEnd{Answer: &job.Answer{Body: []byte("8")}})
		if j, err := store.WholeJob(t.Context(), "", id); err != nil || j.State != job.Succeeded || string(j.Result.Body.Inline) != "8" || runs != 2 {
			t.Errorf("%+v, %v, after %d runs", j, err, runs)
		}
	})
}
