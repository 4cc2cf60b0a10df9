package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback"
	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
	"github.com/ringback/ringback/job"
	"github.com/ringback/ringback/store/sqlite"
)

func newDBCmd(c *cli) *cobra.Command {
	return group("db", "Back up, check and describe the store", c.dbBackup(), c.dbCheck(), c.dbInfo())
}

// addStoreFlags are those of serve that say where the store is.
func addStoreFlags(f *pflag.FlagSet) *configFlags {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	o := addConfigFlags(all)
	for _, name := range []string{"config", "store", "bodies"} {
		f.AddFlag(all.Lookup(name))
	}
	o.set = f
	return o
}

// atStore makes what a command does of a function that is told where the store is.
func atStore(cmd *cobra.Command, do func(ctx context.Context, s *config.Settings, args []string) error) *cobra.Command {
	o := addStoreFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		s, err := o.load()
		if err != nil {
			return configFailure(err)
		}
		return do(cmd.Context(), s, args)
	}
	return cmd
}

func (c *cli) dbBackup() *cobra.Command {
	return atStore(&cobra.Command{
		Use:   "backup DIR",
		Short: "Copy the store and its bodies into a new folder",
		Long: `Copy the store and its bodies, as they are at one moment, into a new folder.

A running gateway makes the copy itself, and works on meanwhile. It is asked through
the socket beside the store, so this runs on the gateway's machine, as its user.
The seal key is not in the backup: keep it elsewhere, since nothing is signed
without it.`,
		Example: `  ringback db backup /backup/monday
  ringback db backup /backup/monday --config ringback.yaml`,
		Args: cobra.ExactArgs(1),
	}, func(ctx context.Context, s *config.Settings, args []string) error {
		dir, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		show := c.backupProgress()
		m, err := backup(ctx, s, dir, show.report)
		show.end()
		if err != nil {
			return err
		}
		if err := c.show(m, append(fields{{"backup", dir}, {"began", local(client.At(m.CreatedAt))}, {"store", bytesText(m.StoreBytes)}}, contentsFields(m.Contents)...)); err != nil {
			return err
		}
		if m.Missing > 0 {
			return &failure{code: exitFailure, err: fmt.Errorf("%d bodies that the store names were missing or not whole", m.Missing),
				hint: "all the rest is in the backup; \"ringback db check " + dir + "\" says more"}
		}
		return nil
	})
}

// backup makes a backup by itself, or has the gateway make it that uses the store.
func backup(ctx context.Context, s *config.Settings, dir string, report func(ringback.BackupProgress)) (m *ringback.BackupManifest, err error) {
	f, err := sqlite.OpenStopped(s.Store)
	if errors.Is(err, sqlite.ErrLocked) {
		return askBackup(ctx, s.Store, dir, report)
	}
	if err != nil {
		return nil, fileFailure(s.Store, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return ringback.Backup(ctx, dir, ringback.BackupOptions{Store: f, BodyDir: s.Options.BodyDir,
		Version: buildVersion(), Now: time.Now, Progress: throttled(report)})
}

func askBackup(ctx context.Context, store, dir string, report func(ringback.BackupProgress)) (*ringback.BackupManifest, error) {
	resp, err := askControl(ctx, store, "POST", "/backup", backupQuestion{Dir: dir})
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	for lines := json.NewDecoder(resp.Body); ; {
		var a backupAnswer
		err := lines.Decode(&a)
		switch {
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case err != nil:
			return nil, &failure{code: exitUnavailable, err: errors.New("the gateway has stopped before the backup was whole")}
		case a.Error != "":
			return nil, errors.New(a.Error)
		case a.Manifest != nil:
			return a.Manifest, nil
		case a.Progress != nil:
			report(*a.Progress)
		}
	}
}

// progressBars show how far a backup is, on a terminal.
type progressBars struct {
	c      *cli
	bodies bool
	bar    *progressbar.ProgressBar
}

func (c *cli) backupProgress() *progressBars { return &progressBars{c: c} }

func (p *progressBars) report(at ringback.BackupProgress) {
	if !p.c.errTTY {
		return
	}
	if p.bar == nil || p.bodies != at.Bodies {
		p.end()
		p.bodies = at.Bodies
		what, total := "copying the store", at.Total
		if at.Bodies {
			what, total = "copying bodies", -1
		}
		p.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(p.c.err), progressbar.OptionSetDescription(what),
			progressbar.OptionShowBytes(true), progressbar.OptionSetWidth(30), progressbar.OptionClearOnFinish())
	}
	_ = p.bar.Set64(at.Done) // what cannot be drawn is not worth an error
}

func (p *progressBars) end() {
	if p.bar != nil {
		_ = errors.Join(p.bar.Exit(), p.bar.Clear())
	}
	p.bar = nil
}

// fileFailure says what can be done where a store's file cannot be opened.
func fileFailure(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &failure{code: exitNotFound, err: err, hint: "--store sqlite:FILE, or --config, says where the store is"}
	case errors.Is(err, sqlite.ErrLocked):
		return &failure{code: exitFailure, err: err, hint: "make a backup and check that, or stop the gateway"}
	case errors.Is(err, sqlite.ErrNoStore):
		return &failure{code: exitFailure, err: err}
	}
	return storeFailure(path, err)
}

