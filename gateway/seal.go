package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Step is what is being done with a manifest on its way to a seal.
type Step string

// The steps.
const (
	StepCheck Step = "check"
	StepSeal  Step = "seal"
)

// Seal does with an image that a registry has what a push of it would do: it is checked, and where it passes, signed and
// attested, with everything that an index lists. No tag is moved; one that is given is resolved once. It is idempotent.
//
// The decision is recorded, as that of a push. An error says that there is nothing to decide about: no such repository or
// manifest, or no usable answer from the registry. progress, if it is not nil, is told each step before it is taken.
func (g *Gateway) Seal(ctx context.Context, repo, reference string, progress func(Step, digest.Digest)) (ledger.Decision, error) {
	re, t := g.regime.Load(), Target{Kind: PushManifest, Repo: repo}
	m, err := g.resolve(ctx, re, &t, reference)
	if err != nil {
		return ledger.Decision{}, err
	}
	evidence, err := g.isEvidence(ctx, re, repo, m)
	if err != nil {
		return ledger.Decision{}, fmt.Errorf("read %s: %w", t.Image(), err)
	}
	if evidence {
		return ledger.Decision{}, badRequest("MANIFEST_INVALID", "it is a signature, an attestation or a list of them, which are not sealed")
	}

	x := &exchange{t: t, re: re, rule: re.Policy.Rule(repo), progress: progress}
	x.registry, x.name, _ = re.Registries.Find(repo) // where it was just found
	j, passed := g.judgeWhole(ctx, x, m)
	if errors.Is(j.err, manifest.ErrInvalid) || errors.Is(j.err, upstream.ErrNotFound) {
		return ledger.Decision{}, j.err
	}
	if j.err == nil && j.verdict.Admitted() && x.rule.Seals() {
		j.evidence, j.err = g.sealAll(ctx, x, passed)
	}

	d := j.decision(re, repo)
	d.Action, d.Reference, d.Digest = ledger.Push, reference, m.Digest
	if err := g.ledger.Record(d); err != nil {
		d.Outcome, d.Cause = ledger.Undecided, err.Error()
	}
	g.tell(d)
	return d, nil
}

// judgeWhole judges a manifest under the push rule, however long it takes to read it.
func (g *Gateway) judgeWhole(ctx context.Context, x *exchange, m *manifest.Manifest) (j judgement, passed []grounds) {
	for {
		j.verdict, passed, j.err = g.judgePush(ctx, x, m)
		if !errors.Is(j.err, policy.ErrUnfinished) || ctx.Err() != nil {
			return j, passed
		}
		select { // the inspection goes on by itself, and whoever waits for it waits as long as it lets him
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// step tells whoever wants to know.
func (x *exchange) step(s Step, d digest.Digest) {
	if x.progress != nil {
		x.progress(s, d)
	}
}
