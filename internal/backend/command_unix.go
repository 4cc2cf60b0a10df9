//go:build unix && !linux

package backend

import (
	"os"
	"syscall"
)

// groupAttributes put a command into a process group of its own, so that all of
// it can be ended. These systems cannot tie its life to the gateway's.
func groupAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

func signalGroup(leader *os.Process, signal syscall.Signal) error {
	return syscall.Kill(-leader.Pid, signal)
}
