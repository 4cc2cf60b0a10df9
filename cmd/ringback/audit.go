package main

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func newAuditCmd(c *cli) *cobra.Command {
	var q client.AuditQuery
	var since, until string
	var limit int
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List or export what was changed, by whom and from where",
		Long: `List what was changed, by whom and from where, newest first: with the admin key
everything, with an app's key what is the app's. --json writes all of it, a line of
JSON for each entry.`,
		Example: `  ringback audit --since 24h
  ringback audit --json --since 2026-03-01T00:00:00Z --until 2026-04-01T00:00:00Z > march.jsonl
  ringback audit --app shop --action endpoint.delete`,
		Args: cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) (err error) {
			if limit < 0 {
				return usagef("--limit takes a number from 0")
			}
			now := time.Now()
			if q.Since, err = momentFlag("--since", since, now); err != nil {
				return err
			}
			if q.Until, err = momentFlag("--until", until, now); err != nil {
				return err
			}
			q.PageSize = 200
			if asJSON {
				c.output, limit = "jsonl", 0
			}
			return showList(c, gw.AuditLog(ctx, q), limit, table[client.Audit]{
				header: []string{"AT", "ACTION", "APP", "SUBJECT", "BY", "FROM", "DETAIL"},
				row: func(a client.Audit) []string {
					by := strings.TrimSpace(cmp.Or(a.Actor.App, a.Actor.Kind) + " " + a.Actor.Key)
					return []string{local(a.At), a.Action, a.App, a.Subject, by, a.Actor.Remote, a.Detail}
				},
			})
		}),
	}
	f := cmd.Flags()
	f.StringVar(&since, "since", "", "only what is not older: a time (RFC 3339), or how long ago, such as 90m, 24h or 7d")
	f.StringVar(&until, "until", "", "only what is older, written as --since")
	f.StringVar(&q.App, "app", "", "only what is this app's")
	f.StringVar(&q.Actor, "actor", "", "only what was done by admin, app, dev, control or gateway")
	f.StringVar(&q.Action, "action", "", "only this action, such as endpoint.update")
	f.StringVar(&q.Subject, "subject", "", "only what was done to this name or id")
	f.IntVar(&limit, "limit", listLimit, "at most so many; 0 for all")
	f.BoolVar(&asJSON, "json", false, "write all of it as lines of JSON")
	return cmd
}

// momentFlag reads a time, or how long before now it was; empty is none.
func momentFlag(flag, text string, now time.Time) (at time.Time, err error) {
	if text == "" {
		return at, nil
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return now.AddDate(0, 0, -int(n)), nil
		}
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if at, err = time.Parse(time.RFC3339Nano, text); err != nil {
		return at, usagef("%s takes a time such as 2026-03-01T12:00:00Z, or how long ago, such as 24h or 7d", flag)
	}
	return at, nil
}
