// Command ringback is the gateway and its command line.
//
// A command is a file of its own with a constructor in the list in root.go.
// What may be written where is ruled at the top of term.go, and what the exit
// codes mean at the top of exit.go.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends the program where the first did not.
	context.AfterFunc(ctx, stop)
	return execute(ctx, os.Args[1:], newTerm(os.Stdin, os.Stdout, os.Stderr))
}
