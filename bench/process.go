package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a system under test: the limit, or Ringback.
type process struct {
	cmd    *exec.Cmd
	base   string        // URL of the server
	starts time.Duration // from the start of the process to its first 202
}

// usage is what a process has used so far.
type usage struct {
	cpu     time.Duration
	rss     int64 // bytes
	peakRSS int64 // bytes, since it was last forgotten
	written int64 // bytes handed to the disk
}

// startLimit runs the limit: this program again.
func startLimit(ctx context.Context, upstream string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, self, limitCommand, upstream)}
	line, err := p.start(func(line string) string { return line })
	p.base = "http://" + line
	return p, err
}

var listening = regexp.MustCompile(`http://127\.0\.0\.1:\d+`)

// startRingback runs a gateway on the store in dir, which may hold something.
func startRingback(ctx context.Context, binary, dir, config string) (*process, error) {
	file := filepath.Join(dir, "bench.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		return nil, err
	}
	p := &process{cmd: exec.CommandContext(ctx, binary, "serve", "--dev", "--config", file, "--listen", "127.0.0.1:0")}
	p.cmd.Dir = dir
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "RINGBACK_") })
	// In good order, where the whole run is interrupted.
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = 10 * time.Second
	began := time.Now()
	line, err := p.start(listening.FindString)
	if err != nil {
		return nil, err
	}
	p.base = line
	resp, err := http.Post(p.base+"/relay", "application/json", strings.NewReader("{}"))
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	resp.Body.Close()
	p.starts = time.Since(began)
	if resp.StatusCode != http.StatusAccepted {
		return nil, errors.Join(fmt.Errorf("the first call was answered %s", resp.Status), p.stop())
	}
	return p, nil
}

// start runs the process until a line of its output is what find looks for.
func (p *process) start(find func(string) string) (string, error) {
	out, in, err := os.Pipe()
	if err != nil {
		return "", err
	}
	p.cmd.Stdout, p.cmd.Stderr = in, in
	err = p.cmd.Start()
	in.Close()
	if err != nil {
		return "", err
	}
	lines := bufio.NewReader(out)
	var said strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return "", fmt.Errorf("start %s: %w: %s", filepath.Base(p.cmd.Path), errors.Join(err, p.cmd.Wait()), said.String())
		}
		said.WriteString(line)
		if found := find(strings.TrimSpace(line)); found != "" {
			go drain(lines, out)
			return found, nil
		}
	}
}

// drain keeps a process from waiting for somebody to read what it says.
func drain(lines io.Reader, out io.Closer) {
	_, _ = io.Copy(io.Discard, lines) // ends with the process
	out.Close()
}

// stop ends the process in good order; the limit knows none.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	err := p.cmd.Wait()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGTERM {
		return nil
	}
	return err
}

func (p *process) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file)
}

// forgetPeak makes the peak of the memory what is in use now.
func (p *process) forgetPeak() error { return os.WriteFile(p.proc("clear_refs"), []byte("5"), 0) }

// usage reads what the process has used. It is Linux's /proc.
func (p *process) usage() (u usage, err error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return u, err
	}
	// The fields behind the name in parentheses: utime and stime, in ticks of 10 ms.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	for _, field := range fields[11:13] {
		ticks, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(ticks) * 10 * time.Millisecond
	}
	var errs [3]error
	u.rss, errs[0] = number(p.proc("status"), "VmRSS:")
	u.peakRSS, errs[1] = number(p.proc("status"), "VmHWM:")
	u.written, errs[2] = number(p.proc("io"), "\nwrite_bytes:")
	u.rss, u.peakRSS = u.rss<<10, u.peakRSS<<10
	return u, errors.Join(errs[:]...)
}

// number reads the number behind a name in a file of /proc.
func number(path, name string) (int64, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(text), name)
	if !ok {
		return 0, fmt.Errorf("%s has no %s", path, name)
	}
	return strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
}
