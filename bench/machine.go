package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// machine is what the numbers depend on.
type machine struct {
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     string `json:"memory"`
	Kernel     string `json:"kernel"`
	Filesystem string `json:"filesystem"` // of the store
	Go         string `json:"go"`
}

// describe reads Linux's /proc. dir is where the stores are.
func describe(dir string) (machine, error) {
	files := map[string]string{}
	var errs []error
	for _, name := range []string{"cpuinfo", "meminfo", "sys/kernel/osrelease", "self/mounts"} {
		text, err := os.ReadFile(filepath.Join("/proc", name))
		files[name], errs = string(text), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return machine{}, fmt.Errorf("the numbers are read from Linux's /proc: %w", err)
	}
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return machine{}, err
	}
	kib := 0
	// Where this cannot be read, 0 says so.
	_, _ = fmt.Sscan(valueOf(files["meminfo"], "MemTotal"), &kib)
	return machine{CPU: valueOf(files["cpuinfo"], "model name"), Cores: runtime.NumCPU(), Memory: fmt.Sprintf("%.0f GiB", float64(kib)/mib),
		Kernel: strings.TrimSpace(files["sys/kernel/osrelease"]), Filesystem: filesystem(files["self/mounts"], dir), Go: runtime.Version()}, nil
}

// valueOf finds the first line "name : value".
func valueOf(text, name string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// filesystem is the type of the innermost mount that holds dir.
func filesystem(mounts, dir string) string {
	at, kind := "", "unknown"
	for line := range strings.Lines(mounts) {
		fields := strings.Fields(line)
		if len(fields) < 3 {
			continue
		}
		point := strings.TrimSuffix(fields[1], "/")
		if (dir == point || strings.HasPrefix(dir, point+"/")) && len(point) >= len(at) {
			at, kind = point, fields[2]
		}
	}
	return kind
}
