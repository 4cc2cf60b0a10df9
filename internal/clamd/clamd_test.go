package clamd

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSamplesGetTheVerdictThatTheyName(t *testing.T) {
	t.Parallel()
	p := setup(t, shortDir(t), Options{})
	for _, s := range Samples() {
		want := "stream: OK"
		if s.Signature != "" {
			want = "stream: " + s.Signature + " FOUND"
		}
		if got := instream(t, p.Address(), s.Content); got != want {
			t.Errorf("%s: clamd says %q, want %q", s.Name, got, want)
		}
	}
}

func TestEICARIsFoundInsideAnArchiveAndNotInRunningText(t *testing.T) {
	t.Parallel()
	p := setup(t, shortDir(t), Options{Address: "127.0.0.1:0"})

	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	file, err := w.Create("letter.txt")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(EICAR()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if got := instream(t, p.Address(), archive.Bytes()); got != "stream: Eicar-Test-Signature.UNOFFICIAL FOUND" {
		t.Errorf("in an archive: %q", got)
	}
	if got := instream(t, p.Address(), append([]byte("See: "), EICAR()...)); got != "stream: OK" {
		t.Errorf("in running text: %q", got)
	}
}

func TestStreamOverTheLimitIsAnError(t *testing.T) {
	t.Parallel()
	p := setup(t, shortDir(t), Options{StreamMaxLength: 1000})
	if got := instream(t, p.Address(), bytes.Repeat([]byte("a"), 1000)); got != "stream: OK" {
		t.Errorf("at the limit: %q", got)
	}
	if got := instream(t, p.Address(), bytes.Repeat([]byte("a"), 1001)); !strings.HasSuffix(got, "ERROR") {
		t.Errorf("over the limit: %q, want an error", got)
	}
}

func TestStopEndsTheProcessAndItsSocket(t *testing.T) {
	t.Parallel()
	p := setup(t, shortDir(t), Options{})
	pid := p.cmd.Process.Pid
	p.Stop()
	p.Stop()
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal the stopped process: %v, want ESRCH", err)
	}
	if err := ping(t.Context(), p.Address()); err == nil {
		t.Error("the stopped daemon answers")
	}
}

func TestStopCutsOffAScan(t *testing.T) {
	t.Parallel()
	p := setup(t, shortDir(t), Options{})
	conn := dial(t, p.Address())
	if _, err := conn.Write([]byte("zINSTREAM\x00\x00\x00\x00\x09half a le")); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if answer, err := io.ReadAll(conn); err == nil && strings.Contains(string(answer), "OK") {
		t.Errorf("half a stream got %q", answer)
	}
}

func TestKilledDaemonStartsAgainInItsFolder(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "with a blank")
	p := setup(t, dir, Options{})
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.exited
	again := setup(t, dir, Options{Address: p.Address()})
	if got := instream(t, again.Address(), EICAR()); !strings.HasSuffix(got, "FOUND") {
		t.Errorf("after the restart: %q", got)
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	running := setup(t, shortDir(t), Options{})
	for name, test := range map[string]struct {
		dir     string
		address string
		want    string
	}{
		"an address in use":         {shortDir(t), running.Address(), "another clamd answers"},
		"a socket path over 107":    {filepath.Join(shortDir(t), strings.Repeat("d", 107)), "", "choose a shorter folder"},
		"an address without a port": {shortDir(t), "localhost", "missing port"},
		"a folder that is a file":   {write(t, "file"), "", "not a directory"},
		"a port of another program": {shortDir(t), busyPort(t), "clamd.log ends with"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			p, err := Start(ctx, test.dir, Options{Address: test.address})
			if err == nil {
				p.Stop()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q does not say %q", err, test.want)
			}
		})
	}
}

func TestEndedContextEndsTheDaemonThatIsStarting(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := shortDir(t)
	if _, err := Start(ctx, dir, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if err := ping(t.Context(), "unix:"+filepath.Join(dir, "clamd.sock")); err == nil {
		t.Error("the daemon lives on")
	}
}

func setup(t *testing.T, dir string, o Options) *Process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	p, err := Start(ctx, dir, o)
	if errors.Is(err, ErrNotInstalled) {
		t.Fatalf("%v: run scripts/setup.sh clamd", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return p
}

// shortDir is short enough for a socket, which t.TempDir, named after the test,
// is not everywhere.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "clamd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// busyPort is the address of a listener that hangs up on everybody.
func busyPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			conn.Close()
		}
	}()
	return listener.Addr().String()
}

func write(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(shortDir(t), name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	network := "tcp"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	conn, err := net.DialTimeout(network, address, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// instream has content scanned and returns clamd's answer without its NUL.
func instream(t *testing.T, address string, content []byte) string {
	t.Helper()
	conn := dial(t, address)
	message := []byte("zINSTREAM\x00")
	message = binary.BigEndian.AppendUint32(message, uint32(len(content)))
	message = append(message, content...)
	message = binary.BigEndian.AppendUint32(message, 0)
	if _, err := conn.Write(message); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(string(answer), "\x00")
}
