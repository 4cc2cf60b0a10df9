package outbound

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

var benchHeader = http.Header{
	"Content-Type":      {"application/json"},
	"Webhook-Id":        {"cb_01973c2a5f0e7c3d9a4b5c6d7e8f9a0b"},
	"Webhook-Timestamp": {"1700000000"},
	"Webhook-Signature": {"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
}

// benchReceiver costs as little as a receiver can, so that what is measured is
// the client: it finds the end of each request and answers.
func benchReceiver(b *testing.B, body []byte) string {
	b.Helper()
	r := listen(b, func(c net.Conn, _ int) {
		in := bufio.NewReader(c)
		for {
			line, err := in.ReadSlice('\n')
			if err != nil {
				return
			}
			if len(line) > 2 {
				continue
			}
			if _, err := in.Discard(len(body)); err != nil {
				return
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 17:13:39 GMT\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"); err != nil {
				return
			}
		}
	})
	return r.url
}

// BenchmarkDo compares a callback of 500 octets with the same one through
// net/http's client, 64 at a time.
func BenchmarkDo(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 500)
	b.Run("outbound", func(b *testing.B) {
		c := devClient(b, Limits{})
		to := target(b, c, benchReceiver(b, body))
		run(b, func(ctx context.Context) error {
			_, err := c.Do(ctx, &Request{Target: to, Header: benchHeader, Body: body, Timeout: testTimeout})
			return err
		})
	})
	b.Run("net-http", func(b *testing.B) {
		transport := &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}
		b.Cleanup(transport.CloseIdleConnections)
		client := &http.Client{Transport: transport}
		url := benchReceiver(b, body)
		run(b, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, testTimeout)
			defer cancel()
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
			if err != nil {
				return err
			}
			request.Header = benchHeader
			answer, err := client.Do(request)
			if err != nil {
				return err
			}
			defer answer.Body.Close()
			_, err = io.ReadAll(answer.Body)
			return err
		})
	})
}

func run(b *testing.B, call func(context.Context) error) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	b.SetParallelism(32)
	start := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := call(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(start).Seconds(), "calls/s")
}
