package main

import (
	"context"
	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func newAppCmd(c *cli) *cobra.Command {
	return group("app", "Make and list apps, with the admin key", c.appCreate(), c.appList())
}

func (c *cli) appCreate() *cobra.Command {
	return &cobra.Command{
		Use:     "create NAME",
		Short:   "Make an app and show its first key",
		Example: "  RINGBACK_KEY=ADMIN_KEY ringback app create shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			app, err := gw.CreateApp(ctx, args[0])
			if err != nil {
				return err
			}
			if err := c.show(app, fields{{"name", app.Name}, {"key", app.Key}}); err != nil {
				return err
			}
			c.say("keep the key: it is stored hashed and cannot be shown again")
			return nil
		}),
	}
}

func (c *cli) appList() *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the apps",
		Example: "  RINGBACK_KEY=ADMIN_KEY ringback app list",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			return showList(c, gw.Apps(ctx), 0, table[client.App]{
				header: []string{"NAME", "CREATED"},
				row:    func(a client.App) []string { return []string{a.Name, local(a.CreatedAt)} },
			})
		}),
	}
}
