package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/internal/body"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

// checked is what db check found.
type checked struct {
	Path     string           `json:"path"` // of the backup or the store
	Schema   int              `json:"schema"`
	Findings []sqlite.Finding `json:"findings"`
	// Leftovers are bodies that nothing names: a crash leaves some, and the next
	// start deletes them.
	Leftovers int `json:"leftovers"`
}

func (v *checked) add(what string, rows int64) {
	v.Findings = append(v.Findings, sqlite.Finding{What: what, Rows: rows})
}

func (c *cli) dbCheck() *cobra.Command {
	return atStore(&cobra.Command{
		Use:   "check [DIR]",
		Short: "Look for damage in a backup, or in the store of a stopped gateway",
		Long: `Look for damage in the backup in DIR, or without DIR in the store of a gateway that
is stopped: in the file itself, in what its rows say of each other, and in the bodies
that they name. All of the store is read, and nothing is changed.`,
		Example: `  ringback db check /backup/monday
  ringback db check --store sqlite:ringback.db`,
		Args: cobra.MaximumNArgs(1),
	}, func(ctx context.Context, s *config.Settings, args []string) error {
		v := &checked{Path: s.Store, Findings: []sqlite.Finding{}}
		var err error
		if len(args) > 0 {
			v.Path = args[0]
			err = v.checkBackup(ctx)
		} else {
			err = v.checkStore(ctx, s.Store, s.Options.BodyDir, sqlite.OpenStopped)
		}
		if err != nil {
			return err
		}
		return c.showChecked(v)
	})
}

func (v *checked) checkBackup(ctx context.Context) error {
	_, unchanged, err := ringback.ReadBackup(v.Path)
	if errors.Is(err, ringback.ErrNoBackup) {
		return &failure{code: exitFailure, err: err, hint: "a backup that was cut short has none: make another"}
	}
	if err != nil {
		return err
	}
	store := filepath.Join(v.Path, ringback.BackupStore)
	if !unchanged {
		v.add("the store is not the one that the backup was made with", 0)
	}
	if _, err := os.Stat(store + "-wal"); !errors.Is(err, fs.ErrNotExist) {
		v.add("a gateway has worked on the backup itself: "+ringback.BackupStore+"-wal is beside the store", 0)
	}
	return v.checkStore(ctx, store, filepath.Join(v.Path, ringback.BackupBodies), sqlite.OpenCopy)
}

func (v *checked) checkStore(ctx context.Context, path, bodies string, open func(string) (*sqlite.File, error)) (err error) {
	f, err := open(path)
	if err != nil {
		return fileFailure(path, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	contents, err := f.Contents(ctx)
	if err != nil {
		return err
	}
	v.Schema = contents.Schema
	found, err := f.Check(ctx)
	if err != nil {
		return err
	}
	v.Findings = append(v.Findings, found...)
	var bad int64
	example := ""
	err = f.Bodies(ctx, func(b job.Body) error {
		if err := body.Verify(bodies, b); err != nil {
			bad, example = bad+1, err.Error()
		}
		return ctx.Err()
	})
	if err != nil {
		return err
	}
	if bad > 0 {
		v.add("bodies that are missing or not whole, such as "+example, bad)
	}
	v.Leftovers, err = body.Leftovers(ctx, bodies, f.KnownBodies)
	return err
}

func (c *cli) showChecked(v *checked) error {
	if c.output != "table" {
		if err := c.showJSON(v); err != nil {
			return err
		}
	}
	if v.Leftovers > 0 {
		c.say("%d bodies are named by nothing; the next start deletes them", v.Leftovers)
	}
	if len(v.Findings) == 0 {
		c.say("%s is whole", v.Path)
		return nil
	}
	if c.output == "table" {
		for _, f := range v.Findings {
			line := f.What
			if f.Rows > 0 {
				line = fmt.Sprintf("%d %s", f.Rows, f.What)
			}
			if err := c.print(clean(line)); err != nil {
				return err
			}
		}
	}
	return &failure{code: exitFailure, err: fmt.Errorf("%s is damaged", v.Path), hint: "docs/backup.md says how to restore a backup"}
}
