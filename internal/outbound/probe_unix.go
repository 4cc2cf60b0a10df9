//go:build unix

package outbound

import (
	"net"
	"syscall"
)

// probe looks, without waiting, whether an idle connection has something to say:
// its end, or octets that nobody asked for.
type probe struct {
	raw   syscall.RawConn
	look  func(fd uintptr) bool
	quiet bool
}

func (p *probe) init(c net.Conn) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	p.raw = raw
	p.look = func(fd uintptr) bool {
		var octet [1]byte
		// What is read is lost, and the connection with it: it is closed then.
		_, err := syscall.Read(int(fd), octet[:])
		p.quiet = err == syscall.EAGAIN || err == syscall.EWOULDBLOCK
		return true
	}
}

// silent reports that the receiver has neither closed the connection nor said
// anything unasked. Nobody can tell of a connection of DialFunc that has no
// socket: it is not used again.
func (p *probe) silent() bool {
	return p.raw != nil && p.raw.Read(p.look) == nil && p.quiet
}
