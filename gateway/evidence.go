package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/ledger"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"golang.org/x/sync/errgroup"
)

// Signatures and attestations protect images, so they are pulled and pushed freely: by their content, never by the name of
// a tag nor by the types that they claim, for a runtime unpacks a layer whatever its type says. What protects an image
// already can be added to by clients, never overwritten or removed.

// evidenceTag is how cosign v2 and the fallback of OCI 1.1 name what is attached to a digest: sha256-<hex>.sig, .att and
// .sbom, and sha256-<hex> for the list of referrers.
var evidenceTag = regexp.MustCompile(`^sha256-([0-9a-f]{64})(\.sig|\.att|\.sbom)?$`)

// evidenceSubject is the digest that an evidence tag belongs to.
func evidenceSubject(tag string) (d digest.Digest, list, ok bool) {
	parts := evidenceTag.FindStringSubmatch(tag)
	if parts == nil {
		return "", false, false
	}
	return digest.NewDigestFromEncoded(digest.SHA256, parts[1]), parts[2] == "", true
}

// isEvidence reports that a manifest is Sigstore's material, or a list of referrers: an index without platforms of which
// every entry is evidence or refers to something itself. The entries are fetched; what a descriptor claims does not count.
func (g *Gateway) isEvidence(ctx context.Context, re *Regime, repo string, m *manifest.Manifest) (bool, error) {
	if m.IsEvidence() {
		return g.holdsText(ctx, re, repo, m)
	}
	if !m.MayListEvidence() || len(m.Manifests) > 2*maxReferrers {
		return false, nil
	}
	entries, ctx := errgroup.WithContext(ctx)
	entries.SetLimit(8)
	for _, d := range m.Manifests {
		entries.Go(func() error {
			entry, err := g.fetch(ctx, re, Target{Repo: repo, Digest: d.Digest})
			if err != nil || entry.Subject != nil {
				return err
			}
			if !entry.IsEvidence() {
				return errNotEvidence
			}
			text, err := g.holdsText(ctx, re, repo, entry)
			if err == nil && !text {
				return errNotEvidence
			}
			return err
		})
	}
	err := entries.Wait()
	switch {
	case errors.Is(err, errNotEvidence) || errors.Is(err, manifest.ErrInvalid) || errors.Is(err, upstream.ErrNotFound):
		return false, nil // judged like any other manifest
	case err != nil:
		return false, fmt.Errorf("read what index %s lists: %w", m.Digest, err)
	}
	return true, nil
}

var errNotEvidence = errors.New("not evidence")

// maxEvidenceBytes bounds what is read to see whether a manifest holds evidence.
const maxEvidenceBytes = 256 << 20

// holdsText looks at what a manifest of evidence holds, once for each manifest: text, or something that a runtime could
// unpack. What no runtime would start need not be looked at.
func (g *Gateway) holdsText(ctx context.Context, re *Regime, repo string, m *manifest.Manifest) (bool, error) {
	if !m.IsRunnable() {
		return true, nil
	}
	key := policy.Subject{Repo: repo, Digest: m.Digest}
	if text, known := g.texts.Get(key); known {
		return text, nil
	}
	left := int64(maxEvidenceBytes)
	for _, layer := range m.Layers {
		if left -= layer.Size; left < 0 {
			return false, nil
		}
		text, err := isText(ctx, re, repo, layer)
		if err != nil {
			return false, fmt.Errorf("read layer %s: %w", layer.Digest, err)
		}
		if !text {
			g.texts.Add(key, false)
			return false, nil
		}
	}
	g.texts.Add(key, true)
	return true, nil
}

// isText looks at a blob's beginning, and where that is text reads it to its end, where its digest is held against its bytes.
func isText(ctx context.Context, re *Regime, repo string, layer ocispec.Descriptor) (bool, error) {
	body, size, err := re.Registries.OpenBlob(ctx, repo, layer.Digest)
	if err != nil {
		return false, err
	}
	defer body.Close()
	if size >= 0 && size != layer.Size {
		return false, nil // the manifest lies about it
	}
	head := make([]byte, manifest.TextHead)
	n, err := io.ReadFull(body, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return false, err
	}
	if manifest.CheckText(head[:n]) != nil {
		return false, nil // whatever follows: nobody reads hundreds of megabytes for a short request
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(body, layer.Size+1))
	if err != nil {
		return false, err
	}
	return int64(n)+rest == layer.Size, nil
}

// pushEvidenceTag stores what a client attaches under an evidence tag. The tag is read and written under the subject's
// lock, and everything that it held must still be there: two signers that overwrite each other lose nothing, the second is
// told to try again.
func (g *Gateway) pushEvidenceTag(ctx context.Context, x *exchange, m *manifest.Manifest, of digest.Digest, list bool) error {
	subject := policy.Subject{Repo: x.t.Repo, Digest: of}
	defer x.re.Registries.Lock(subject)()

	reason, err := g.judgeEvidenceTag(ctx, x, m, subject, list)
	if err != nil {
		return err
	}
	if err := g.enforceEvidence(x, x.attaching(), m, reason); err != nil {
		return err
	}
	if err := x.registry.PutManifest(ctx, x.name, x.t.Tag, m.MediaType, m.Raw); err != nil {
		return err
	}
	x.re.Verifier.Forget(subject)
	return created(x, m)
}

