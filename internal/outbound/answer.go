package outbound

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"strconv"
	"strings"
)

// head is the header of a final answer and what it says of the body. net/http's
// own reader is not used: it refuses a field with an odd octet in its value,
// though the answer is complete and settles the callback.
type head struct {
	proto    string
	status   int
	header   http.Header
	framing  framing
	length   int64 // of the body, for byLength
	reusable bool  // once the body has been read to its end
}

type framing int

const (
	noBody framing = iota
	byLength
	byChunks
	byClose
	unreadable // in a transfer coding that is not known here
)

// readHead reads interim answers and the header of the final one.
func readHead(in *bufio.Reader, method string) (*head, error) {
	for {
		h, err := readOneHead(in)
		if err != nil {
			return nil, err
		}
		if h.status == http.StatusSwitchingProtocols {
			return nil, errUpgrade
		}
		if h.status >= 200 {
			return h, h.setFraming(method)
		}
	}
}

func readOneHead(in *bufio.Reader) (*head, error) {
	line, err := readLine(in)
	if err != nil {
		return nil, err
	}
	h := &head{header: make(http.Header, 8)}
	if h.proto, h.status, err = parseStatusLine(line); err != nil {
		return nil, err
	}
	values := make([]string, 0, 8) // one array for the fields that occur once
	last := ""
	for {
		line, err := readLine(in)
		if err != nil {
			return nil, err
		}
		if len(line) == 0 {
			return h, nil
		}
		if line[0] == ' ' || line[0] == '\t' {
			// RFC 9112 §5.2: a folded line belongs to the field before it.
			list := h.header[last]
			if len(list) == 0 {
				return nil, errProtocol
			}
			list[len(list)-1] += " " + string(trimSpace(line))
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(string(name)) {
			return nil, errProtocol
		}
		last = http.CanonicalHeaderKey(string(name))
		if h.header[last] != nil {
			h.header[last] = append(h.header[last], string(trimSpace(value)))
			continue
		}
		values = append(values, string(trimSpace(value)))
		h.header[last] = values[len(values)-1 : len(values) : len(values)]
	}
}

// readLine returns a whole line without its end, valid until the next read. What
// bounds its length is the connection's budget.
func readLine(in *bufio.Reader) ([]byte, error) {
	line, err := in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		begin := bytes.Clone(line)
		line, err = in.ReadBytes('\n')
		line = append(begin, line...)
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func trimSpace(b []byte) []byte { return bytes.Trim(b, " \t") }

// parseStatusLine wants a version of HTTP/1 and three digits that are a status
// (RFC 9112 §4); what is left of the line is not looked at.
func parseStatusLine(line []byte) (proto string, status int, err error) {
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.")) || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return "", 0, errProtocol
	}
	for _, digit := range line[9:12] {
		if digit < '0' || digit > '9' {
			return "", 0, errProtocol
		}
		status = status*10 + int(digit-'0')
	}
	switch {
	case status < 100:
		return "", 0, errProtocol
	case line[7] == '1':
		return "HTTP/1.1", status, nil
	case line[7] == '0':
		return "HTTP/1.0", status, nil
	}
	return "", 0, errProtocol
}

// setFraming finds out how the body ends (RFC 9112 §6.3). An answer whose length
// is ambiguous is no answer.
func (h *head) setFraming(method string) error {
	length, err := contentLength(h.header["Content-Length"])
	if err != nil {
		return err
	}
	codings := h.header["Transfer-Encoding"]
	h.reusable = h.proto == "HTTP/1.1" && !announcesClose(h.header["Connection"])
	switch {
	case method == http.MethodHead, h.status == http.StatusNotModified:
		h.framing = noBody
	case h.status == http.StatusNoContent:
		h.framing = noBody
		// A body that is announced may still come, and look like the next answer.
		h.reusable = h.reusable && len(codings) == 0 && length <= 0
	case len(codings) > 0:
		h.framing = unreadable
		if len(codings) == 1 && strings.EqualFold(codings[0], "chunked") {
			h.framing = byChunks
		}
		h.reusable = h.reusable && length < 0
	case length >= 0:
		h.framing, h.length = byLength, length
	default:
		h.framing, h.reusable = byClose, false
	}
	return nil
}

// contentLength is -1 where there is none.
func contentLength(values []string) (int64, error) {
	if len(values) == 0 {
		return -1, nil
	}
	first, _, _ := strings.Cut(values[0], ",")
	first = strings.TrimSpace(first)
	for _, value := range values {
		for same := range strings.SplitSeq(value, ",") {
			if strings.TrimSpace(same) != first {
				return 0, errProtocol
			}
		}
	}
	n, err := strconv.ParseUint(first, 10, 63)
	if err != nil {
		return 0, errProtocol
	}
	return int64(n), nil
}

func announcesClose(connection []string) bool {
	for _, value := range connection {
		for option := range strings.SplitSeq(value, ",") {
			if strings.EqualFold(strings.TrimSpace(option), "close") {
				return true
			}
		}
	}
	return false
}

// readBody returns at most limit octets, and whether they are all.
func (h *head) readBody(in *bufio.Reader, limit int) (body []byte, whole bool) {
	switch h.framing {
	case byLength:
		body = make([]byte, min(h.length, int64(limit)))
		n, err := io.ReadFull(in, body)
		return body[:n], err == nil && int64(n) == h.length
	case byChunks:
		if body, whole = readUpTo(httputil.NewChunkedReader(in), limit); whole {
			h.endOfChunks(in)
		}
		return body, whole
	case byClose:
		return readUpTo(in, limit)
	case noBody:
		return nil, true
	default:
		return nil, false
	}
}

func readUpTo(r io.Reader, limit int) (body []byte, whole bool) {
	body, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if len(body) > limit {
		return body[:limit], false
	}
	return body, err == nil
}

// endOfChunks takes the empty line that follows the last chunk. Anything else,
// such as a trailer, is not worth reading: the body is complete, and the
// connection is given up.
func (h *head) endOfChunks(in *bufio.Reader) {
	end, err := in.Peek(2)
	if err != nil || string(end) != "\r\n" {
		h.reusable = false
		return
	}
	_, _ = in.Discard(len(end)) // they were just peeked at
}
