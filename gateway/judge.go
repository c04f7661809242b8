package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// judgement is what became of one subject: a verdict, or why there is none.
type judgement struct {
	verdict  policy.Verdict
	evidence []digest.Digest // what the verdict rests on
	err      error           // it could not be decided; the verdict is then the zero one, which denies
	strict   bool            // audit mode does not change it

	// remembered is set where a registry could not be asked: what the verdict rests on was attached at that time.
	remembered time.Time
}

// judge says whether a manifest may be pulled. pinned says that the client named the digest itself.
func (g *Gateway) judge(ctx context.Context, re *Regime, repo string, pinned bool, m *manifest.Manifest) judgement {
	s := policy.Subject{Repo: repo, Digest: m.Digest}
	rule := re.Policy.Rule(repo)

	evidence, err := g.isEvidence(ctx, re, repo, m)
	if err != nil {
		return judgement{err: err}
	}
	if evidence && rule.AllowsPull() {
		return judgement{verdict: policy.AdmitEvidence(), evidence: []digest.Digest{m.Digest}}
	}

	ev := policy.Evidence{Pinned: pinned}
	if !rule.NeedsEvidence() {
		return judgement{verdict: rule.Judge(s, ev, g.clock.now())}
	}
	found, err := re.Verifier.Verify(ctx, s)
	if err != nil {
		return judgement{err: fmt.Errorf("verify %s: %w", s, err)}
	}
	found.Pinned, found.Index = pinned, m.IsIndex()
	key, now := judged{s, pinned, found.Index}, g.clock.now()
	if rule.Weighs() {
		if j, ok := re.verdicts.find(key, found, now); ok {
			return j
		}
	}
	verdict := rule.Judge(s, found, now)
	if verdict.Admitted() {
		j := judgement{verdict: verdict, evidence: carriers(found), remembered: found.Remembered}
		if rule.Weighs() {
			re.verdicts.keep(key, found, j, rule.Until(found, now))
		}
		return j
	}
	return onlyAdmits(s, g.judgeThroughIndex(ctx, re, rule, s, found, verdict))
}

// onlyAdmits makes of a refusal that rests on memory what it is: nobody can tell, for the signature that is missing may have
// been attached since.
func onlyAdmits(s policy.Subject, j judgement) judgement {
	if j.err != nil || j.verdict.Admitted() || j.remembered.IsZero() {
		return j
	}
	return judgement{err: fmt.Errorf("%s is not admitted by what was attached at %s, and the registry cannot be asked what is now", s, j.remembered.UTC().Format(time.RFC3339))}
}

// judgeThroughIndex gives a manifest the evidence of an index that lists it, was admitted once in the same repository, and
// would be admitted now. Without such an index the manifest's own verdict stays.
func (g *Gateway) judgeThroughIndex(ctx context.Context, re *Regime, rule *policy.Rule, s policy.Subject, own policy.Evidence, verdict policy.Verdict) judgement {
	remembered := own.Remembered
	for _, index := range g.ledger.Wholes(s.Repo, s.Digest) {
		parent := policy.Subject{Repo: s.Repo, Digest: index}
		m, err := g.whole(ctx, re, parent, s.Digest, true)
		if err != nil {
			return judgement{err: err}
		}
		if m == nil {
			continue
		}
		inherited, err := re.Verifier.Verify(ctx, parent)
		if err != nil {
			return judgement{err: fmt.Errorf("verify index %s: %w", parent, err)}
		}
		remembered = earlier(remembered, inherited.Remembered)
		inherited.Pinned, inherited.Index = true, true // by the digest under which the ledger keeps it
		if !rule.Judge(parent, inherited, g.clock.now()).Admitted() {
			continue
		}
		both := own
		both.Signatures = slices.Concat(own.Signatures, inherited.Signatures)
		both.Attestations = slices.Concat(own.Attestations, inherited.Attestations)
		both.Unread = slices.Concat(own.Unread, inherited.Unread)
		if v := rule.Judge(s, both, g.clock.now()); v.Admitted() {
			return judgement{verdict: v, evidence: carriers(both), remembered: earlier(own.Remembered, inherited.Remembered)}
		}
	}
	return judgement{verdict: verdict, evidence: carriers(own), remembered: remembered}
}

// earlier is the earlier of two times, of which zero is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// whole reads a manifest that the ledger says is made of a part, nil where it is not, or not there any more: the ledger's
// word is a hint, the bytes are proof. An index is made of manifests and of nothing else, an image of blobs.
func (g *Gateway) whole(ctx context.Context, re *Regime, s policy.Subject, part digest.Digest, index bool) (*manifest.Manifest, error) {
	m, err := g.fetch(ctx, re, Target{Repo: s.Repo, Digest: s.Digest})
	if errors.Is(err, upstream.ErrNotFound) || errors.Is(err, manifest.ErrInvalid) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s, of which %s may be a part: %w", s, part, err)
	}
	if m.IsIndex() != index || !slices.Contains(parts(m), part) {
		return nil, nil
	}
	return m, nil
}

// carriers lists the manifests that hold the signatures and attestations, each once.
func carriers(ev policy.Evidence) []digest.Digest {
	var list []digest.Digest
	seen := map[digest.Digest]bool{}
	add := func(d digest.Digest) {
		if !seen[d] {
			seen[d] = true
			list = append(list, d)
		}
	}
	for _, sig := range ev.Signatures {
		add(sig.Evidence)
	}
	for _, a := range ev.Attestations {
		add(a.Evidence)
	}
	return list
}

// decision words a judgement for the record.
func (j judgement) decision(re *Regime, repo string) ledger.Decision {
	rule := re.Policy.Rule(repo)
	d := ledger.Decision{
		ID: newID(), Time: time.Now().UTC(), Outcome: ledger.Deny,
		Repo: repo, Policy: rule.Name(), PolicyVersion: re.Policy.Version(), Audit: rule.Audit() && !j.strict,
		Reasons: j.verdict.Reasons(), Warnings: j.verdict.Warnings(), Evidence: j.evidence, Remembered: j.remembered,
	}
	switch {
	case j.err != nil:
		d.Outcome, d.Cause = ledger.Undecided, shorten(j.err.Error(), maxCause)
	case j.verdict.Admitted():
		d.Outcome = ledger.Admit
	}
	return d
}

// Judge returns the decision that a pull of a reference, a tag or a digest, would get now. It is not recorded. An error
// says that there is nothing to decide about: no such repository or manifest, or no usable answer from the registry.
func (g *Gateway) Judge(ctx context.Context, repo, reference string) (ledger.Decision, error) {
	re, t := g.regime.Load(), Target{Kind: PullManifest, Repo: repo}
	m, err := g.resolve(ctx, re, &t, reference)
	if err != nil {
		return ledger.Decision{}, err
	}
	d := g.judge(ctx, re, repo, t.Tag == "", m).decision(re, repo)
	d.Action, d.Reference, d.Digest = ledger.Pull, reference, m.Digest
	return d, nil
}

// resolve fetches what a reference, a tag or a digest, names in a target's repository now, and completes the target.
func (g *Gateway) resolve(ctx context.Context, re *Regime, t *Target, reference string) (*manifest.Manifest, error) {
	if err := checkRepository(t.Repo); err != nil {
		return nil, err
	}
	if err := t.takeReference(reference); err != nil {
		return nil, err
	}
	m, err := g.fetch(ctx, re, *t)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", t.Image(), err)
	}
	return m, nil
}
