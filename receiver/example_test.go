package receiver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/receiver/receivertest"
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

// A backend may ask in the middle of its work: what a callback of type "….ask" is
// answered with goes back to it. A repeated question gets the same answer.
func ExampleReceiver_Middleware() {
	secret := sign.NewSecret()
	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := callbacks.Middleware(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m, _ := receiver.FromContext(r.Context())
		callback, err := m.Envelope()
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Printf("asked %s\n", callback.Data.Question)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]bool{"approved": true})
	}))

	server := httptest.NewServer(handler)
	defer server.Close()
	request := receivertest.Callback{URL: server.URL, Envelope: receiver.Envelope{
		Type: "order.ask", Data: receiver.Data{Question: json.RawMessage(`{"approve":7}`)},
	}}.Request(secret)
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer answer.Body.Close()
	_, _ = io.Copy(os.Stdout, answer.Body)
	// Output:
	// asked {"approve":7}
	// {"approved":true}
}

// deliver does what the gateway does.
func deliver(url string, secret sign.Secret) string {
	answer, err := http.DefaultClient.Do(receivertest.Callback{URL: url, ID: "cb_1", Envelope: receiver.Envelope{
		Data: receiver.Data{
			Job:    receiver.Job{ID: "job_1", Operation: "scan"},
			Result: json.RawMessage(`{"infected":false}`),
		},
	}}.Request(secret))
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	return answer.Status
}
