package receivertest_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/receiver/receivertest"
	"github.com/ringback/ringback/sign"
)

// A handler gets what a gateway would send it.
func Example() {
	secret := sign.NewSecret()
	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
	if err != nil {
		fmt.Println(err)
		return
	}
	shop := callbacks.Handler(func(_ context.Context, m receiver.Message) error {
		callback, err := m.Envelope()
		fmt.Printf("%s: %s\n", callback.Type, callback.Data.Result)
		return err
	})

	verdict := receivertest.Callback{Envelope: receiver.Envelope{Data: receiver.Data{
		Job:    receiver.Job{Operation: "scan"},
		Result: json.RawMessage(`{"infected":true}`),
	}}}
	answer := httptest.NewRecorder()
	shop.ServeHTTP(answer, verdict.Request(secret))
	fmt.Println(answer.Code)
	// Output:
	// scan.succeeded: {"infected":true}
	// 200
}
