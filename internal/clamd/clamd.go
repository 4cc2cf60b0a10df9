// Package clamd runs a real ClamAV daemon on a small signature database of our
// own, so that the demo and the tests scan documents without a download.
//
// The database knows the EICAR test string and the infected files of [Samples].
// ClamAV marks names from databases other than its own: clamd answers
// "stream: Ringback.Test.Invoice.UNOFFICIAL FOUND".
package clamd

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// DefaultStreamMaxLength is the largest stream, in bytes, that a daemon accepts
// when [Options] say nothing else.
const DefaultStreamMaxLength = 64 << 20

// maxSocketPath is the length of a socket address's path, less its final NUL.
const maxSocketPath = len(syscall.RawSockaddrUnix{}.Path) - 1

// stopTimeout is what clamd gets to end by itself; idle it needs about 10 ms.
const stopTimeout = 3 * time.Second

// pingInterval is how often a starting daemon is asked whether it is ready.
const pingInterval = 10 * time.Millisecond

// ErrNotInstalled says that no clamd was found, neither on PATH nor where
// distributions put it.
var ErrNotInstalled = errors.New("clamd is not installed (Debian, Ubuntu: apt-get install clamav-daemon)")

//go:embed signatures
var signatures embed.FS

// Options of a daemon. The zero value listens on a unix socket.
type Options struct {
	// Address is "unix:/path/to/socket" or "127.0.0.1:port", where port 0 picks
	// a free one. Empty means the socket clamd.sock in the daemon's folder.
	Address string
	// StreamMaxLength is the largest stream in bytes; clamd answers a longer one
	// with "INSTREAM size limit exceeded. ERROR". 0 means DefaultStreamMaxLength.
	StreamMaxLength int64
}

// Process is a running daemon. Whoever started it must Stop it.
type Process struct {
	cmd     *exec.Cmd
	address string
	exited  chan struct{}
}

// Start writes the signatures and a configuration to dir, which it creates if
// needed, starts clamd there in the foreground, as the current user, and waits
// until it answers a PING. The daemon's log is dir/clamd.log.
//
// ctx bounds the wait, not the daemon's life. The path of a socket may not be
// longer than 107 bytes, so dir should be a short one. A daemon that was killed
// may be started again in the same dir.
func Start(ctx context.Context, dir string, o Options) (*Process, error) {
	p, err := start(ctx, dir, o)
	if err != nil {
		return nil, fmt.Errorf("start clamd: %w", err)
	}
	return p, nil
}

func start(ctx context.Context, dir string, o Options) (*Process, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if o, err = o.withDefaults(dir); err != nil {
		return nil, err
	}
	if ping(ctx, o.Address) == nil {
		return nil, fmt.Errorf("another clamd answers at %s", o.Address)
	}
	if err := writeFiles(dir, o); err != nil {
		return nil, err
	}
	p, err := run(program, dir, o.Address)
	if err != nil {
		return nil, err
	}
	if err := p.waitReady(ctx); err != nil {
		p.Stop()
		return nil, fmt.Errorf("%w; %s ends with: %s", err, logPath(dir), logTail(dir))
	}
	return p, nil
}

// Address is where the daemon listens: "unix:/path" or "127.0.0.1:port".
func (p *Process) Address() string { return p.address }

// Stop ends the daemon and waits until it is gone. Scans that are under way are
// cut off. Stopping twice is harmless.
func (p *Process) Stop() {
	// An error means that it has ended already, or that this system has no
	// SIGTERM; the time-out below deals with the latter.
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.exited:
	case <-timeout.C:
		_ = p.cmd.Process.Kill()
		<-p.exited
	}
}

func run(program, dir, address string) (*Process, error) {
	log, err := os.OpenFile(logPath(dir), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, "--config-file=clamd.conf")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, log, log
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, address: address, exited: make(chan struct{})}
	go func() {
		defer close(p.exited)
		// How it ended is of no use to anyone: the log says why.
		_ = cmd.Wait()
	}()
	return p, nil
}

