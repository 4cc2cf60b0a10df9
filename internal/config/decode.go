package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// decoder reads YAML into structs, and notes where each value stands. Unlike a
// library's it goes on after a problem, so that all of them can be shown at once,
// and expands ${NAME} after the YAML is parsed, so that no variable changes its
// structure.
type decoder struct {
	name      string // of the file
	lookupEnv func(string) (string, bool)
	readFile  func(string) ([]byte, error)
	flags     map[string]string

	anchors   map[string]ast.Node
	places    map[string]Place // by key
	overrides map[string]string
	// expansions are the values of the variables that were expanded, and as what.
	expansions map[string]string
	problems   Problems
}

// block is a part of the file that is decoded later.
type block struct{ node ast.Node }

// texts are a list that may be written as a single text.
type texts []string

var (
	blockType = reflect.TypeFor[block]()
	textsType = reflect.TypeFor[texts]()
	// durationsType is that of a schedule, where none would not mean none but the default.
	durationsType = reflect.TypeFor[[]duration]()
)

// problem notes what is wrong with the value of a key, unless something was already:
// what could not be read may look as if it were missing.
func (d *decoder) problem(key string, err error) {
	if slices.ContainsFunc(d.problems, func(p Problem) bool { return p.Key == key }) {
		return
	}
	p := Problem{Place: d.place(key), Key: key, Message: d.unexpanded(err.Error())}
	if v, ok := errors.AsType[*valueError](err); ok {
		p.Hint = v.hint
	}
	d.problems = append(d.problems, p)
}

// minMasked is from how many bytes on a variable's value is taken for a secret;
// shorter ones stand in too many words by chance.
const minMasked = 4

// unexpanded puts the names of variables in the place of what they hold.
func (d *decoder) unexpanded(message string) string {
	for value, name := range d.expansions {
		if len(value) < minMasked {
			continue
		}
		message = strings.ReplaceAll(message, value, name)
		quoted := strconv.Quote(value)
		message = strings.ReplaceAll(message, quoted[1:len(quoted)-1], name)
	}
	return message
}

// place is where the value of a key stands, or the closest thing above it that
// stands somewhere.
func (d *decoder) place(key string) Place {
	for {
		if p, ok := d.places[key]; ok {
			return p
		}
		i := strings.LastIndexAny(key, ".[")
		if i < 0 {
			return Place{Name: d.name}
		}
		key = key[:i]
	}
}

func (d *decoder) note(key string, t *token.Token) {
	if t != nil && t.Position != nil {
		d.places[key] = Place{Name: d.name, Line: t.Position.Line, Column: t.Position.Column}
	}
}

// document decodes a whole file.
func (d *decoder) document(data []byte, v reflect.Value) {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		d.problems = append(d.problems, d.syntax(err))
		return
	}
	for i, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		d.note("", doc.Body.GetToken())
		if i > 0 {
			d.problem("", wrong("put everything in one document, without ---", "there is a second document in the file"))
			return
		}
		ast.Walk(anchorFinder{d.anchors}, doc.Body)
		d.value(doc.Body, "", v)
	}
}

func (d *decoder) syntax(err error) Problem {
	p := Problem{Place: Place{Name: d.name}, Message: err.Error(), Hint: "see https://yaml.org for the syntax; quote what holds {, }, [, ], ',', ': ' or ' #'"}
	var at yaml.Error
	if errors.As(err, &at) {
		p.Message = at.GetMessage()
		if t := at.GetToken(); t != nil && t.Position != nil {
			p.Place.Line, p.Place.Column = t.Position.Line, t.Position.Column
		}
	}
	p.Message = "not valid YAML: " + p.Message
	return p
}

type anchorFinder struct{ found map[string]ast.Node }

// Visit implements ast.Visitor.
func (f anchorFinder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok && a.Name != nil {
		f.found[a.Name.GetToken().Value] = a.Value
	}
	return f
}

