package verifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/verifier/predicate"
	"golang.org/x/sync/errgroup"
)

// attestationTag is where cosign v2 keeps the attestations of a subject.
func attestationTag(s policy.Subject) string { return "sha256-" + s.Digest.Encoded() + ".att" }

// errTooLarge says that something may be an attestation and was not opened.
var errTooLarge = errors.New("too large to be read")

// WithNeeds returns a verifier that looks for the attestations that a repository's rule needs. Without it, or where nothing
// is needed, attestations are neither fetched nor listed.
func (v *Verifier) WithNeeds(needs func(repo string) policy.Needs) *Verifier {
	other := *v
	other.needs = needs
	return &other
}

func (v *Verifier) needsOf(s policy.Subject) policy.Needs {
	if v.needs == nil {
		return policy.Needs{}
	}
	return v.needs(s.Repo)
}

// bundleLimit is how large a bundle may be to be opened.
func (v *Verifier) bundleLimit(s policy.Subject) int64 {
	if v.needsOf(s).Attestations() {
		return MaxAttestation
	}
	return MaxBundleBytes
}

// unread marks what was not opened, where a rule needs attestations: it may have been the newest one.
func (v *Verifier) unread(s policy.Subject, f findings) findings {
	if v.needsOf(s).Attestations() {
		f.unread = append(f.unread, f.rejected...)
	}
	return f
}

// alone waits until no other large attestation is in memory. The function that it returns ends that.
func (v *Verifier) alone(size int64) (done func()) {
	if size <= maxSmall {
		return func() {}
	}
	v.large <- struct{}{}
	return func() { <-v.large }
}

// attached reads the attestations under the .att tag: one request for the manifest, and one round for the envelopes.
func (v *Verifier) attached(ctx context.Context, s policy.Subject) (found findings, err error) {
	defer func() { found.attachedAs(policy.FormatAttestationTag) }()
	tag := attestationTag(s)
	raw, mediaType, err := v.source.Manifest(ctx, s.Repo, tag)
	if absent(err) {
		return findings{}, nil
	}
	if err != nil {
		return findings{}, fmt.Errorf("fetch tag %s: %w", tag, err)
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return v.unread(s, rejected(digest.FromBytes(raw), "what is under the .att tag is no manifest: %v", err)), nil
	}
	if m.IsIndex() {
		return v.unread(s, rejected(m.Digest, "what is under the .att tag is an index, not attestations")), nil
	}
	if len(m.Layers) > MaxAttestations {
		return v.unread(s, rejected(m.Digest, "%d attestations under the .att tag, at most %d are read", len(m.Layers), MaxAttestations)), nil
	}

	all := make([]findings, len(m.Layers))
	fetches, ctx := errgroup.WithContext(ctx)
	fetches.SetLimit(maxFetches)
	for i, layer := range m.Layers {
		fetches.Go(guarded(func() (err error) {
			all[i], err = v.envelope(ctx, s, m.Digest, layer)
			all[i].claiming(layer.Annotations["predicateType"], func() string { return claimedByTag(layer.Annotations) })
			return err
		}))
	}
	if err := fetches.Wait(); err != nil {
		return findings{}, err
	}
	return join(all), nil
}

// envelope opens one layer. Its annotations, the predicate type among them, are claims and not looked at.
func (v *Verifier) envelope(ctx context.Context, s policy.Subject, evidence digest.Digest, layer ocispec.Descriptor) (findings, error) {
	if layer.MediaType != manifest.DSSE {
		return rejected(evidence, "a layer of type %.80q under the .att tag", layer.MediaType), nil
	}
	if layer.Size > MaxAttestation {
		return v.unread(s, rejected(evidence, "an attestation of %d bytes, at most %d are read", layer.Size, MaxAttestation)), nil
	}
	defer v.alone(layer.Size)()
	raw, err := fetchBlob(ctx, v.source, s.Repo, layer, MaxAttestation)
	if err != nil {
		return findings{}, err
	}
	if err := ctx.Err(); err != nil {
		return findings{}, err
	}
	if int64(len(raw)) != layer.Size {
		return rejected(evidence, "an attestation of %d bytes where the manifest says %d", len(raw), layer.Size), nil
	}
	e, err := predicate.ReadEnvelope(raw)
	if err != nil {
		return rejected(evidence, "an envelope that cannot be read: %v", err), nil
	}
	if e.PayloadType != inTotoPayload {
		return rejected(evidence, "an envelope without an in-toto statement"), nil
	}
	attached, err := newTagAttestation(raw, e, s.Digest, layer.Annotations)
	if err != nil {
		return findings{}, err
	}
	return v.attestation(s, evidence, e.Payload, func(a Authority) (Proof, error) { return checkAny(a, attached) }), nil
}

