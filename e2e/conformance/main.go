// Conformance runs the OCI distribution conformance program against distribution's registry bare, and against the gateway
// with the same registry embedded: once under a policy that lets everything pass, and once under one that seals every push
// and serves nothing unsealed. Nothing that passes bare may fail through the gateway, and fewer tests may fail in all: the
// gateway adds the referrers API that the registry lacks, and takes nothing away.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/sealgate/sealgate/e2e/rig"
)

func main() {
	keep := flag.String("keep", "", "directory for the reports, report.html among them; default: none are kept")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	if err := run(ctx, *keep, os.Stdout); err != nil {
		stop()
		fmt.Fprintln(os.Stderr, "conformance:", err)
		os.Exit(1)
	}
}

// Everything passes, nothing is signed.
const open = `
delete: {allowed: true}
policies:
  - name: open
    repositories: ["**"]
    pull: {admit_unverified: true}
    push: {accept_unsealed: true}
`

// Every push is sealed, and only what is sealed is pulled.
const sealed = `
delete: {allowed: true}
policies:
  - name: sealed
    repositories: ["**"]
    pull: {signed_by: {any: [gateway]}}
    push: {seal: {signer: gateway}}
`

// candidate is one registry that the program is run against.
type candidate struct {
	name  string
	start func(ctx context.Context, directory string) (*rig.Program, error)
}

func run(ctx context.Context, keep string, out io.Writer) (err error) {
	scratch, err := os.MkdirTemp("", "sealgate-conformance-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	if keep == "" {
		keep = scratch
	}
	binary, err := rig.Build(ctx, scratch)
	if err != nil {
		return err
	}
	gateway := func(config string) func(context.Context, string) (*rig.Program, error) {
		return func(ctx context.Context, directory string) (*rig.Program, error) {
			g, err := rig.StartGateway(ctx, binary, directory, config)
			if err != nil {
				return nil, err
			}
			return g.Program, nil
		}
	}

	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "registry\ttests\tfailed\tlost\t")
	var faults []string
	var bare *results
	for i, c := range []candidate{
		{"distribution, bare", rig.Registry},
		{"gateway, open policy", gateway(open)},
		{"gateway, every push sealed", gateway(sealed)},
	} {
		r, err := c.try(ctx, filepath.Join(scratch, fmt.Sprint(i)), filepath.Join(keep, fmt.Sprintf("report-%d", i)))
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if bare == nil {
			bare = r
		} else {
			for _, name := range lost(bare, r) {
				faults = append(faults, c.name+": "+name)
			}
			if r.Failed >= bare.Failed {
				faults = append(faults, fmt.Sprintf("%s: %d tests fail, not fewer than the %d of the bare registry", c.name, r.Failed, bare.Failed))
			}
		}
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t\n", c.name, r.Tests, r.Failed, len(lost(bare, r)))
	}
	table.Flush()
	if len(faults) > 0 {
		return errors.New("what passes bare fails through the gateway\n  " + strings.Join(faults, "\n  "))
	}
	return nil
}

// try starts one registry with its files in directory, and runs the program against it, with its reports in another.
func (c candidate) try(ctx context.Context, directory, reports string) (*results, error) {
	server, err := c.start(ctx, directory)
	if err != nil {
		return nil, err
	}
	defer server.Stop()
	program, err := rig.Tool(ctx, "conformance")
	if err != nil {
		return nil, err
	}

	reports, err = filepath.Abs(reports)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(reports, 0o755); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, program)
	command.Dir = reports // it reads a file from where it stands
	command.Env = append(os.Environ(),
		"OCI_REGISTRY="+server.Address, "OCI_TLS=disabled", "OCI_LOG=error", "OCI_RESULTS_DIR="+reports,
		"OCI_REPO1=conformance/one", "OCI_REPO2=conformance/two",
		// Beside the default, which is everything of 1.1 that a registry must or should have: what it may have, too.
		"OCI_API_BLOBS_UPLOAD_CANCEL=true", "OCI_API_BLOBS_DIGEST_HEADER=true", "OCI_API_MANIFESTS_DIGEST_HEADER=true",
		"OCI_DATA_SPARSE=true",
	)
	said, err := command.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) { // it ends with 1 when a test failed
		return nil, err
	}
	r, err := readResults(reports)
	if err != nil {
		return nil, fmt.Errorf("%w; the program said:\n%s", err, said)
	}
	return r, nil
}
