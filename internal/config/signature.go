package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/ringback/ringback/sign"
)

// schemes say how callbacks are signed: a word, a block of one key, or a list of
// both. They are kept as the text that sign.ParseSchemes reads.
type schemes string

var schemesType = reflect.TypeFor[schemes]()

func (s *schemes) parse(text string) error {
	parsed, err := sign.ParseSchemes(text)
	var at *sign.SchemesError
	if errors.As(err, &at) {
		return wrong(at.Hint, "%s", strings.TrimPrefix(strings.ReplaceAll(at.Pointer, "/", ".")+" ", " ")+at.Message)
	}
	*s = schemes(parsed.String())
	return err
}

// schemes decodes a node into v.
func (d *decoder) schemes(n ast.Node, key string, v reflect.Value) {
	before := len(d.problems)
	plain := d.plain(n, key)
	if len(d.problems) > before || plain == nil {
		return
	}
	text, ok := plain.(string)
	if !ok {
		data, err := json.Marshal(plain)
		if err != nil {
			d.problem(key, err)
			return
		}
		text = string(data)
	}
	parsed, err := sign.ParseSchemes(text)
	var at *sign.SchemesError
	if errors.As(err, &at) {
		d.problem(key+keyOf(at.Pointer), wrong(at.Hint, "%s", at.Message))
		return
	}
	v.SetString(parsed.String())
}

// keyOf makes a key of a pointer: /0/legacy is [0].legacy.
func keyOf(pointer string) string {
	key := ""
	for part := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		switch {
		case part == "":
		case strings.Trim(part, "0123456789") == "":
			key += "[" + part + "]"
		default:
			key += "." + part
		}
	}
	return key
}

// plain is a node as JSON has it: texts, lists and objects. nil is for what is empty,
// or wrong, which is noted.
func (d *decoder) plain(n ast.Node, key string) any {
	if n = d.resolve(n, key); n == nil {
		return nil
	}
	switch at := n.(type) {
	case *ast.SequenceNode:
		list := make([]any, len(at.Values))
		for i, member := range at.Values {
			name := fmt.Sprintf("%s[%d]", key, i)
			if member != nil {
				d.note(name, member.GetToken())
			}
			list[i] = d.plain(member, name)
		}
		return list
	case *ast.MappingNode, *ast.MappingValueNode:
		object := map[string]any{}
		d.mapping(n, key, func(name string, value ast.Node, at string) { object[name] = d.plain(value, at) })
		return object
	}
	text, ok := d.text(n, key)
	if !ok {
		return nil
	}
	if text, ok = d.expanded(text, key); !ok {
		return nil
	}
	return text
}
