package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
)

func newKeyCmd(c *cli) *cobra.Command {
	var app string
	cmd := group("key", "Make, list and revoke API keys", c.keyCreate(&app), c.keyList(&app), c.keyRevoke(&app), c.keyRotateAdmin())
	cmd.PersistentFlags().StringVar(&app, "app", "", "the app whose keys they are, with the admin key; none: the app of the key in use")
	return cmd
}

func (c *cli) keyCreate(app *string) *cobra.Command {
	var (
		scopes  []string
		expires string
	)
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key and show it",
		Long: `Make a key and show it, this once. It permits what the key in use does, unless
--scope says less, and lasts as long, unless --expires says less.`,
		Example: `  ringback key create checkout --scope submit
  ringback key create auditor --scope read --expires 30d
  RINGBACK_KEY=ADMIN_KEY ringback key create rescue --app shop`,
		Args: cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			in := client.KeyCreate{Name: args[0], Scopes: scopes}
			if expires != "" {
				lasts, err := config.ParseDuration(expires)
				if err != nil {
					return usagef("--expires: %w", err)
				}
				at := client.At(time.Now().Add(lasts))
				in.ExpiresAt = &at
			}
			k, err := gw.CreateKey(ctx, *app, in)
			if err != nil {
				return err
			}
			shown := fields{{"id", k.ID}, {"name", k.Name}, {"scopes", strings.Join(k.Scopes, " ")}, {"expires", local(k.ExpiresAt)}, {"key", k.Value}}
			if err := c.show(k, shown); err != nil {
				return err
			}
			c.say("keep the key: it is stored hashed and cannot be shown again")
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringSliceVar(&scopes, "scope", nil, "what it permits: submit, read, manage; may be repeated")
	f.StringVar(&expires, "expires", "", "how long it lasts, such as 12h or 30d; none: as long as the key in use")
	return cmd
}

func (c *cli) keyList(app *string) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List the keys of an app, without the keys themselves",
		Example: "  ringback key list",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			return showList(c, gw.Keys(ctx, *app), 0, table[client.Key]{
				header: []string{"ID", "NAME", "HINT", "SCOPES", "CREATED", "EXPIRES", "LAST USED"},
				row: func(k client.Key) []string {
					return []string{k.ID, k.Name, k.Hint, strings.Join(k.Scopes, " "), local(k.CreatedAt), local(k.ExpiresAt), local(k.LastUsedAt)}
				},
			})
		}),
	}
}

func (c *cli) keyRevoke(app *string) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke a key, at once",
		Example: "  ringback key revoke key_01m84t4fsge00858c0tnxwxxby",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			return gw.RevokeKey(ctx, *app, args[0])
		}),
	}
}

func (c *cli) keyRotateAdmin() *cobra.Command {
	return &cobra.Command{
		Use:     "rotate-admin",
		Short:   "Replace the admin key, at once, and show the new one",
		Example: "  RINGBACK_KEY=ADMIN_KEY ringback key rotate-admin",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			k, err := gw.RotateAdminKey(ctx)
			if err != nil {
				return err
			}
			if err := c.show(k, fields{{"key", k.Key}}); err != nil {
				return err
			}
			c.say("keep the key: it is stored hashed and cannot be shown again")
			return nil
		}),
	}
}
