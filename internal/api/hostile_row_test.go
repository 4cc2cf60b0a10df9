package api_test

import (
	"bufio"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	listed "github.com/ringback/ringback/internal/hostile"
)

// row is a line of testdata/requests.txt, whose head explains it.
type row struct {
	id, method, target, headers, body, expect, also, why string
}

func readRows(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile("testdata/requests.txt")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 8 {
			t.Fatalf("%d columns, not 8: %.80s", len(f), line)
		}
		rows = append(rows, row{f[0], f[1], f[2], f[3], f[4], f[5], f[6], f[7]})
	}
	return rows
}

// request is a row on its way to the socket.
type request struct {
	head    string
	body    []byte
	drip    bool // one octet a second
	halfway bool // the sending side is closed behind it
}

// request writes a row out. key is what it is authorized by unless it says otherwise.
func (r row) request(keys map[string]string, vars *strings.Replacer) (request, error) {
	kind, text, _ := strings.Cut(r.body, ":")
	var out request
	framing := ""
	declare := func(n string) { framing = "Content-Length: " + n + "\r\n" }
	switch kind {
	case "-":
	case "text":
		out.body = []byte(vars.Replace(listed.Expand(text)))
		declare(strconv.Itoa(len(out.body)))
	case "chunked":
		content := listed.Expand(text)
		framing = "Transfer-Encoding: chunked\r\n"
		out.body = fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(content), content)
	case "gzip":
		var packed strings.Builder
		w := gzip.NewWriter(&packed)
		if _, err := io.Copy(w, strings.NewReader(listed.Expand(text))); err != nil {
			return out, err
		}
		if err := w.Close(); err != nil {
			return out, err
		}
		out.body = []byte(packed.String())
		declare(strconv.Itoa(len(out.body)))
	case "raw":
		out.body = []byte(listed.Expand(text))
	case "stall":
		declare(text)
	case "cut", "drip":
		n, content, _ := strings.Cut(text, ":")
		declare(n)
		out.body, out.drip, out.halfway = []byte(listed.Expand(content)), kind == "drip", kind == "cut"
	default:
		return out, fmt.Errorf("no such body: %s", kind)
	}
	out.head = r.requestLine(vars) + r.headerLines(keys, vars, framing) + "\r\n"
	return out, nil
}

func (r row) requestLine(vars *strings.Replacer) string {
	target := vars.Replace(listed.Expand(r.target))
	if !strings.Contains(target, " HTTP/") {
		target += " HTTP/1.1"
	}
	return listed.Expand(r.method) + " " + target + "\r\n"
}

var times = regexp.MustCompile(`^\((\d+)\)`)

// headerLines are the row's own headers, and those that the runner adds.
func (r row) headerLines(keys map[string]string, vars *strings.Replacer, framing string) string {
	var lines strings.Builder
	as, has := "A", map[string]bool{}
	if r.headers != "-" {
		for header := range strings.SplitSeq(r.headers, " || ") {
			if who, ok := strings.CutPrefix(header, "As: "); ok {
				as = who
				continue
			}
			if name, ok := strings.CutPrefix(header, "!"); ok {
				has[strings.ToLower(name)] = true
				continue
			}
			n := 1
			if m := times.FindStringSubmatch(header); m != nil {
				header = header[len(m[0]):]
				n, _ = strconv.Atoi(m[1])
			}
			name, _, _ := strings.Cut(header, ":")
			has[strings.ToLower(strings.TrimSpace(name))] = true
			lines.WriteString(strings.Repeat(vars.Replace(listed.Expand(header))+"\r\n", n))
		}
	}
	if !has["host"] {
		lines.WriteString("Host: api.example\r\n")
	}
	if key := keys[as]; key != "" && !has["authorization"] {
		lines.WriteString("Authorization: Bearer " + key + "\r\n")
	}
	if r.body != "-" && !has["content-type"] {
		lines.WriteString("Content-Type: application/json\r\n")
	}
	if !has["content-length"] && !has["transfer-encoding"] {
		lines.WriteString(framing)
	}
	return lines.String()
}

// reply is what came back: status 0 for a connection that was closed without an answer.
type reply struct {
	status    int
	header    http.Header
	body      string
	continued bool // a 100 Continue came first
}

const replyTimeout = 10 * time.Second

// send writes the request to a socket, and reads while it writes.
func (q request) send(address, method string) (reply, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(replyTimeout)); err != nil {
		return reply{}, err
	}
	done := make(chan struct{})
	written := make(chan struct{})
	go func() {
		defer close(written)
		q.write(conn, done)
	}()
	defer func() { <-written }()
	defer conn.Close()
	defer close(done)
	return readReply(bufio.NewReader(conn), method)
}

// write sends the request until done; that the gateway stops listening is no error.
func (q request) write(conn net.Conn, done <-chan struct{}) {
	if _, err := io.WriteString(conn, q.head); err != nil {
		return
	}
	if q.drip {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for _, octet := range q.body {
			if _, err := conn.Write([]byte{octet}); err != nil {
				return
			}
			select {
			case <-tick.C:
			case <-done:
				return
			}
		}
	} else if _, err := conn.Write(q.body); err != nil {
		return
	}
	if q.halfway {
		_ = conn.(*net.TCPConn).CloseWrite() // a connection that is gone has been closed
	}
}

func readReply(r *bufio.Reader, method string) (out reply, err error) {
	for {
		resp, err := http.ReadResponse(r, &http.Request{Method: method})
		if err != nil {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				return out, fmt.Errorf("no answer within %v", replyTimeout)
			}
			return out, nil
		}
		content, err := io.ReadAll(resp.Body)
		if resp.StatusCode == http.StatusContinue {
			out.continued = true
			continue
		}
		out.status, out.header, out.body = resp.StatusCode, resp.Header, string(content)
		if err != nil && !strings.Contains(err.Error(), "connection reset") {
			return out, fmt.Errorf("answer %d is cut: %w", resp.StatusCode, err)
		}
		return out, nil
	}
}

// matches tells whether the answer is one of those that the row expects.
func (r row) matches(got reply) bool {
	for want := range strings.SplitSeq(r.expect, "|") {
		switch {
		case want == "close" && got.status == 0, want == strconv.Itoa(got.status),
			strings.HasSuffix(want, "xx") && got.status/100 == int(want[0]-'0'):
			return true
		}
	}
	return false
}
