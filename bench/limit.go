package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// limitCommand is the argument that makes this program be the limit.
const limitCommand = "limit"

// runLimit is the limit that Ringback is measured against: the least that anyone
// could do for the same job. It keeps nothing on disk, signs nothing, tries once,
// and knows one operation. With an upstream it makes that call too.
//
// It changes only with a reason in the log: all shares are relative to it.
func runLimit(upstream string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	return http.Serve(listener, newLimit(upstream))
}

func newLimit(upstream string) http.Handler {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}, Timeout: 15 * time.Second}
	post := func(url string, body []byte) []byte {
		resp, err := client.Post(url, "application/json", bytes.NewReader(body))
		if err != nil {
			return nil
		}
		defer resp.Body.Close()
		// What is lost here is missed by the receiver, which counts.
		answer, _ := io.ReadAll(resp.Body)
		return answer
	}
	type work struct {
		id, url string
		body    []byte
	}
	queue := make(chan work, 1024)
	for range 256 {
		go func() {
			for w := range queue {
				if upstream != "" {
					w.body = post(upstream, w.body)
				}
				message, _ := json.Marshal(map[string]any{"type": "relay.succeeded", "timestamp": time.Now(), "data": map[string]any{
					"job": map[string]any{"id": w.id, "operation": "relay", "status": "succeeded"}, "result": json.RawMessage(w.body)}})
				post(w.url, message)
			}
		}()
	}
	var ids atomic.Int64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		id := fmt.Sprint("job_", ids.Add(1))
		queue <- work{id: id, url: r.URL.Query().Get("callbackURL"), body: body}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusAccepted)
		// A client that is gone shows in its own count.
		_ = json.NewEncoder(w).Encode(map[string]string{"id": id, "status": "accepted"})
	})
}
