// Command crash looks for what a gateway loses when it is killed. It runs Ringback
// as a process of its own, loads it from many clients, kills it with SIGKILL at
// random moments, starts it again on the same files, and in the end compares every
// acknowledged job with what its receiver got. It fails where anything is lost, or
// came twice for no reason.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := command(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

var errViolated = errors.New("the gateway has broken a promise; the folder above was kept")

// command is main with its arguments.
func command(ctx context.Context, args []string) error {
	p := plan{}
	flags := flag.NewFlagSet("crash", flag.ContinueOnError)
	flags.IntVar(&p.kills, "kills", 200, "how often the gateway is killed")
	flags.IntVar(&p.restarts, "restarts", 0, "how often it is stopped by SIGTERM, after the kills")
	flags.IntVar(&p.maxCalls, "calls", 400_000, "stop calling after so many")
	flags.Uint64Var(&p.seed, "seed", rand.Uint64()%1_000_000, "what calls and moments are drawn from; one by chance, if it is not set")
	flags.DurationVar(&p.commit, "commit", 500*time.Millisecond, "how long after an answer its commit may take; a duplicate is explained by a kill before that")
	flags.DurationVar(&p.chaos, "chaos", 0, "break connections and kill now and then for so long, in place of -kills and -restarts")
	flags.IntVar(&p.rate, "rate", 0, "calls a second, about; 0: as many as there can be")
	maxRSS := flags.Int64("rss", 256, "MiB of memory that the gateway may take in a run with -chaos")
	file := flags.String("json", "", "write the report to this file, too")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	p.maxRSS = *maxRSS << 20
	var err error
	if p.dir, err = os.MkdirTemp("", "ringback-crash-"); err != nil {
		return err
	}
	if p.chaos > 0 {
		fmt.Printf("seed %d, %v of faults and kills, in %s\n", p.seed, p.chaos, p.dir)
	} else {
		fmt.Printf("seed %d, %d kills, %d orderly restarts, in %s\n", p.seed, p.kills, p.restarts, p.dir)
	}
	r, err := run(ctx, p)
	if err != nil {
		return err
	}
	fmt.Print(r)
	if *file != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*file, append(text, '\n'), 0o644); err != nil {
			return err
		}
	}
	if len(r.Violations) > 0 {
		return errViolated
	}
	return os.RemoveAll(p.dir)
}
