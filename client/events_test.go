package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ringback/ringback/client"
)

func event(id, name, data string) string {
	return fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", id, name, data)
}

// follow collects the events of a job, each as "id name status".
func follow(t *testing.T, c *client.Client) (got []string, err error) {
	t.Helper()
	for e, err := range c.Events(t.Context(), "job_1") {
		if err != nil {
			return got, err
		}
		got = append(got, e.ID+" "+e.Name+" "+e.Job.Status)
	}
	return got, nil
}

func TestEventsGoOnAfterTheLastOneWhereAStreamBroke(t *testing.T) {
	t.Parallel()
	const running = `{"status":"running"}`
	const pending = `{"status":"failed","callbacks":[{"id":"cb_1","status":"pending"}]}`
	const settled = `{"status":"failed","callbacks":[{"id":"cb_1","status":"dead"}]}`
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c := newClient(t, "http://gateway", roundTripper(func(r *http.Request) (int, string, error) {
			asked = append(asked, r.Header.Get("Last-Event-ID"))
			switch len(asked) {
			case 1:
				return 200, "retry: 3000\n\n" + event("1", "running", running) + event("x", "failed", pending)[:15], nil
			case 2:
				return 0, "", errors.New("connection refused")
			case 3:
				return 503, "", nil
			case 4:
				return 200, event("2", "failed", pending), nil
			case 5:
				return 200, "", nil // nothing has changed
			default:
				return 200, event("3", "callback", settled), nil
			}
		}))
		start := time.Now()
		got, err := follow(t, c)
		if err != nil || strings.Join(got, ", ") != "1 running running, 2 failed failed, 3 callback failed" {
			t.Errorf("got %q, %v", got, err)
		}
		if strings.Join(asked, ",") != ",1,1,1,2,2" {
			t.Errorf("asked after %q", asked)
		}
		if waited := time.Since(start); waited != 5*3*time.Second {
			t.Errorf("waited %v, want the 3 s that the stream asked for each time", waited)
		}
	})
}

func TestEventsEndWhereTheGatewaySaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		c := newClient(t, "http://gateway", roundTripper(func(*http.Request) (int, string, error) {
			if asked++; asked == 2 {
				return http.StatusNoContent, "", nil
			}
			return 200, event("1", "running", `{"status":"running"}`), nil
		}))
		if got, err := follow(t, c); len(got) != 1 || err != nil || asked != 2 {
			t.Errorf("got %q, %v after %d questions", got, err, asked)
		}
	})
}

func TestEventsEndWhereTheReaderHasEnough(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	c := setup(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, event("1", "running", `{"status":"running"}`))
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		<-r.Context().Done()
		close(closed)
	})
	for _, err := range c.Events(t.Context(), "job_1") {
		if err != nil {
			t.Fatal(err)
		}
		break
	}
	<-closed
}

func TestEventsTellWhyThereAreNone(t *testing.T) {
	t.Parallel()
	for name, h := range map[string]http.HandlerFunc{
		"invalid character":    func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "text/event-stream", "data: x\n\n") },
		"404 Not Found":        func(w http.ResponseWriter, _ *http.Request) { answer(w, 404, "text/plain", "") },
		"events were expected": func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "text/html", "") },
		"token too long": func(w http.ResponseWriter, _ *http.Request) {
			answer(w, 200, "text/event-stream", "data: "+strings.Repeat("x", 2<<20))
		},
		"503 Service Unavailable": func(w http.ResponseWriter, _ *http.Request) { answer(w, 503, "text/plain", "") },
	} {
		if got, err := follow(t, setup(t, h)); err == nil || len(got) > 0 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestEventsAreReadInEverySpelling(t *testing.T) {
	t.Parallel()
	for stream, want := range map[string]string{
		"data: 1\n\n":                                 ` 1`,
		"\ufeffdata:1\r\n\r\n":                        ` 1`,
		"data:1\r\rdata:2\r\r":                        ` 1| 2`,
		"data: [1,\ndata: 2]\n\n":                     " [1,\n2]",
		"event: job\nid: 7\ndata: {}\n\ndata: {}\n\n": `7job {}|7 {}`,
		": comment\nnonsense\nevent: job\n\n":         ``,
		"data: not json\n\n":                          ` not json`,
		"data\n\n":                                    ` `,
		"id: a\x00b\ndata: 1\n\n":                     ` 1`,
		"data: 1":                                     ``,
		"data: 1\n":                                   ``,
	} {
		var got []string
		for e := range client.ReadEvents(strings.NewReader(stream)) {
			got = append(got, e[0]+e[1]+" "+e[2])
		}
		if text := strings.Join(got, "|"); text != want {
			t.Errorf("%q is read as %q, want %q", stream, text, want)
		}
	}
}

// bytewise hands out one byte at a time.
type bytewise struct{ r io.Reader }

func (b bytewise) Read(p []byte) (int, error) { return b.r.Read(p[:min(1, len(p))]) }

func FuzzReadEvents(f *testing.F) {
	f.Add("id: 1\r\nevent: job\rdata: {}\ndata: x\n\nretry: 5\n\n")
	f.Add("\ufeff:\r\n\rdata\n\n")
	f.Fuzz(func(t *testing.T, stream string) {
		read := func(r io.Reader) string {
			var b strings.Builder
			for e := range client.ReadEvents(r) {
				if strings.ContainsAny(e[0]+e[1], "\r\n") {
					t.Fatalf("%q: a field of %q holds a line end", stream, e)
				}
				fmt.Fprintf(&b, "%q\n", e)
			}
			return b.String()
		}
		if whole, pieces := read(strings.NewReader(stream)), read(bytewise{strings.NewReader(stream)}); whole != pieces {
			t.Fatalf("%q is read as %q whole and as %q in pieces", stream, whole, pieces)
		}
	})
}
