package main

import (
	"context"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/ringback/ringback/client"
	"github.com/ringback/ringback/internal/config"
)

func (c *cli) appShow() *cobra.Command {
	return &cobra.Command{
		Use:     "show NAME",
		Short:   "Show what an app has, and what it may have",
		Example: "  RINGBACK_KEY=ADMIN_KEY ringback app show shop",
		Args:    cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			u, err := gw.Usage(ctx, args[0])
			if err != nil {
				return err
			}
			of := func(n, limit int64) string {
				if limit <= 0 {
					return strconv.FormatInt(n, 10)
				}
				return fmt.Sprintf("%d of %d", n, limit)
			}
			return c.show(u, fields{{"name", u.App}, {"calls", u.Limits.Calls}, {"jobs", of(u.Jobs, u.Limits.Jobs)},
				{"bytes", of(u.Bytes, u.Limits.Bytes)}, {"endpoints", of(u.Endpoints, u.Limits.Endpoints)}})
		}),
	}
}

func (c *cli) appLimits() *cobra.Command {
	var calls, jobs, bytes, endpoints string
	cmd := &cobra.Command{
		Use:   "limits NAME",
		Short: "Say what an app may do and have",
		Long: `Say what an app may do and have. What is given takes the place of all limits before:
what is not given is the gateway's default, and "none" is no limit.`,
		Example: `  ringback app limits shop --calls 100/s --jobs 1000 --bytes 10GiB --endpoints 20
  ringback app limits shop --calls none`,
		Args: cobra.ExactArgs(1),
		RunE: c.ask(func(ctx context.Context, gw *client.Client, args []string) error {
			limits := client.Limits{Calls: calls}
			for _, given := range []struct {
				flag, text string
				to         *int64
				parse      func(string) (int64, error)
			}{{"jobs", jobs, &limits.Jobs, parseCount}, {"bytes", bytes, &limits.Bytes, config.ParseSize}, {"endpoints", endpoints, &limits.Endpoints, parseCount}} {
				var err error
				switch given.text {
				case "":
				case "none":
					*given.to = -1
				default:
					if *given.to, err = given.parse(given.text); err != nil {
						return usagef("--%s: %w", given.flag, err)
					}
				}
			}
			if _, err := gw.UpdateApp(ctx, args[0], client.AppPatch{Limits: &limits}); err != nil {
				return err
			}
			return nil
		}),
	}
	f := cmd.Flags()
	f.StringVar(&calls, "calls", "", "requests in a time, such as 100/s or 6000/m")
	f.StringVar(&jobs, "jobs", "", "jobs that have not come to their end")
	f.StringVar(&bytes, "bytes", "", "stored requests and results, such as 10GiB")
	f.StringVar(&endpoints, "endpoints", "", "endpoints")
	return cmd
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a whole number from 1", text)
	}
	return n, nil
}
