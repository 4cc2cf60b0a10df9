package main

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ringback/ringback/client"
)

func newPauseCmd(c *cli) *cobra.Command {
	var what client.PauseCreate
	cmd := &cobra.Command{
		Use:   "pause",
		Short: "Pause everything, an operation, or a destination; or list what is paused",
		Long: `Pause everything or the runs of an operation, with the admin key, or the callbacks to
a destination of an app. What is under way comes to its end, and calls are accepted
meanwhile. Without a flag it lists what is paused.`,
		Example: `  ringback pause --endpoint shop
  ringback pause --origin https://my.server
  ringback pause --operation scan
  ringback pause`,
		Args: cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			if what == (client.PauseCreate{}) {
				return showList(c, gw.Pauses(ctx), 0, table[client.Pause]{
					header: []string{"ID", "WHAT", "SINCE", "BY"},
					row:    func(p client.Pause) []string { return []string{p.ID, pausedWhat(p), local(p.Since), p.By} },
				})
			}
			p, err := gw.Pause(ctx, what)
			if err != nil {
				return err
			}
			return c.showPause(p)
		}),
	}
	addPauseFlags(cmd.Flags(), &what)
	return cmd
}

func newResumeCmd(c *cli) *cobra.Command {
	var what client.PauseCreate
	cmd := &cobra.Command{
		Use:   "resume [ID]",
		Short: "Let go on what was paused",
		Example: `  ringback resume pause_7
  ringback resume --endpoint shop
  ringback resume --everything`,
		Args: cobra.MaximumNArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			id := strings.Join(args, "")
			switch {
			case (id == "") == (what == client.PauseCreate{}):
				return usagef("resume takes the id of a pause, or the flags that say what is paused")
			case id == "":
				var err error
				if id, err = pauseOf(ctx, gw, what); err != nil {
					return err
				}
			}
			p, err := gw.Resume(ctx, id)
			if err != nil {
				return err
			}
			c.say("%s goes on", pausedWhat(*p))
			return nil
		}),
	}
	addPauseFlags(cmd.Flags(), &what)
	return cmd
}

func addPauseFlags(f *pflag.FlagSet, what *client.PauseCreate) {
	f.BoolVar(&what.Everything, "everything", false, "all runs and all callbacks; with the admin key")
	f.StringVar(&what.Operation, "operation", "", "the runs of this operation; with the admin key")
	f.StringVar(&what.Endpoint, "endpoint", "", "the callbacks to this endpoint")
	f.StringVar(&what.Origin, "origin", "", "the callbacks to URLs of this origin that were sent with a call")
	f.StringVar(&what.App, "app", "", "the app whose destination it is; with the admin key only")
}

// pauseOf finds the pause of what the flags name.
func pauseOf(ctx context.Context, gw *client.Client, what client.PauseCreate) (id string, err error) {
	for p, err := range gw.Pauses(ctx) {
		if err != nil {
			return "", err
		}
		if what.Everything == (p.Scope == "everything") && p.Operation == what.Operation && p.Endpoint == what.Endpoint &&
			p.Origin == strings.TrimSuffix(strings.ToLower(what.Origin), "/") && cmp.Or(what.App, p.App) == p.App {
			return p.ID, nil
		}
	}
	return "", &failure{code: exitNotFound, err: errors.New("this is not paused"), hint: "ringback pause lists what is"}
}

func pausedWhat(p client.Pause) string {
	of := ""
	if p.App != "" {
		of = " of " + p.App
	}
	switch {
	case p.Operation != "":
		return "operation " + p.Operation
	case p.Endpoint != "":
		return "endpoint " + p.Endpoint + of
	case p.Origin != "":
		return "origin " + p.Origin + of
	}
	return "everything"
}

func (c *cli) showPause(p *client.Pause) error {
	return c.show(p, fields{
		{"id", p.ID},
		{"paused", pausedWhat(*p)},
		{"since", local(p.Since)},
		{"by", p.By},
	})
}

func (c *cli) endpointEnable() *cobra.Command {
	var backlog string
	cmd := &cobra.Command{
		Use:   "enable NAME",
		Short: "Enable an endpoint that is disabled",
		Long: `Enable an endpoint that is disabled. The callbacks that have waited for it are
delivered, or discarded first.`,
		Example: "  ringback endpoint enable shop\n  ringback endpoint enable shop --backlog discard",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if backlog != client.BacklogDeliver && backlog != client.BacklogDiscard {
				return usagef("--backlog takes deliver or discard")
			}
			e, err := gw.EnableEndpoint(ctx, args[0], backlog)
			if err != nil {
				return err
			}
			return c.showEndpoint(e)
		}),
	}
	cmd.Flags().StringVar(&backlog, "backlog", client.BacklogDeliver, "what becomes of the callbacks that have waited: deliver or discard")
	return cmd
}

// showDisabled says whether and why an endpoint is disabled.
func showDisabled(e *client.Endpoint) string {
	if !e.Disabled || e.DisabledReason == "" {
		return yes(e.Disabled)
	}
	return e.DisabledReason + " since " + local(e.DisabledAt)
}
