package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback/internal/config"
)

// configFlags are the flags of the commands that read a configuration.
type configFlags struct {
	path string
	dev  bool
	set  *pflag.FlagSet
}

type configKey struct{ key, usage string }

// The values that have flags: each stands for the key of its name.
var configKeys = []configKey{
	{"listen", "the address to listen on; 127.0.0.1:8080 by default"},
	{"admin_listen", "the address of the admin key's routes and of /metrics; --listen by default"},
	{"store", "the store, sqlite:FILE; sqlite:ringback.db by default"},
	{"bodies", "where large bodies are kept, dir:FOLDER; beside the store by default"},
	{"upstream", "the origin of an API to put the gateway in front of"},
	{"prefix", "what the gateway's own routes stand below; nothing, or /.ringback with an upstream, by default"},
	{"public_url", "what links are made of; the address listened on by default"},
}

func addConfigFlags(f *pflag.FlagSet) *configFlags {
	o := &configFlags{set: f}
	f.StringVarP(&o.path, "config", "c", os.Getenv("RINGBACK_CONFIG"), "the configuration, a YAML file (RINGBACK_CONFIG)")
	f.BoolVar(&o.dev, "dev", false, "need no key, let callbacks go to loopback, listen on loopback only")
	for _, k := range configKeys {
		f.String(strings.ReplaceAll(k.key, "_", "-"), "", k.usage+" ("+config.EnvName(k.key)+")")
	}
	return o
}

func (o *configFlags) load() (*config.Settings, error) {
	s := config.Sources{Path: o.path, Dev: o.dev, Flags: map[string]string{}}
	o.set.Visit(func(f *pflag.Flag) {
		if key := strings.ReplaceAll(f.Name, "-", "_"); slices.ContainsFunc(configKeys, func(k configKey) bool { return k.key == key }) {
			s.Flags[key] = f.Value.String()
		}
	})
	return config.Load(s)
}

func newServeCmd(c *cli) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway",
		Long: `Run the gateway: take calls in, have them executed, call the callback URLs.

Which operations there are stands in a configuration file; with --upstream every
call of another API is one, and no file is needed. SIGTERM and SIGINT end it when
what is under way is done, a second one at once.`,
		Example: `  ringback serve --upstream http://127.0.0.1:9000
  ringback serve --config ringback.yaml
  ringback serve --config ringback.yaml --dev`,
		Args: cobra.NoArgs,
	}
	o := addConfigFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		s, err := o.load()
		if err != nil {
			return configFailure(err)
		}
		if err := o.somethingToServe(s); err != nil {
			return err
		}
		return c.serve(cmd.Context(), s)
	}
	return cmd
}

// somethingToServe refuses to start a gateway without operations.
func (o *configFlags) somethingToServe(s *config.Settings) error {
	if len(s.Options.Operations) > 0 || s.Options.Upstream != nil {
		return nil
	}
	f := &failure{code: exitUsage, err: errors.New("there is nothing to serve: neither operations nor an upstream"),
		hint: "--upstream http://127.0.0.1:9000 puts the gateway in front of an API, --config FILE names a file with operations"}
	if o.path != "" {
		f.err = fmt.Errorf("%s has no operations and no upstream", o.path)
		f.hint = "docs/configuration.md shows how an operation is written"
	}
	return f
}

// configFailure tells what is wrong with a configuration.
func configFailure(err error) error {
	problems, ok := errors.AsType[config.Problems](err)
	switch {
	case !ok:
		return &failure{code: exitUsage, err: err, hint: "--config names a YAML file"}
	case len(problems) == 1:
		return &failure{code: exitUsage, err: problems[0], hint: problems[0].Hint}
	}
	return &failure{code: exitUsage, err: fmt.Errorf("the configuration has %d problems", len(problems)),
		detail: problems.Error(), hint: `"ringback check" says what to do about each`}
}

// serve runs a gateway until ctx is done.
func (c *cli) serve(ctx context.Context, s *config.Settings) error {
	log := c.logger(s.Log)
	srv, err := takeOver(ctx, s, log)
	if err != nil {
		return err
	}
	if err := c.showSecrets(ctx, srv, s); err != nil {
		return errors.Join(err, srv.Close())
	}
	if s.Options.PublicURL == "" && isUnspecified(s.Listen) {
		log.Warn("public_url is not set: links in callbacks lead to this machine only", "links", srv.URL())
	}
	if s.Options.PublicURL == "" && strings.HasPrefix(s.Listen, "unix:") {
		log.Warn("public_url is not set: links in callbacks are no URLs")
	}
	about := []any{"url", srv.URL(), "store", s.Store, "operations", len(s.Options.Operations), "version", buildVersion()}
	if s.AdminListen != "" {
		about = append(about, "admin", srv.adminURL)
	}
	if s.Options.Upstream != nil {
		about = append(about, "upstream", origin(s.Options.Upstream))
	}
	srv.Start()
	log.Info("listening", about...)
	quiet := context.AfterFunc(ctx, func() {
		log.Info("stopping when what is under way is done; a second signal ends it at once", "within", srv.drain.String())
	})
	defer quiet()
	err = srv.Run(ctx)
	if err == nil {
		log.Info("stopped")
	}
	return err
}

// showSecrets hands over what can be seen at this start only, or with --dev.
func (c *cli) showSecrets(ctx context.Context, srv *server, s *config.Settings) error {
	if s.Options.Dev {
		secret, err := srv.gateway.DevSecret(ctx)
		if err != nil {
			return err
		}
		c.say("no key is needed; callbacks are signed with %s", secret)
		return nil
	}
	key := srv.gateway.NewAdminKey()
	switch {
	case key == "":
		return nil
	case c.errTTY:
		c.say("the admin key, which is not shown again: %s", key)
		return nil
	case c.outTTY:
		return c.print(key)
	}
	path := s.Store + ".admin-key"
	if err := replaceSecret(path, key); err != nil {
		return &failure{code: exitFailure, err: fmt.Errorf("write the admin key: %w", err), hint: "set admin_key, or RINGBACK_ADMIN_KEY"}
	}
	c.say("the admin key is in %s", path)
	return nil
}

// replaceSecret writes a file of mode 0600 whole, synced with its folder. What was
// there belonged to a store that is gone.
func replaceSecret(path, text string) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.part")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // not there any more, unless something fails
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	folder, err := os.Open(cmp.Or(dir, "."))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
