package backend

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ringback/ringback/internal/clamd"
	"github.com/ringback/ringback/internal/clamtest"
	"github.com/ringback/ringback/job"
)

const engine = "ClamAV 1.4.3/27700/Mon Jul 14 08:35:01 2025"

// fakeScanner is a listener that answers VERSION as clamd does and hands the
// connections that come with INSTREAM to stream. It returns its address.
func fakeScanner(t testing.TB, stream func(conn net.Conn, r *bufio.Reader)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				r := bufio.NewReader(conn)
				command, err := r.ReadString(0)
				switch {
				case err != nil:
				case command == "zVERSION\x00":
					_, _ = io.WriteString(conn, engine+"\x00")
				case command == "zINSTREAM\x00":
					stream(conn, r)
				default:
					t.Errorf("command %q", command)
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		all.Wait()
	})
	return listener.Addr().String()
}

// readStream reads an INSTREAM to its end.
func readStream(r *bufio.Reader) ([]byte, error) {
	var document []byte
	for {
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return document, err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 {
			return document, nil
		}
		chunk := make([]byte, n)
		if _, err := io.ReadFull(r, chunk); err != nil {
			return document, err
		}
		document = append(document, chunk...)
	}
}

// replying is a scanner that reads all and replies with the given octets.
func replying(t testing.TB, reply string) *Clamd {
	t.Helper()
	return newClamd(t, fakeScanner(t, func(conn net.Conn, r *bufio.Reader) {
		if _, err := readStream(r); err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(conn, reply)
	}))
}

func stuckClamd(t testing.TB) (b Backend, started, gone <-chan struct{}) {
	t.Helper()
	begun, ended := make(chan struct{}), make(chan struct{})
	return newClamd(t, fakeScanner(t, func(_ net.Conn, r *bufio.Reader) {
		if _, err := readStream(r); err != nil {
			t.Error(err)
		}
		close(begun)
		_, _ = r.ReadByte() // returns when the other side hangs up
		close(ended)
	})), begun, ended
}

func failingClamd(t testing.TB) Backend {
	t.Helper()
	return replying(t, "stream: Can't allocate memory ERROR\x00")
}

func verdictOf(t testing.TB, b Backend, document []byte) Verdict {
	t.Helper()
	run := newRun(t, document)
	result, err := b.Run(t.Context(), run)
	if err != nil {
		t.Fatal(err)
	}
	if result.ContentType != "application/json" {
		t.Errorf("content type %q", result.ContentType)
	}
	decoder := json.NewDecoder(strings.NewReader(read(t, run, result.Body)))
	decoder.DisallowUnknownFields()
	var verdict Verdict
	if err := decoder.Decode(&verdict); err != nil {
		t.Fatal(err)
	}
	return verdict
}

func TestRealScannerTellsInfectedFromClean(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"unix": "", "tcp": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newClamd(t, clamtest.Start(t, clamd.Options{Address: address}).Address())
			for _, sample := range clamd.Samples() {
				verdict := verdictOf(t, b, sample.Content)
				got := ""
				if verdict.Signature != nil {
					got = *verdict.Signature
				}
				if got != sample.Signature || verdict.Infected != (sample.Signature != "") {
					t.Errorf("%s: %+v, signature %q, want %q", sample.Name, verdict, got, sample.Signature)
				}
				if verdict.Bytes != int64(len(sample.Content)) || !strings.HasPrefix(verdict.Engine, "ClamAV ") || verdict.DurationMS < 0 {
					t.Errorf("%s: %+v", sample.Name, verdict)
				}
			}
		})
	}
}

func TestDocumentOverTheScannersLimitFailsForGood(t *testing.T) {
	t.Parallel()
	for name, address := range map[string]string{"unix": "", "tcp": "127.0.0.1:0"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newClamd(t, clamtest.Start(t, clamd.Options{Address: address, StreamMaxLength: 1 << 20}).Address())
			for _, size := range []int{1<<20 + 1, 40 << 20} {
				_, err := b.Run(t.Context(), newRun(t, make([]byte, size)))
				wantFailure(t, err, job.CodeScannerLimit, true)
			}
		})
	}
}

func TestScannerThatIsAwayIsUnreachableUntilItIsBack(t *testing.T) {
	t.Parallel()
	daemon := clamtest.Start(t, clamd.Options{})
	b := newClamd(t, daemon.Address())
	if verdict := verdictOf(t, b, clamd.Clean()); verdict.Infected {
		t.Fatalf("%+v", verdict)
	}
	daemon.Stop()
	_, err := b.Run(t.Context(), newRun(t, clamd.EICAR()))
	wantFailure(t, err, job.CodeUnreachable, false)
	daemon.Restart()
	if verdict := verdictOf(t, b, clamd.EICAR()); !verdict.Infected {
		t.Fatalf("%+v", verdict)
	}
}

