package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
		Long: `Say what a pull of an image through the gateway would be answered now, with every reason and what would fix it; all that is
attached to the image, who made it and whether it counts; and what each platform of an index would be answered after that.
The gateway need not run, and nothing is recorded.

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
			if err := form.draw(cmd.OutOrStdout(), result, result.tree); err != nil {
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

	// Remembered is set in an outage: the registry could not be asked, and the outcome rests on what was attached then.
	Remembered time.Time `json:"remembered,omitzero"`

	Attached  attached          `json:"attached"`
	Platforms []platformVerdict `json:"platforms,omitempty"` // of an index
	Omitted   int               `json:"platforms_omitted,omitempty"`
}

// platformVerdict is what a pull of one platform's manifest would be answered after the index was pulled.
type platformVerdict struct {
	Platform string          `json:"platform"`
	Digest   digest.Digest   `json:"digest"`
	Outcome  ledger.Outcome  `json:"outcome"` // empty with Error
	Reasons  []policy.Reason `json:"reasons"`
	Evidence []digest.Digest `json:"evidence"` // the manifests that it rests on, the index's among them
	Cause    string          `json:"cause,omitempty"`
	Error    string          `json:"error,omitempty"` // why there is nothing to decide about: it is not there
	Attached attached        `json:"attached"`
}

// verify judges an image with a gateway that serves nobody.
func verify(ctx context.Context, source *configSource, typed string) (v verdict, err error) {
	s, err := openStudy(source, typed)
	if err != nil {
		return verdict{}, err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	d, err := s.gateway.Judge(ctx, s.ref.repo, s.ref.asked())
	if err != nil {
		return verdict{}, upstreamError(err)
	}
	v = newVerdict(s.ref, d)
	m, err := s.manifest(ctx, d.Digest.String())
	if err != nil { // it was there a moment ago, and judged
		v.Attached = nothingKnown(err)
		return v, nil
	}
	v.Attached = s.held(ctx, d.Digest, m.IsIndex())
	platforms, omitted := platformsOf(m)
	v.Omitted = omitted
	if d.Outcome == ledger.Admit { // what a pull of the index would leave behind
		var children []digest.Digest
		for _, p := range m.Manifests {
			children = append(children, p.Digest)
		}
		s.memory.Admit(s.ref.repo, d.Digest, children)
	}
	v.Platforms = make([]platformVerdict, len(platforms))
	inParallel(len(platforms), func(i int) { v.Platforms[i] = s.judgePlatform(ctx, platforms[i]) })
	return v, nil
}

func (s *study) judgePlatform(ctx context.Context, d ocispec.Descriptor) platformVerdict {
	v := platformVerdict{Platform: platformName(d.Platform), Digest: d.Digest, Reasons: []policy.Reason{}, Evidence: []digest.Digest{}}
	decision, err := s.gateway.Judge(ctx, s.ref.repo, d.Digest.String())
	if err != nil {
		v.Error = plain(err.Error())
		v.Attached = newAttached(policy.Evidence{})
		return v
	}
	own := s.ref
	own.tag = ""
	v.Outcome, v.Cause, v.Reasons = decision.Outcome, decision.Cause, fixed(decision.Reasons, own, d.Digest)
	v.Evidence = append(v.Evidence, decision.Evidence...)
	v.Attached = s.held(ctx, d.Digest, false)
	return v
}

// held is what is attached to a manifest, held against the rule of its repository.
func (s *study) held(ctx context.Context, d digest.Digest, index bool) attached {
	a, ev := s.survey(ctx, d)
	ev.Index = index
	a.hold(s.made.Policy.Rule(s.ref.repo), policy.Subject{Repo: s.ref.repo, Digest: d}, ev, time.Now())
	return a
}

func newVerdict(ref reference, d ledger.Decision) verdict {
	return verdict{
		Image: ref.typed, Repo: d.Repo, Reference: ref.asked(), Digest: d.Digest,
		Outcome: d.Outcome, Audit: d.Audit, Policy: d.Policy, PolicyVersion: d.PolicyVersion,
		Reasons: fixed(d.Reasons, ref, d.Digest), Warnings: fixed(d.Warnings, ref, d.Digest),
		Evidence: append([]digest.Digest{}, d.Evidence...), Cause: d.Cause, Remembered: d.Remembered,
	}
}

// fixed fills the image's names into what would help.
func fixed(reasons []policy.Reason, ref reference, d digest.Digest) []policy.Reason {
	list := []policy.Reason{}
	for _, r := range reasons {
		r.Fix = r.FixFor(ref.typed, ref.pinned(d))
		list = append(list, r)
	}
	return list
}

// tree is the verdict for people.
func (v verdict) tree(p painter) *tree {
	t := &tree{text: outcomeWord(v.Outcome, p) + "  " + v.Image}
	t.row("digest", v.Digest.String())
	policyName := v.Policy
	if policyName == "" {
		policyName = "none"
	}
	t.row("policy", policyName+", version "+v.PolicyVersion)
	if v.Audit {
		t.row("audit", "the policy refuses nothing: it is served whatever the verdict")
	}
	drawReasons(t, p, "reason", v.Reasons)
	drawReasons(t, p, "warning", v.Warnings)
	t.row("cause", plain(v.Cause))
	if !v.Remembered.IsZero() {
		t.row("memory", "the registry cannot be asked; this is by what was attached at "+v.Remembered.UTC().Format(time.RFC3339))
	}
	v.Attached.draw(t, p)
	if len(v.Platforms) > 0 {
		below := t.add("platforms, once this was pulled")
		for _, one := range v.Platforms {
			one.draw(below, p)
		}
		if v.Omitted > 0 {
			below.add(fmt.Sprintf("and %d more", v.Omitted))
		}
	}
	return t
}

func (v platformVerdict) draw(t *tree, p painter) {
	word := outcomeWord(v.Outcome, p)
	if v.Error != "" {
		word = p.paint(yellow, "absent")
	}
	t = t.add(fmt.Sprintf("%s  %s  %s", word, v.Platform, v.Digest))
	drawReasons(t, p, "reason", v.Reasons)
	t.row("cause", plain(v.Cause))
	t.row("error", v.Error)
	if v.Outcome == ledger.Admit && len(v.Evidence) > 0 && !v.Attached.carries(v.Evidence) {
		t.row("through", "the index, by what is attached to that")
	}
	v.Attached.draw(t, p)
}

func drawReasons(t *tree, p painter, name string, reasons []policy.Reason) {
	for _, r := range reasons {
		below := t.row(name, plain(r.Why)+" ("+string(r.Code)+")")
		below.row("fix", plain(r.Fix))
	}
}

func outcomeWord(o ledger.Outcome, p painter) string {
	switch o {
	case ledger.Admit:
		return p.paint(green, "admitted")
	case ledger.Deny:
		return p.paint(red, "denied")
	}
	return p.paint(yellow, "undecided")
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
