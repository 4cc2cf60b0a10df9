package backend

import (
	"os"
	"os/exec"
	"testing"
)

// orphaned names the pipe of a command whose gateway is about to be killed.
const orphaned = "BACKEND_TEST_ORPHANED"

func TestCommandDiesWithTheGateway(t *testing.T) {
	const script = `exec 3>"$0"; echo >&3; exec sleep 1000`
	if fifo := os.Getenv(orphaned); fifo != "" {
		mustRun(t, shell(t, script, fifo), newRun(t, nil)) // does not return
		return
	}
	t.Parallel()
	fifo, started, gone := newFifo(t)
	gateway := exec.Command(os.Args[0], "-test.run=^TestCommandDiesWithTheGateway$")
	gateway.Env = append(os.Environ(), orphaned+"="+fifo, "TMPDIR="+t.TempDir())
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	await(t, "command", started)
	if err := gateway.Process.Kill(); err != nil {
		t.Error(err)
	}
	if err := gateway.Wait(); err == nil {
		t.Error("the gateway ended by itself")
	}
	await(t, "end of the command", gone)
}