func TestOddReplyIsNeverClean(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]struct {
		code  job.Code
		final bool
	}{
		"":                                  {job.CodeUnreachable, false},
		"stream: OK":                        {job.CodeUnreachable, false}, // not ended
		"stream: OK\n":                      {job.CodeUnreachable, false},
		"stream: OK\n\x00":                  {job.CodeBackendError, false},
		"\x00":                              {job.CodeBackendError, false},
		"stream: ok\x00":                    {job.CodeBackendError, false},
		"OK\x00":                            {job.CodeBackendError, false},
		"1: stream: OK\x00":                 {job.CodeBackendError, false},
		"stream:  FOUND\x00":                {job.CodeBackendError, false},
		"Eicar FOUND\x00":                   {job.CodeBackendError, false},
		"UNKNOWN COMMAND\x00":               {job.CodeBackendError, false},
		"stream: OK ERROR\x00":              {job.CodeBackendError, false},
		strings.Repeat("a", 9e3):            {job.CodeBackendError, false},
		"COMMAND READ TIMED OUT. ERROR\x00": {job.CodeBackendError, false},
		"INSTREAM size limit exceeded. ERROR\x00":                  {job.CodeScannerLimit, true},
		"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\x00": {job.CodeScannerLimit, true},
	} {
		t.Run(strings.ToValidUTF8(reply[:min(len(reply), 40)], "?"), func(t *testing.T) {
			t.Parallel()
			_, err := replying(t, reply).Run(t.Context(), newRun(t, []byte("x")))
			wantFailure(t, err, want.code, want.final)
		})
	}
}

func TestVerdictBeforeTheEndOfTheDocumentDoesNotCount(t *testing.T) {
	t.Parallel()
	for reply, code := range map[string]job.Code{
		"stream: OK\x00":                          job.CodeUnreachable,
		"stream: Eicar FOUND\x00":                 job.CodeUnreachable,
		"INSTREAM size limit exceeded. ERROR\x00": job.CodeScannerLimit,
		"stream: Can't create file ERROR\x00":     job.CodeBackendError,
	} {
		t.Run(strings.TrimSuffix(reply, "\x00"), func(t *testing.T) {
			t.Parallel()
			b := newClamd(t, fakeScanner(t, func(conn net.Conn, r *bufio.Reader) {
				_, _ = io.CopyN(io.Discard, r, 1000)
				_, _ = io.WriteString(conn, reply)
				// Half a close: the reply is not lost in the reset that follows.
				_ = conn.(*net.TCPConn).CloseWrite()
				_ = conn.(*net.TCPConn).CloseRead()
			}))
			_, err := b.Run(t.Context(), newRun(t, make([]byte, 40<<20)))
			wantFailure(t, err, code, code == job.CodeScannerLimit)
		})
	}
}

func TestScannerThatTakesNoWorkIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	says := func(words string) func(net.Conn) {
		return func(conn net.Conn) {
			_, _ = io.WriteString(conn, words)
			_ = conn.(*net.TCPConn).CloseWrite()
			_, _ = io.Copy(io.Discard, conn) // no reset, which could overtake the words
		}
	}
	for name, scanner := range map[string]struct {
		serve func(net.Conn)
		code  job.Code
	}{
		"closes at once":       {func(net.Conn) {}, job.CodeUnreachable},
		"resets at once":       {func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) }, job.CodeUnreachable},
		"ends without a word":  {says(""), job.CodeUnreachable},
		"is busy":              {says("BUSY\x00"), job.CodeBackendError},
		"is busy, cut off":     {says("BUSY"), job.CodeUnreachable},
		"reports a full queue": {says("Too many connections. ERROR\x00"), job.CodeBackendError},
	} {
		for _, versionKnown := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, version known %v", name, versionKnown), func(t *testing.T) {
				t.Parallel()
				b := newClamd(t, strings.TrimPrefix(rawUpstream(t, scanner.serve), "http://"))
				if versionKnown {
					b.engine, b.askedAt = engine, time.Now()
				}
				_, err := b.Run(t.Context(), newRun(t, make([]byte, 1<<20)))
				wantFailure(t, err, scanner.code, false)
			})
		}
	}
}

func TestScannerWithAFullQueueOfConnectionsIsUnreachable(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	shortenQueue(t, listener.(*net.UnixListener))
	// Nobody accepts: what connects stays in the queue, until it is full.
	for {
		waiting, err := net.Dial("unix", socket)
		if err != nil {
			break
		}
		t.Cleanup(func() { waiting.Close() })
	}
	b := newClamd(t, "unix:"+socket)
	_, err = b.Run(t.Context(), newRun(t, []byte("x")))
	wantFailure(t, err, job.CodeUnreachable, false)
	b.engine, b.askedAt = engine, time.Now()
	_, err = b.Run(t.Context(), newRun(t, []byte("x")))
	wantFailure(t, err, job.CodeUnreachable, false)
}

