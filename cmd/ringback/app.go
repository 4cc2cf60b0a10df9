package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func newAppCmd(c *cli) *cobra.Command {
	return group("app", "Make, list and delete apps, with the admin key", c.appCreate(), c.appList(), c.appPolicy(), c.appShow(), c.appLimits(), c.appDelete())
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
				header: []string{"NAME", "CREATED", "POLICY"},
				row:    func(a client.App) []string { return []string{a.Name, local(a.CreatedAt), policyText(a.Policy)} },
			})
		}),
	}
}

func (c *cli) appPolicy() *cobra.Command {
	var (
		policy client.Policy
		isAny  bool
		ports  []uint
	)
	cmd := &cobra.Command{
		Use:   "policy NAME",
		Short: "Say which callback URLs an app may have",
		Long: `Say which callback URLs an app may have, of those that the gateway permits. What is
given takes the place of the whole policy before.`,
		Example: `  ringback app policy shop --prefix https://my.server/hooks/ --https
  ringback app policy shop --registered
  ringback app policy shop --any`,
		Args: cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			for _, port := range ports {
				if port == 0 || port > 65535 {
					return usagef("--port takes a number from 1 to 65535")
				}
				policy.Ports = append(policy.Ports, uint16(port))
			}
			if isAny == (policyText(policy) != "") {
				return usagef("give either --any or what the policy permits")
			}
			app, err := gw.UpdateApp(ctx, args[0], client.AppPatch{Policy: &policy})
			if err != nil {
				return err
			}
			return c.show(app, fields{{"name", app.Name}, {"policy", policyText(app.Policy)}})
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&isAny, "any", false, "any URL that the gateway permits")
	f.BoolVar(&policy.Registered, "registered", false, "no URL with a call: registered endpoints only")
	f.StringArrayVar(&policy.Prefixes, "prefix", nil, "URLs below this one; may be repeated")
	f.BoolVar(&policy.HTTPS, "https", false, "https only")
	f.UintSliceVar(&ports, "port", nil, "one of these ports only")
	return cmd
}

// policyText is a policy in a line, empty for any URL.
func policyText(p client.Policy) string {
	var rules []string
	if p.Registered {
		rules = append(rules, "registered")
	}
	if p.HTTPS {
		rules = append(rules, "https")
	}
	if len(p.Ports) > 0 {
		rules = append(rules, "ports "+strings.Trim(fmt.Sprint(p.Ports), "[]"))
	}
	if len(p.Prefixes) > 0 {
		rules = append(rules, "below "+strings.Join(p.Prefixes, " "))
	}
	return strings.Join(rules, ", ")
}
