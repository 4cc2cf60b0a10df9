package main

import (
	"context"
	"math/rand/v2"
	"net"
	"net/http"
	"sync/atomic"
	"time"
)

// faults are what goes wrong between the gateway and the receiver. The receiver knows of
// each exchange whether its answer can have got through.
type faults struct {
	resets, blackHoles, slow, lost, partial atomic.Int64
}

// counts says how many of each there were.
func (f *faults) counts() faultCounts {
	return faultCounts{Resets: f.resets.Load(), BlackHoles: f.blackHoles.Load(), Slow: f.slow.Load(), Lost: f.lost.Load(), Partial: f.partial.Load()}
}

type faultCounts struct {
	Resets     int64 `json:"resets"`      // the connection is reset before anything is read
	BlackHoles int64 `json:"black_holes"` // nothing is read, and nothing said
	Slow       int64 `json:"slow"`        // each read and write waits up to 200 ms
	Lost       int64 `json:"answers_lost"`
	Partial    int64 `json:"answers_cut"` // in the middle of the status line
}

// holeLasts is how long a black hole keeps a connection: longer than an attempt lasts.
const holeLasts = 5 * time.Second

// listener breaks connections as they come.
type listener struct {
	net.Listener
	faults *faults
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		switch n := rand.IntN(100); {
		case n < 4:
			l.faults.resets.Add(1)
			reset(conn)
		case n < 6:
			l.faults.blackHoles.Add(1)
			time.AfterFunc(holeLasts, func() { conn.Close() })
		case n < 26:
			l.faults.slow.Add(1)
			return slowConn{conn}, nil
		default:
			return conn, nil
		}
	}
}

// reset closes a connection so that its other end sees a reset.
func reset(conn net.Conn) {
	if s, ok := conn.(slowConn); ok {
		conn = s.Conn
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // without it, the connection ends in good order
	}
	conn.Close()
}

// slowConn is far away.
type slowConn struct{ net.Conn }

func (c slowConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
	return n, err
}

func (c slowConn) Write(p []byte) (int, error) {
	time.Sleep(time.Duration(rand.IntN(200)) * time.Millisecond)
	return c.Conn.Write(p)
}

type connKey struct{}

// withConn lets a handler know its connection.
func withConn(ctx context.Context, conn net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, conn)
}

// cut ends an exchange before its answer has a whole header, now and then. It returns
// what is to be done for that, nil for nothing.
func (f *faults) cut(req *http.Request) func() {
	if f == nil {
		return nil
	}
	conn, _ := req.Context().Value(connKey{}).(net.Conn)
	switch n := rand.IntN(100); {
	case n < 2:
		f.lost.Add(1)
		return func() { reset(conn); panic(http.ErrAbortHandler) }
	case n < 4:
		f.partial.Add(1)
		return func() {
			_, _ = conn.Write([]byte("HTTP/1.1 2")) // it is about to be reset
			reset(conn)
			panic(http.ErrAbortHandler)
		}
	}
	return nil
}
