package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// mayDelete refuses deletes where they are not configured, or the repository takes no pushes.
func (g *Gateway) mayDelete(x *exchange) error {
	if !g.allowDelete {
		return &requestError{http.StatusMethodNotAllowed, "UNSUPPORTED", "deleting is not allowed through this gateway"}
	}
	if x.rule.AllowsPush() {
		return nil
	}
	return g.enforce(x, ledger.Delete, x.t.Digest, judgement{verdict: x.rule.JudgePush(policy.Subject{Repo: x.t.Repo, Digest: x.t.Digest}, policy.Image{}, g.clock.now())})
}

// protect refuses to delete evidence, whatever mode the policy is in.
func (g *Gateway) protect(x *exchange, why string) error {
	j := judgement{verdict: policy.Refuse(policy.Reason{
		Code: policy.EvidenceProtected, Requirement: "evidence", Subject: x.t.Digest.String(),
		Why: why, Fix: "what protects an image is removed with the registry's own tools",
	})}
	if err := g.enforce(x, ledger.Delete, x.t.Digest, j); err != nil {
		return err
	}
	return &requestError{http.StatusForbidden, "DENIED", "sealgate: " + why} // audit mode lets nobody destroy signatures
}

// deleteManifest removes a manifest or a tag, where deleting is allowed and it protects nothing.
func (g *Gateway) deleteManifest(x *exchange) error {
	ctx, cancel := context.WithTimeout(x.r.Context(), manifestDeadline)
	defer cancel()

	if err := g.mayDelete(x); err != nil {
		return err
	}
	if _, _, ok := evidenceSubject(x.t.Tag); ok {
		return g.protect(x, "the tag holds signatures or attestations")
	}
	if err := g.keepTags(x); err != nil {
		return err
	}
	m, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Tag: x.t.Tag, Digest: x.t.Digest})
	if err != nil {
		return err
	}
	evidence, err := g.isEvidence(ctx, x.re, x.t.Repo, m)
	if err != nil {
		return err
	}
	if evidence && len(m.Layers)+len(m.Manifests) > 0 {
		return g.protect(x, "it is a signature or attestation")
	}
	list, err := g.isTagged(ctx, x, m)
	if err != nil {
		return err
	}
	if list {
		return g.protect(x, "it lists what refers to an image")
	}

	verdict := x.rule.JudgePush(policy.Subject{Repo: x.t.Repo, Digest: m.Digest}, policy.Image{}, g.clock.now())
	if err := g.enforce(x, ledger.Delete, m.Digest, judgement{verdict: verdict}); err != nil {
		return err
	}
	if x.t.Tag == "" { // first: a list that names what is not there leaves its subject undecided
		if err := g.unlist(ctx, x, m); err != nil {
			return err
		}
	}
	if err := x.registry.DeleteManifest(ctx, x.name, x.t.Reference()); err != nil {
		return err
	}
	if x.t.Tag == "" {
		g.forget(x, m)
	}
	x.w.WriteHeader(http.StatusAccepted)
	return nil
}

// isTagged reports that an index is the list of what refers to something that it lists, whatever else it lists: somebody may
// have put an image in it, or what is not there any more.
func (g *Gateway) isTagged(ctx context.Context, x *exchange, m *manifest.Manifest) (bool, error) {
	asked := map[digest.Digest]bool{}
	for _, d := range m.Manifests {
		entry, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Digest: d.Digest})
		switch {
		case errors.Is(err, upstream.ErrNotFound) || errors.Is(err, manifest.ErrInvalid):
			continue
		case err != nil:
			return false, fmt.Errorf("read %s that is listed: %w", d.Digest, err)
		case entry.Subject == nil || asked[entry.Subject.Digest]:
			continue
		}
		subject := entry.Subject.Digest
		asked[subject] = true
		list, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Tag: subject.Algorithm().String() + "-" + subject.Encoded()})
		switch {
		case err == nil && list.Digest == m.Digest:
			return true, nil
		case err != nil && !errors.Is(err, upstream.ErrNotFound) && !errors.Is(err, manifest.ErrInvalid):
			return false, fmt.Errorf("read the list of %s: %w", subject, err)
		}
	}
	return false, nil
}

// unlist takes a manifest off the list of its subject's referrers.
func (g *Gateway) unlist(ctx context.Context, x *exchange, m *manifest.Manifest) error {
	if m.Subject == nil {
		return nil
	}
	subject := policy.Subject{Repo: x.t.Repo, Digest: m.Subject.Digest}
	defer x.re.Registries.Lock(subject)()
	if err := x.re.Registries.Detach(ctx, subject, m.Digest); err != nil {
		return fmt.Errorf("take %s off its subject's list: %w", m.Digest, err)
	}
	x.re.Verifier.Forget(subject)
	return nil
}

// forget drops what is remembered of a deleted manifest.
func (g *Gateway) forget(x *exchange, m *manifest.Manifest) {
	for _, d := range []digest.Digest{m.Digest, x.t.Digest} {
		g.manifests.remove(manifestKey{x.registry.Name(), x.name, d})
	}
	x.re.Verifier.Forget(policy.Subject{Repo: x.t.Repo, Digest: m.Digest})
}
