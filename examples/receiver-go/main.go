// Command receiver-go is called back: it verifies each callback and handles it once.
//
//	RINGBACK_SECRET=whsec_… go run ./examples/receiver-go
//
// RINGBACK_SECRET is the secret of the endpoint, or the app's; ADDR where to listen.
package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/ringback/ringback/receiver"
	"github.com/ringback/ringback/sign"
)

func main() {
	fmt.Fprintln(os.Stderr, run())
	os.Exit(1)
}

// run serves until that fails.
func run() error {
	secret, err := sign.ParseSecret(os.Getenv("RINGBACK_SECRET"))
	if err != nil {
		return err
	}
	callbacks, err := receiver.New(receiver.Options{Secrets: []sign.Secret{secret}})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("POST /bar", callbacks.Handler(handle))

	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:9999"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s/bar\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadTimeout: time.Minute}
	return server.Serve(listener)
}

// handle is called once for each callback; an error makes the gateway repeat it.
func handle(_ context.Context, m receiver.Message) error {
	callback, err := m.Envelope()
	if err != nil {
		return err
	}
	fmt.Println(callback.Type, callback.Data.Job.ID, string(callback.Data.Result))
	return nil
}
