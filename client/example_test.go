package client_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/gatewaytest"
	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

// example hands a client of a running gateway to do, and prints do's error.
func example(do func(ctx context.Context, shop *client.Client) error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	gateway, err := gatewaytest.Start(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer gateway.Close()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	shop, err := client.New(gateway.URL, gateway.Key, client.Options{Transport: transport})
	if err == nil {
		err = do(ctx, shop)
	}
	if err != nil {
		fmt.Println(err)
	}
}

// Call an operation, wait for the end of its job, and read the result.
func Example() {
	example(func(ctx context.Context, shop *client.Client) error {
		answer, err := shop.Call(ctx, client.Call{Path: "/scan", Body: strings.NewReader("a letter"), ContentType: "text/plain"})
		if err != nil {
			return err
		}
		job, err := shop.WaitJob(ctx, answer.Job.ID)
		if err != nil {
			return err
		}
		result, err := shop.Result(ctx, job.ID)
		if err != nil {
			return err
		}
		defer result.Body.Close()
		verdict, err := io.ReadAll(result.Body)
		fmt.Printf("%s %s: %s\n", job.Operation, job.Status, verdict)
		return err
	})
	// Output:
	// scan succeeded: {"infected":false}
}

// A result that is there in time is the answer to the call.
func ExampleClient_Call() {
	example(func(ctx context.Context, shop *client.Client) error {
		answer, err := shop.Call(ctx, client.Call{Path: "/scan", Body: strings.NewReader("a virus"), Wait: 30 * time.Second})
		if err != nil || answer.Result == nil {
			return err
		}
		defer answer.Result.Body.Close()
		verdict, err := io.ReadAll(answer.Result.Body)
		fmt.Printf("%s\n", verdict)
		return err
	})
	// Output:
	// {"infected":true}
}

// Follow a job as it changes; a broken stream is taken up again where it broke.
func ExampleClient_Events() {
	example(func(ctx context.Context, shop *client.Client) error {
		answer, err := shop.Call(ctx, client.Call{Path: "/notify", Body: strings.NewReader("hello")})
		if err != nil {
			return err
		}
		var job client.Job
		for event, err := range shop.Events(ctx, answer.Job.ID) {
			if err != nil {
				return err
			}
			job = event.Job
		}
		fmt.Println(job.Status)
		return nil
	})
	// Output:
	// succeeded
}

// List jobs, newest first, page by page as they are needed.
func ExampleClient_Jobs() {
	example(func(ctx context.Context, shop *client.Client) error {
		for _, path := range []string{"/notify", "/scan", "/notify"} {
			if _, err := shop.Call(ctx, client.Call{Path: path, Wait: 30 * time.Second}); err != nil {
				return err
			}
		}
		for job, err := range shop.Jobs(ctx, client.JobQuery{Status: client.StatusSucceeded}) {
			if err != nil {
				return err
			}
			fmt.Println(job.Operation)
		}
		return nil
	})
	// Output:
	// notify
	// scan
	// notify
}

// Register a callback URL, verify what is sent there, and have it sent again.
func ExampleClient_CreateEndpoint() {
	example(func(ctx context.Context, shop *client.Client) error {
		mux := http.NewServeMux()
		server := httptest.NewServer(mux)
		defer server.Close()
		if _, err := shop.CreateEndpoint(ctx, client.EndpointCreate{Name: "shop", URL: server.URL + "/bar", Default: true}); err != nil {
			return err
		}
		text, err := shop.Secret(ctx, "shop")
		if err != nil {
			return err
		}
		secret, err := sign.ParseSecret(text.Secret)
		if err != nil {
			return err
		}
		callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
		if err != nil {
			return err
		}
		mux.Handle("POST /bar", callbacks.Handler(func(_ context.Context, m receiver.Message) error {
			fmt.Println("called back:", m.Type)
			return nil
		}))

		answer, err := shop.Call(ctx, client.Call{Path: "/scan", Body: strings.NewReader("a letter")})
		if err != nil {
			return err
		}
		for _, err := range shop.Events(ctx, answer.Job.ID) { // until the callback is delivered, too
			if err != nil {
				return err
			}
		}
		for callback, err := range shop.Callbacks(ctx, client.CallbackQuery{JobID: answer.Job.ID}) {
			if err != nil {
				return err
			}
			fmt.Println(callback.Endpoint, callback.Status, callback.LastStatus)
			again, err := shop.Resend(ctx, callback.ID) // the receiver knows it already
			if err != nil {
				return err
			}
			fmt.Println(again.Status)
		}
		return nil
	})
	// Output:
	// called back: scan.succeeded
	// shop delivered 200
	// pending
}

// An error of the gateway says what to do about it.
func ExampleProblem() {
	example(func(ctx context.Context, shop *client.Client) error {
		_, err := shop.Call(ctx, client.Call{Path: "/scan", CallbackURL: "ftp://my.server/bar"})
		problem, ok := errors.AsType[*client.Problem](err)
		if !ok {
			return err // a *Problem is what the gateway answers; this is something else
		}
		fmt.Println(problem.Status, problem.Code)
		fmt.Println(problem.Title)
		return nil
	})
	// Output:
	// 400 callback_url_invalid
	// The callback URL is not a usable URL
}
