// Command bench measures Ringback, with full durability and signatures, beside the
// limit: a relay in memory that does the same job without a disk. It builds and
// starts both, in turn, loads them from one process that is the receiver too, and
// prints what must be reached, what is aimed at and what was measured. A whole run
// also writes bench/results.json and draws docs/performance.md. It is for Linux.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

const resultsFile = "bench/results.json"

func main() {
	if len(os.Args) == 3 && os.Args[1] == limitCommand {
		exit(runLimit(os.Args[2]))
	}
	if len(os.Args) == 3 && os.Args[1] == profileCommand {
		exit(runProfiled(os.Args[2]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	exit(err)
}

func exit(err error) {
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	names := make([]string, len(measurements))
	for i, m := range measurements {
		names[i] = m.name
	}
	only := flags.String("only", "", "measure only these, with commas between them: "+strings.Join(names, ", "))
	rounds := flags.Int("rounds", 5, "how often each line of the table is measured")
	during := flags.Duration("d", 4*time.Second, "how long a round loads each system")
	quick := flags.Bool("quick", false, "one short round, small stores: to see that all works")
	out := flags.String("json", "", "write the results to this file; a whole run writes "+resultsFile)
	tmp := flags.String("tmp", "", "where the stores are made, and removed; the disk that is measured")
	draw := flags.Bool("draw", false, "measure nothing: draw docs/performance.md anew from "+resultsFile)
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *draw {
		r, err := readResults(resultsFile)
		if err != nil {
			return err
		}
		return r.draw("docs")
	}
	set := settings{rounds: *rounds, during: *during, quick: *quick}
	if *quick {
		set.rounds, set.during = 1, time.Second
	}
	if *only != "" {
		set.only = strings.Split(*only, ",")
	}
	for _, name := range set.only {
		if !slices.Contains(names, name) {
			return fmt.Errorf("-only %s: there are %s", name, strings.Join(names, ", "))
		}
	}
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	r, err := measure(ctx, set, *tmp, os.Stderr)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	return r.save(*out, len(set.only) == 0 && !set.quick)
}

// save writes what a run was for.
func (r *results) save(path string, whole bool) error {
	if path != "" {
		if err := r.write(path); err != nil {
			return err
		}
	}
	if !whole {
		return nil
	}
	return errors.Join(r.write(resultsFile), r.draw("docs"))
}
