package outbound

import (
	"sync"
	"time"
)

// pool keeps idle connections by origin and identity (Request.poolKey), the one used
// last on top.
type pool struct {
	perOrigin, total int
	timeout          time.Duration

	mu     sync.Mutex
	idle   map[string][]*conn // no list is empty
	count  int
	closed bool
	sweep  *time.Timer // not nil while a connection is idle
}

func newPool(limits Limits) *pool {
	return &pool{
		perOrigin: limits.IdleConnsPerHost,
		total:     limits.MaxIdleConns,
		timeout:   limits.IdleConnTimeout,
		idle:      map[string][]*conn{},
	}
}

// get returns a connection that was fit for use a moment ago, with its deadline
// set, or nil.
func (p *pool) get(origin string, deadline time.Time) *conn {
	for {
		c := p.pop(origin)
		if c == nil {
			return nil
		}
		if time.Since(c.idleSince) < p.timeout && c.SetDeadline(deadline) == nil && c.probe.silent() {
			return c
		}
		_ = c.Close()
	}
}

func (p *pool) pop(origin string) *conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	list := p.idle[origin]
	if len(list) == 0 {
		return nil
	}
	c := list[len(list)-1]
	p.keep(origin, list[:len(list)-1])
	return c
}

// keep makes list, a part of what the origin had, all that it has.
func (p *pool) keep(origin string, list []*conn) {
	p.count -= len(p.idle[origin]) - len(list)
	if len(list) == 0 {
		delete(p.idle, origin)
		return
	}
	p.idle[origin] = list
}

// put keeps c, or closes it where enough are kept. With all places taken, the
// oldest connection of some origin makes room: a few busy origins must not keep
// the others from having any.
func (p *pool) put(origin string, c *conn) {
	c.idleSince = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle[origin]) >= p.perOrigin {
		_ = c.Close()
		return
	}
	if p.count >= p.total {
		for other, list := range p.idle {
			_ = list[0].Close()
			p.keep(other, list[1:])
			break
		}
	}
	p.idle[origin] = append(p.idle[origin], c)
	p.count++
	if p.sweep == nil {
		p.sweep = time.AfterFunc(p.timeout, p.closeExpired)
	}
}

// closeExpired closes what nobody has asked for in time; a connection is open
// for at most twice the time-out.
func (p *pool) closeExpired() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for origin, list := range p.idle {
		n := 0
		for n < len(list) && time.Since(list[n].idleSince) >= p.timeout {
			_ = list[n].Close()
			n++
		}
		p.keep(origin, list[n:])
	}
	p.sweep = nil
	if p.count > 0 {
		p.sweep = time.AfterFunc(p.timeout, p.closeExpired)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for origin, list := range p.idle {
		for _, c := range list {
			_ = c.Close()
		}
		p.keep(origin, nil)
	}
	if p.sweep != nil {
		p.sweep.Stop()
	}
}
