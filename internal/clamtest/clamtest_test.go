package clamtest

import (
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ringback/ringback/internal/clamd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRestartKeepsTheAddress(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]clamd.Options{
		"unix": {},
		"tcp":  {Address: "127.0.0.1:0"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Start(t, o)
			address := c.Address()
			if !reachable(address) {
				t.Fatalf("nobody listens at %s", address)
			}
			c.Stop()
			if reachable(address) {
				t.Fatalf("somebody listens at %s after Stop", address)
			}
			c.Restart()
			if c.Address() != address || !reachable(address) {
				t.Fatalf("after Restart at %s, want to reach %s", c.Address(), address)
			}
		})
	}
}

func reachable(address string) bool {
	network := "tcp"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
