package backend

import (
	"os"
	"syscall"
)

// groupAttributes put a command into a process group of its own, so that all of
// it can be ended. Should the gateway be killed, the kernel kills the command
// too: the job is run again after the restart, and must not run twice at once.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func signalGroup(leader *os.Process, signal syscall.Signal) error {
	return syscall.Kill(-leader.Pid, signal)
}
