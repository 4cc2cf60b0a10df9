package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const gatewayKey = "key-of-the-shop"

// gateway plays the API: it accepts documents, and calls back when the test says so.
type gateway struct {
	t      *testing.T
	shop   *Shop
	page   *httptest.Server // the shop's
	secret sign.Secret
	log    *bytes.Buffer

	mu     sync.Mutex
	scan   http.HandlerFunc // in place of accepting
	calls  []*http.Request
	bodies []string
	events chan client.Job // told to who follows a job, until it is closed
}

// open opens a shop that is a client of a gateway that plays along.
func open(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, secret: sign.NewSecret(), log: &bytes.Buffer{}, events: make(chan client.Job)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/secret", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, 200, client.Secret{Secret: g.secret.Reveal()})
	})
	mux.HandleFunc("POST /scan", g.takeScan)
	mux.HandleFunc("GET /v1/jobs/{id}", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, client.Job{ID: r.PathValue("id"), Status: client.StatusRunning})
	})
	mux.HandleFunc("GET /v1/jobs/{id}/events", g.tell)
	api := httptest.NewServer(mux)
	t.Cleanup(api.Close)

	g.page = httptest.NewUnstartedServer(nil)
	url := "http://" + g.page.Listener.Addr().String()
	var err error
	g.shop, err = New(t.Context(), Options{URL: url, GatewayURL: api.URL, Key: gatewayKey, Log: slog.New(slog.NewTextHandler(g.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	g.page.Config.Handler = g.shop
	g.page.Start()
	t.Cleanup(func() {
		g.page.CloseClientConnections()
		g.page.Close()
		g.shop.Close()
	})
	return g
}

func (g *gateway) takeScan(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	g.mu.Lock()
	g.calls, g.bodies = append(g.calls, r), append(g.bodies, string(body))
	scan := g.scan
	g.mu.Unlock()
	if scan != nil {
		scan(w, r)
		return
	}
	accept(w)
}

func accept(w http.ResponseWriter) {
	w.Header().Set("Location", "/v1/jobs/job_1")
	answer(w, 202, client.AcceptedJob{ID: "job_1", Operation: "scan", Status: client.StatusAccepted})
}

// tell streams what the test has to say of a job.
func (g *gateway) tell(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_ = http.NewResponseController(w).Flush()
	for {
		select {
		case job, more := <-g.events:
			if !more {
				return
			}
			text, _ := json.Marshal(job)
			fmt.Fprintf(w, "event: %s\ndata: %s\n\n", job.Status, text)
			_ = http.NewResponseController(w).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func answer(w http.ResponseWriter, status int, v any) {
	kind := "application/json"
	if status >= 400 {
		kind = "application/problem+json"
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

// instead makes the gateway answer calls otherwise.
func (g *gateway) instead(scan http.HandlerFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.scan = scan
}

// callback posts an envelope about a document, and returns the shop's status.
// data is what stands in the envelope beside job and state.
func (g *gateway) callback(secret sign.Secret, id string, document int, data string) int {
	g.t.Helper()
	body := fmt.Sprintf(`{"type":"scan.succeeded","timestamp":"2026-01-02T03:04:05.000Z","data":{"job":{"id":"job_1","status":"succeeded"},`+
		`%s,"state":"document-%d"}}`, data, document)
	req, err := http.NewRequestWithContext(g.t.Context(), "POST", g.page.URL+callbackPath, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if err := sign.Sign(req.Header, sign.Message{ID: id, Timestamp: time.Now(), Body: []byte(body)}, secret); err != nil {
		g.t.Fatal(err)
	}
	status, _ := g.do(req)
	return status
}

const (
	isClean    = `"content_type":"application/json","result":{"infected":false,"signature":null}`
	isInfected = `"content_type":"application/json","result":{"infected":true,"signature":"Eicar-Test-Signature"}`
	notScanned = `"error":{"code":"backend_unreachable","message":"the scanner gave no answer"}`
)

// do sends a request to the shop and returns what it says.
func (g *gateway) do(req *http.Request) (status int, body string) {
	g.t.Helper()
	resp, err := g.page.Client().Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// see returns the page.
func (g *gateway) see() string {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), "GET", g.page.URL+"/", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	status, body := g.do(req)
	if status != 200 {
		g.t.Fatalf("the page: %d %s", status, body)
	}
	return body
}

// formOf makes the request of a form's submission: a file, unless its name is
// empty, and fields of name and value.
func (g *gateway) formOf(file, content string, fields ...string) *http.Request {
	g.t.Helper()
	var b bytes.Buffer
	form := multipart.NewWriter(&b)
	if file != "" {
		part, err := form.CreateFormFile("document", file)
		if err != nil {
			g.t.Fatal(err)
		}
		_, _ = io.WriteString(part, content)
	}
	for i := 0; i < len(fields); i += 2 {
		_ = form.WriteField(fields[i], fields[i+1])
	}
	form.Close()
	req, err := http.NewRequestWithContext(g.t.Context(), "POST", g.page.URL+"/documents", &b)
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Content-Type", form.FormDataContentType())
	return req
}

// handIn submits the form and returns the page that follows.
func (g *gateway) handIn(file, content string, fields ...string) string {
	g.t.Helper()
	status, body := g.do(g.formOf(file, content, fields...))
	if status != 200 {
		g.t.Fatalf("hand in: %d %s", status, body)
	}
	return body
}

// kinds are those of a document's messages, in order.
func (g *gateway) kinds(document int) string {
	d, _ := g.shop.counter.look(document)
	var kinds []string
	for i, m := range d.wire {
		if m.Number != i+1 {
			g.t.Errorf("message %d has number %d", i+1, m.Number)
		}
		kinds = append(kinds, string(m.Kind))
	}
	return strings.Join(kinds, " ")
}
