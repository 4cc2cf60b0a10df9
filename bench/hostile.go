package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// hostileConfig gives an attempt time enough to be weighed, and a lane room for all.
const hostileConfig = `drain_timeout: 1s
operations:
  relay: {route: POST /relay, backend: {relay: {}}, callback: {timeout: 60s, schedule: [1h]}}
`

// hostileKinds are what receivers send before they hold the connection for ever, where
// an attempt costs the gateway most.
func hostileKinds() []string {
	var names strings.Builder
	for i := range 7000 {
		fmt.Fprintf(&names, "a%x:\n", i)
	}
	return []string{
		"", // never answers
		"HTTP/1.1 200 OK\r\n" + names.String(),
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 60000),
		"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + strings.Repeat("b", 16000),
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffff\r\n" + strings.Repeat("b", 16000),
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 2000),
		hostileHandshake,
	}
}

// hostileHandshake begins a message of 64 KiB in TLS.
var hostileHandshake = "\x16\x03\x03\x3f\xff\x02\x00\xff\xff" + strings.Repeat("x", 16<<10-5)

// stallers are receivers, each at an address of its own.
type stallers struct {
	urls  []string
	heard sync.WaitGroup // until every one of them was called
	mu    sync.Mutex
	close []io.Closer
}

func newStallers(n int) (*stallers, error) {
	s := &stallers{}
	kinds := hostileKinds()
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(err, s.stop())
		}
		scheme, sends := "http://", kinds[i%len(kinds)]
		if sends == hostileHandshake {
			scheme = "https://"
		}
		s.urls = append(s.urls, scheme+l.Addr().String()+"/cb")
		s.close = append(s.close, l)
		s.heard.Add(1)
		go s.serve(l, sends)
	}
	return s, nil
}

func (s *stallers) serve(l net.Listener, sends string) {
	heard := sync.OnceFunc(s.heard.Done)
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.close = append(s.close, c)
		s.mu.Unlock()
		_, _ = io.WriteString(c, sends)
		heard()
	}
}

func (s *stallers) stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all error
	for _, c := range s.close {
		all = errors.Join(all, c.Close())
	}
	return all
}

// measureHostile calls 1,000 receivers back at once that stall, and weighs the gateway.
func (s *session) measureHostile() error {
	n := 1000
	if s.quick {
		n = 140
	}
	for range s.rounds {
		growth, err := s.weighHostile(n)
		if err != nil {
			return err
		}
		s.results.add("hostile_rss", growth)
		s.say("%d hostile receivers at once: %.1f MiB more", n, growth)
	}
	return nil
}

// weighHostile returns by how many MiB Ringback grows.
func (s *session) weighHostile(n int) (growth float64, err error) {
	dir, remove, err := s.folder()
	if err != nil {
		return 0, err
	}
	defer remove()
	receivers, err := newStallers(n)
	if err != nil {
		return 0, err
	}
	p, err := startRingback(s.ctx, s.binary, dir, hostileConfig)
	if err != nil {
		return 0, errors.Join(err, receivers.stop())
	}
	defer func() { err = errors.Join(err, receivers.stop(), p.stop()) }()
	before, err := p.usage()
	if err == nil {
		err = p.forgetPeak()
	}
	if err != nil {
		return 0, err
	}
	for _, to := range receivers.urls {
		resp, err := http.Post(p.base+"/relay?callbackURL="+url.QueryEscape(to), "application/json", strings.NewReader(`{"n":1}`))
		if err != nil {
			return 0, err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			return 0, fmt.Errorf("a call was answered %s", resp.Status)
		}
	}
	ctx, cancel := context.WithTimeout(s.ctx, time.Minute)
	defer cancel()
	all := make(chan struct{})
	go func() {
		receivers.heard.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-ctx.Done():
		return 0, errors.New("not all receivers were called within a minute")
	}
	after, err := p.usage()
	return float64(after.peakRSS-before.rss) / mib, err
}
