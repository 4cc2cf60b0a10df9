package config

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

func TestTheExamplesAreRight(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatal("no examples", err)
	}
	for _, path := range paths {
		s, err := Load(Sources{Path: path, LookupEnv: func(string) (string, bool) { return "", false }})
		if err != nil {
			t.Error(err)
		} else if len(s.Options.Operations) == 0 && s.Options.Upstream == nil {
			t.Errorf("%s serves nothing", path)
		}
	}
}

func TestDocsExplainEveryKeyAndNoOther(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(string(text), -1) {
		documented[m[1]] = true
	}
	keys := map[string]bool{}
	collectKeys(reflect.TypeFor[file](), "", keys)
	collectKeys(reflect.TypeFor[operation](), "", keys)
	collectKeys(reflect.TypeFor[contract](), "", keys)
	for key := range keys {
		if !documented[key] {
			t.Errorf("docs/configuration.md does not explain %s", key)
		}
	}
	for key := range documented {
		if !keys[key] {
			t.Errorf("docs/configuration.md explains %s, which is no key", key)
		}
	}
}

// collectKeys lists what a struct holds, and in it the blocks that are no section
// of their own in the docs.
func collectKeys(t reflect.Type, prefix string, keys map[string]bool) {
	for i, name := range fieldNames(t) {
		field := t.Field(i).Type
		switch {
		case field == reflect.TypeFor[map[string]*operation]() || field == reflect.TypeFor[contract]():
		case field.Kind() == reflect.Struct && !isLeaf(reflect.New(field).Elem()):
			collectKeys(field, prefix+name+".", keys)
		default:
			keys[prefix+name] = true
		}
	}
}

func TestTheBlocksInTheDocsAreRight(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```yaml\n")[1:]
	if len(blocks) == 0 {
		t.Fatal("no blocks")
	}
	for _, block := range blocks {
		mustLoad(t, strings.Split(block, "```")[0], Sources{}, nil)
	}
}
