package client_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestDocumentationShowsWhatTheExamplesRun(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/calling.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	run := strings.ReplaceAll(string(examples), "\n\t\t", "\n") // as deep as all of them stand
	snippets := regexp.MustCompile("(?s)```go\n(.*?\n)```").FindAllStringSubmatch(string(page), -1)
	if len(snippets) < 4 {
		t.Fatalf("%d snippets", len(snippets))
	}
	for _, snippet := range snippets {
		if !strings.Contains(run, "\n"+snippet[1]) {
			t.Errorf("no example has\n%s", snippet[1])
		}
	}
}
