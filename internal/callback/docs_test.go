package callback

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ringback/ringback/job"
)

func TestTheDocumentationShowsWhatEveryFormatSays(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "formats.md"))
	if err != nil {
		t.Fatal(err)
	}
	document := string(text)
	golden := func(name string) string {
		text, err := os.ReadFile(filepath.Join("testdata", "formats", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	for _, format := range job.Formats {
		_, section, ok := strings.Cut(document, "\n## "+format+"\n")
		if section, _, _ = strings.Cut(section, "\n## "); !ok || !strings.Contains(section, "\n```\n"+golden(format+"_json")+"```\n") {
			t.Errorf("docs/formats.md does not show testdata/formats/%s_json.txt", format)
		}
	}
	if !strings.Contains(document, "\n```\n"+golden("raw_failed")+"```\n") {
		t.Error("docs/formats.md does not show testdata/formats/raw_failed.txt")
	}
	squeeze := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	if !strings.Contains(squeeze(document), squeeze(sampleTemplate)) {
		t.Error("docs/formats.md does not show the template of the golden files")
	}
}
