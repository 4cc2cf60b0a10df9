package docs_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/ringback/ringback/internal/npmtest"
)

func TestGeneratedClientWorks(t *testing.T) {
	t.Parallel()
	g := start(t, nil)
	npmtest.Install(t, jsFolder)
	dir := t.TempDir()
	packages, err := filepath.Abs(filepath.Join(jsFolder, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(packages, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(jsFolder, "client.ts"))
	if err != nil {
		t.Fatal(err)
	}
	_, document := g.get(t, "/openapi.json")
	for name, content := range map[string]string{"client.ts": string(program), "openapi.json": document, "package.json": `{"type": "module"}`,
		"tsconfig.json": `{"compilerOptions": {"strict": true, "module": "nodenext", "target": "es2022", "lib": ["es2022", "dom"], "types": []}, "files": ["client.ts"]}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(stdin io.Reader, argv ...string) string {
		t.Helper()
		command := exec.CommandContext(t.Context(), "node", argv...)
		command.Dir, command.Stdin = dir, stdin
		var stderr bytes.Buffer
		command.Stderr = &stderr
		output, err := command.Output()
		if err != nil {
			t.Fatalf("node %v: %v\n%s%s", argv, err, output, stderr.String())
		}
		return string(output)
	}
	run(nil, "node_modules/openapi-typescript/bin/cli.js", "openapi.json", "-o", "schema.ts")
	run(nil, "node_modules/typescript/bin/tsc")

	// The program reads from its standard input what it is called back with.
	arrived, pipe := io.Pipe()
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(pipe, r.Body)
		pipe.CloseWithError(err)
	}))
	defer receiver.Close()
	var got struct{ ID, Status, Code, Type, Job, State string }
	if err := json.Unmarshal([]byte(run(arrived, "client.js", g.url, receiver.URL)), &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "succeeded" || got.Code != "not_found" || got.Type != "notify.succeeded" || got.Job != got.ID || got.ID == "" || got.State != "order-7" {
		t.Errorf("the client learned %+v", got)
	}
}
