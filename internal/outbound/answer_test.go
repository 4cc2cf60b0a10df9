package outbound

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
)

func FuzzReadHead(f *testing.F) {
	for _, seed := range []string{
		ok, "HTTP/1.1 103 Early\r\n\r\n" + ok, "HTTP/1.0 204 No\n\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nab\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 1, 1\r\n\r\nx",
		"HTTP/1.1 200 " + strings.Repeat("x", 5000) + "\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, octets []byte, head bool) {
		method := "POST"
		if head {
			method = "HEAD"
		}
		in := bufio.NewReader(bytes.NewReader(octets))
		h, err := readHead(in, method)
		if err != nil {
			return
		}
		if h.status < 200 || h.status > 999 {
			t.Fatalf("status %d", h.status)
		}
		body, whole := h.readBody(in, 64)
		if len(body) > 64 {
			t.Fatalf("%d octets kept", len(body))
		}
		if h.reusable && whole && h.framing == byLength && int64(len(body)) != h.length {
			t.Fatalf("%d octets of %d are whole", len(body), h.length)
		}
	})
}

func TestHeadersAreReadAsSent(t *testing.T) {
	t.Parallel()
	in := bufio.NewReader(strings.NewReader("HTTP/1.1 299\nset-cookie: a\r\nX-Long: " + strings.Repeat("y", 9000) +
		"\r\nSet-Cookie:\t b \r\nX-Folded: one\r\n\t two\r\nX-Empty:\r\n\r\n"))
	h, err := readHead(in, "POST")
	if err != nil {
		t.Fatal(err)
	}
	if h.status != 299 || strings.Join(h.header["Set-Cookie"], "|") != "a|b" || len(h.header.Get("X-Long")) != 9000 ||
		h.header.Get("X-Folded") != "one two" || h.header["X-Empty"][0] != "" || h.framing != byClose {
		t.Errorf("got %+v", h)
	}
}
