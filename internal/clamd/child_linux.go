package clamd

import "syscall"

// childAttributes keep Ctrl-C in a terminal from the daemon, which the one who
// started it stops in due order, and end it should that one be killed.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
