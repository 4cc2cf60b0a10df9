package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
)

// call is one of the calls that a harness makes. Its number and the seed decide all
// about it, so that a receiver can tell what it must bring back.
type call struct {
	number   int
	path     string
	endpoint string // empty: the callback goes to the URL that is sent with the call
	body     []byte
	key      string // empty: the call is not repeated where it got no answer
	again    bool   // it is repeated even where it was answered
}

const (
	inlineBytes   = 64 << 10 // above it the gateway keeps a body as a file
	flakyEndpoint = "flaky"
	tardyEndpoint = "tardy"
	// orderedEndpoint has its callbacks in order, and gets some where there are faults.
	orderedEndpoint = "ordered"
	pathRelay       = "/relay"
	pathCommand     = "/command"
	pathOnce        = "/once"
	pathSlow        = "/slow"
	// firstBurst is the first of the numbers of calls that are made right before an
	// orderly stop. Of each burst the first call's run outlasts the drain timeout,
	// and the others' callbacks queue for a receiver that takes its time.
	firstBurst = 1 << 30
	burst      = 400
)

// callOf makes the call of a number.
func callOf(seed uint64, number int) call {
	random := rand.New(rand.NewPCG(seed, uint64(number)))
	c := call{number: number, path: pathRelay, key: fmt.Sprintf("call-%d", number)}
	size := random.IntN(1000)
	switch kind := random.IntN(100); {
	case kind < 20:
		c.endpoint = flakyEndpoint
	case kind < 27:
		c.path = pathCommand
	case kind < 34:
		c.path = pathOnce
	case kind < 36:
		size = inlineBytes + random.IntN(2*inlineBytes)
	case kind < 37:
		c.path, size = pathCommand, inlineBytes+random.IntN(2*inlineBytes)
	}
	switch random.IntN(20) {
	case 0, 1:
		c.key = ""
	case 2:
		c.again = true
	}
	if number >= firstBurst {
		c.path, c.endpoint, size = pathRelay, tardyEndpoint, 0
		if (number-firstBurst)%burst == 0 {
			c.path = pathSlow
		}
	}
	c.body = fmt.Appendf(nil, "call %d\n", number)
	filler := fmt.Appendf(nil, "%016x\n", random.Uint64())
	c.body = append(c.body, bytes.Repeat(filler, size/len(filler)+1)...)
	return c
}

// large tells whether the body and what comes back are files.
func (c call) large() bool { return len(c.body) > inlineBytes }
