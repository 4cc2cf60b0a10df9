package demo

import (
	"slices"
	"sync"
	"time"

	"github.com/ringback/ringback/client"
)

const (
	// maxDocuments and maxMessages bound what is kept.
	maxDocuments = 100
	maxMessages  = 64
)

// status is what the shop tells a customer about a document.
type status string

const (
	sending    status = "sending"
	processing status = "processing"
	clean      status = "clean"
	infected   status = "infected"
	failed     status = "failed"  // it could not be scanned
	refused    status = "refused" // the gateway did not take it
)

// document is what a customer handed in. Its counter guards all but the first
// three fields, which never change.
type document struct {
	number   int
	name     string
	answered chan struct{} // closed when the gateway has answered the shop's call

	size     int64
	status   status
	remark   string // what was found, or what went wrong
	hint     string // what can be done about it
	failures int    // how many callbacks are still to be failed
	jobID    string
	wire     []message
	attempts int       // callbacks that have come
	next     time.Time // when the gateway calls again; zero: not known
	trouble  string    // why the last scan failed, while another one is to come
	revision int       // of what the page shows
}

// counter holds the documents of the shop, oldest first.
type counter struct {
	mu        sync.Mutex
	taken     int // in all
	documents []*document
	changed   chan struct{} // closed at the next change
}

func (c *counter) init() { c.changed = make(chan struct{}) }

// add takes a document in, and forgets the oldest beyond maxDocuments.
func (c *counter) add(name string, size int64, failures int) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.taken++
	d := &document{number: c.taken, name: name, size: size, status: sending, failures: failures, answered: make(chan struct{})}
	c.documents = append(c.documents, d)
	if len(c.documents) > maxDocuments {
		c.documents = slices.Delete(c.documents, 0, 1)
	}
	c.announce(d)
	return d
}

// get finds a document; number 0 is the latest. It is nil where there is none.
func (c *counter) get(number int) *document {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.find(number)
}

func (c *counter) find(number int) *document {
	if n := len(c.documents); number == 0 && n > 0 {
		return c.documents[n-1]
	}
	for _, d := range c.documents {
		if d.number == number {
			return d
		}
	}
	return nil
}

// look copies a document, found as by get.
func (c *counter) look(number int) (document, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.find(number)
	if d == nil {
		return document{}, false
	}
	return *d, true
}

// latest copies the documents, the latest first, and returns what is closed when
// one of them changes.
func (c *counter) latest() ([]document, <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]document, 0, len(c.documents))
	for _, d := range slices.Backward(c.documents) {
		all = append(all, *d)
	}
	return all, c.changed
}

// change changes a document and tells the pages.
func (c *counter) change(d *document, do func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	do()
	c.announce(d)
}

func (c *counter) announce(d *document) {
	d.revision++
	close(c.changed)
	c.changed = make(chan struct{})
}

// record adds messages to what the page shows of a document.
func (c *counter) record(d *document, messages ...message) {
	c.change(d, func() {
		for _, m := range messages {
			if len(d.wire) < maxMessages {
				m.Number = len(d.wire) + 1
				d.wire = append(d.wire, m)
			}
		}
	})
}

// note takes from an event what the gateway is about to do.
func (c *counter) note(d *document, event client.Event) {
	job := event.Job
	c.change(d, func() {
		d.trouble = ""
		if job.Error != nil && !job.Terminal() {
			d.trouble = job.Error.Message
		}
		for _, callback := range job.Callbacks {
			// An event that a callback has overtaken tells of the past.
			if callback.Attempts >= d.attempts {
				d.next = callback.NextAttemptAt.Time
			}
		}
	})
}
