package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/seal"
	"github.com/ringback/ringback/job"
)

// instantStore accepts whatever comes, and keeps nothing.
type instantStore struct {
	job.Store
	ids job.IDs
}

func (s *instantStore) NewID(now time.Time) job.ID { return s.ids.New(now) }

func (s *instantStore) AppOfKey(context.Context, [32]byte) (job.App, job.Key, error) {
	return job.App{Name: "shop"}, job.Key{Scopes: job.AllScopes}, nil
}

func (s *instantStore) Accept(_ context.Context, in job.Acceptance) (job.Receipt, error) {
	return job.Receipt{ID: in.Job.ID}, nil
}

// flatWriter is a connection's writer without the connection.
type flatWriter struct {
	header http.Header
	status int
}

func (w *flatWriter) Header() http.Header             { return w.header }
func (w *flatWriter) WriteHeader(status int)          { w.status = status }
func (w *flatWriter) Write(b []byte) (int, error)     { return len(b), nil }
func (w *flatWriter) SetReadDeadline(time.Time) error { return nil }

// benchAPI is an API without a store worth the name.
func benchAPI(b *testing.B) *API {
	b.Helper()
	sealer, err := seal.New(make([]byte, seal.KeyBytes))
	if err != nil {
		b.Fatal(err)
	}
	scan := job.Operation{Name: "scan", Route: "POST /scan"}.WithDefaults()
	a, err := New(Options{
		Store: &instantStore{}, Seal: sealer, Slots: noSlots{}, Operations: []job.Operation{scan}, Now: time.Now, Log: slog.New(slog.DiscardHandler),
		CheckURL: func(url string) error {
			if url != "https://my.server/bar" {
				return errors.New("another URL")
			}
			return nil
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	return a
}

// BenchmarkAccept is a call from route to 202 without connection and store.
func BenchmarkAccept(b *testing.B) {
	a := benchAPI(b)
	r, err := http.NewRequest("POST", "/scan?callbackURL=https%3A%2F%2Fmy.server%2Fbar", nil)
	if err != nil {
		b.Fatal(err)
	}
	r.RequestURI = r.URL.RequestURI()
	r.Header = http.Header{
		"Authorization": {"Bearer " + NewKey()}, "Content-Type": {"application/json"}, "User-Agent": {"bench"}, "Accept": {"*/*"},
	}
	document := bytes.Repeat([]byte("x"), 500)
	body := bytes.NewReader(document)
	w := &flatWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(document)
		r.Body, r.ContentLength = io.NopCloser(body), int64(len(document))
		clear(w.header)
		if a.ServeHTTP(w, r); w.status != http.StatusAccepted {
			b.Fatal(w.status)
		}
	}
}

// BenchmarkAcceptOverTCP is the same over a connection, with a client that costs
// next to nothing.
func BenchmarkAcceptOverTCP(b *testing.B) {
	server := httptest.NewServer(benchAPI(b))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	request := fmt.Appendf(nil, "POST /scan?callbackURL=https%%3A%%2F%%2Fmy.server%%2Fbar HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n%s", NewKey(), bytes.Repeat([]byte("x"), 500))
	answer := make([]byte, 4<<10)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := conn.Read(answer); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 202 ")) {
			b.Fatalf("%.20q, %v", answer, err)
		}
	}
}
