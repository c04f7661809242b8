package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/spf13/cobra"
)

func newVerify() *cobra.Command {
	var form format
	var source configSource
	cmd := &cobra.Command{
		Use:   "verify REF",
		Short: "Say whether an image would be admitted, and why not",
		Long: `Say what a pull of an image through the gateway would be answered now, with every reason and what would fix it. The gateway
need not run, and nothing is recorded.

REF is the image as it is typed at the gateway: [host/]repo[:tag][@digest]. The host is left aside.

` + exitCodeHelp,
		Example: `  sealgate verify app:v1
  sealgate verify registry.acme.dev/prod/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
  sealgate verify --config sealgate.yaml -o json prod/app:v1`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("verify takes one image, like: sealgate verify app:v1")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			result, err := verify(cmd.Context(), &source, args[0])
			if err != nil {
				return err
			}
			if err := form.print(cmd.OutOrStdout(), result, result.table); err != nil {
				return err
			}
			return result.exit()
		},
	}
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

// verdict is the result of verify; its JSON is a promise.
type verdict struct {
	Image         string          `json:"image"` // as typed
	Repo          string          `json:"repo"`
	Reference     string          `json:"reference"` // the tag or digest that was looked up
	Digest        digest.Digest   `json:"digest"`
	Outcome       ledger.Outcome  `json:"outcome"` // admit, deny or undecided
	Audit         bool            `json:"audit"`   // the policy refuses nothing, whatever the outcome
	Policy        string          `json:"policy"`  // empty when none names the repository
	PolicyVersion string          `json:"policy_version"`
	Reasons       []policy.Reason `json:"reasons"`
	Warnings      []policy.Reason `json:"warnings"`
	Evidence      []digest.Digest `json:"evidence"`        // the manifests that it rests on
	Cause         string          `json:"cause,omitempty"` // why it is undecided
}

// verify judges an image with a gateway that serves nobody.
func verify(ctx context.Context, source *configSource, typed string) (verdict, error) {
	loaded, err := source.load()
	if err != nil {
		return verdict{}, err
	}
	b := &builder{getenv: os.Getenv, alone: true}
	made, err := b.build(loaded)
	if err != nil {
		return verdict{}, err
	}
	err = b.keep(made)
	defer b.close()
	if err != nil {
		return verdict{}, err
	}
	ref, err := parseReference(typed, prefixesOf(made.Regime.Registries))
	if err != nil {
		return verdict{}, err
	}

	memory := ledger.OpenToRead(ledgerDirectory(&loaded.Config), ledger.Options{})
	defer memory.Close()

	g := gateway.New(gateway.Options{
		Ledger: memory, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), ExternalURL: loaded.Config.Listen.ExternalURL,
	})
	g.Enforce(made.Regime)
	d, err := g.Judge(ctx, ref.repo, ref.asked())
	if err != nil {
		return verdict{}, judgeError(err)
	}
	return newVerdict(ref, d), nil
}

// judgeError gives an error of the gateway its exit code.
func judgeError(err error) error {
	if absent, ok := errors.AsType[interface {
		error
		NotFound() bool
	}](err); ok && absent.NotFound() {
		return &exitError{exitNotFound, fmt.Errorf("not found: %w", err)}
	}
	return &exitError{exitUpstream, err}
}

func newVerdict(ref reference, d ledger.Decision) verdict {
	pinned := ref.pinned(d.Digest)
	fixed := func(reasons []policy.Reason) []policy.Reason {
		list := []policy.Reason{}
		for _, r := range reasons {
			r.Fix = r.FixFor(ref.typed, pinned)
			list = append(list, r)
		}
		return list
	}
	return verdict{
		Image: ref.typed, Repo: d.Repo, Reference: ref.asked(), Digest: d.Digest,
		Outcome: d.Outcome, Audit: d.Audit, Policy: d.Policy, PolicyVersion: d.PolicyVersion,
		Reasons: fixed(d.Reasons), Warnings: fixed(d.Warnings), Evidence: append([]digest.Digest{}, d.Evidence...), Cause: d.Cause,
	}
}

// table is the verdict for people.
func (v verdict) table(w io.Writer) {
	words := map[ledger.Outcome]string{ledger.Admit: "admitted", ledger.Deny: "denied", ledger.Undecided: "undecided"}
	fmt.Fprintf(w, "%s  %s\n", words[v.Outcome], v.Image)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-9s %s\n", name, value)
		}
	}
	row("digest", v.Digest.String())
	policyName := v.Policy
	if policyName == "" {
		policyName = "none"
	}
	row("policy", policyName+", version "+v.PolicyVersion)
	if v.Audit {
		row("audit", "the policy refuses nothing: it is served whatever the verdict")
	}
	for _, r := range v.Reasons {
		row("reason", r.Why+" ("+string(r.Code)+")")
		row("fix", r.Fix)
	}
	for _, r := range v.Warnings {
		row("warning", r.Why+" ("+string(r.Code)+")")
		row("fix", r.Fix)
	}
	for _, e := range v.Evidence {
		row("evidence", e.String())
	}
	row("cause", v.Cause)
}

// exit is the verdict as an exit code.
func (v verdict) exit() error {
	switch v.Outcome {
	case ledger.Admit:
		return nil
	case ledger.Deny:
		return &exitError{code: exitDenied}
	}
	return &exitError{code: exitUndecided}
}
