package backend

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ringback/ringback/job"
)

func shell(t testing.TB, script string, args ...string) *Command {
	t.Helper()
	return newCommand(t, CommandConfig{Argv: append([]string{"sh", "-c", script}, args...), OutputType: "text/plain"})
}

func output(t testing.TB, c *Command, run *Run) string {
	t.Helper()
	return read(t, run, mustRun(t, c, run).Body)
}

func TestCommandLearnsOfTheJobFromItsEnvironment(t *testing.T) {
	t.Setenv("RINGBACK_ADMIN_KEY", "secret")
	t.Setenv("DATABASE_PASSWORD", "secret")
	c := newCommand(t, CommandConfig{Argv: []string{"env"}, Env: map[string]string{"MODE": "fast", "HOME": "/nowhere"}})
	run := newRun(t, nil)
	run.N = 2
	run.Job.Request.RawQuery = "width=20"
	run.Job.Request.Params = map[string]string{"kind": "$(id) `id` ; -x\nnext"}
	got := output(t, c, run)
	for _, want := range []string{
		"RINGBACK_JOB_ID=" + run.Job.ID.Job(), "RINGBACK_OPERATION=scan", "RINGBACK_ATTEMPT=2", "RINGBACK_METHOD=POST",
		"RINGBACK_QUERY=width=20", "RINGBACK_CONTENT_TYPE=text/plain", "RINGBACK_PARAM_KIND=$(id) `id` ; -x\nnext",
		"MODE=fast", "HOME=/nowhere", "PATH=" + os.Getenv("PATH"),
	} {
		if !strings.Contains("\n"+got, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, "secret") {
		t.Errorf("secrets in\n%s", got)
	}
}

func TestCommandIsReadByNoShell(t *testing.T) {
	t.Parallel()
	c := newCommand(t, CommandConfig{Argv: []string{"printf", "%s|", "$HOME", "a b", "*", "; id"}})
	if got := output(t, c, newRun(t, nil)); got != "$HOME|a b|*|; id|" {
		t.Errorf("output %q", got)
	}
}

func TestCommandRunsInItsFolder(t *testing.T) {
	t.Parallel()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := newCommand(t, CommandConfig{Argv: []string{"pwd"}, Dir: dir})
	run := newRun(t, nil)
	result := mustRun(t, c, run)
	if got := read(t, run, result.Body); got != dir+"\n" || result.ContentType != "application/octet-stream" {
		t.Errorf("%q, %s", got, result.ContentType)
	}
}

func TestExitCodeFailsWithTheEndOfStderr(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]struct{ message, detail string }{
		`exit 7`:                          {"exit status 7", ""},
		`echo "no such page" >&2; exit 1`: {"exit status 1", "no such page"},
		`printf 'a\033[31m\001\r\n\377\tb\n' >&2; exit 1`:                   {"exit status 1", "a[31m\n?\tb"},
		`head -c 1000000 /dev/zero | tr '\0' x >&2; echo END >&2; exit 255`: {"exit status 255", strings.Repeat("x", 4092) + "END"},
		`kill -9 $$`: {"signal: killed", ""},
	} {
		_, err := shell(t, script).Run(t.Context(), newRun(t, nil))
		wantFailure(t, err, job.CodeExit, false)
		failure := asFailure(t, err)
		if !strings.HasSuffix(failure.Message, want.message) || failure.Detail != want.detail {
			t.Errorf("%s: %q, %q", script, failure.Message, failure.Detail)
		}
	}
}

func TestCommandMayIgnoreItsInput(t *testing.T) {
	t.Parallel()
	for _, size := range []int{60_000, 10 << 20} {
		if got := output(t, shell(t, "echo done"), newRun(t, make([]byte, size))); got != "done\n" {
			t.Errorf("output %q", got)
		}
	}
}

func TestProcessLeftInTheGroupEndsWithTheCommand(t *testing.T) {
	t.Parallel()
	fifo, started, gone := newFifo(t)
	begin := time.Now()
	// The child holds stdout and stderr open, and ignores SIGTERM.
	got := output(t, shell(t, `(trap "" TERM; exec 3>"$0"; echo >&3; sleep 1000) & read x <"$1"; echo done`, fifo, signalOf(t, started)), newRun(t, nil))
	if got != "done\n" {
		t.Errorf("output %q", got)
	}
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	await(t, "end of the child", gone)
}

