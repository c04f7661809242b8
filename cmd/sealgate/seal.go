package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sealgate/sealgate/gateway"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/verifier/inspect"
	"github.com/sealgate/sealgate/verifier/scan"
	"github.com/spf13/cobra"
)

func newSeal() *cobra.Command {
	var form format
	var source configSource
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "seal REF",
		Short: "Check, sign and attest an image that a registry has",
		Long: `Do with an image that is in a registry what a push of it through the gateway would do: check it under the policy of its
repository and, where it passes, sign it and attest what was found, with every platform that an index lists. No tag is moved.
What carries the seal already gets nothing added.

REF is the image as it is typed at the gateway: [host/]repo[:tag][@digest]. The host is left aside. A tag is looked up once.

The gateway need not run. While one serves from the storage directory, images in its embedded registry are sealed by pushing
them again, and the decision about any other is printed, and not recorded. Steps go to standard error, the result to standard
output.

` + exitCodeHelp,
		Example: `  sealgate seal --config sealgate.yaml prod/app:v1
  sealgate seal --config sealgate.yaml -o json prod/app@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usage("seal takes one image, like: sealgate seal app:v1")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			result, err := seal(ctx, &source, args[0], cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if err := form.print(cmd.OutOrStdout(), result, result.table); err != nil {
				return err
			}
			return result.exit()
		},
	}
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Minute, "how long it may take")
	source.flags(cmd)
	form.flag(cmd)
	return cmd
}

// sealed is the result of seal; its JSON is a promise.
type sealed struct {
	Image         string          `json:"image"` // as typed
	Repo          string          `json:"repo"`
	Digest        digest.Digest   `json:"digest"`
	Outcome       ledger.Outcome  `json:"outcome"`            // admit, deny or undecided
	Sealed        bool            `json:"sealed"`             // it carries the seal
	Policy        string          `json:"policy"`             // empty when none names the repository
	PolicyVersion string          `json:"policy_version"`     //
	Decision      string          `json:"decision,omitempty"` // its id, where it is recorded
	Reasons       []policy.Reason `json:"reasons"`
	Warnings      []policy.Reason `json:"warnings"`
	Evidence      []digest.Digest `json:"evidence"`        // the manifests that hold the seal
	Cause         string          `json:"cause,omitempty"` // why it is undecided
}

// seal seals an image with a gateway that serves nobody.
func seal(ctx context.Context, source *configSource, typed string, steps io.Writer) (_ sealed, err error) {
	loaded, err := source.load()
	if err != nil {
		return sealed{}, err
	}
	c := &loaded.Config
	unlock, err := lockStorage(c.Storage.Directory)
	alone := err == nil
	if !alone && !errors.Is(err, errStorageInUse) {
		return sealed{}, err
	}
	if alone {
		defer unlock()
	}

	layers := inspect.NewLayers(layerMemory)
	defer layers.Close()
	scratch, err := os.MkdirTemp("", "sealgate-seal-")
	if err != nil {
		return sealed{}, err
	}
	defer os.RemoveAll(scratch)
	workplace, err := scan.OpenWorkplace(filepath.Join(scratch, "scan"))
	if err != nil {
		return sealed{}, err
	}
	queue := scan.NewQueue(scan.QueueOptions{Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry()})
	defer queue.Close()
	b := &builder{getenv: os.Getenv, alone: true, layers: layers, queue: queue, workplace: workplace}
	made, err := b.build(loaded)
	if err != nil {
		return sealed{}, err
	}
	err = b.keep(made)
	defer func() { err = errors.Join(err, b.close()) }()
	if err != nil {
		return sealed{}, err
	}
	ref, err := parseReference(typed, prefixesOf(made.Regime.Registries))
	if err != nil {
		return sealed{}, err
	}
	if !made.Policy.Rule(ref.repo).Seals() && made.Policy.Rule(ref.repo).AllowsPush() {
		return sealed{}, usage("policy %s seals nothing; name a signer in its push.seal", made.Policy.Rule(ref.repo).Name())
	}
	if !alone && c.embeds(made.Regime.Registries.Find(ref.repo)) {
		return sealed{}, usage("a gateway serves %s from its own storage; push the image again, or stop it for that long", ref.repo)
	}

	records := ledgerDirectory(c)
	if !alone { // a gateway's
		records = filepath.Join(scratch, "ledger")
	}
	memory, err := ledger.Open(records, ledger.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return sealed{}, err
	}
	defer memory.Close()
	g := gateway.New(gateway.Options{
		Ledger: memory, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(), ExternalURL: c.Listen.ExternalURL,
	})
	g.Enforce(made.Regime)
	words := map[gateway.Step]string{gateway.StepCheck: "checking", gateway.StepSeal: "sealing"}
	d, err := g.Seal(ctx, ref.repo, ref.asked(), func(step gateway.Step, what digest.Digest) {
		fmt.Fprintf(steps, "%s %s\n", words[step], what)
	})
	if err != nil {
		return sealed{}, upstreamError(err)
	}
	return newSealed(ref, d, alone), nil
}

func newSealed(ref reference, d ledger.Decision, recorded bool) sealed {
	fixed := func(reasons []policy.Reason) []policy.Reason {
		list := []policy.Reason{}
		for _, r := range reasons {
			r.Fix = r.FixFor(ref.typed, ref.pinned(d.Digest))
			list = append(list, r)
		}
		return list
	}
	s := sealed{
		Image: ref.typed, Repo: d.Repo, Digest: d.Digest, Outcome: d.Outcome, Sealed: d.Outcome == ledger.Admit,
		Policy: d.Policy, PolicyVersion: d.PolicyVersion,
		Reasons: fixed(d.Reasons), Warnings: fixed(d.Warnings), Evidence: append([]digest.Digest{}, d.Evidence...), Cause: d.Cause,
	}
	if recorded {
		s.Decision = d.ID
	}
	return s
}

// table is the result for people.
func (s sealed) table(w io.Writer) {
	words := map[ledger.Outcome]string{ledger.Admit: "sealed", ledger.Deny: "denied", ledger.Undecided: "undecided"}
	fmt.Fprintf(w, "%s  %s\n", words[s.Outcome], s.Image)
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-9s %s\n", name, value)
		}
	}
	row("digest", s.Digest.String())
	if s.Policy != "" {
		row("policy", s.Policy+", version "+s.PolicyVersion)
	}
	for _, list := range []struct {
		name    string
		reasons []policy.Reason
	}{{"reason", s.Reasons}, {"warning", s.Warnings}} {
		for _, r := range list.reasons {
			row(list.name, r.Why+" ("+string(r.Code)+")")
			row("fix", r.Fix)
		}
	}
	for _, e := range s.Evidence {
		row("evidence", e.String())
	}
	row("cause", s.Cause)
	row("decision", s.Decision)
}

// exit is the result as an exit code.
func (s sealed) exit() error {
	switch s.Outcome {
	case ledger.Admit:
		return nil
	case ledger.Deny:
		return &exitError{code: exitDenied}
	}
	return &exitError{code: exitUndecided}
}
