package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func (c *cli) appDelete() *cobra.Command {
	var confirm string
	cmd := &cobra.Command{
		Use:   "delete NAME --confirm NAME",
		Short: "Delete an app and all that it has",
		Long: `Delete an app and all that it has: jobs, callbacks, bodies, endpoints and keys. Its keys
are refused at once; the rest is erased in the background, and "ringback app list" shows
the app until that is done. It cannot be undone.`,
		Example: "  ringback app delete shop --confirm shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if confirm != args[0] {
				return usagef("give the name once more: --confirm %s", args[0])
			}
			app, err := gw.DeleteApp(ctx, args[0])
			if err != nil {
				return err
			}
			return c.show(app, fields{{"name", app.Name}, {"deleted", local(app.DeletedAt)}})
		}),
	}
	cmd.Flags().StringVar(&confirm, "confirm", "", "the app's name once more")
	return cmd
}
