package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func bySocket(path string) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
}

func statusOf(t *testing.T, c *http.Client, url string) int {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestAdminAndPublicHaveAddressesOfTheirOwn(t *testing.T) {
	t.Parallel()
	s := devSettings(t)
	socket := filepath.Join(t.TempDir(), "admin.sock")
	s.AdminListen, s.Options.SplitAdmin = "unix:"+socket, true
	for range 2 { // the second start finds no socket of the first in its way
		srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string][2]int{"/metrics": {404, 200}, "/v1/apps": {404, 200}, "/v1/jobs": {200, 200}, "/healthz": {200, 200}} {
			if got := [2]int{statusOf(t, http.DefaultClient, srv.URL()+path), statusOf(t, bySocket(socket), "http://localhost"+path)}; got != want {
				t.Errorf("%s: public and admin %v, want %v", path, got, want)
			}
		}
		info, err := os.Stat(socket)
		if err != nil || info.Mode().Perm() != socketMode {
			t.Errorf("the socket: %v, %v", info.Mode(), err)
		}
		if _, err := listenOn("unix:"+socket, 1); !errors.Is(err, syscall.EADDRINUSE) {
			t.Errorf("a socket in use: %v", err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is left: %v", err)
		}
	}
}

func TestStaleSocketIsReplacedAndAnotherFileIsNot(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	ln, err := listenOn("unix:"+path, 1)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listenOn("unix:"+path, 1); err == nil {
		t.Error("a file was taken for a socket")
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

// TestConnectionsAreBounded: what is too many waits, and is served in its turn.
func TestConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	s := devSettings(t)
	s.MaxConnections = 2
	srv, err := startServer(t.Context(), s, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	dial := func() net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", srv.ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		if _, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		return conn
	}
	status := func(conn net.Conn, within time.Duration) (string, error) {
		if err := conn.SetReadDeadline(time.Now().Add(within)); err != nil {
			t.Fatal(err)
		}
		return bufio.NewReader(conn).ReadString('\n')
	}
	first, second := dial(), dial()
	for _, conn := range []net.Conn{first, second} {
		if line, err := status(conn, 20*time.Second); err != nil || !strings.Contains(line, " 200 ") {
			t.Fatalf("%q, %v", line, err)
		}
	}
	third := dial()
	if line, err := status(third, 100*time.Millisecond); err == nil {
		t.Fatalf("the third of two: %q", line)
	}
	first.Close()
	if line, err := status(third, 20*time.Second); err != nil || !strings.Contains(line, " 200 ") {
		t.Errorf("the third in its turn: %q, %v", line, err)
	}
}

func TestHeaderThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	srv, err := startServer(t.Context(), devSettings(t), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() {
		_, _ = io.WriteString(conn, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", 2*maxHeaderBytes)+"\r\n\r\n")
	}()
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, " 431 ") {
		t.Errorf("%q, %v", line, err)
	}
}
