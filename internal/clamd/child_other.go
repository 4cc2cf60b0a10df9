//go:build !linux

package clamd

import "syscall"

// childAttributes are the default where the system cannot tie the daemon's life
// to ours.
func childAttributes() *syscall.SysProcAttr { return nil }
