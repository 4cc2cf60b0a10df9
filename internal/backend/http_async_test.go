package backend

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ringback/ringback/job"
)

func TestAPollDoesNotKeepItsSlotForAnAnswerThatDoesNotBegin(t *testing.T) {
	t.Parallel()
	begun, end := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/silent" {
			select {
			case <-r.Context().Done():
			case <-end:
			}
			return
		}
		io.WriteString(w, "begun, ")
		http.NewResponseController(w).Flush()
		close(begun)
		<-end
		io.WriteString(w, "and whole")
	}))
	defer server.Close()
	h, err := NewHTTP(HTTPConfig{URL: server.URL + "/work", Async: asyncPoll})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.pollTimeout = 200 * time.Millisecond
	_, err = h.Poll(t.Context(), newRun(t, nil), &job.Wait{Location: "/silent"})
	if f, ok := errors.AsType[*Failure](err); !ok || f.Code != job.CodeUnreachable || f.Final {
		t.Errorf("silent: %v", err)
	}
	run := newRun(t, nil)
	go func() {
		<-begun
		close(end)
	}()
	result, err := h.Poll(t.Context(), run, &job.Wait{Location: "/slow"})
	if err != nil || string(result.Body.Inline) != "begun, and whole" {
		t.Errorf("slow: %+v, %v", result, err)
	}
}
