package client

import (
	"io"
	"iter"
	"time"
)

// ReadEvents reads a stream of events for the tests: id, name and data of each.
func ReadEvents(r io.Reader) iter.Seq[[3]string] {
	return func(yield func([3]string) bool) {
		var retry time.Duration
		// What broke is the stream's matter; the tests look at what came before.
		_ = readEvents(r, &retry, func(m message) bool { return yield([3]string{m.id, m.name, string(m.data)}) })
	}
}
