package backend

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/job"
)

// ClamdConfig is the block of a ClamAV daemon.
type ClamdConfig struct {
	// Address is unix:/path, tcp:host:port or host:port.
	Address string `yaml:"address"`
}

// Clamd scans the request's body with a ClamAV daemon. The result is a Verdict.
// What the daemon did not scan to its end, for whatever reason, is a failed
// attempt.
type Clamd struct {
	network, address string

	mu      sync.Mutex
	engine  string
	askedAt time.Time
}

// Verdict is the result of a scan.
type Verdict struct {
	Infected  bool    `json:"infected"`
	Signature *string `json:"signature"` // what was found; null for a clean document
	Engine    string  `json:"engine"`    // "ClamAV 1.4.3/27700/Mon Jul 14 08:35:01 2025"
	Bytes     int64   `json:"bytes"`     // scanned
	// DurationMS is how long the scan took, in milliseconds.
	DurationMS int64 `json:"duration_ms"`
}

const (
	// engineAge is how old a remembered version may be. clamd looks for new
	// signatures every ten minutes by default.
	engineAge = time.Minute
	// maxReply is far above the longest reply, which names one signature.
	maxReply = 4 << 10
	// lastWords is how long a daemon that stopped reading may take to say why.
	lastWords = time.Second
	chunkSize = 64 << 10
)

// NewClamd makes a Clamd. It does not connect.
func NewClamd(c ClamdConfig) (*Clamd, error) {
	if path, ok := strings.CutPrefix(c.Address, "unix:"); ok {
		if path == "" {
			return nil, configError("clamd.address", "has no path behind unix:")
		}
		return &Clamd{network: "unix", address: path}, nil
	}
	address := strings.TrimPrefix(c.Address, "tcp:")
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return nil, configError("clamd.address", "must be unix:/path or tcp:host:port")
	}
	return &Clamd{network: "tcp", address: address}, nil
}

