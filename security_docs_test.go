package ringback_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestEveryPromiseOfSecurityIsShownByATest compares docs/security.md with the tests that
// there are.
func TestEveryPromiseOfSecurityIsShownByATest(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := testNames(t)
	promises, inTable := 0, false
	for line := range strings.Lines(string(text)) {
		switch {
		case strings.HasPrefix(line, "| promise | shown by |"):
			inTable = true
			continue
		case !strings.HasPrefix(line, "|"):
			inTable = false
		case inTable && !strings.HasPrefix(line, "|---"):
			promises++
			if !strings.Contains(line, "`Test") {
				t.Errorf("no test shows this: %s", line)
			}
		}
		for _, name := range testName.FindAllString(line, -1) {
			if !tests[strings.Trim(name, "`")] {
				t.Errorf("there is no test %s", name)
			}
		}
	}
	if promises < 20 {
		t.Errorf("%d promises were found", promises)
	}
}

var (
	testName = regexp.MustCompile("`Test[A-Za-z0-9]+`")
	testFunc = regexp.MustCompile(`(?m)^func (Test[A-Za-z0-9]+)\(t \*testing\.T\)`)
)

// testNames are the tests of all packages.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if d != nil && d.IsDir() && (d.Name() == "node_modules" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return filepath.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(source, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