// resolve follows anchors and aliases. It returns nil for null.
func (d *decoder) resolve(n ast.Node, key string) ast.Node {
	for range 100 {
		switch at := n.(type) {
		case nil:
			return nil
		case *ast.NullNode:
			return nil
		case *ast.AnchorNode:
			n = at.Value
		case *ast.AliasNode:
			name := at.Value.GetToken().Value
			if n = d.anchors[name]; n == nil {
				d.problem(key, wrong("write &"+name+" before the value that is meant", "the alias *%s has no anchor", name))
				return nil
			}
		default:
			return n
		}
	}
	d.problem(key, errors.New("the alias means itself"))
	return nil
}

// value decodes a node into v.
func (d *decoder) value(n ast.Node, key string, v reflect.Value) {
	if v.Type() == blockType {
		v.Set(reflect.ValueOf(block{n}))
		return
	}
	if n = d.resolve(n, key); n == nil {
		return
	}
	if v.Type() == schemesType {
		d.note(key, n.GetToken())
		d.schemes(n, key, v)
		return
	}
	if k, ok := v.Addr().Interface().(*sealKey); ok && d.sealKey(n, key, k) {
		return
	}
	if p, ok := v.Addr().Interface().(*policy); ok {
		if text, ok := scalarText(n); ok {
			d.note(key, n.GetToken())
			if err := p.word(text); err != nil {
				d.problem(key, err)
			}
			return
		}
	}
	if isLeaf(v) {
		if text, ok := d.text(n, key); ok {
			d.set(text, key, v)
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.mapping(n, key, func(name string, value ast.Node, at string) {
			field, ok := fieldOf(v, name)
			if !ok {
				d.problem(at, wrong(hintFor(name, fieldNames(v.Type())), "unknown key"))
				return
			}
			d.value(value, at, field)
		})
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		d.mapping(n, key, func(name string, value ast.Node, at string) {
			member := reflect.New(v.Type().Elem()).Elem()
			into := member
			if member.Kind() == reflect.Pointer {
				member.Set(reflect.New(member.Type().Elem()))
				into = member.Elem()
			}
			d.value(value, at, into)
			v.SetMapIndex(reflect.ValueOf(name), member)
		})
	case reflect.Slice:
		d.sequence(n, key, v)
	default:
		panic(fmt.Sprintf("config: no way to decode a %s", v.Type()))
	}
}

// isLeaf tells what is written as a single text.
func isLeaf(v reflect.Value) bool {
	if _, ok := v.Addr().Interface().(scalar); ok {
		return true
	}
	return v.Kind() == reflect.String || v.Kind() == reflect.Bool
}

func (d *decoder) mapping(n ast.Node, key string, each func(name string, value ast.Node, at string)) {
	var entries []*ast.MappingValueNode
	switch at := n.(type) {
	case *ast.MappingNode:
		entries = at.Values
	case *ast.MappingValueNode:
		entries = []*ast.MappingValueNode{at}
	default:
		d.problem(key, fmt.Errorf("must hold keys with values, but is %s", kindOf(n)))
		return
	}
	for _, entry := range entries {
		name, ok := keyText(entry.Key)
		at := strings.TrimPrefix(key+"."+name, ".")
		d.note(at, entry.Key.GetToken())
		switch {
		case entry.Key.IsMergeKey():
			d.problem(at, wrong("write the keys out, or use an alias for each value", "merge keys are not supported"))
		case !ok:
			d.problem(at, errors.New("a key must be a plain text"))
		default:
			each(name, entry.Value, at)
		}
	}
}

func keyText(n ast.MapKeyNode) (string, bool) {
	switch at := n.(type) {
	case *ast.StringNode:
		return at.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	return n.GetToken().Value, false
}

func (d *decoder) sequence(n ast.Node, key string, v reflect.Value) {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		if text, ok := scalarText(n); ok && v.Type() == textsType {
			d.note(key, n.GetToken())
			if text, ok = d.expanded(text, key); ok {
				v.Set(reflect.ValueOf(texts{text}))
			}
			return
		}
		d.problem(key, wrong("write [a, b], or a line that begins with - for each", "must be a list, but is %s", kindOf(n)))
		return
	}
	if len(list.Values) == 0 && v.Type() == durationsType {
		d.note(key, n.GetToken())
		d.problem(key, wrong("write the delays between attempts, such as [5s, 1m], or leave it out for the default", "must name at least one delay"))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(list.Values), len(list.Values)))
	for i, member := range list.Values {
		at := fmt.Sprintf("%s[%d]", key, i)
		if member == nil || member.Type() == ast.NullType {
			d.problem(at, errors.New("is empty"))
			continue
		}
		d.note(at, member.GetToken())
		d.value(member, at, v.Index(i))
	}
}

