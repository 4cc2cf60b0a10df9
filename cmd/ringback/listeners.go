package main

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/net/netutil"
)

// defaultMaxConnections bounds the connections of a listener, each of which takes some
// 10 KiB and a file. Further ones wait until one of these is closed.
const defaultMaxConnections = 10_000

// socketMode lets the socket's group connect: a proxy's, perhaps.
const socketMode = 0o660

// listenOn listens on host:port, or on unix:PATH, with at most so many connections.
func listenOn(address string, connections int) (net.Listener, error) {
	ln, err := listenUnlimited(address)
	if err != nil {
		return nil, err
	}
	return netutil.LimitListener(ln, connections), nil
}

func listenUnlimited(address string) (net.Listener, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok {
		return net.Listen("tcp", address)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	// Nobody else can connect before the mode is right, but whoever may enter the folder.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".rb")
	if err != nil {
		return nil, err
	}
	made := filepath.Join(dir, "s")
	ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: made, Net: "unix"})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	ln.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(made, socketMode), os.Rename(made, path), os.RemoveAll(dir)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return &socketListener{ln, path}, nil
}

// socketListener removes its socket when it is closed.
type socketListener struct {
	net.Listener
	path string
}

// Close implements net.Listener.
func (l *socketListener) Close() error {
	err := l.Listener.Close()
	if err == nil {
		err = os.Remove(l.path)
	}
	return err
}

// removeStale removes a socket that nobody listens on any more. One in use is
// EADDRINUSE, as a port would be; what is no socket stays.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there, and is no socket", path)
	}
	conn, err := net.Dial("unix", path)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%s: %w", path, syscall.EADDRINUSE)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}
