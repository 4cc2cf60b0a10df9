// Package npmtest brings in the Node packages that a test needs, and runs its scripts.
package npmtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

var (
	mu   sync.Mutex
	done = map[string]error{} // by folder
)

// Install brings the packages that dir's package-lock.json names into dir. It fails
// the test where that is not possible.
func Install(t testing.TB, dir string) {
	t.Helper()
	mu.Lock()
	defer mu.Unlock()
	err, ok := done[dir]
	if !ok {
		err = install(dir)
		done[dir] = err
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Run installs dir's packages, runs the script there with input as JSON, and reads the
// JSON that it answers with into output.
func Run(t testing.TB, dir, script string, input, output any) {
	t.Helper()
	Install(t, dir)
	text, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "node", script)
	command.Dir, command.Stdin = dir, bytes.NewReader(text)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	answer, err := command.Output()
	if err != nil {
		t.Fatalf("node %s: %v\n%s", script, err, stderr.String())
	}
	if err := json.Unmarshal(answer, output); err != nil {
		t.Fatalf("node %s answered %q: %v", script, answer, err)
	}
}

// install relies on npm's writing its hidden lock file last, so that one tells a whole
// installation; a newer package-lock.json asks for another.
func install(dir string) error {
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("install Node.js 20 or later with npm (apt-get install nodejs npm): %w", err)
		}
	}
	want, err := os.Stat(filepath.Join(dir, "package-lock.json"))
	if err != nil {
		return err
	}
	have, err := os.Stat(filepath.Join(dir, "node_modules", ".package-lock.json"))
	if err == nil && !have.ModTime().Before(want.ModTime()) {
		return nil
	}
	command := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	command.Dir = dir
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci in %s: %w\n%s", dir, err, output)
	}
	return nil
}