// dbInfo describes a store.
type dbInfo struct {
	Store    string `json:"store"`
	Running  bool   `json:"running"` // a gateway works on it
	Bytes    int64  `json:"bytes"`
	WALBytes int64  `json:"wal_bytes"` // of the write-ahead log
	job.Contents
}

// describe adds to what a store holds how large its files are. The path may be
// relative to this process's folder.
func describe(path string, contents job.Contents, running bool) dbInfo {
	info := dbInfo{Store: path, Running: running, Contents: contents}
	if abs, err := filepath.Abs(path); err == nil {
		info.Store = abs
	}
	for _, f := range []struct {
		path string
		size *int64
	}{{path, &info.Bytes}, {path + "-wal", &info.WALBytes}} {
		if stat, err := os.Stat(f.path); err == nil {
			*f.size = stat.Size()
		}
	}
	return info
}

func (c *cli) dbInfo() *cobra.Command {
	return atStore(&cobra.Command{
		Use:   "info",
		Short: "Say what the store holds, and how large it is",
		Long: `Say what the store holds, and how large it is. A running gateway is asked through
the socket beside the store.`,
		Example: "  ringback db info --config ringback.yaml",
		Args:    cobra.NoArgs,
	}, func(ctx context.Context, s *config.Settings, _ []string) error {
		info, err := readInfo(ctx, s.Store)
		if err != nil {
			return err
		}
		return c.show(info, append(fields{{"store", info.Store}, {"in use", yes(info.Running)}, {"schema", fmt.Sprint(info.Schema)},
			{"size", bytesText(info.Bytes)}, {"log", bytesText(info.WALBytes)}}, contentsFields(info.Contents)...))
	})
}

func readInfo(ctx context.Context, store string) (info dbInfo, err error) {
	f, err := sqlite.OpenStopped(store)
	if errors.Is(err, sqlite.ErrLocked) {
		return askInfo(ctx, store)
	}
	if err != nil {
		return info, fileFailure(store, err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	contents, err := f.Contents(ctx)
	return describe(store, contents, false), err
}

func askInfo(ctx context.Context, store string) (info dbInfo, err error) {
	resp, err := askControl(ctx, store, "GET", "/info", nil)
	if err != nil {
		return info, err
	}
	defer resp.Body.Close()
	var a infoAnswer
	text, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err == nil && a.Error != "" {
		err = errors.New(a.Error)
	}
	if err != nil {
		return info, fmt.Errorf("ask the gateway: %w", err)
	}
	return a.Info, nil
}

// contentsFields are what a store holds, as a table shows it.
func contentsFields(v job.Contents) fields {
	bodies := ""
	if v.Bodies > 0 {
		bodies = fmt.Sprintf("%d, %s", v.Bodies, bytesText(v.BodyBytes))
	}
	return fields{{"apps", count(int(v.Apps))}, {"jobs", statesText(v.Jobs)}, {"callbacks", statesText(v.Callbacks)},
		{"oldest unfinished", local(client.At(v.OldestUnfinished))}, {"bodies", bodies}}
}

// statesText lists how many are in which state, the largest number first.
func statesText(counts map[string]int64) string {
	var words []string
	for word := range counts {
		words = append(words, word)
	}
	slices.SortFunc(words, func(a, b string) int {
		if counts[a] != counts[b] {
			return int(min(max(counts[b]-counts[a], -1), 1))
		}
		return strings.Compare(a, b)
	})
	for i, word := range words {
		words[i] = fmt.Sprintf("%d %s", counts[word], word)
	}
	return strings.Join(words, ", ")
}

// bytesText is a size for people, empty for 0.
func bytesText(n int64) string {
	if n == 0 {
		return ""
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	size, i := float64(n), 0
	for size >= 1024 && i < len(units)-1 {
		size, i = size/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[i])
}
