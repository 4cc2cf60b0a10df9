package main

import (
	"cmp"
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func newCallbackCmd(c *cli) *cobra.Command {
	return group("callback", "Look at callbacks, and send them again",
		c.callbackList(), c.callbackGet(), c.callbackAttempts(), c.callbackResend(), c.callbackDiscard())
}

func (c *cli) callbackList() *cobra.Command {
	var q client.CallbackQuery
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List callbacks, newest first",
		Example: "  ringback callback list --status dead --endpoint shop",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			if limit < 0 {
				return usagef("--limit takes a number from 0")
			}
			return showList(c, gw.Callbacks(ctx, q), limit, table[client.Callback]{
				header: []string{"ID", "JOB", "EVENT", "STATUS", "TO", "ATTEMPTS", "NEXT ATTEMPT", "WAITING FOR", "LAST"},
				row: func(cb client.Callback) []string {
					return []string{cb.ID, cb.JobID, cb.Event, cb.Status, cmp.Or(cb.Endpoint, cb.URL),
						fmt.Sprint(cb.Attempts), local(cb.NextAttemptAt), waitingFor(cb), last(cb.LastStatus, cb.LastError)}
				},
			})
		}),
	}
	cmd.Flags().StringVar(&q.JobID, "job", "", "only those of this job")
	cmd.Flags().StringVar(&q.Endpoint, "endpoint", "", "only those to this endpoint")
	cmd.Flags().StringVar(&q.Status, "status", "", "only those with this status: pending, delivered, dead or discarded")
	cmd.Flags().IntVar(&limit, "limit", listLimit, "at most so many; 0 for all")
	return cmd
}

func (c *cli) callbackGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get ID",
		Short:   "Show a callback",
		Example: "  ringback callback get cb_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			cb, err := gw.Callback(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showCallback(cb)
		}),
	}
}

func (c *cli) showCallback(cb *client.Callback) error {
	return c.show(cb, fields{
		{"id", cb.ID},
		{"job", cb.JobID},
		{"operation", cb.Operation},
		{"event", cb.Event},
		{"status", cb.Status},
		{"waiting for", waitingFor(*cb)},
		{"why", cb.Reason},
		{"endpoint", cb.Endpoint},
		{"number", count(int(cb.Sequence))},
		{"order key", clean(cb.OrderKey)},
		{"url", cb.URL},
		{"method", cb.Method},
		{"format", cb.Format},
		{"created", local(cb.CreatedAt)},
		{"settled", local(cb.SettledAt)},
		{"attempts", count(cb.Attempts)},
		{"interrupted", count(cb.Interrupted)},
		{"last attempt", last(cb.LastStatus, cb.LastError)},
		{"next attempt", local(cb.NextAttemptAt)},
		{"expires", local(cb.ExpiresAt)},
		{"gives up", local(cb.GiveUpAt)},
	})
}

// waitingFor is what a callback waits for: a word, and the callback before it.
func waitingFor(cb client.Callback) string {
	if cb.WaitsFor != "" {
		return cb.Waiting + ": " + cb.WaitsFor
	}
	return cb.Waiting
}

func (c *cli) callbackAttempts() *cobra.Command {
	return &cobra.Command{
		Use:   "attempts ID",
		Short: "List what was tried for a callback",
		Long: `List what was tried for a callback. The table has the beginning of each answer;
--output json and jsonl have all that is kept.`,
		Example: "  ringback callback attempts cb_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			return showList(c, gw.Attempts(ctx, args[0]), 0, table[client.Attempt]{
				header: []string{"N", "STARTED", "MS", "ADDRESS", "STATUS", "ERROR", "ANSWER"},
				row: func(a client.Attempt) []string {
					return []string{fmt.Sprint(a.N), local(a.StartedAt), fmt.Sprintf("%.1f", a.Total), a.Address,
						count(a.Status), a.Error, beginning(a)}
				},
			})
		}),
	}
}

// beginning is as much of an answer as a table has room for.
func beginning(a client.Attempt) string {
	const room = 40
	if len(a.BodyBase64) > 0 {
		return fmt.Sprintf("%d bytes", len(a.BodyBase64))
	}
	if text := []rune(a.Body); len(text) > room {
		return string(text[:room]) + "…"
	}
	return a.Body
}

func (c *cli) callbackResend() *cobra.Command {
	return &cobra.Command{
		Use:     "resend ID",
		Short:   "Send a callback again, now",
		Example: "  ringback callback resend cb_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			cb, err := gw.Resend(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showCallback(cb)
		}),
	}
}