// shortenQueue lets next to no connection wait for being accepted.
func shortenQueue(t testing.TB, listener *net.UnixListener) {
	t.Helper()
	raw, err := listener.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var listenErr error
	if err := raw.Control(func(fd uintptr) { listenErr = syscall.Listen(int(fd), 0) }); err != nil || listenErr != nil {
		t.Fatal(err, listenErr)
	}
}

func TestScannerGetsTheDocumentWhole(t *testing.T) {
	t.Parallel()
	document := bytes.Repeat([]byte("0123456789"), 50_001)
	b := newClamd(t, fakeScanner(t, func(conn net.Conn, r *bufio.Reader) {
		if got, err := readStream(r); err != nil || !bytes.Equal(got, document) {
			t.Errorf("got %d bytes, %v", len(got), err)
		}
		_, _ = io.WriteString(conn, "stream: Two Words FOUND\x00")
	}))
	verdict := verdictOf(t, b, document)
	if !verdict.Infected || *verdict.Signature != "Two Words" || verdict.Engine != engine || verdict.Bytes != int64(len(document)) {
		t.Errorf("%+v", verdict)
	}
}

func TestVersionIsAskedOnceInAWhile(t *testing.T) {
	t.Parallel()
	var connections atomic.Int32
	address := fakeScanner(t, func(conn net.Conn, r *bufio.Reader) {
		connections.Add(1)
		_, _ = readStream(r)
		_, _ = io.WriteString(conn, "stream: OK\x00")
	})
	b := newClamd(t, address)
	for range 3 {
		verdictOf(t, b, []byte("x"))
	}
	asked := b.askedAt
	verdictOf(t, b, []byte("x"))
	if b.askedAt != asked || connections.Load() != 4 {
		t.Errorf("asked again at %v; %d scans", b.askedAt, connections.Load())
	}
	b.askedAt = asked.Add(-2 * engineAge)
	verdictOf(t, b, []byte("x"))
	if time.Since(b.askedAt) > engineAge {
		t.Error("an old version is still used")
	}
}

func TestClamdAddress(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "s")
	for address, want := range map[string]string{
		"unix:" + socket:     "unix " + socket,
		"tcp:127.0.0.1:3310": "tcp 127.0.0.1:3310",
		"scanner:3310":       "tcp scanner:3310",
		"[::1]:3310":         "tcp [::1]:3310",
		"":                   "", "unix:": "", "3310": "", ":3310": "", "host:": "", "/run/clamd.ctl": "",
	} {
		c, err := NewClamd(ClamdConfig{Address: address})
		if want == "" {
			if err == nil || !strings.HasPrefix(err.Error(), "backend.clamd.address: ") {
				t.Errorf("%q: err = %v", address, err)
			}
			continue
		}
		if err != nil || c.network+" "+c.address != want {
			t.Errorf("%q: %+v, %v", address, c, err)
		}
	}
}

func FuzzParseReply(f *testing.F) {
	for _, reply := range []string{"stream: OK", "stream: Eicar FOUND", "INSTREAM size limit exceeded. ERROR",
		"stream: \x1b[31m FOUND", "stream: \xff FOUND", ""} {
		f.Add(reply)
	}
	f.Fuzz(func(t *testing.T, reply string) {
		signature, err := parseReply(reply)
		if err == nil && signature == "" && reply != "stream: OK" {
			t.Fatalf("%q passes for clean", reply)
		}
		if err != nil && signature != "" || signature != readable([]byte(signature)) {
			t.Fatalf("%q: %q, %v", reply, signature, err)
		}
	})
}

func FuzzReadReply(f *testing.F) {
	for _, octets := range []string{"stream: OK\x00", "stream: OK", "", "\x00", "a\x00b\x00", strings.Repeat("a", 300) + "\x00",
		strings.Repeat("a", maxReply) + "\x00", strings.Repeat("a", 2*maxReply)} {
		f.Add([]byte(octets), false)
		f.Add([]byte(octets), true)
	}
	f.Fuzz(func(t *testing.T, octets []byte, bytewise bool) {
		var from io.Reader = bytes.NewReader(octets)
		if bytewise {
			from = iotest.OneByteReader(from)
		}
		reply, err := readReply(from)
		want, _, ended := bytes.Cut(octets, []byte{0})
		if err == nil && (!ended || reply != string(want)) {
			t.Fatalf("%q is read as %q", octets, reply)
		}
		if err != nil && (reply != "" || ended && len(want) <= maxReply) {
			t.Fatalf("%q: %q, %v", octets, reply, err)
		}
	})
}