// Run implements Backend.
func (c *Clamd) Run(ctx context.Context, run *Run) (*job.Result, error) {
	document, err := run.OpenRequest()
	if err != nil {
		return nil, err
	}
	defer document.Close()
	engine, err := c.version(ctx)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	start := time.Now()
	reply, size, err := c.scan(ctx, document)
	if err != nil {
		return nil, c.broken(ctx, err)
	}
	if size != run.Job.Request.Body.Size {
		return nil, fmt.Errorf("scanned %d of %d bytes", size, run.Job.Request.Body.Size)
	}
	signature, err := parseReply(reply)
	if err != nil {
		return nil, err
	}
	verdict := Verdict{Engine: engine, Bytes: size, DurationMS: time.Since(start).Milliseconds()}
	if signature != "" {
		verdict.Infected, verdict.Signature = true, &signature
	}
	text, err := json.Marshal(verdict)
	if err != nil {
		return nil, fmt.Errorf("encode verdict: %w", err)
	}
	b, err := run.ReadResult(ctx, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	return &job.Result{Status: http.StatusOK, ContentType: "application/json", Body: b}, nil
}

// broken is the error of an exchange that did not come to its end.
func (c *Clamd) broken(ctx context.Context, err error) error {
	if err := stopped(ctx); err != nil {
		return err
	}
	if _, ok := errors.AsType[*Failure](err); ok || errors.Is(err, body.ErrStorage) {
		return err
	}
	return &Failure{Code: job.CodeUnreachable, Message: "the scanner gave no answer", NotBegun: notReached(err),
		Cause: fmt.Errorf("clamd: %w", err)}
}

// dial opens a connection that ends with ctx. hangUp must be called.
func (c *Clamd) dial(ctx context.Context) (conn net.Conn, hangUp func(), err error) {
	conn, err = (&net.Dialer{Timeout: connectTimeout}).DialContext(ctx, c.network, c.address)
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	return conn, func() { stop(); conn.Close() }, nil
}

// version is the daemon's, as it was within the last engineAge.
func (c *Clamd) version(ctx context.Context) (string, error) {
	c.mu.Lock()
	engine, fresh := c.engine, time.Since(c.askedAt) < engineAge
	c.mu.Unlock()
	if fresh {
		return engine, nil
	}
	conn, hangUp, err := c.dial(ctx)
	if err != nil {
		return "", err
	}
	defer hangUp()
	if _, err := conn.Write([]byte("zVERSION\x00")); err != nil {
		return "", err
	}
	reply, err := readReply(conn)
	if err != nil {
		return "", err
	}
	if !strings.HasPrefix(reply, "ClamAV ") {
		return "", badReply(reply)
	}
	engine = readable([]byte(reply))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.engine, c.askedAt = engine, time.Now()
	return engine, nil
}

// scan sends a document and returns the reply, and how many bytes it is about.
func (c *Clamd) scan(ctx context.Context, document io.Reader) (reply string, size int64, err error) {
	conn, hangUp, err := c.dial(ctx)
	if err != nil {
		return "", 0, err
	}
	defer hangUp()
	size, readErr, writeErr := sendStream(conn, document)
	if readErr != nil {
		return "", size, fmt.Errorf("read document: %w", readErr)
	}
	if writeErr != nil {
		return "", size, refusal(conn, writeErr)
	}
	reply, err = readReply(conn)
	return reply, size, err
}

// refusal is why the daemon took no more of a stream, where it says so. It never
// makes a verdict: the daemon has not seen the whole document.
func refusal(conn net.Conn, cause error) error {
	if err := conn.SetReadDeadline(time.Now().Add(lastWords)); err != nil {
		return cause
	}
	reply, err := readReply(conn)
	if err != nil {
		return cause
	}
	if _, err := parseReply(reply); err != nil {
		return err
	}
	return cause
}

var chunks = sync.Pool{New: func() any { return new([4 + chunkSize]byte) }}

// sendStream writes INSTREAM: chunks, each behind its length, and an empty one.
func sendStream(to io.Writer, document io.Reader) (size int64, readErr, writeErr error) {
	if _, err := to.Write([]byte("zINSTREAM\x00")); err != nil {
		return 0, nil, err
	}
	chunk := chunks.Get().(*[4 + chunkSize]byte)
	defer chunks.Put(chunk)
	for {
		n, err := document.Read(chunk[4:])
		if n > 0 {
			binary.BigEndian.PutUint32(chunk[:4], uint32(n))
			if _, err := to.Write(chunk[:4+n]); err != nil {
				return size, nil, err
			}
			size += int64(n)
		}
		if err == io.EOF {
			_, err := to.Write([]byte{0, 0, 0, 0})
			return size, nil, err
		}
		if err != nil {
			return size, err, nil
		}
	}
}

// readReply reads up to the NUL that ends a reply. A reply without one is cut off.
func readReply(from io.Reader) (string, error) {
	reply := make([]byte, 0, 256)
	var buf [256]byte
	for len(reply) <= maxReply {
		n, err := from.Read(buf[:])
		if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
			return string(append(reply, buf[:end]...)), nil
		}
		reply = append(reply, buf[:n]...)
		if err == io.EOF {
			return "", fmt.Errorf("connection closed before the end of the reply: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return "", err
		}
	}
	return "", badReply(string(reply[:256]))
}

// parseReply reads the reply to INSTREAM: the name of the signature that was
// found, or "" for a clean document. All that is neither is an error.
func parseReply(reply string) (signature string, err error) {
	if reply == "stream: OK" {
		return "", nil
	}
	if strings.HasSuffix(reply, " ERROR") {
		if strings.Contains(reply, "size limit exceeded") {
			return "", &Failure{Code: job.CodeScannerLimit, Final: true,
				Message: "the document is larger than the scanner accepts"}
		}
		return "", &Failure{Code: job.CodeBackendError, Message: "the scanner reported an error",
			Cause: fmt.Errorf("clamd replied %q", reply)}
	}
	name, isStream := strings.CutPrefix(reply, "stream: ")
	name, isFound := strings.CutSuffix(name, " FOUND")
	name = readable([]byte(name))
	if !isStream || !isFound || name == "" {
		return "", badReply(reply)
	}
	// Not a finding, but the word that parts of the document were not scanned.
	if strings.HasPrefix(name, "Heuristics.Limits.Exceeded") {
		return "", &Failure{Code: job.CodeScannerLimit, Final: true,
			Message: "the document exceeds the scanner's limits", Detail: name}
	}
	return name, nil
}

func badReply(reply string) error {
	return &Failure{Code: job.CodeBackendError, Message: "the scanner's reply is unknown",
		Cause: fmt.Errorf("clamd replied %q", reply)}
}
