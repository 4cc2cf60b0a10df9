// Command receiver-go-standardwebhooks is called back, and verifies with the official
// Standard Webhooks library, which any language has:
//
//	RINGBACK_SECRET=whsec_… go run ./examples/receiver-go-standardwebhooks
//
// RINGBACK_SECRET is the secret of the endpoint, or the app's; ADDR where to listen.
package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

const maxBodyBytes = 4 << 20

func main() {
	fmt.Fprintln(os.Stderr, run())
	os.Exit(1)
}

// run serves until that fails.
func run() error {
	webhook, err := standardwebhooks.NewWebhook(os.Getenv("RINGBACK_SECRET"))
	if err != nil {
		return fmt.Errorf("RINGBACK_SECRET: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("POST /bar", &receiver{webhook: webhook, handled: map[string]bool{}})

	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:9999"))
	if err != nil {
		return err
	}
	fmt.Printf("listening on http://%s/bar\n", listener.Addr())
	server := &http.Server{Handler: mux, ReadTimeout: time.Minute}
	return server.Serve(listener)
}

type receiver struct {
	webhook *standardwebhooks.Webhook

	mu sync.Mutex
	// handled would be a table, written in the transaction that does the work.
	handled map[string]bool
}

func (rc *receiver) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBodyBytes))
	if err != nil {
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	}
	if len(body) == 0 {
		http.Error(w, "there is no body, and v1 signs nothing else", http.StatusForbidden)
		return
	}
	// The bytes as they came: JSON that was parsed and written again is another body.
	if err := rc.webhook.Verify(body, r.Header); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	rc.mu.Lock()
	defer rc.mu.Unlock()
	id := r.Header.Get("webhook-id")
	if rc.handled[id] {
		return // 200: the gateway did not hear the first answer
	}
	if err := handle(body); err != nil {
		http.Error(w, "not handled", http.StatusInternalServerError) // it will be repeated
		return
	}
	rc.handled[id] = true
}

func handle(body []byte) error {
	var callback struct {
		Type string
		Data struct {
			Job    struct{ ID string }
			Result json.RawMessage
		}
	}
	if err := json.Unmarshal(body, &callback); err != nil {
		return err
	}
	fmt.Println(callback.Type, callback.Data.Job.ID, string(callback.Data.Result))
	return nil
}