// text reads a scalar.
func (d *decoder) text(n ast.Node, key string) (string, bool) {
	d.note(key, n.GetToken())
	text, ok := scalarText(n)
	if !ok {
		d.problem(key, fmt.Errorf("must be a single value, but is %s", kindOf(n)))
	}
	return text, ok
}

// scalarText is a scalar as it is written: 0x10 stays so, for whoever parses it.
func scalarText(n ast.Node) (string, bool) {
	switch at := n.(type) {
	case *ast.StringNode:
		return at.Value, true
	case *ast.LiteralNode:
		return at.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a block of keys"
	case *ast.SequenceNode:
		return "a list"
	case *ast.TagNode:
		return "a value with a tag (!), which is not supported"
	}
	return "a single value"
}

// set reads a text into a leaf.
func (d *decoder) set(raw, key string, v reflect.Value) {
	text, ok := d.expanded(raw, key)
	if !ok {
		return
	}
	if _, ok := v.Interface().(confidential); ok {
		if text, ok = d.fromFile(text, key, v); !ok {
			return
		}
	}
	if err := parseInto(v, text); err != nil {
		d.problem(key, err)
	}
}

func parseInto(v reflect.Value, text string) error {
	if s, ok := v.Addr().Interface().(scalar); ok {
		return s.parse(text)
	}
	if v.Kind() == reflect.String {
		v.SetString(text)
		return nil
	}
	if text != "true" && text != "false" {
		return wrong("write true or false", "%q is neither true nor false", text)
	}
	v.SetBool(text == "true")
	return nil
}

var variable = regexp.MustCompile(`\$\$\{|\$\{([^}]*)\}?`)

var variableName = regexp.MustCompile(`^\$\{[A-Za-z_][A-Za-z0-9_]*\}$`)

// expanded puts environment variables in the place of ${NAME}.
func (d *decoder) expanded(text, key string) (string, bool) {
	ok := true
	out := variable.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$${" {
			return "${"
		}
		name := strings.Trim(match, "${}")
		if !variableName.MatchString(match) {
			ok = false
			d.problem(key, wrong("write ${NAME}, or $${ for the characters themselves", "%q names no environment variable", match))
			return ""
		}
		value, set := d.lookupEnv(name)
		if !set {
			ok = false
			d.problem(key, wrong("set it, or write $${ for the characters themselves", "the environment variable %s is not set", name))
		}
		d.expansions[value] = match
		return value
	})
	return out, ok
}

// fromFile reads a secret that stands in a file of its own.
func (d *decoder) fromFile(text, key string, v reflect.Value) (string, bool) {
	path, ok := strings.CutPrefix(text, "file:")
	if !ok {
		return text, true
	}
	content, err := d.readFile(path)
	if err != nil {
		d.problem(key, wrong("it must be there, and readable for the user who runs ringback", "the file cannot be read: %v", err))
		return "", false
	}
	if f, ok := v.Addr().Interface().(filed); ok {
		f.readFrom(path)
	}
	return strings.TrimRight(string(content), "\r\n"), true
}

const maxSecretBytes = 64 << 10

func readSecret(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSecretBytes))
}

func fieldOf(v reflect.Value, name string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

func fieldNames(t reflect.Type) []string {
	names := make([]string, t.NumField())
	for i := range names {
		names[i] = t.Field(i).Tag.Get("yaml")
	}
	return names
}
