package job_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestTheDocumentationExplainsEveryClassAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/callback.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Why an attempt failed\n")
	var documented []string
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "| `") {
			documented = append(documented, strings.TrimSpace(line))
		}
	}
	var want []string
	for _, c := range job.Classes {
		want = append(want, fmt.Sprintf("| `%s` | %s | %s | %s |", c.Class, c.Side, c.Means, c.Do))
	}
	for _, line := range want {
		if !slices.Contains(documented, line) {
			t.Errorf("docs/callback.md has no line\n%s", line)
		}
	}
	for _, line := range documented {
		if !slices.Contains(want, line) {
			t.Errorf("docs/callback.md has a line that is no class:\n%s", line)
		}
	}
}

func TestEveryClassIsExplainedOnce(t *testing.T) {
	t.Parallel()
	seen := map[job.Class]bool{}
	for _, c := range job.Classes {
		if seen[c.Class] || c.Class == "" || c.Means == "" || c.Do == "" {
			t.Errorf("%+v", c)
		}
		seen[c.Class] = true
		if info, ok := c.Class.Info(); !ok || info != c {
			t.Errorf("%s is explained as %+v", c.Class, info)
		}
		if !slices.Contains([]job.Side{job.SideReceiver, job.SideNetwork, job.SideGateway, job.SideCaller}, c.Side) {
			t.Errorf("%s is nobody's affair: %q", c.Class, c.Side)
		}
	}
	if _, ok := job.Class("status").Info(); ok {
		t.Error("a word that is no class is explained")
	}
	for status, want := range map[int]job.Class{100: job.ClassStatus3xx, 301: job.ClassStatus3xx, 400: job.ClassStatus4xx, 410: job.ClassGone,
		415: job.ClassStatus4xx, 429: job.ClassThrottled, 499: job.ClassStatus4xx, 500: job.ClassStatus5xx, 599: job.ClassStatus5xx, 999: job.ClassStatus5xx} {
		if got := job.StatusClass(status); got != want {
			t.Errorf("%d is %s, want %s", status, got, want)
		}
	}
}
