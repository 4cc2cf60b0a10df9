package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

// listLimit is how many members of a list are shown without --limit.
const listLimit = 50

func newJobCmd(c *cli) *cobra.Command {
	return group("job", "Follow jobs", c.jobGet(), c.jobList(), c.jobResult(), c.jobEvents(), c.jobCancel())
}

func (c *cli) jobGet() *cobra.Command {
	return &cobra.Command{
		Use:     "get ID",
		Short:   "Show a job and its callbacks",
		Example: "  ringback job get job_01kf3q8m2xe5zr0v7w4h9c6d1t",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			job, err := gw.Job(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showJob(job)
		}),
	}
}

func (c *cli) showJob(job *client.Job) error {
	f := fields{
		{"id", job.ID},
		{"operation", job.Operation},
		{"status", job.Status},
		{"created", local(job.CreatedAt)},
		{"started", local(job.StartedAt)},
		{"finished", local(job.FinishedAt)},
		{"attempts", count(job.Attempts)},
		{"callback", job.Callback.URL},
		{"endpoint", job.Callback.Endpoint},
		{"chosen by", job.Callback.Source},
	}
	f = append(f, furtherFields(job.Destinations)...)
	if e := job.Error; e != nil {
		f = append(f, [2]string{"error", e.Code + ": " + e.Message}, [2]string{"detail", e.Detail})
	}
	if r := job.Reply; r != nil {
		f = append(f, [2]string{"reply", strings.TrimSpace(fmt.Sprint(r.Status, " ", r.ContentType))}, [2]string{"said", said(r)})
	}
	if err := c.show(job, f); err != nil || c.output != "table" || len(job.Callbacks) == 0 {
		return err
	}
	if err := c.print(""); err != nil {
		return err
	}
	return c.showTable([]string{"CALLBACK", "EVENT", "STATUS", "ATTEMPTS", "NEXT ATTEMPT", "LAST"},
		func(yield func([]string) bool) {
			for _, cb := range job.Callbacks {
				row := []string{cb.ID, cb.Event, cb.Status, fmt.Sprint(cb.Attempts), local(cb.NextAttemptAt), last(cb.LastStatus, cb.LastError)}
				if !yield(row) {
					return
				}
			}
		})
}

// said is the body of a reply, in one line.
func said(r *client.Reply) string {
	text := strings.Join(strings.Fields(r.Body), " ")
	if len(r.BodyBase64) > 0 {
		text = fmt.Sprintf("%d octets that are no text", len(r.BodyBase64))
	}
	if r.Truncated {
		text += " …"
	}
	return text
}

// last is the outcome of a callback's last attempt.
func last(status int, class string) string {
	if class == "" || status == 0 {
		return count(status) + class
	}
	return fmt.Sprintf("%d %s", status, class)
}

func (c *cli) jobList() *cobra.Command {
	var q client.JobQuery
	var limit int
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List jobs, newest first",
		Example: `  ringback job list --operation scan --status failed
  ringback job list --limit 0 --output jsonl`,
		Args: cobra.NoArgs,
		RunE: c.ask(func(ctx context.Context, gw *client.Client, _ []string) error {
			if limit < 0 {
				return usagef("--limit takes a number from 0")
			}
			return showList(c, gw.Jobs(ctx, q), limit, table[client.Job]{
				header: []string{"ID", "OPERATION", "STATUS", "CREATED", "FINISHED", "ATTEMPTS", "ERROR"},
				row: func(j client.Job) []string {
					class := ""
					if j.Error != nil {
						class = j.Error.Code
					}
					return []string{j.ID, j.Operation, j.Status, local(j.CreatedAt), local(j.FinishedAt), fmt.Sprint(j.Attempts), class}
				},
			})
		}),
	}
	cmd.Flags().StringVar(&q.Operation, "operation", "", "only those of this operation")
	cmd.Flags().StringVar(&q.Status, "status", "", "only those with this status")
	cmd.Flags().IntVar(&limit, "limit", listLimit, "at most so many; 0 for all")
	return cmd
}

func (c *cli) jobResult() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:     "result ID",
		Short:   "Print a job's result",
		Example: "  ringback job result job_01kf3q8m2xe5zr0v7w4h9c6d1t --wait > verdict.json",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if wait {
				return c.waitForResult(ctx, gw, args[0])
			}
			job, err := gw.Job(ctx, args[0])
			if err != nil {
				return err
			}
			return c.writeResult(ctx, gw, job)
		}),
	}
	cmd.Flags().BoolVarP(&wait, "wait", "w", false, "wait until there is one")
	return cmd
}

func (c *cli) jobEvents() *cobra.Command {
	return &cobra.Command{
		Use:     "events ID",
		Short:   "Follow a job and its callbacks to their end",
		Example: "  ringback job events job_01kf3q8m2xe5zr0v7w4h9c6d1t",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			for e, err := range gw.Events(ctx, args[0]) {
				if err != nil {
					return err
				}
				if err := c.showEvent(e); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func (c *cli) showEvent(e client.Event) error {
	if c.output != "table" {
		return c.showJSON(e)
	}
	line := e.Job.ID + " " + e.Job.Status
	if e.Job.Error != nil {
		line += " (" + e.Job.Error.Code + ": " + e.Job.Error.Message + ")"
	}
	for _, cb := range e.Job.Callbacks {
		line += fmt.Sprintf(" · %s %s %s, attempts %d", cb.ID, cb.Event, cb.Status, cb.Attempts)
		if outcome := last(cb.LastStatus, cb.LastError); outcome != "" {
			line += ", last " + outcome
		}
		if !cb.NextAttemptAt.IsZero() {
			line += ", next at " + local(cb.NextAttemptAt)
		}
	}
	return c.print(clean(line))
}

func (c *cli) jobCancel() *cobra.Command {
	return &cobra.Command{
		Use:     "cancel ID",
		Short:   "Cancel a job that has not ended",
		Example: "  ringback job cancel job_01kf3q8m2xe5zr0v7w4h9c6d1t",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			if err := gw.Cancel(ctx, args[0]); err != nil {
				return err
			}
			c.say("%s is canceled", args[0])
			return nil
		}),
	}
}
