package ringback_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/sign"
)

// smallDisk names the folder on which a child of the test mounts a disk.
const smallDisk = "RINGBACK_TEST_SMALL_DISK"

// TestFullDiskRefusesCallsUntilThereIsRoom runs itself again where it may mount a
// small disk, which ends with that process.
func TestFullDiskRefusesCallsUntilThereIsRoom(t *testing.T) {
	t.Parallel()
	if dir := os.Getenv(smallDisk); dir != "" {
		if err := syscall.Mount("none", dir, "tmpfs", 0, "size=24m"); err != nil {
			t.Fatal(err)
		}
		fillDisk(t, dir)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFullDiskRefusesCallsUntilThereIsRoom$", "-test.v")
	child.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Unshareflags: syscall.CLONE_NEWNS}
	if os.Getuid() != 0 {
		root := func(id int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: id, Size: 1}} }
		child.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		child.SysProcAttr.UidMappings, child.SysProcAttr.GidMappings = root(os.Getuid()), root(os.Getgid())
	}
	if out, err := child.CombinedOutput(); err != nil || !bytes.Contains(out, []byte("--- PASS")) {
		t.Errorf("%v\n%s", err, out)
	}
}

func fillDisk(t *testing.T, dir string) {
	t.Helper()
	running, release := make(chan struct{}, 1), make(chan struct{})
	slow := ringback.Func(func(ctx context.Context, _ *ringback.Call, out *ringback.Result) error {
		running <- struct{}{}
		<-release
		_, err := io.WriteString(out, "done")
		return err
	})
	g := start(t, dir, func(o *ringback.Options) {
		o.Operations = []ringback.Operation{operation("slow", "POST /slow", slow, quick), operation("notify", "POST /notify", ringback.Relay(), quick)}
	})
	g.join(t)
	url, messages := listen(t, func() sign.Secret { return g.secret }, nil)
	accepted := map[string]bool{g.call(t, client.Call{Path: "/slow", CallbackURL: url}).ID: true}
	<-running

	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the disk is not full: %v", err)
	}
	refused := false
	for range 1000 {
		answer := g.post(t, "/notify?callbackURL="+url, strings.Repeat("x", 20_000))
		if answer.status == http.StatusAccepted {
			accepted[answer.ID] = true
			continue
		}
		if answer.status != http.StatusServiceUnavailable || answer.retryAfter == "" || answer.Code != "unavailable" {
			t.Fatalf("a call on a full disk got %+v", answer)
		}
		refused = true
		break
	}
	if !refused {
		t.Fatal("a full disk took every call")
	}
	if ready := g.get(t, "/readyz"); ready.status != http.StatusServiceUnavailable || !strings.Contains(ready.Detail, "no space left on device") {
		t.Errorf("/readyz says %+v", ready)
	}
	close(release) // the run ends, and its result finds no room

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ready", func() bool { return g.get(t, "/readyz").status == http.StatusOK })
	accepted[g.call(t, client.Call{Path: "/notify", CallbackURL: url, Body: strings.NewReader("room")}).ID] = true
	for range len(accepted) {
		m := next(t, messages)
		if id := m.envelope.Data.Job.ID; !accepted[id] {
			t.Errorf("a callback came for %s, which was not accepted", id)
		} else {
			delete(accepted, id)
		}
	}
}

// reply is what of an answer counts here.
type reply struct {
	status     int
	retryAfter string
	ID         string `json:"id"`
	Code       string `json:"code"`
	Detail     string `json:"detail"`
}

func (g *gateway) post(t *testing.T, path, body string) reply {
	t.Helper()
	return g.ask(t, http.MethodPost, path, body)
}

func (g *gateway) get(t *testing.T, path string) reply {
	t.Helper()
	return g.ask(t, http.MethodGet, path, "")
}

func (g *gateway) ask(t *testing.T, method, path, body string) (a reply) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, g.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+g.key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	a.status, a.retryAfter = res.StatusCode, res.Header.Get("Retry-After")
	return a
}
