package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
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

func (s *instantStore) AppOfKey(context.Context, [32]byte) (job.App, error) {
	return job.App{Name: "shop"}, nil
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

// BenchmarkAccept is a call from route to 202 without connection and store.
func BenchmarkAccept(b *testing.B) {
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
