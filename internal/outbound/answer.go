package outbound

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"slices"
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

	last   string   // the name of the field that was read last
	values []string // one array for the fields that occur once
	left   int      // of maxKeptHeader
	closes bool     // the connection is to be closed
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
	h := &head{}
	for {
		*h = head{}
		if err := h.read(in); err != nil {
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

// maxKeptHeader is how much of a header is kept, where each line costs its length and
// lineCost: what lines cost in memory, so that many short ones are not dearer than
// they look. The fields that say how the answer ends count in any case.
const (
	maxKeptHeader = 16 << 10
	lineCost      = 64
	maxLengths    = 16 // of fields that say how long the body is
)

func (h *head) read(in *bufio.Reader) error {
	line, _, err := readLine(in)
	if err != nil {
		return err
	}
	if h.proto, h.status, err = parseStatusLine(line); err != nil {
		return err
	}
	if h.status >= 200 { // of interim answers nothing is kept
		h.header, h.left, h.values = make(http.Header, 8), maxKeptHeader, make([]string, 0, 8)
	}
	for {
		line, whole, err := readLine(in)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		h.left -= len(line) + lineCost
		if line[0] == ' ' || line[0] == '\t' {
			err = h.fold(line)
		} else {
			err = h.add(line, whole)
		}
		if err != nil {
			return err
		}
	}
}

// unkept stands for the name of a field of which nothing is kept.
const unkept = "-"

// actedUpon are the fields that count however late they come.
var actedUpon = [][]byte{[]byte("Connection"), []byte("Content-Length"), []byte("Transfer-Encoding"), []byte("Content-Type"), []byte("Retry-After")}

// fold takes a line that belongs to the field before it (RFC 9112 §5.2).
func (h *head) fold(line []byte) error {
	if h.last == "" {
		return errProtocol
	}
	if list := h.header[h.last]; h.left >= 0 && len(list) > 0 {
		list[len(list)-1] += " " + string(trimSpace(line))
	}
	return nil
}

// add takes a field; whole is false where the end of the line is missing.
func (h *head) add(line []byte, whole bool) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || !isToken(string(name)) {
		return errProtocol
	}
	if h.left < 0 && !slices.ContainsFunc(actedUpon, func(known []byte) bool { return bytes.EqualFold(known, name) }) {
		h.last = unkept
		return nil
	}
	h.last = http.CanonicalHeaderKey(string(name))
	if h.header == nil {
		return nil
	}
	value = trimSpace(value)
	switch h.last {
	case "Connection":
		h.closes = h.closes || !whole || announcesClose(string(value))
	case "Content-Length", "Transfer-Encoding":
		if !whole || len(h.header[h.last]) >= maxLengths {
			return errProtocol
		}
		h.keep(value)
		return nil
	}
	// Of these the first is acted upon.
	needed := (h.last == "Content-Type" || h.last == "Retry-After") && h.header[h.last] == nil && len(value) <= lineCost
	if h.left >= 0 || needed {
		h.keep(value)
	}
	return nil
}

func (h *head) keep(value []byte) {
	if h.header[h.last] != nil {
		h.header[h.last] = append(h.header[h.last], string(value))
		return
	}
	h.values = append(h.values, string(value))
	h.header[h.last] = h.values[len(h.values)-1 : len(h.values) : len(h.values)]
}

// readLine returns a line without its end, valid until the next read, and whether it
// is whole: of a longer one than maxKeptHeader only the beginning is returned. How long
// it can be altogether is the connection's budget's to say.
func readLine(in *bufio.Reader) (line []byte, whole bool, err error) {
	line, err = in.ReadSlice('\n')
	if !errors.Is(err, bufio.ErrBufferFull) {
		return endless(line, err)
	}
	begin := bytes.Clone(line)
	whole = true
	for errors.Is(err, bufio.ErrBufferFull) {
		line, err = in.ReadSlice('\n')
		whole = whole && len(begin)+len(line) <= maxKeptHeader
		if whole {
			begin = append(begin, line...)
		}
	}
	if !whole || err != nil {
		return begin, false, err
	}
	return endless(begin, nil)
}

// endless takes a whole line's end away.
func endless(line []byte, err error) ([]byte, bool, error) {
	if err != nil {
		return nil, false, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), true, nil
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
	h.reusable = h.proto == "HTTP/1.1" && !h.closes
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

func announcesClose(connection string) bool {
	for option := range strings.SplitSeq(connection, ",") {
		if strings.EqualFold(strings.TrimSpace(option), "close") {
			return true
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
