//go:build !unix

package outbound

import "net"

// probe cannot look into a connection here. Octets that nobody asked for would be
// the next answer, so that no connection is used again.
type probe struct{}

func (*probe) init(net.Conn) {}

func (*probe) silent() bool { return false }
