package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// countedBodies know how many bodies there are.
type countedBodies struct {
	body.Storage
	mu   sync.Mutex
	kept map[string]bool
}

func (s *countedBodies) Put(ctx context.Context, r io.Reader, limit int64) (string, int64, error) {
	ref, size, err := s.Storage.Put(ctx, r, limit)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.kept[ref] = true
	}
	return ref, size, err
}

func (s *countedBodies) Delete(ref string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, ref)
	return s.Storage.Delete(ref)
}

func (s *countedBodies) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.kept)
}

// countBodies puts a count between the gateway and its bodies.
func countBodies(o *Options) *countedBodies {
	counted := &countedBodies{Storage: o.Bodies, kept: map[string]bool{}}
	o.Bodies = counted
	return counted
}

func TestLargeBodyIsAFileAndIsDeletedWithARefusedCall(t *testing.T) {
	t.Parallel()
	store := &hookedStore{}
	var bodies *countedBodies
	g := setup(t, func(o *Options) { store.Store, o.Store, bodies = o.Store, store, countBodies(o) })
	key := g.app("shop")
	document := strings.Repeat("a", body.MaxInlineBytes+1)
	j := g.stored(g.call("POST", "/scan", key, document))
	if b := j.Request.Body; b.Ref == "" || b.Inline != nil || b.Size != int64(len(document)) {
		t.Errorf("the body is kept as %q, %d inline, size %d", b.Ref, len(b.Inline), b.Size)
	}
	store.err = fmt.Errorf("accept: %w", job.ErrUnavailable)
	a := g.call("POST", "/scan", key, document)
	a.want(t, http.StatusServiceUnavailable, "unavailable")
	if a.header.Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	store.err = errors.New("secret inside")
	a = g.call("POST", "/scan", key, document)
	a.want(t, http.StatusInternalServerError, "internal")
	if strings.Contains(a.body, "secret") || !strings.Contains(g.log.String(), "secret inside") {
		t.Errorf("the cause belongs into the log alone: %s", a.body)
	}
	store.err = nil
	g.call("POST", "/scan", key, document, "Idempotency-Key", "k").want(t, http.StatusAccepted, "")
	for _, store.unaware = range []bool{false, true} {
		g.call("POST", "/scan", key, document, "Idempotency-Key", "k").want(t, http.StatusAccepted, "")
		g.call("POST", "/scan", key, document+"b", "Idempotency-Key", "k").want(t, http.StatusUnprocessableEntity, "idempotency_key_reused")
	}
	if n := bodies.count(); n != 2 {
		t.Errorf("%d files, want those of the two jobs", n)
	}
}

func TestBodyAboveTheLimitIsRefused(t *testing.T) {
	t.Parallel()
	var bodies *countedBodies
	g := setup(t, func(o *Options) { o.Operations[0].MaxBodyBytes, bodies = 100_000, countBodies(o) })
	key := g.app("shop")
	g.call("POST", "/scan", key, strings.Repeat("a", 100_000)).want(t, http.StatusAccepted, "")
	g.call("POST", "/scan", key, strings.Repeat("a", 100_001)).want(t, http.StatusRequestEntityTooLarge, "body_too_large")
	head := "POST /scan HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key + "\r\n"
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 60_000, strings.Repeat("a", 60_000))
	if a := g.raw(head + "Transfer-Encoding: chunked\r\n\r\n" + chunk + chunk); !strings.HasPrefix(a, "HTTP/1.1 413 ") {
		t.Errorf("in chunks: %.60q", a)
	}
	if a := g.raw(head + "Expect: 100-continue\r\nContent-Length: 1073741824\r\n\r\n"); !strings.HasPrefix(a, "HTTP/1.1 413 ") {
		t.Errorf("with Expect: %.60q", a)
	}
	if n := bodies.count(); n != 1 || g.jobs() != 1 {
		t.Errorf("%d files, %d jobs, want 1 and 1", n, g.jobs())
	}
}

func TestStrangersBodyIsNotRead(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	for _, head := range []string{
		"POST /scan HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
		"POST /scan HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 1000\r\n\r\n",
	} {
		if a := g.raw(head); !strings.HasPrefix(a, "HTTP/1.1 401 ") {
			t.Errorf("%q is answered %.60q", head, a)
		}
	}
}

func TestRefusalDoesNotWaitLongForTheBody(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	for _, path := range []string{"/scan", "/nosuch"} {
		conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(5 * leaveTimeout)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nabc", path)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		resp.Body.Close()
	}
}

func TestHalfABodyIsNoJob(t *testing.T) {
	t.Parallel()
	var bodies *countedBodies
	g := setup(t, func(o *Options) { o.BodyIdleTimeout, bodies = 100*time.Millisecond, countBodies(o) })
	key := g.app("shop")
	head := "POST /scan HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + key + "\r\n"
	for _, test := range []struct{ name, request, want string }{
		{"stalled", head + "Content-Length: 1000\r\n\r\nabc", "HTTP/1.1 408 "},
		{"stalled after the first part", head + "Content-Length: 100000\r\n\r\n" + strings.Repeat("a", 70_000), "HTTP/1.1 408 "},
		{"bad chunk", head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", "HTTP/1.1 400 "},
		{"no last chunk", head + "Transfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "HTTP/1.1 408 "},
	} {
		if a := g.raw(test.request); !strings.HasPrefix(a, test.want) {
			t.Errorf("%s: %.60q, want %s", test.name, a, test.want)
		}
	}
	if n := bodies.count(); n != 0 || g.jobs() != 0 {
		t.Errorf("%d files, %d jobs, want none", n, g.jobs())
	}
}

func TestTricklingBodyEnds(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.BodyIdleTimeout = 200 * time.Millisecond })
	key := g.app("shop")
	conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /scan HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Length: 1000\r\n\r\n", key)
	ended := make(chan error, 1)
	go func() {
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		ended <- err
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case err := <-ended:
			if err != nil || g.jobs() != 0 {
				t.Errorf("%v, %d jobs", err, g.jobs())
			}
			return
		case <-tick.C:
			if _, err := conn.Write([]byte("a")); n == 500 {
				t.Fatal("ten seconds at 50 octets a second were put up with", err)
			}
		}
	}
}

func TestSlowBodyThatMakesProgressIsTaken(t *testing.T) {
	t.Parallel()
	g := setup(t, func(o *Options) { o.BodyIdleTimeout = 400 * time.Millisecond })
	key := g.app("shop")
	r, w := io.Pipe()
	go func() {
		for range 10 { // a second in all, and each part in time
			timer := time.NewTimer(100 * time.Millisecond)
			<-timer.C
			w.Write(bytes.Repeat([]byte("a"), 2*progressBytes))
		}
		w.Close()
	}()
	req, err := http.NewRequestWithContext(t.Context(), "POST", g.server.URL+"/scan", r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	resp, err := g.server.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusAccepted {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestBodyIsAskedForWhenTheHeadIsInOrder(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key := g.app("shop")
	conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /scan HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", key)
	r := bufio.NewReader(conn)
	for _, want := range []int{http.StatusContinue, http.StatusAccepted} {
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != want {
			t.Fatalf("%v, %v, want %d", resp, err, want)
		}
		resp.Body.Close()
		if want == http.StatusContinue {
			fmt.Fprint(conn, "{}")
		}
	}
}
