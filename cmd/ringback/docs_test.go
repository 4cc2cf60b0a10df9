package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestDocsHaveEveryCommandFlagAndExitCode(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	root, _ := newRootCmd(&cli{term: &term{}})
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		leaf := len(cmd.Commands()) == 0 || cmd.Name() == "completion"
		if leaf && !strings.Contains(docs, "`"+cmd.CommandPath()) {
			t.Errorf("docs/cli.md has no `%s`", cmd.CommandPath())
		}
		if leaf && cmd.Name() != "completion" && !strings.Contains(cmd.Example, " "+cmd.CommandPath()) {
			t.Errorf("%s --help has no example", cmd.CommandPath())
		}
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(docs, "`--"+f.Name+"`") {
				t.Errorf("docs/cli.md has no `--%s` of %s", f.Name, cmd.CommandPath())
			}
		})
		if leaf {
			return
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(root)
	for _, code := range []int{exitOK, exitFailure, exitUsage, exitNotFound, exitRefused, exitNoResult, exitUnavailable, exitInterrupted} {
		if !strings.Contains(docs, fmt.Sprintf("\n| %d | ", code)) {
			t.Errorf("docs/cli.md has no exit code %d", code)
		}
	}
}
