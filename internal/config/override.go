package config

import (
	"fmt"
	"reflect"
	"strings"
)

// override puts what flags and environment variables say in the place of what the
// file says, for the value of a key and all that is below it. A flag wins.
// Variables that are set to nothing count as unset.
func (d *decoder) override(key string, v reflect.Value) {
	switch {
	case v.Type() == blockType:
	case isLeaf(v):
		if text, ok := d.overriding(key); ok {
			d.setOverride(text, key, v)
		}
	case v.Kind() == reflect.Struct:
		for i, name := range fieldNames(v.Type()) {
			d.override(strings.TrimPrefix(key+"."+name, "."), v.Field(i))
		}
	case v.Kind() == reflect.Map && v.Type().Elem().Kind() == reflect.Pointer:
		for _, name := range v.MapKeys() {
			d.override(key+"."+name.String(), v.MapIndex(name).Elem())
		}
	case v.Kind() == reflect.Slice && v.Type().Elem() != textsType:
		if text, ok := d.overriding(key); ok {
			d.setList(text, key, v)
		}
	}
}

// overriding finds the flag or the variable that sets a key.
func (d *decoder) overriding(key string) (string, bool) {
	if text, ok := d.flags[key]; ok {
		d.places[key] = Place{Name: "--" + strings.ReplaceAll(key, "_", "-")}
		return text, true
	}
	name := EnvName(key)
	text, _ := d.lookupEnv(name)
	if text == "" {
		return "", false
	}
	d.places[key] = Place{Name: name}
	if other, ok := d.overrides[name]; ok {
		d.problem(key, wrong("rename one of the operations", "the variable stands for %s, too", other))
	}
	d.overrides[name] = key
	return text, true
}

// EnvName is the environment variable that sets a key.
func EnvName(key string) string {
	return "RINGBACK_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func (d *decoder) setOverride(text, key string, v reflect.Value) {
	if _, ok := v.Interface().(confidential); ok {
		if text, ok = d.fromFile(text, key, v); !ok {
			return
		}
	}
	if err := parseInto(v, text); err != nil {
		d.problem(key, err)
	}
}

// setList reads a list whose members are separated by commas.
func (d *decoder) setList(text, key string, v reflect.Value) {
	members := strings.Split(text, ",")
	v.Set(reflect.MakeSlice(v.Type(), len(members), len(members)))
	for i, member := range members {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.setOverride(strings.TrimSpace(member), at, v.Index(i))
	}
}
