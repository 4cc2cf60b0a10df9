package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/ringback/ringback/internal/body"
)

func TestAnAppHoldsNoMoreOfTheGateThanItLeaves(t *testing.T) {
	t.Parallel()
	g := newGate()
	fill := func(app string, contentLength int64) (rooms []room) {
		for {
			r, ok := g.enter(app, contentLength)
			if !ok {
				return rooms
			}
			rooms = append(rooms, r)
		}
	}
	first, second := fill("a", -1), fill("b", body.MaxInlineBytes+1)
	if n := len(first); n != largeBytes/2/uploadBytes {
		t.Errorf("the first app has %d of %d", n, largeBytes/uploadBytes)
	}
	if n := len(second); n < len(first)/2 || n > len(first)/2+1 {
		t.Errorf("the second app has %d where the first has %d", n, len(first))
	}
	if third := fill("c", 1<<40); len(third) != len(second)/2 && len(third) != len(second)/2+1 {
		t.Errorf("the third app has %d where the second has %d", len(third), len(second))
	}
	small := fill("a", 0)
	if n := len(small); n != smallBytes/2/callBytes {
		t.Errorf("%d small calls fit beside the uploads", n)
	}
	for _, r := range append(small, first...) {
		r.leave()
	}
	if n := len(fill("a", body.MaxInlineBytes)); n != smallBytes/2/(callBytes+body.MaxInlineBytes) {
		t.Errorf("%d calls fit where others have left", n)
	}
	if n := len(g.large.held); n != 2 {
		t.Errorf("%d apps are known in the end, want those who hold something", n)
	}
}

func TestTricklingUploadsOfOneAppKeepNoOtherOut(t *testing.T) {
	t.Parallel()
	g := setup(t, nil)
	key, other := g.app("trickling"), g.app("other")
	const n = 500
	refused, conns := 0, make([]net.Conn, n)
	for i := range conns {
		conn, err := net.Dial("tcp", g.server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn
		fmt.Fprintf(conn, "POST /scan HTTP/1.1\r\nHost: a\r\nRingback-Key: %s\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n", key)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			refused++
		}
		fmt.Fprint(conn, "1\r\nx\r\n") // who was refused has no one to read it
	}
	if refused == 0 || refused == n {
		t.Errorf("%d of %d were refused", refused, n)
	}
	g.call("POST", "/scan", other, "{}").want(t, http.StatusAccepted, "")
	g.call("POST", "/scan", other, strings.Repeat("a", 1<<20)).want(t, http.StatusAccepted, "")
	g.call("POST", "/scan", key, "{}").want(t, http.StatusAccepted, "")
}