// signalOf makes a named pipe in which there is a line when happened is closed.
func signalOf(t testing.TB, happened <-chan struct{}) string {
	t.Helper()
	path := makeFifo(t)
	go func() {
		<-happened
		if err := os.WriteFile(path, []byte("\n"), 0o600); err != nil {
			t.Error(err)
		}
	}()
	return path
}

func TestProcessThatLeftTheGroupCannotHoldTheRunUp(t *testing.T) {
	t.Parallel()
	fifo, started, gone := newFifo(t)
	begin := time.Now()
	run := newRun(t, nil)
	// The child leaves the session, and ends when we let it.
	release := make(chan struct{})
	c := shell(t, `setsid sh -c 'exec 3>"$0"; echo >&3; read x <"$1"' "$0" "$2" & read x <"$1"; echo done`, fifo, signalOf(t, started), signalOf(t, release))
	_, err := c.Run(t.Context(), run)
	close(release)
	wantFailure(t, err, job.CodeBackendError, false)
	if took := time.Since(begin); took > patience/2 {
		t.Errorf("it took %v", took)
	}
	await(t, "end of the child", gone)
	if n := stored(run); n != 0 {
		t.Errorf("%d bodies left behind", n)
	}
}

func TestStoppedCommandCanCleanUp(t *testing.T) {
	t.Parallel()
	fifo, started, _ := newFifo(t)
	trace := filepath.Join(t.TempDir(), "trace")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-started
		cancel()
	}()
	c := shell(t, `trap 'echo cleaned >"$1"; exit 0' TERM; exec 3>"$0"; echo >&3; while :; do sleep 0.05; done`, fifo, trace)
	if _, err := c.Run(ctx, newRun(t, nil)); err == nil {
		t.Error("a stopped run succeeded")
	}
	if text, err := os.ReadFile(trace); err != nil || string(text) != "cleaned\n" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestEndlessOutputIsCutOffAtTheLimit(t *testing.T) {
	t.Parallel()
	run := newRun(t, nil)
	run.MaxResult = 1 << 20
	_, err := newCommand(t, CommandConfig{Argv: []string{"cat", "/dev/zero"}}).Run(t.Context(), run)
	wantFailure(t, err, job.CodeResultTooLarge, true)
}

func TestParameterWithNULIsRefused(t *testing.T) {
	t.Parallel()
	run := newRun(t, nil)
	run.Job.Request.Params = map[string]string{"kind": "a\x00b"}
	_, err := shell(t, "echo").Run(t.Context(), run)
	wantFailure(t, err, job.CodeBackendError, true)
}

func TestProgramThatIsGoneIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	c := newCommand(t, CommandConfig{Argv: []string{path}})
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := c.Run(t.Context(), newRun(t, []byte("x")))
	wantFailure(t, err, job.CodeBackendError, false)
	failure := asFailure(t, err)
	if strings.Contains(failure.Message, path) {
		t.Errorf("message %q", failure.Message)
	}
}

func TestCommandInTheConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	for field, c := range map[string]CommandConfig{
		"command.argv":  {},
		"command.argv:": {Argv: []string{"/no/such/program"}},
		"command.dir":   {Argv: []string{"cat"}, Dir: "/no/such/folder"},
		"command.env":   {Argv: []string{"cat"}, Env: map[string]string{"A=B": "c"}},
		"command.env:":  {Argv: []string{"cat"}, Env: map[string]string{"RINGBACK_JOB_ID": "c"}},
	} {
		if _, err := NewCommand(c); err == nil || !strings.HasPrefix(err.Error(), "backend."+field) {
			t.Errorf("%s: err = %v", field, err)
		}
	}
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	all := bytes.Repeat([]byte("äöü"), 3_000)
	for _, size := range []int{1, 7, 4096, 5000, len(all)} {
		var kept tail
		for chunk := range slices.Chunk(all, size) {
			if n, err := kept.Write(chunk); n != len(chunk) || err != nil {
				t.Fatal(n, err)
			}
		}
		got := kept.String()
		if !strings.HasSuffix(string(all), got) || len(got) < maxDetailBytes-utf8.UTFMax || len(got) > maxDetailBytes {
			t.Errorf("in pieces of %d: %d octets", size, len(got))
		}
	}
}

func FuzzReadable(f *testing.F) {
	f.Add([]byte("a\x00\x1b[0m\xff\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := readable(b)
		if len(got) > len(b) || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\x1b\r\u0085") {
			t.Fatalf("%q becomes %q", b, got)
		}
	})
}
