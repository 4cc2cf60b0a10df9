package receiver_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// A whole receiver: the verdict of a scan arrives at /bar, once.
func Example() {
	// Usually sign.ParseSecret(os.Getenv("RINGBACK_SECRET")).
	secret := sign.NewSecret()

	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("POST /bar", callbacks.Handler(func(_ context.Context, m receiver.Message) error {
		callback, err := m.Envelope()
		if err != nil {
			return err
		}
		result, err := callback.Data.Bytes()
		fmt.Printf("%s of %s: %s\n", callback.Type, callback.Data.Job.ID, result)
		return err
	}))

	server := httptest.NewServer(mux)
	defer server.Close()
	fmt.Println(deliver(server.URL+"/bar", secret))
	fmt.Println(deliver(server.URL+"/bar", secret)) // the sender did not hear the first answer
	fmt.Println(deliver(server.URL+"/bar", sign.NewSecret()))
	// Output:
	// scan.succeeded of job_1: {"infected":false}
	// 200 OK
	// 200 OK
	// 403 Forbidden
}

// deliver does what the gateway does.
func deliver(url string, secret sign.Secret) string {
	body := []byte(`{"type":"scan.succeeded","timestamp":"2026-01-02T03:04:05Z",` +
		`"data":{"job":{"id":"job_1"},"content_type":"application/json","result":{"infected":false}}}`)
	request, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err.Error()
	}
	message := sign.Message{ID: "cb_1", Timestamp: time.Now(), Body: body}
	if err := sign.Sign(request.Header, message, secret); err != nil {
		return err.Error()
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = answer.Body.Close() }()
	return answer.Status
}
