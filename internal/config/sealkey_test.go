package config

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func sealKeyText(fill byte) string {
	return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(fill)), 32)))
}

func TestSealKeysComeFromTextFileAndCommand(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "keys")
	if err := os.WriteFile(path, []byte(sealKeyText('a')+"\n"+sealKeyText('b')+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := func(name string) (string, bool) {
		return map[string]string{"SEAL": sealKeyText('a') + " " + sealKeyText('b'), "RINGBACK_SEAL_KEY": ""}[name], true
	}
	for text, file := range map[string]string{
		"seal_key: ${SEAL}":                           "",
		"seal_key: file:" + path:                      path,
		"seal_key: {command: [cat, " + path + "]}":    "",
		"seal_key:\n  command:\n  - cat\n  - " + path: "",
	} {
		s, err := load(Sources{LookupEnv: env}, []byte(text), os.ReadFile)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		keys, err := s.SealKey.Load(t.Context())
		if err != nil || len(keys) != 2 || keys[0][0] != 'a' || keys[1][0] != 'b' || s.SealKey.Path != file || s.SealKey.IsZero() {
			t.Errorf("%s: %d keys, %+v, %v", text, len(keys), s.SealKey.Path, err)
		}
	}
}

func TestSealKeysThatCannotBeHadAreRefusedWithoutShowingThem(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"seal_key: {command: []}":             "names no command",
		"seal_key: {command: ['']}":           "names no command",
		"seal_key: {}":                        "names no command",
		"seal_key: {comand: [a]}":             "unknown key",
		"seal_key: [a]":                       "must hold keys with values, but is a list",
		"seal_key: hunter2hunter2":            "must be 32 bytes in base64",
		"seal_key: ''":                        "must be 32 bytes in base64",
		"seal_key: file:/nowhere/at/all":      "the file cannot be read",
		"seal_key: " + sealKeyText('a') + "x": "must be 32 bytes in base64",
	} {
		_, err := load(Sources{LookupEnv: func(string) (string, bool) { return "", false }}, []byte(text), os.ReadFile)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for what, argv := range map[string][]string{
		"exit status 3":                      {"sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"},
		"wrote no keys":                      {"echo", "hunter2"},
		"no such file or directory":          {"/nowhere/at/all"},
		"must be 32 bytes in base64":         {"true"},
		"the command of seal_key, sh, wrote": {"sh", "-c", "yes hunter2 | head -c 1000000"},
	} {
		if keys, err := (SealKey{Argv: argv}).Load(t.Context()); err == nil || keys != nil || !strings.Contains(err.Error(), what) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", argv, err)
		}
	}
}