// judgeEvidenceTag says what speaks against a manifest under an evidence tag.
func (g *Gateway) judgeEvidenceTag(ctx context.Context, x *exchange, m *manifest.Manifest, subject policy.Subject, list bool) (*policy.Reason, error) {
	reason, err := g.protectTag(ctx, x, m, list)
	if reason != nil || err != nil {
		return reason, err
	}
	if n := len(m.Layers) + len(m.Manifests); n > maxReferrers {
		return tooMuch("it has %d entries, %d are accepted", n, maxReferrers), nil
	}
	if reason := oversized(m); reason != nil {
		return reason, nil
	}
	if total := large(m); total > maxAttached {
		return tooMuch("it has %d bytes of attestations, %d are accepted", total, maxAttached), nil
	}
	before, err := g.fetch(ctx, x.re, Target{Repo: x.t.Repo, Tag: x.t.Tag})
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		before = &manifest.Manifest{}
	case err != nil:
		return nil, fmt.Errorf("read what %s holds: %w", x.t.Tag, err)
	case !holds(m, before):
		return &policy.Reason{
			Code: policy.EvidenceProtected,
			Why:  "it would remove a signature or attestation that is there",
			Fix:  "run the command again: something was attached meanwhile; replacing and removing are not allowed",
		}, nil
	}
	if !list {
		return nil, nil
	}
	return g.judgeEntries(ctx, x, subject, m, before)
}

// protectTag says why a manifest cannot stand under an evidence tag, whatever is there now. One that refers to something would
// be listed for that as well, uncounted.
func (g *Gateway) protectTag(ctx context.Context, x *exchange, m *manifest.Manifest, list bool) (*policy.Reason, error) {
	switch {
	case m.Subject != nil:
		return &policy.Reason{
			Code: policy.EvidenceMisplaced,
			Why:  "it refers to an image by itself, and tags like this do it by their name",
			Fix:  "push it by its digest",
		}, nil
	case list && m.MayListEvidence():
		return nil, nil
	case !list && m.IsEvidence():
		if text, err := g.holdsText(ctx, x.re, x.t.Repo, m); text || err != nil {
			return nil, err
		}
	}
	return &policy.Reason{
		Code: policy.EvidenceMisplaced,
		Why:  "it is no signature, and tags like this are for those",
		Fix:  "choose another tag",
	}, nil
}

// holds reports that after has everything that before had: the entries of a list, or the layers with their annotations,
// where cosign v2 keeps the signature itself.
func holds(after, before *manifest.Manifest) bool {
	have := map[digest.Digest][]ocispec.Descriptor{}
	for _, d := range append(after.Layers, after.Manifests...) {
		have[d.Digest] = append(have[d.Digest], d)
	}
	for _, d := range append(before.Layers, before.Manifests...) {
		kept := false
		for _, candidate := range have[d.Digest] {
			kept = kept || before.IsIndex() || maps.Equal(candidate.Annotations, d.Annotations)
		}
		if !kept {
			return false
		}
	}
	return true
}

// pushEvidence stores a signature or attestation that is a manifest of its own, and lists it for its subject.
func (g *Gateway) pushEvidence(ctx context.Context, x *exchange, m *manifest.Manifest) error {
	text, err := g.holdsText(ctx, x.re, x.t.Repo, m)
	if err != nil {
		return err
	}
	if !text {
		return badRequest("MANIFEST_INVALID", "the layers have the types of signatures or attestations, and hold something else")
	}
	reason, err := g.crowded(ctx, x, m)
	if err != nil {
		return err
	}
	if err := g.enforceEvidence(x, x.attaching(), m, reason); err != nil {
		return err
	}
	if err := x.registry.PutManifest(ctx, x.name, x.t.Reference(), m.MediaType, m.Raw); err != nil {
		return err
	}
	if err := g.attach(ctx, x, m); err != nil {
		return err
	}
	return created(x, m)
}

// attach lists a stored manifest for its subject, where the registry does not do it itself, and tells the client that it
// need not.
func (g *Gateway) attach(ctx context.Context, x *exchange, m *manifest.Manifest) error {
	if m.Subject == nil {
		return nil
	}
	subject := policy.Subject{Repo: x.t.Repo, Digest: m.Subject.Digest}
	defer x.re.Registries.Lock(subject)()
	if err := x.re.Registries.Attach(ctx, subject, descriptor(m)); err != nil {
		return fmt.Errorf("list %s for its subject: %w", m.Digest, err)
	}
	x.re.Verifier.Forget(subject)
	// "The registry MUST set OCI-Subject to the subject's digest if it supports the referrers API" (OCI distribution
	// specification 1.1, pushing manifests with subject)
	x.w.Header().Set("Oci-Subject", m.Subject.Digest.String())
	return nil
}

// descriptor describes a manifest as a list of referrers shows it: with its own artifact type and annotations.
func descriptor(m *manifest.Manifest) ocispec.Descriptor {
	artifactType := m.ArtifactType
	if artifactType == "" && !m.IsIndex() {
		artifactType = m.Config.MediaType
	}
	return ocispec.Descriptor{
		MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw)),
		ArtifactType: artifactType, Annotations: m.Annotations,
	}
}

// enforceEvidence decides about evidence: the repository must accept pushes at all, or the caller may sign there, and nothing
// may speak against it.
func (g *Gateway) enforceEvidence(x *exchange, action ledger.Action, m *manifest.Manifest, reason *policy.Reason) error {
	verdict := policy.AdmitEvidence()
	if !x.signs {
		verdict = x.rule.JudgePush(policy.Subject{Repo: x.t.Repo, Digest: m.Digest}, policy.Image{}, g.clock.now())
	}
	if reason != nil && verdict.Admitted() {
		reason.Requirement, reason.Subject = "evidence", m.Digest.String()
		verdict = policy.Refuse(*reason)
	}
	err := g.enforce(x, action, m.Digest, judgement{verdict: verdict, evidence: []digest.Digest{m.Digest}})
	if err == nil && reason != nil {
		// Audit mode lets images pass that are refused otherwise. It does not let anybody destroy signatures.
		return &requestError{403, "DENIED", "sealgate: " + reason.Why}
	}
	return err
}