func (p *Process) waitReady(ctx context.Context) error {
	tick := time.NewTicker(pingInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for an answer: %w", ctx.Err())
		case <-p.exited:
			return fmt.Errorf("it ended at once: %s", p.cmd.ProcessState)
		case <-tick.C:
			if ping(ctx, p.address) == nil {
				return nil
			}
		}
	}
}

// find returns the path of clamd. Debian installs it in /usr/sbin, which is not
// on an ordinary user's PATH.
func find() (string, error) {
	for _, name := range []string{
		"clamd", "/usr/sbin/clamd", "/usr/local/sbin/clamd", "/opt/homebrew/sbin/clamd",
	} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrNotInstalled
}

func (o Options) withDefaults(dir string) (Options, error) {
	if o.StreamMaxLength == 0 {
		o.StreamMaxLength = DefaultStreamMaxLength
	}
	if o.Address == "" {
		o.Address = "unix:" + filepath.Join(dir, "clamd.sock")
	}
	if path, isUnix := strings.CutPrefix(o.Address, "unix:"); isUnix {
		if len(path) > maxSocketPath {
			return o, fmt.Errorf("socket path %s is %d bytes long, and %d is the limit: choose a shorter folder",
				path, len(path), maxSocketPath)
		}
		return o, nil
	}
	host, port, err := net.SplitHostPort(o.Address)
	if err != nil {
		return o, fmt.Errorf("address %q: %w", o.Address, err)
	}
	if port == "0" {
		o.Address, err = freeAddress(host)
	}
	return o, err
}

// freeAddress returns host with a port that was free a moment ago: clamd can
// neither be handed a listener nor say which port it got.
func freeAddress(host string) (string, error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	return listener.Addr().String(), listener.Close()
}

func writeFiles(dir string, o Options) error {
	for _, name := range []string{"signatures", "tmp"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o700); err != nil {
			return err
		}
	}
	err := fs.WalkDir(signatures, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := signatures.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, filepath.FromSlash(path)), data, 0o600)
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "clamd.conf"), o.config(dir), 0o600)
}

// config is clamd.conf(5). Its values may hold no blanks, so paths are relative
// to the daemon's folder, which is where it runs.
func (o Options) config(dir string) []byte {
	var b bytes.Buffer
	b.WriteString("Foreground yes\nLogTime yes\nDatabaseDirectory signatures\nTemporaryDirectory tmp\n" +
		"SelfCheck 0\nMaxThreads 4\nConcurrentDatabaseReload no\n")
	if path, isUnix := strings.CutPrefix(o.Address, "unix:"); isUnix {
		if relative, err := filepath.Rel(dir, path); err == nil {
			path = relative
		}
		fmt.Fprintf(&b, "LocalSocket %s\nFixStaleSocket yes\n", path)
	} else {
		host, port, _ := net.SplitHostPort(o.Address) // withDefaults has split it before
		fmt.Fprintf(&b, "TCPAddr %s\nTCPSocket %s\n", host, port)
	}
	// What clamd skips for its size it would call OK, so the limits on a scan
	// are no lower than the one on a stream, and reaching them is an alert.
	fmt.Fprintf(&b, "StreamMaxLength %[1]d\nMaxFileSize %[1]d\nMaxScanSize %[2]d\nAlertExceedsMax yes\n",
		o.StreamMaxLength, 4*o.StreamMaxLength)
	return b.Bytes()
}

// ping asks the clamd at address for a sign of life.
func ping(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	network := "tcp"
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		network, address = "unix", path
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("zPING\x00")); err != nil {
		return err
	}
	answer := make([]byte, 5)
	if _, err := conn.Read(answer); err != nil {
		return err
	}
	if string(answer) != "PONG\x00" {
		return errors.New("no PONG")
	}
	return nil
}

func logPath(dir string) string { return filepath.Join(dir, "clamd.log") }

// logTail returns the end of the daemon's log, for an error.
func logTail(dir string) string {
	const limit = 500
	data, err := os.ReadFile(logPath(dir))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(data[max(0, len(data)-limit):]))
}
