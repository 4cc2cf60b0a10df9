package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func newWhyCmd(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "why ID",
		Short: "Say why a callback, or a job's, has not arrived",
		Long: `Say why a callback has not arrived: what it waits for and until when, or why it
failed, what was tried, what happens next, and what to do. With a job's id it
explains each of the job's callbacks, or why there is none.`,
		Example: "  ringback why cb_01kf3q8m9b3x8p5t2a7y0n4q6s\n  ringback why job_01kf3q8m2xe5zr0v7w4h9c6d1t",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if strings.HasPrefix(args[0], "job_") {
				why, err := gw.JobWhy(ctx, args[0])
				if err != nil {
					return err
				}
				return c.showJobWhy(why)
			}
			why, err := gw.Why(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showWhy(why)
		}),
	}
}

func (c *cli) showJobWhy(w *client.JobWhy) error {
	if err := c.show(w, fields{{"job", w.JobID}, {"status", w.Status}, {"why", w.Summary}, {"do", w.Do}}); err != nil || c.output != "table" {
		return err
	}
	for i := range w.Callbacks {
		if err := c.print(""); err != nil {
			return err
		}
		if err := c.showWhy(&w.Callbacks[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) showWhy(w *client.Why) error {
	f := fields{
		{"callback", w.Callback},
		{"job", w.JobID},
		{"event", w.Event},
		{"to", cmp.Or(w.Endpoint, w.Origin)},
		{"status", w.Status},
		{"why", w.Summary},
	}
	if wait := w.Waiting; wait != nil {
		f = append(f, fields{{"waiting for", wait.For}, {"behind", wait.Behind}, {"by", wait.By}, {"since", local(wait.Since)}, {"until", local(wait.Until)}}...)
	}
	if e := w.Error; e != nil {
		f = append(f, fields{{"error", e.Class}, {"whose", e.Side}}...)
	}
	f = append(f, fields{{"next", w.Next}, {"do", w.Do}}...)
	for _, a := range w.Attempts {
		f = append(f, [2]string{fmt.Sprintf("attempt %d", a.N), strings.TrimSpace(fmt.Sprintf("%s  %s, %.1f ms  %s", local(a.At), a.Outcome, a.Total, a.Address))})
	}
	return c.show(w, f)
}

func newDeadCmd(c *cli) *cobra.Command {
	var q client.DeadQuery
	cmd := &cobra.Command{
		Use:     "dead",
		Short:   "Count dead callbacks by destination and error class",
		Example: "  ringback dead\n  ringback dead --endpoint shop\n  ringback bulk resend --endpoint shop --error refused --dry-run",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			return showList(c, gw.DeadLetters(ctx, q), 0, table[client.DeadLetters]{
				header: []string{"TO", "ERROR", "WHOSE", "DEAD", "OLDEST", "NEWEST", "MEANS"},
				row: func(d client.DeadLetters) []string {
					return []string{cmp.Or(d.Endpoint, d.Origin), d.Error, d.Side, fmt.Sprint(d.Count), local(d.Oldest), local(d.Newest), d.Means}
				},
			})
		}),
	}
	cmd.Flags().StringVar(&q.Endpoint, "endpoint", "", "only those to this endpoint")
	cmd.Flags().StringVar(&q.Origin, "origin", "", "only those to URLs sent with a call, below this origin")
	cmd.Flags().StringVar(&q.Operation, "operation", "", "only those of this operation")
	cmd.Flags().StringVar(&q.Error, "error", "", "only those of this error class")
	return cmd
}

func newBulkCmd(c *cli) *cobra.Command {
	return group("bulk", "Resend, discard or cancel many at once",
		c.bulkDo("resend", "Send dead callbacks, or others that have come to their end, again"),
		c.bulkDo("discard", "Discard pending or dead callbacks"),
		c.bulkDo("cancel", "Cancel jobs that have not ended"),
		c.bulkList(), c.bulkGet(), c.bulkStop())
}

// bulkFlags are how a bulk is asked for.
type bulkFlags struct {
	since, until string
	status       []string
	detach       bool
}

func (c *cli) bulkDo(action, short string) *cobra.Command {
	r := client.BulkRequest{Action: action}
	var flags bulkFlags
	cmd := &cobra.Command{
		Use:   action,
		Short: short,
		Long: short + `.
It is done by the gateway, in the background: interrupting this command does not stop
it. Without flags it is about all of the app's.`,
		Example: "  ringback bulk " + action + " --since 24h --dry-run",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			return c.bulk(ctx, gw, &r, &flags)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&r.Filter.Operation, "operation", "", "only those of this operation")
	f.StringSliceVar(&flags.status, "status", nil, "only those with one of these, with commas between")
	if action != "cancel" {
		f.StringVar(&r.Filter.Endpoint, "endpoint", "", "only those to this endpoint")
		f.StringVar(&r.Filter.Origin, "origin", "", "only those to URLs sent with a call, below this origin")
		f.StringVar(&r.Filter.Event, "event", "", "only those of this event")
		f.StringVar(&r.Filter.Error, "error", "", "only those whose last attempt ended with this error class")
	}
	flags.add(cmd, &r)
	return cmd
}

func (b *bulkFlags) add(cmd *cobra.Command, r *client.BulkRequest) {
	f := cmd.Flags()
	f.StringVar(&b.since, "since", "", "only those from then on: a time (RFC 3339), or how long ago, such as 90m, 24h or 7d")
	f.StringVar(&b.until, "until", "", "only those before then, written as --since")
	f.BoolVar(&r.DryRun, "dry-run", false, "only say how many that is, where they go and how long it takes")
	f.BoolVar(&b.detach, "detach", false, "do not wait until it is done")
}

// bulk asks for a bulk, and follows it to its end.
func (c *cli) bulk(ctx context.Context, gw *client.Client, r *client.BulkRequest, flags *bulkFlags) error {
	now := time.Now()
	since, err := momentFlag("--since", flags.since, now)
	if err != nil {
		return err
	}
	until, err := momentFlag("--until", flags.until, now)
	if err != nil {
		return err
	}
	r.Filter.Since, r.Filter.Until, r.Filter.Status = client.At(since), client.At(until), flags.status
	b, err := gw.CreateBulk(ctx, *r)
	if err != nil {
		return err
	}
	if b.Plan != nil {
		return c.showPlan(b)
	}
	if flags.detach {
		return c.showBulk(b)
	}
	return c.followBulk(ctx, gw, b)
}

// followBulk shows how a bulk gets on.
func (c *cli) followBulk(ctx context.Context, gw *client.Client, b *client.Bulk) error {
	c.say("%s: the gateway does it; \"ringback bulk stop %s\" ends it", b.ID, b.ID)
	var bar *progressbar.ProgressBar
	b, err := gw.WatchBulk(ctx, b.ID, 200*time.Millisecond, func(b *client.Bulk) {
		if !c.errTTY || b.Total == nil {
			return
		}
		if bar == nil {
			bar = progressbar.NewOptions64(*b.Total, progressbar.OptionSetWriter(c.err), progressbar.OptionSetDescription(b.Action),
				progressbar.OptionShowCount(), progressbar.OptionSetWidth(30), progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish())
		}
		_ = bar.Set64(min(b.Done+b.Skipped, *b.Total)) // it only fails to draw
	})
	if bar != nil {
		_ = bar.Clear()
	}
	if err != nil {
		return err
	}
	return c.showBulk(b)
}

func (c *cli) showPlan(b *client.Bulk) error {
	p := b.Plan
	more := ""
	if p.More {
		more = " or more"
	}
	f := fields{{"action", b.Action}, {"matched", fmt.Sprint(p.Matched) + more}}
	if p.Seconds > 0 {
		f = append(f, [2]string{"takes about", (time.Duration(p.Seconds*float64(time.Second)) + time.Second/2).Round(time.Second).String()})
	} else if p.Matched > 0 {
		f = append(f, [2]string{"takes about", "not known"})
	}
	f = append(f, [2]string{"estimated from", p.Basis})
	for _, l := range p.Lanes {
		text := fmt.Sprintf("%d", l.Count)
		if l.PerSecond > 0 {
			text += fmt.Sprintf(", %.1f/s lately", l.PerSecond)
		}
		if l.Waiting != "" {
			text += ", waits: " + l.Waiting
		}
		f = append(f, [2]string{"to " + cmp.Or(l.Endpoint, l.Origin), text})
	}
	f = append(f, [2]string{"further destinations", count(p.Others)})
	return c.show(b, f)
}

func (c *cli) showBulk(b *client.Bulk) error {
	total := ""
	if b.Total != nil {
		total = fmt.Sprint(*b.Total)
	}
	return c.show(b, fields{
		{"id", b.ID},
		{"action", b.Action},
		{"filter", bulkFilterText(b.Filter)},
		{"status", b.Status},
		{"by", strings.TrimSpace(cmp.Or(b.Actor.App, b.Actor.Kind) + " " + b.Actor.Key)},
		{"from", b.Actor.Remote},
		{"created", local(b.CreatedAt)},
		{"ended", local(b.EndedAt)},
		{"total", total},
		{"done", fmt.Sprint(b.Done)},
		{"skipped", fmt.Sprint(b.Skipped)},
		{"left behind for now", strings.Join(b.Behind, ", ")},
	})
}

func bulkFilterText(f client.BulkFilter) string {
	var words []string
	for _, pair := range [][2]string{{"endpoint", f.Endpoint}, {"origin", f.Origin}, {"operation", f.Operation}, {"event", f.Event}, {"error", f.Error},
		{"status", strings.Join(f.Status, ",")}, {"since", f.Since.String()}, {"until", f.Until.String()}} {
		if pair[1] != "" {
			words = append(words, pair[0]+"="+pair[1])
		}
	}
	return strings.Join(words, " ")
}

func (c *cli) bulkList() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List bulks, newest first",
		Example: "  ringback bulk list",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			if limit < 0 {
				return usagef("--limit takes a number from 0")
			}
			return showList(c, gw.Bulks(ctx), limit, table[client.Bulk]{
				header: []string{"ID", "ACTION", "STATUS", "TOTAL", "DONE", "SKIPPED", "BY", "CREATED", "FILTER"},
				row: func(b client.Bulk) []string {
					total := ""
					if b.Total != nil {
						total = fmt.Sprint(*b.Total)
					}
					return []string{b.ID, b.Action, b.Status, total, fmt.Sprint(b.Done), fmt.Sprint(b.Skipped),
						strings.TrimSpace(cmp.Or(b.Actor.App, b.Actor.Kind) + " " + b.Actor.Key), local(b.CreatedAt), bulkFilterText(b.Filter)}
				},
			})
		}),
	}
	cmd.Flags().IntVar(&limit, "limit", listLimit, "at most so many; 0 for all")
	return cmd
}

