package demo

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/ringback/ringback/internal/clamd"
)

//go:embed assets
var assets embed.FS

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"bytes": bytesText,
}).ParseFS(templateFiles, "templates/*.html"))

// page is what the templates show.
type page struct {
	ShopHost    string
	GatewayURL  string
	GatewayHost string
	MaxBytes    int64
	Samples     []clamd.Sample
	Documents   []shownDocument
	Selected    *shownDocument // nil: there is none yet
}

// shownDocument is a document as the page shows it.
type shownDocument struct {
	Number   int
	Name     string
	Size     int64
	Status   status
	Remark   string
	Hint     string
	JobID    string
	Selected bool
	Revision string
	Messages []shownMessage
	Wait     *wait // nil: nothing is awaited
}

type shownMessage struct {
	message
	Elapsed string // since the first message
}

// wait is what is awaited.
type wait struct {
	ForVerdict bool   // else for the next attempt of the callback
	Trouble    string // why the last scan failed
	DueMS      int64  // when the next attempt comes, in Unix milliseconds; 0: not known
	DueIn      string // the same, as it stands now
}

// Pending tells whether the page will change by itself.
func (d shownDocument) Pending() bool { return d.Status == sending || d.Status == processing }

// Sentence is what a screen reader says of the document.
func (d shownDocument) Sentence() string {
	words := map[status]string{sending: "is being sent", processing: "is being scanned: processing", clean: "is clean", infected: "is infected",
		failed: "could not be scanned", refused: "was refused"}[d.Status]
	if d.Remark != "" {
		words += ": " + d.Remark
	}
	if d.Wait != nil && d.Wait.DueMS > 0 {
		words += "; the callback failed and will be repeated"
	}
	return d.Name + " " + words + "."
}

// look puts a page together, with the document of that number, else the latest.
// changed is closed when it is out of date.
func (s *Shop) look(number int) (p page, changed <-chan struct{}) {
	documents, changed := s.counter.latest()
	p = page{ShopHost: hostOf(s.opt.URL), GatewayURL: s.opt.GatewayURL, GatewayHost: hostOf(s.opt.GatewayURL), MaxBytes: MaxDocumentBytes, Samples: clamd.Samples()}
	selected := 0
	for i, d := range documents {
		if d.number == number {
			selected = i
		}
	}
	now := time.Now()
	for i, d := range documents {
		shown := shownDocument{Number: d.number, Name: d.name, Size: d.size, Status: d.status, Remark: d.remark, Hint: d.hint,
			JobID: d.jobID, Selected: i == selected, Revision: fmt.Sprintf("%d-%t", d.revision, i == selected)}
		if shown.Selected {
			shown.Messages, shown.Wait = shownMessages(d.wire), waitOf(d, now)
			p.Selected = &shown
		}
		p.Documents = append(p.Documents, shown)
	}
	return p, changed
}

func shownMessages(wire []message) []shownMessage {
	shown := make([]shownMessage, len(wire))
	for i, m := range wire {
		shown[i] = shownMessage{message: m, Elapsed: elapsedText(m.At.Sub(wire[0].At))}
	}
	return shown
}

func waitOf(d document, now time.Time) *wait {
	if d.status != processing || len(d.wire) == 0 {
		return nil
	}
	w := &wait{ForVerdict: d.attempts == 0, Trouble: d.trouble}
	if d.attempts > 0 && !d.next.IsZero() {
		w.DueMS, w.DueIn = d.next.UnixMilli(), dueText(d.next.Sub(now))
	}
	return w
}

// servePage serves the page.
func (s *Shop) servePage(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.FormValue("document"))
	p, _ := s.look(number)
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, "page.html", p); err != nil {
		s.opt.Log.Error("write the page", "error", err)
		http.Error(w, "The page could not be written.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	// A customer who is gone needs no page.
	_, _ = b.WriteTo(w)
}

// keepAlive is how often a quiet event stream says that it is there.
const keepAlive = 15 * time.Second

// serveEvents sends the parts of the page that change, whenever they do. It ends
// with the request's context.
func (s *Shop) serveEvents(w http.ResponseWriter, r *http.Request) {
	number, _ := strconv.Atoi(r.FormValue("document"))
	w.Header().Set("Content-Type", "text/event-stream")
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		p, changed := s.look(number)
		event, err := p.event()
		if err != nil {
			s.opt.Log.Error("write an event", "error", err)
			return
		}
		if _, err := fmt.Fprintf(w, "data: %s\n\n", event); err != nil {
			return
		}
		if err := http.NewResponseController(w).Flush(); err != nil {
			return
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-r.Context().Done():
			return
		}
	}
}

// event is the parts of the page that change, as one line of JSON.
func (p page) event() ([]byte, error) {
	var parts struct {
		Documents string `json:"documents"`
		Wire      string `json:"wire"`
		Sentence  string `json:"sentence"`
	}
	for name, part := range map[string]*string{"documents": &parts.Documents, "wire": &parts.Wire} {
		var b strings.Builder
		if err := templates.ExecuteTemplate(&b, name, p); err != nil {
			return nil, err
		}
		*part = b.String()
	}
	if p.Selected != nil {
		parts.Sentence = p.Selected.Sentence()
	}
	return json.Marshal(parts)
}

// hostOf is an origin without its scheme.
func hostOf(origin string) string {
	_, host, _ := strings.Cut(origin, "://")
	return host
}

func bytesText(n int64) string {
	switch {
	case n == 1:
		return "1 byte"
	case n < 1000:
		return fmt.Sprintf("%d bytes", n)
	case n < 1000*1000:
		return decimal(float64(n)/1000) + " kB"
	}
	return decimal(float64(n)/1000/1000) + " MB"
}

// decimal has a digit behind the point, unless that is 0.
func decimal(f float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", f), ".0") }

func elapsedText(d time.Duration) string {
	switch {
	case d <= 0:
		return "0 ms"
	case d < time.Second:
		return fmt.Sprintf("+%d ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("+%.1f s", d.Seconds())
}

// dueText is how long something still takes; the page's script says the same.
func dueText(d time.Duration) string {
	if d <= 0 {
		return "now"
	}
	return fmt.Sprintf("in %.0f s", math.Ceil(d.Seconds()))
}
