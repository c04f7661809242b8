// Bench measures the speed goals: us beside what others would run in our place. Contenders take turns in one run (A B C, A
// B C, ...), so that whatever else the machine does meets all of them; a figure is the median of its rounds. What counts is
// the processor time that the server's process used for one request or one gigabyte, because wall time on a shared machine
// says more about the machine. It stands beside.
//
//	go run ./e2e/bench                     all goals, about five minutes
//	go run ./e2e/bench -only G1,G9 -rounds 9
//
// It prints one Markdown table, and asserts nothing: whether a goal holds is for people to read.
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

	"github.com/sealgate/sealgate/e2e/rig"
)

func main() {
	only := flag.String("only", "", "goals to measure, such as G1,G9; default: all")
	rounds := flag.Int("rounds", 5, "turns of each contender")
	role := flag.String("role", "", "run as one of the servers: origin, reverse-proxy or memory (used by the program itself)")
	address := flag.String("address", "", "with -role: host:port to listen on")
	argument := flag.String("argument", "", "with -role: what it serves or forwards to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	var err error
	switch *role {
	case "":
		err = run(ctx, *rounds, *only)
	case "origin":
		err = serveOrigin(ctx, *address, *argument)
	case "reverse-proxy":
		err = serveReverseProxy(ctx, *address, *argument)
	case "memory":
		err = serveMemory(ctx, *address)
	default:
		err = fmt.Errorf("no role %q", *role)
	}
	if err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A finding is one line of the table.
type finding struct {
	Goal, What, Measured, Limit string
	Holds                       bool
}

// A trial measures one or more goals that need the same servers.
type trial struct {
	goals []string
	run   func(context.Context, *bench) ([]finding, error)
}

var trials = []trial{
	{[]string{"G1"}, warmManifests},
	{[]string{"G2"}, smallRequests},
	{[]string{"G3"}, blobsThrough},
	{[]string{"G4"}, blobsFromUs},
	{[]string{"G6"}, uploads},
	{[]string{"G7"}, coldVerification},
	{[]string{"G8"}, coldLatency},
	{[]string{"G9"}, coldStorm},
	{[]string{"G10"}, largeAttestation},
	{[]string{"G11"}, largeScan},
	{[]string{"G12"}, idleMemory},
	{[]string{"G14"}, coldJudgement},
	{[]string{"G16"}, startUp},
	{[]string{"G17"}, inspectLayers},
}

// bench is what the trials of one run share.
type bench struct {
	rounds   int
	scratch  string // everything that the run writes is below it
	sealgate string // our binary
	self     string // this program's
	folders  int
}

func run(ctx context.Context, rounds int, only string) (err error) {
	if rounds < 1 {
		return errors.New("at least one round")
	}
	b := &bench{rounds: rounds}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.scratch, err = os.MkdirTemp("", "sealgate-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.scratch)) }()
	if b.sealgate, err = rig.Build(ctx, b.scratch); err != nil {
		return err
	}

	var findings []finding
	for _, t := range trials {
		if !wanted(t.goals, only) {
			continue
		}
		fmt.Fprintf(os.Stderr, "measuring %s\n", strings.Join(t.goals, ", "))
		found, err := t.run(ctx, b)
		if err != nil {
			return fmt.Errorf("%s: %w", strings.Join(t.goals, ", "), err)
		}
		findings = append(findings, found...)
	}
	fmt.Println("| # | what | measured | goal | holds |")
	fmt.Println("|---|---|---|---|---|")
	for _, f := range findings {
		holds := "no"
		if f.Holds {
			holds = "yes"
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", f.Goal, f.What, f.Measured, f.Limit, holds)
	}
	return nil
}

func wanted(goals []string, only string) bool {
	if only == "" {
		return true
	}
	list := strings.Split(only, ",")
	return slices.ContainsFunc(goals, func(goal string) bool { return slices.Contains(list, goal) })
}

// folder makes a new folder for one server's files.
func (b *bench) folder() (string, error) {
	b.folders++
	path := fmt.Sprintf("%s/%d", b.scratch, b.folders)
	return path, os.Mkdir(path, 0o755)
}
