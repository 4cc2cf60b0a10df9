package outbound

import (
	"bufio"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"os"
	"time"
)

// conn is a connection to a receiver, used by one attempt at a time.
type conn struct {
	net.Conn // what is written to and read from: TCP, or TLS over it
	tcp      net.Conn
	in       *bufio.Reader
	addr     netip.AddrPort
	times    Timing // of opening it: DNS, Connect, TLS
	probe    probe
	records  *bounded // what TLS reads from; nil where there is none
	heavy    bool     // TLS holds much memory for it

	left      int       // octets that may still be read
	firstByte time.Time // when the first octet of the current answer came

	idleSince time.Time
}

func (c *conn) opened(times Timing) {
	c.times = times
	if c.records, _ = netConn(c.Conn); c.records != nil {
		c.heavy = maxTLSRead-c.records.left > maxTLSRead/2
	}
	c.in = bufio.NewReader(c)
	c.probe.init(c.tcp)
}

// Close closes without a farewell: TLS's would have to be written to somebody
// who may not be reading.
func (c *conn) Close() error { return c.tcp.Close() }

// interrupt ends what is being read and written.
func (c *conn) interrupt() { _ = c.tcp.SetDeadline(time.Unix(1, 0)) }

// drained reports that all that has come over the connection has been read. What
// TLS has taken from the socket, behind an answer in its record or in the records
// after it, no probe sees any more: it would be the next answer. The deadline for
// reading has passed afterwards.
func (c *conn) drained() bool {
	if c.in.Buffered() > 0 {
		return false
	}
	secure, ok := c.Conn.(*tls.Conn)
	if !ok {
		return true
	}
	// With the deadline in the past, the read gets what is here and waits for
	// nothing; such a time-out does not spoil a tls.Conn.
	if c.tcp.SetReadDeadline(time.Unix(1, 0)) != nil {
		return false
	}
	c.grant()
	var octet [1]byte
	n, err := secure.Read(octet[:])
	return n == 0 && errors.Is(err, os.ErrDeadlineExceeded)
}

// Read reads for c.in, within the budget.
func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errHeaderLimit
	}
	if len(p) > c.left {
		p = p[:c.left]
	}
	c.grant()
	n, err := c.Conn.Read(p)
	if n > 0 && c.firstByte.IsZero() {
		c.firstByte = time.Now()
	}
	c.left -= n
	return n, err
}

// grant gives TLS the octets that it may take for one more read.
func (c *conn) grant() {
	if c.records != nil {
		c.records.left = maxTLSRead
	}
}

// maxTLSRead is how many octets TLS may take for a handshake, and then for each read:
// it gathers a message in memory, and a certificate or a session ticket can be long.
// A record has up to 16 KiB, a usual chain of certificates up to 8 KiB.
const maxTLSRead = 40 << 10

var errTLSLimit = errors.New("more TLS than anybody needs")

// bounded is a connection from which so much may be read.
type bounded struct {
	net.Conn
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTLSLimit
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
