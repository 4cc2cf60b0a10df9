package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
)

func (c *cli) callbackDiscard() *cobra.Command {
	return &cobra.Command{
		Use:   "discard ID",
		Short: "Give a pending callback up, so that what waits for it follows",
		Long: `Give a pending callback up, so that what waits for it follows: the next one in the line
of an ordered endpoint, or of its job. Where an attempt at it is under way, that is its
last. It can be sent again later.`,
		Example: "  ringback callback discard cb_01kf3q8m9b3x8p5t2a7y0n4q6s",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			cb, err := gw.DiscardCallback(ctx, args[0])
			if err != nil {
				return err
			}
			return c.showCallback(cb)
		}),
	}
}
