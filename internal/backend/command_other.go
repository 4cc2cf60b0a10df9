//go:build !unix

package backend

import (
	"os"
	"syscall"
)

// groupAttributes are the default where there are no process groups.
func groupAttributes() *syscall.SysProcAttr { return nil }

// signalGroup ends the command alone, and at once: there is no gentler way.
func signalGroup(leader *os.Process, _ syscall.Signal) error { return leader.Kill() }
