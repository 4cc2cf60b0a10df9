package ringback_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// documents are the Markdown files of the project.
func documents(t *testing.T) (files []string) {
	t.Helper()
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 8 {
		t.Fatalf("only %d documents: %v", len(files), files)
	}
	return files
}

// symbols are the names declared in each package: "window.Window", "Gateway.Run".
func symbols(t *testing.T) map[string]bool {
	t.Helper()
	known := map[string]bool{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for name := range declared(file) {
			known[name] = true
			known[strings.TrimSuffix(file.Name.Name, "_test")+"."+name] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return known
}

func declared(file *ast.File) map[string]bool {
	names := map[string]bool{}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			name := d.Name.Name
			if d.Recv != nil {
				name = receiverName(d.Recv.List[0].Type) + "." + name
			}
			names[name] = true
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch s := spec.(type) {
				case *ast.TypeSpec:
					names[s.Name.Name] = true
					members(names, s)
				case *ast.ValueSpec:
					for _, n := range s.Names {
						names[n.Name] = true
					}
				}
			}
		}
	}
	return names
}

func members(names map[string]bool, s *ast.TypeSpec) {
	var fields *ast.FieldList
	switch typ := s.Type.(type) {
	case *ast.StructType:
		fields = typ.Fields
	case *ast.InterfaceType:
		fields = typ.Methods
	default:
		return
	}
	for _, f := range fields.List {
		for _, n := range f.Names {
			names[s.Name.Name+"."+n.Name] = true
		}
	}
}

func receiverName(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.StarExpr:
		return receiverName(e.X)
	case *ast.IndexExpr:
		return receiverName(e.X)
	case *ast.Ident:
		return e.Name
	}
	return ""
}

var (
	code   = regexp.MustCompile("`([^`\n]+)`")
	symbol = regexp.MustCompile(`^(?:[a-z]+\.)?[A-Z]\w*(?:\.[A-Z]\w*)*$|^[a-z]+\.[A-Z]\w*(?:\.\w+)*$`)
	goPath = regexp.MustCompile(`^(?:[\w.-]+/)*[\w.-]+\.(?:go|md|sh|yml|yaml|svg)$|^(?:job|sign|receiver|client|store|internal|cmd|bench|docs|scripts|examples)(?:/[\w.-]+)*/?$`)
	link   = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	fenced = regexp.MustCompile("(?s)```.*?```")
)

// Names that look like symbols of ours: other people's, and variables of an example.
var foreign = map[string]bool{"http.Transport": true, "call.Body": true}

func TestEveryFileAndSymbolThatTheDocumentsNameExists(t *testing.T) {
	t.Parallel()
	known := symbols(t)
	for _, file := range documents(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := fenced.ReplaceAllString(string(content), "")
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
			}
		}
		for _, m := range code.FindAllStringSubmatch(text, -1) {
			name := strings.TrimSuffix(m[1], "()")
			switch {
			case goPath.MatchString(name):
				_, here := os.Stat(name)
				if _, beside := os.Stat(filepath.Join(filepath.Dir(file), name)); here != nil && beside != nil {
					t.Errorf("%s names the file %s, which is not there", file, name)
				}
			case strings.Contains(name, ".") && symbol.MatchString(name) && !foreign[name] && !known[name]:
				t.Errorf("%s names the symbol %s, which is not there", file, name)
			}
		}
	}
}