// attestation reads what an envelope says, where a rule needs it. check proves that an authority signed exactly this payload.
func (v *Verifier) attestation(s policy.Subject, evidence digest.Digest, payload []byte, check func(Authority) (Proof, error)) findings {
	needs := v.needsOf(s)
	if !needs.Attestations() {
		return findings{}
	}
	// Read before it is verified, as the very bytes that are: what is not needed, or about another image, costs no more.
	st, err := predicate.ReadStatement(payload)
	if err != nil {
		f := rejected(evidence, "an attestation around a statement that cannot be read: %v", err)
		if all, _ := v.proofs(check); len(all) > 0 {
			f = v.unread(s, f) // an authority's own: nobody knows what it is about
		}
		return f
	}
	if !needs.Includes(st.PredicateType) {
		return findings{}
	}
	if err := subjectsOf(st).check(s.Digest); err != nil {
		f := rejectedAs(ArtifactMismatch, evidence, "an attestation that %v", err)
		f.rejected[0].PredicateType = oneLine(st.PredicateType)
		return f
	}
	signers, why := v.proofs(check)
	if len(signers) == 0 {
		f := rejectedSignature(evidence, "an attestation", why)
		f.rejected[0].PredicateType = oneLine(st.PredicateType)
		return f
	}

	one := policy.Attestation{PredicateType: st.PredicateType, Signed: s.Digest, Evidence: evidence}
	if one.Facts, err = predicate.Read(st.PredicateType, bytes.NewReader(st.Predicate)); err != nil {
		one.Malformed = oneLine(err.Error())
	}
	f := findings{}
	for _, p := range signers {
		one.Authority, one.Signer, one.Vouched, one.Witness = p.authority, p.Signer, p.Time, p.Witness
		f.attestations = append(f.attestations, one)
		f.until = earliest(f.until, p.Until)
	}
	return f
}

// subjectsOf is what a statement says it is about.
func subjectsOf(st predicate.Statement) (subjects statement) {
	subjects.Subject = make([]struct {
		Digest map[string]string `json:"digest"`
	}, len(st.Subjects))
	for i, digests := range st.Subjects {
		subjects.Subject[i].Digest = digests
	}
	return subjects
}

// weighAttestation estimates the memory that an attestation takes.
func weighAttestation(a *policy.Attestation) int {
	n := 256 + len(a.PredicateType) + len(a.Authority) + len(a.Signer) + len(a.Signed) + len(a.Evidence) + len(a.Malformed) +
		len(a.Witness.Clock) + len(a.Witness.Log)
	if scan := a.Facts.Scan; scan != nil {
		n += len(scan.Scanner) + len(scan.Version)
		for _, f := range scan.Findings {
			n += 112 + len(f.ID) + len(f.Package) + len(f.Version) + len(f.PURL) + len(f.FixedVersion)
		}
	}
	return n + weighJSON(a.Facts.Document)
}

// weighJSON estimates a document, and as much again for what was typed of it.
func weighJSON(value any) int {
	n := 32
	switch value := value.(type) {
	case string:
		n += 2 * len(value)
	case []any:
		for _, one := range value {
			n += weighJSON(one)
		}
	case map[string]any:
		for key, one := range value {
			n += 48 + len(key) + weighJSON(one)
		}
	}
	return n
}
