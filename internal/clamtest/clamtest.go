// Package clamtest gives a test a real clamd of its own.
package clamtest

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ringback/ringback/internal/clamd"
)

// startTimeout is far above the tenth of a second that a start takes, for
// machines that run many tests at once.
const startTimeout = 30 * time.Second

// Clamd is a daemon that ends with its test.
type Clamd struct {
	t       testing.TB
	dir     string
	options clamd.Options
	process *clamd.Process
}

// Start starts clamd on the signatures of package clamd, in a folder of its own.
// It fails the test where clamd is not installed.
func Start(t testing.TB, o clamd.Options) *Clamd {
	t.Helper()
	// Not t.TempDir: a test's name in the path makes it too long for a socket.
	dir, err := os.MkdirTemp("", "clamd")
	if err != nil {
		t.Fatal(err)
	}
	c := &Clamd{t: t, dir: dir, options: o}
	t.Cleanup(func() {
		c.Stop()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c.start()
	return c
}

// Address is where the daemon listens, "unix:/path" or "127.0.0.1:port". It
// stays the same when the daemon is stopped and started again.
func (c *Clamd) Address() string { return c.options.Address }

// Stop ends the daemon at once, whatever it is scanning.
func (c *Clamd) Stop() {
	if c.process != nil {
		c.process.Stop()
	}
}

// Restart brings the daemon back at the address that it had. It stops it first
// if it is running.
func (c *Clamd) Restart() {
	c.t.Helper()
	c.Stop()
	c.start()
}

func (c *Clamd) start() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), startTimeout)
	defer cancel()
	process, err := clamd.Start(ctx, c.dir, c.options)
	if errors.Is(err, clamd.ErrNotInstalled) {
		c.t.Fatalf("%v: run scripts/setup.sh clamd", err)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	c.process, c.options.Address = process, process.Address()
}
