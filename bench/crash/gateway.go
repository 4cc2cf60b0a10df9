package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// gateway is a Ringback that is started as a process of its own, again and again, on
// the same files and the same address.
type gateway struct {
	binary, config string
	dir            string // where its files are
	address        string
	cmd            *exec.Cmd
	exited         chan error // nil while no process runs
}

// The retries are many and quick, so that they end with the run; no job may use up
// its attempts by being interrupted.
const configuration = `
listen: %s
drain_timeout: 2s
log: {level: warn}
operations:
  relay:
    route: POST /relay
    backend: {relay: {}}
    callback: &often
      schedule: [%s]
      timeout: 2s
  command:
    route: POST /command
    backend: {command: {argv: [sh, -c, 'cat; sleep 0.02'], output_type: text/plain}}
    concurrency: 4
    retry: {attempts: 100, backoff: 50ms, max_backoff: 200ms}
    callback: *often
  slow:
    route: POST /slow
    backend: {command: {argv: [sh, -c, 'cat; sleep 4'], output_type: text/plain}}
    callback: *often
  once:
    route: POST /once
    backend: {command: {argv: [sh, -c, 'echo "$RINGBACK_JOB_ID" >>"$0"; cat; sleep 0.02', %q], output_type: text/plain}}
    concurrency: 4
    run: at_most_once
    callback: *often
`

// newGateway builds Ringback and writes its configuration into dir.
func newGateway(ctx context.Context, dir string) (*gateway, error) {
	g := &gateway{binary: filepath.Join(dir, "ringback"), config: filepath.Join(dir, "ringback.yaml"), dir: dir}
	build := exec.CommandContext(ctx, "go", "build", "-o", g.binary, "github.com/ringback/ringback/cmd/ringback")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build: %w: %s", err, out)
	}
	var err error
	if g.address, err = freeAddress(); err != nil {
		return nil, err
	}
	schedule := strings.Repeat("200ms, ", 60) + "1s"
	text := fmt.Sprintf(configuration, g.address, schedule, g.path("runs"))
	return g, os.WriteFile(g.config, []byte(text), 0o600)
}

// freeAddress finds a port below those that the system gives to outgoing
// connections: one of them must not take it while the gateway is dead.
func freeAddress() (string, error) {
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000))
		if ln, err := net.Listen("tcp", address); err == nil {
			return address, ln.Close()
		}
	}
	return "", errors.New("no free port was found")
}

func (g *gateway) path(name string) string { return filepath.Join(g.dir, name) }

func (g *gateway) url() string { return "http://" + g.address }

// start starts the process, and does not wait until it serves.
func (g *gateway) start() error {
	log, err := os.OpenFile(g.path("gateway.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	g.cmd = exec.Command(g.binary, "serve", "--dev", "--config", g.config)
	g.cmd.Dir, g.cmd.Stdout, g.cmd.Stderr = g.dir, log, log
	if err := g.cmd.Start(); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	g.exited = make(chan error, 1)
	go func(cmd *exec.Cmd, exited chan<- error) { exited <- cmd.Wait() }(g.cmd, g.exited)
	return nil
}

// run lets the process live for a while. It fails where the process ends by itself.
func (g *gateway) run(ctx context.Context, d time.Duration) error {
	select {
	case err := <-g.exited:
		g.exited <- err
		return fmt.Errorf("the gateway ended by itself: %w: %s", err, g.lastWords())
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// lastWords are the last lines of the gateway's log.
func (g *gateway) lastWords() string {
	text, err := os.ReadFile(g.path("gateway.log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-2000):])
}

// kill is kill -9. It returns when the process is gone.
func (g *gateway) kill() moment {
	m := moment{from: time.Now()}
	if g.exited != nil {
		// The errors say that it was gone already, and that it was killed.
		_, _ = g.cmd.Process.Kill(), <-g.exited
		g.exited = nil
	}
	m.to = time.Now()
	return m
}

// stopPatience is beyond the drain limit of the configuration.
const stopPatience = 20 * time.Second

// stop ends the process by SIGTERM, and fails where it does not exit with 0 in time.
func (g *gateway) stop() error {
	if err := g.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop the gateway: %w", err)
	}
	select {
	case err := <-g.exited:
		g.exited = nil
		if err != nil {
			return fmt.Errorf("the gateway did not stop in good order: %w: %s", err, g.lastWords())
		}
		return nil
	case <-time.After(stopPatience):
		g.kill()
		return errors.New("the gateway did not stop in time")
	}
}