func (c *cli) bulkGet() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:     "get ID",
		Short:   "Show how far a bulk is",
		Example: "  ringback bulk get bulk_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			b, err := gw.Bulk(ctx, args[0])
			if err != nil {
				return err
			}
			if wait && b.Status == client.BulkRunning {
				return c.followBulk(ctx, gw, b)
			}
			return c.showBulk(b)
		}),
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until it has ended")
	return cmd
}

func (c *cli) bulkStop() *cobra.Command {
	return &cobra.Command{
		Use:     "stop ID",
		Short:   "Stop a bulk; what was done is done",
		Example: "  ringback bulk stop bulk_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			b, err := gw.StopBulk(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showBulk(b)
		}),
	}
}

func newReplayCmd(c *cli) *cobra.Command {
	r := client.BulkRequest{Action: "resend"}
	var flags bulkFlags
	var all bool
	cmd := &cobra.Command{
		Use:   "replay --since TIME",
		Short: "Send again what was owed to a destination that was down",
		Long: `Send again what was owed from a time on to a destination that was down: what is dead,
with --all also what was delivered. It is a bulk resend.`,
		Example: "  ringback replay --since 2h --endpoint shop\n  ringback replay --since 2026-03-01T12:00:00Z --until 2026-03-01T14:00:00Z --all",
		Args:    cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			if flags.since == "" {
				return usagef("--since is needed: from when on")
			}
			flags.status = []string{client.CallbackDead}
			if all {
				flags.status = append(flags.status, client.CallbackDelivered)
			}
			return c.bulk(ctx, gw, &r, &flags)
		}),
	}
	cmd.Flags().StringVar(&r.Filter.Endpoint, "endpoint", "", "only what was owed to this endpoint")
	cmd.Flags().StringVar(&r.Filter.Origin, "origin", "", "only what was owed to URLs sent with a call, below this origin")
	cmd.Flags().BoolVar(&all, "all", false, "also what was delivered")
	flags.add(cmd, &r)
	return cmd
}
