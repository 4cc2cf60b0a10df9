package config

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"reflect"
	"time"

	"github.com/goccy/go-yaml/ast"

	"github.com/ringback/ringback/internal/seal"
)

// SealKey says where the seal keys come from: the configuration's text, a file, or
// what a command writes. The zero value says nothing.
type SealKey struct {
	// Path of the file; empty for the other sources.
	Path string
	// Argv is the command; nil for the other sources.
	Argv []string
	// keys of the text, or of the file as the configuration was read.
	keys [][]byte
}

// IsZero tells whether no key is configured.
func (k SealKey) IsZero() bool { return len(k.keys) == 0 && k.Argv == nil }

const sealCommandTimeout = 30 * time.Second

// Load reads the keys, the one that seals first: those of a file or a command anew.
// No error tells what they wrote.
func (k SealKey) Load(ctx context.Context) ([][]byte, error) {
	switch {
	case k.Argv != nil:
		return runSealCommand(ctx, k.Argv)
	case k.Path != "":
		return seal.KeyFile(k.Path)
	}
	return k.keys, nil
}

func runSealCommand(ctx context.Context, argv []string) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, sealCommandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	var out bounded
	cmd.Stdout, cmd.WaitDelay = &out, time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("the command of seal_key, %s: %w", argv[0], err)
	}
	keys, err := seal.ParseKeys(out.String())
	if err != nil {
		return nil, fmt.Errorf("the command of seal_key, %s, wrote no keys: %w", argv[0], err)
	}
	return keys, nil
}

// bounded keeps the beginning of what is written.
type bounded struct{ bytes.Buffer }

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	if room := maxSecretBytes - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

// sealKey is how a SealKey is written: as a text with one key or several, as
// "file:PATH", or as {command: [argv…]}.
type sealKey SealKey

func (sealKey) confidential() {}

func (k *sealKey) parse(text string) error {
	keys, err := seal.ParseKeys(text)
	if err != nil {
		return wrong("make one with: openssl rand -base64 32", "must be %d bytes in base64", seal.KeyBytes)
	}
	k.keys = keys
	return nil
}

// filed is a confidential value that wants to know the file that it was read from.
type filed interface{ readFrom(path string) }

func (k *sealKey) readFrom(path string) { k.Path = path }

// sealCommand is the block with the command.
type sealCommand struct {
	Command []string `yaml:"command"`
}

// sealKey reads the block, where the value is one.
func (d *decoder) sealKey(n ast.Node, key string, k *sealKey) bool {
	if _, ok := scalarText(n); ok {
		return false
	}
	var block sealCommand
	before := len(d.problems)
	d.value(n, key, reflect.ValueOf(&block).Elem())
	if len(block.Command) == 0 || block.Command[0] == "" {
		if len(d.problems) == before {
			d.problem(key, wrong("write seal_key: {command: [PROGRAM, ARGUMENT]}", "names no command"))
		}
		return true
	}
	k.Argv = block.Command
	return true
}
