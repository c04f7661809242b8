// Command sealgate is a gate in front of container registries: what is pushed through it is checked and sealed, and only
// what is proven may be pulled.
//
// A command loads a configuration file into a [Config] (config.go), strictly and with file and line in every error
// (load.go, strict.go, validate.go), builds a gateway's regime from it (build.go), and keeps that up to date (reload.go). Each
// section of the file has a source file of its name (listeners.go, clients.go, registries.go, signers.go): what a person may
// write there, what is wrong with it, and what is opened from it, in this order. This package is the only one that knows of
// files, flags and the environment; all others get live objects.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/sealgate/sealgate/verifier/scan/inventory"
	"github.com/spf13/cobra"
)

func main() {
	scan.ServeChild()
	inventory.ServeChild() // returns, unless this process is one that reads an image for another
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the second signal ends us at once
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// gcPercent trades memory for time: what lives is small, caches that are bounded in bytes, and most garbage is of requests.
const gcPercent = 300

// exitCode is what a command ends with. The numbers are a promise.
type exitCode int

const (
	exitFault     exitCode = 1 // our fault
	exitUsage     exitCode = 2 // usage or configuration
	exitDenied    exitCode = 3 // denied by policy
	exitNotFound  exitCode = 4 // there is no such image
	exitUpstream  exitCode = 5 // a registry behind the gateway, or our credentials there
	exitUndecided exitCode = 6 // it could not be found out
	exitChange    exitCode = 7 // a dry run found something to change
)

const exitCodeHelp = `Exit codes: 0 admitted or done, 1 our fault, 2 usage or configuration, 3 denied by policy, 4 not found,
5 upstream or credentials, 6 undecided, 7 a dry run found something to change.`

// exitError is an error with the code to end with. Without an error inside everything has been said.
type exitError struct {
	code exitCode
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// run is main without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	begun := false // past cobra's own checks, whose errors are about usage
	root := newRoot(&begun)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)

	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	if err.Error() != "" {
		fmt.Fprintf(stderr, "sealgate: %v\n", err)
	}
	if !begun {
		return int(exitUsage)
	}
	return int(codeOf(err))
}

func codeOf(err error) exitCode {
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[Problems](err); ok {
		return exitUsage
	}
	return exitFault
}

func newRoot(begun *bool) *cobra.Command {
	root := &cobra.Command{
		Use:   "sealgate",
		Short: "A gate in front of container registries: pushes are checked and sealed, only what is proven is pulled",
		Long: `Sealgate stands in front of container registries. What is pushed through it is checked and sealed with a signature;
what is pulled through it must be signed as its policy demands, or it is refused with the reason and the fix.

` + exitCodeHelp,
		Example: `  sealgate serve
  docker push 127.0.0.1:5000/app:v1
  sealgate verify app:v1`,
		Args:          commandsOnly,
		RunE:          showHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.PersistentPreRun = func(*cobra.Command, []string) { *begun = true }
	root.AddCommand(newServe(), newDemo(), newVerify(), newInspect(), newSeal(), newVerifyBundle(), newScan(), newKeys(), newBases(), newConfig(), newClients(), newDoctor(), newVersion())
	return root
}

// commandsOnly refuses what is no command, and names the one that was probably meant.
func commandsOnly(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return usage("unknown command %q; did you mean: %s %s?", args[0], cmd.CommandPath(), meant[0])
	}
	return usage("unknown command %q; see: %s --help", args[0], cmd.CommandPath())
}

// showHelp is what a command does that only has commands below it.
func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }
