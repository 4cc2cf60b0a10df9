//go:build !unix

package outbound

import "net"

// probe cannot look into a connection here: a dead one shows itself by the first
// write or read, and Client.Do then opens a new one.
type probe struct{}

func (*probe) init(net.Conn) {}

func (*probe) silent() bool { return true }
