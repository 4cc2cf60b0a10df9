package body

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

// fullDisk names the folder in which a child of the test finds no room.
const fullDisk = "BODY_TEST_FULL_DISK"

// TestFullDiskIsAStorageFailure runs itself again with a limit on the size of
// files, which fails a write half-way as a full disk does.
func TestFullDiskIsAStorageFailure(t *testing.T) {
	if root := os.Getenv(fullDisk); root != "" {
		putWithoutRoom(t, root)
		return
	}
	t.Parallel()
	_, root := setup(t)
	child := exec.Command(os.Args[0], "-test.run=^TestFullDiskIsAStorageFailure$")
	child.Env = append(os.Environ(), fullDisk+"="+root)
	if out, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if left := files(t, root); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}

func putWithoutRoom(t *testing.T, root string) {
	t.Helper()
	d := reopen(t, root)
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 100_000, Max: 100_000}); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(t.Context(), d, bytes.NewReader(octets(300_000)), 1<<30); !errors.Is(err, ErrStorage) {
		t.Fatalf("err = %v", err)
	}
	// There is room for a smaller one.
	b, err := Read(t.Context(), d, bytes.NewReader(octets(90_000)), 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(b.Ref); err != nil {
		t.Fatal(err)
	}
}
