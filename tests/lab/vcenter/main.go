// Command vcenter is the lab's vCenter: govmomi's simulator with what a backup needs and the
// simulator lacks. It is a test dependency; nothing of it enters the appliance.
//
//	vcenter -config site.json [-exit-on-stdin-eof]
//
// It prints one JSON line on stdout when it is ready and runs until SIGTERM, POST /shutdown on the
// control port, or (when asked to) the end of its standard input, so that it never outlives its
// parent. What is the simulator's own behaviour and what is added is told in ../README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"holdfast/tests/lab/vcenter/internal/config"
)

func main() {
	if err := command(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "vcenter:", err)
		os.Exit(1)
	}
}

func command(arguments []string, in io.Reader, out io.Writer) error {
	flags := flag.NewFlagSet("vcenter", flag.ContinueOnError)
	path := flags.String("config", "", "the site's `file` (JSON)")
	untilEOF := flags.Bool("exit-on-stdin-eof", false, "end when standard input ends")
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	c, err := config.Load(*path)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *untilEOF {
		go func() {
			_, _ = io.Copy(io.Discard, in) // an error is an end as well
			stop()
		}()
	}
	return serve(ctx, c, out)
}
