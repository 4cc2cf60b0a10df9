package backend

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ringback/ringback/job"
)

// CommandConfig is the block of a command.
type CommandConfig struct {
	// Argv is the program, looked for on PATH, and its arguments. No shell reads
	// them, and nothing of the request ever becomes one of them: it could be
	// taken for an option.
	Argv []string `yaml:"argv"`
	// OutputType is the content type of what the command writes to its stdout;
	// empty: application/octet-stream.
	OutputType string `yaml:"output_type"`
	// Env are further environment variables.
	Env map[string]string `yaml:"env"`
	// Dir is the folder that the command runs in; empty: the gateway's.
	Dir string `yaml:"dir"`
}

// Command runs a program for each job: the request's body is its stdin, its
// stdout the result. An exit code other than 0 is a failed attempt.
type Command struct {
	program string
	config  CommandConfig
	env     []string
}

const (
	// stopGrace is what a command has between SIGTERM and SIGKILL.
	stopGrace = 2 * time.Second
	// drainTime is how long the output of a command that has exited may be held
	// open by a process that left its group.
	drainTime = 2 * time.Second
)

// inherited are the gateway's environment variables that commands see. Others may
// be secrets.
var inherited = []string{"PATH", "HOME", "LANG", "TMPDIR", "TZ"}

// NewCommand makes a Command. The program must be there already.
func NewCommand(c CommandConfig) (*Command, error) {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return nil, configError("command.argv", "must name a program")
	}
	program, err := exec.LookPath(c.Argv[0])
	if err == nil {
		// The command may run in another folder.
		program, err = filepath.Abs(program)
	}
	if err != nil {
		return nil, configError("command.argv", "%q is no program that can be run", c.Argv[0])
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() {
			return nil, configError("command.dir", "%q is no folder", c.Dir)
		}
	}
	command := &Command{program: program, config: c}
	for _, name := range inherited {
		if value, ok := os.LookupEnv(name); ok {
			command.env = append(command.env, name+"="+value)
		}
	}
	for name, value := range c.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
			return nil, configError("command.env", "%q cannot be set", name)
		}
		if strings.HasPrefix(name, "RINGBACK_") {
			return nil, configError("command.env", "%s: the gateway sets the names that begin with RINGBACK_", name)
		}
		command.env = append(command.env, name+"="+value)
	}
	return command, nil
}

// Run implements Backend.
func (c *Command) Run(ctx context.Context, run *Run) (*job.Result, error) {
	if err := stopped(ctx); err != nil {
		return nil, err
	}
	env, err := c.environment(run)
	if err != nil {
		return nil, err
	}
	document, err := run.OpenRequest()
	if err != nil {
		return nil, err
	}
	defer document.Close()
	within, kill := context.WithCancel(ctx)
	defer kill()
	p, err := c.start(within, env, document, run.Report)
	if err != nil {
		if err := stopped(ctx); err != nil {
			return nil, err
		}
		return nil, &Failure{Code: job.CodeBackendError, Message: "the command could not be started", NotBegun: true, Cause: err}
	}
	defer p.stdout.Close()
	b, readErr := run.ReadResult(ctx, p.stdout)
	if readErr != nil {
		kill() // nobody reads what it has to say
	}
	exitErr := p.wait()
	for _, err := range []error{stopped(ctx), exitedWhole(readErr), exitErr} {
		if err != nil {
			return nil, run.discard(b, err)
		}
	}
	return &job.Result{Status: http.StatusOK, ContentType: cmp.Or(c.config.OutputType, octets), Body: b}, nil
}

// exitedWhole turns the error of an output that never ended into one that says so.
func exitedWhole(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return &Failure{Code: job.CodeBackendError, Cause: err,
			Message: "the command exited, and left a process behind that holds its output open"}
	}
	return err
}

// environment is what the command may know of the job, beside its body.
func (c *Command) environment(run *Run) ([]string, error) {
	request := &run.Job.Request
	env := append([]string{}, c.env...)
	set := func(name, value string) { env = append(env, "RINGBACK_"+name+"="+value) }
	set("JOB_ID", run.Job.ID.Job())
	set("OPERATION", run.Job.Operation)
	set("ATTEMPT", strconv.Itoa(run.N))
	set("METHOD", request.Method)
	set("QUERY", request.RawQuery)
	set("CONTENT_TYPE", request.Header.Get("Content-Type"))
	for name, value := range request.Params {
		if strings.Contains(value, "\x00") {
			return nil, refused("a path parameter holds a NUL, which no command can be given")
		}
		set("PARAM_"+strings.ToUpper(name), value)
	}
	return env, nil
}

// process is a command that runs, in a process group of its own.
type process struct {
	stdout *os.File
	stderr *tail
	exited chan error
	told   chan struct{} // closed when stderr was read to its end
}

// start runs the command until ctx is done. Then the group gets a SIGTERM, and,
// when the command has exited or stopGrace is over, a SIGKILL.
func (c *Command) start(ctx context.Context, env []string, document io.Reader, report func(json.RawMessage)) (*process, error) {
	stdout, toStdout, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer toStdout.Close()
	stderr, toStderr, err := os.Pipe()
	if err != nil {
		stdout.Close()
		return nil, err
	}
	defer toStderr.Close()
	cmd := exec.CommandContext(ctx, c.program, c.config.Argv[1:]...)
	cmd.Args[0] = c.config.Argv[0]
	cmd.Dir, cmd.Env = c.config.Dir, env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = document, toStdout, toStderr
	cmd.SysProcAttr = groupAttributes()
	cmd.Cancel = func() error { return signalGroup(cmd.Process, syscall.SIGTERM) }
	cmd.WaitDelay = stopGrace

	p := &process{stdout: stdout, stderr: new(tail), exited: make(chan error, 1), told: make(chan struct{})}
	started := make(chan error, 1)
	go p.supervise(cmd, stderr, started)
	if err := <-started; err != nil {
		stdout.Close()
		stderr.Close()
		return nil, err
	}
	go func() {
		defer close(p.told)
		defer stderr.Close()
		lines := &progressLines{to: p.stderr, report: report}
		// Ends with the last writer, or at the deadline that supervise sets.
		_, _ = io.Copy(lines, stderr)
		lines.end()
	}()
	return p, nil
}

// supervise starts the command and waits for it. It keeps to one thread: where
// the kernel ends a command whose parent has died, it means the parent's thread.
func (p *process) supervise(cmd *exec.Cmd, stderr *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Start()
	started <- err
	if err != nil {
		return
	}
	err = cmd.Wait()
	// The group's id is not used again while it has members; without any, it was
	// free for no more than this instant.
	_ = signalGroup(cmd.Process, syscall.SIGKILL)
	deadline := time.Now().Add(drainTime)
	_ = p.stdout.SetReadDeadline(deadline)
	_ = stderr.SetReadDeadline(deadline)
	p.exited <- err
}

// wait returns when the command has exited, with how it failed.
func (p *process) wait() error {
	err := <-p.exited
	<-p.told
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil // ErrWaitDelay: it exited with 0, without reading all of its input
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return fmt.Errorf("wait for command: %w", err)
	}
	return &Failure{
		Code:    job.CodeExit,
		Message: "the command ended with " + exit.String(),
		Detail:  p.stderr.String(),
	}
}
