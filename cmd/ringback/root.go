package main

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback/client"
)

// commands in the order in which help shows them, each with the flags that it shares
// with others. cobra adds completion and help.
var commands = []struct {
	construct func(*cli) *cobra.Command
	shared    []func(*cli, *pflag.FlagSet)
}{
	{newServeCmd, nil},
	{newDemoCmd, nil},
	{newCheckCmd, showsData},
	{newCallCmd, asksGateway},
	{newListenCmd, showsData},
	{newJobCmd, asksGateway},
	{newCallbackCmd, asksGateway},
	{newWhyCmd, asksGateway},
	{newDeadCmd, asksGateway},
	{newReplayCmd, asksGateway},
	{newBulkCmd, asksGateway},
	{newEndpointCmd, asksGateway},
	{newPauseCmd, asksGateway},
	{newResumeCmd, asksGateway},
	{newAppCmd, asksGateway},
	{newAuditCmd, asksGateway},
	{newKeyCmd, asksGateway},
	{newDBCmd, showsData},
	{newSealCmd, showsData},
	{newVersionCmd, showsData},
}

var (
	showsData   = []func(*cli, *pflag.FlagSet){(*cli).addOutputFlag}
	asksGateway = []func(*cli, *pflag.FlagSet){(*cli).addGatewayFlags, (*cli).addOutputFlag}
)

// cli is what the commands share.
type cli struct {
	*term
	url, key, prefix string // of the gateway
	output           string // table, json or jsonl
}

const defaultURL = "http://127.0.0.1:8080"

// execute runs one command line and returns its exit code.
func execute(ctx context.Context, args []string, t *term) int {
	c := &cli{term: t}
	root, started := newRootCmd(c)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	f := explain(err)
	if !*started {
		f = &failure{code: exitUsage, err: err}
	}
	if f.code == exitUsage && f.hint == "" {
		f.hint = "see " + cmd.CommandPath() + " --help"
	}
	t.fail(f)
	return f.code
}

// newRootCmd puts the commands together. started tells whether one of them was
// begun: an error before that is one of the command line.
func newRootCmd(c *cli) (root *cobra.Command, started *bool) {
	started = new(bool)
	root = &cobra.Command{
		Use:   "ringback",
		Short: "A gateway for asynchronous APIs with callback URLs",
		Long: `Ringback answers a slow call at once, keeps it safe, has it done, and calls
the caller's callback URL with the result.`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		PersistentPreRunE: func(*cobra.Command, []string) error {
			if !slices.Contains([]string{"table", "json", "jsonl"}, c.output) {
				return errors.New("--output takes table, json or jsonl")
			}
			*started = true
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetIn(c.in)
	root.SetOut(c.out)
	root.SetErr(c.err)
	cobra.EnableCommandSorting = false
	c.output = "table"
	for _, given := range commands {
		cmd := given.construct(c)
		for _, add := range given.shared {
			add(c, cmd.PersistentFlags())
		}
		root.AddCommand(cmd)
	}
	refuseUnknownShells(root)
	return root, started
}

// refuseUnknownShells makes an error of "completion nonsense", for which cobra shows
// help as if it had been asked for.
func refuseUnknownShells(root *cobra.Command) {
	root.CompletionOptions.DisableNoDescFlag = true
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.RunE = needsCommand("completion")
		}
	}
}

// addGatewayFlags adds which gateway is asked, and as whom.
func (c *cli) addGatewayFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.url, "url", cmp.Or(os.Getenv("RINGBACK_URL"), defaultURL), "the gateway, or unix:PATH (RINGBACK_URL)")
	// The key is no default value, which help would show.
	flags.StringVar(&c.key, "key", "", "the app's key, or the admin key for app and key --app (RINGBACK_KEY)")
	flags.StringVar(&c.prefix, "prefix", os.Getenv("RINGBACK_PREFIX"), "of the gateway's own routes: /.ringback with --upstream (RINGBACK_PREFIX)")
}

func (c *cli) addOutputFlag(flags *pflag.FlagSet) {
	flags.StringVarP(&c.output, "output", "o", "table", "how to show data: table, json or jsonl")
}

// group makes a command that only holds others.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  needsCommand(use),
	}
	cmd.AddCommand(commands...)
	return cmd
}

func needsCommand(group string) func(*cobra.Command, []string) error {
	return func(*cobra.Command, []string) error { return usagef("%s needs a command", group) }
}

// gateway is the client of the gateway that the flags name.
func (c *cli) gateway() (*client.Client, error) {
	at, opt := c.url, client.Options{Prefix: c.prefix, UserAgent: "ringback/" + buildVersion(), Attempts: 1}
	if path, ok := strings.CutPrefix(at, "unix:"); ok {
		at, opt.Transport = "http://localhost", &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
	}
	gw, err := client.New(at, cmp.Or(c.key, os.Getenv("RINGBACK_KEY")), opt)
	if err != nil {
		return nil, usagef("%w", err)
	}
	return gw, nil
}

// ask makes what a command does of a function that asks the gateway.
func (c *cli) ask(do func(ctx context.Context, gw *client.Client, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		gw, err := c.gateway()
		if err != nil {
			return err
		}
		return do(cmd.Context(), gw, args)
	}
}
