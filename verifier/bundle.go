package verifier

import (
	"context"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/policy/strictjson"
	"golang.org/x/sync/errgroup"
)

// SignaturePredicate is the predicate type by which a statement says that it is a signature.
const SignaturePredicate = "https://sigstore.dev/cosign/sign/v1"

// predicateAnnotation is where cosign repeats the predicate type on the manifest around a bundle. It is a claim.
const predicateAnnotation = "dev.sigstore.bundle.predicateType"

// inTotoPayload is the DSSE payload type of an in-toto statement.
const inTotoPayload = "application/vnd.in-toto+json"

// statementTypes are the in-toto statement versions that are read.
var statementTypes = [...]string{"https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"}

// referring reads the bundles that refer to the subject: one request for the list, one round of requests for manifests and
// one for bundles.
func (v *Verifier) referring(ctx context.Context, s policy.Subject) (findings, error) {
	listed, refused, err := v.list(ctx, s)
	if err != nil || len(listed) == 0 {
		return refused, err
	}
	return v.open(ctx, s, listed)
}

// list lists what refers to the subject. Where that is too much, none of it is listed, and the findings say so.
func (v *Verifier) list(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, findings, error) {
	listed, err := v.source.Listed(ctx, s)
	if err == nil {
		listed, err = distinct(listed)
	}
	if err != nil {
		// Whatever the error says: a list that is definitely absent is an empty one, and no error.
		return nil, findings{}, fmt.Errorf("list referrers: %w", err)
	}
	if len(listed) > MaxReferrers {
		return nil, v.unread(s, rejected(s.Digest, "%d referrers, at most %d are read", len(listed), MaxReferrers)), nil
	}
	return listed, findings{}, nil
}

// open opens what is listed.
func (v *Verifier) open(ctx context.Context, s policy.Subject, listed []ocispec.Descriptor) (findings, error) {
	all := make([]findings, len(listed))
	fetches, ctx := errgroup.WithContext(ctx)
	fetches.SetLimit(maxFetches)
	for i, d := range listed {
		fetches.Go(guarded(func() (err error) {
			all[i], err = v.referrer(ctx, s, d)
			return err
		}))
	}
	if err := fetches.Wait(); err != nil {
		return findings{}, err
	}
	return join(all), nil
}

// distinct drops what is listed twice. A digest that is none makes the whole list nonsense.
func distinct(listed []ocispec.Descriptor) ([]ocispec.Descriptor, error) {
	seen := make(map[digest.Digest]bool, len(listed))
	var once []ocispec.Descriptor
	for _, d := range listed {
		if err := manifest.CheckDigest(d.Digest); err != nil {
			return nil, err
		}
		if !seen[d.Digest] {
			seen[d.Digest] = true
			once = append(once, d)
		}
	}
	return once, nil
}

// referrer opens one manifest that is listed as referring to the subject. The manifest says what it is, not the list.
func (v *Verifier) referrer(ctx context.Context, s policy.Subject, d ocispec.Descriptor) (findings, error) {
	switch d.MediaType {
	case ocispec.MediaTypeImageManifest, ocispec.MediaTypeImageIndex, manifest.DockerManifest, manifest.DockerIndex:
	default:
		return rejected(d.Digest, "a referrer of type %.80q, which is not read", d.MediaType), nil
	}
	if d.Size > manifest.MaxBytes {
		return rejected(d.Digest, "a referrer of %d bytes, at most %d are read", d.Size, manifest.MaxBytes), nil
	}
	raw, mediaType, err := fetchManifest(ctx, v.source, s.Repo, d.Digest)
	if err != nil {
		return findings{}, err
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return rejected(d.Digest, "a referrer that is no manifest: %v", err), nil
	}

	limit := v.bundleLimit(s)
	layer, err := bundleLayer(s, m, limit)
	if errors.Is(err, errTooLarge) {
		return v.unread(s, rejected(d.Digest, "%v", err)), nil
	}
	if err != nil {
		return rejected(d.Digest, "%v", err), nil
	}
	if layer == nil {
		return findings{}, nil // something else than a bundle: no signature, and nothing that wants to be one
	}
	defer v.alone(layer.Size)()
	raw, err = fetchBlob(ctx, v.source, s.Repo, *layer, limit)
	if err != nil {
		return findings{}, err
	}
	f := v.bundle(s, d.Digest, raw, m.Annotations[predicateAnnotation])
	f.attachedAs(policy.FormatBundle)
	return f, nil
}

// bundleLayer returns the layer with the bundle, nil where the manifest holds none that could be a signature.
func bundleLayer(s policy.Subject, m *manifest.Manifest, limit int64) (*ocispec.Descriptor, error) {
	var bundles []ocispec.Descriptor
	for _, layer := range m.Layers {
		if manifest.IsBundleType(layer.MediaType) {
			bundles = append(bundles, layer)
		}
	}
	switch {
	case len(bundles) == 0:
		return nil, nil
	case m.Subject == nil || m.Subject.Digest != s.Digest:
		return nil, errors.New("a bundle that refers to another image, or to none")
	case len(m.Layers) != 1:
		return nil, fmt.Errorf("a manifest of %d layers around a bundle, want one", len(m.Layers))
	}
	layer := bundles[0]
	if layer.Size > limit && limit > MaxBundleBytes {
		return nil, fmt.Errorf("%w: a bundle of %d bytes, at most %d are read", errTooLarge, layer.Size, limit)
	}
	if layer.Size > limit {
		if claimed := m.Annotations[predicateAnnotation]; claimed != "" && claimed != SignaturePredicate {
			return nil, nil // a large attestation, it says: not opening it can only leave a signature out
		}
		return nil, fmt.Errorf("a bundle of %d bytes, at most %d are read", layer.Size, limit)
	}
	return &layer, nil
}

// bundle checks one bundle against all authorities. claimed is the predicate type that the manifest around it announces.
func (v *Verifier) bundle(s policy.Subject, evidence digest.Digest, raw []byte, claimed string) findings {
	b, err := readAttachedBundle(raw)
	if err != nil {
		return rejectedAs(asFailure(err).Code, evidence, "a bundle that %v", err)
	}
	envelope := b.GetDsseEnvelope()
	if envelope == nil || envelope.GetPayloadType() != inTotoPayload {
		return rejectedAs(StatementInvalid, evidence, "a bundle without an in-toto statement").
			claiming("", func() string { return claimedByBundle(b) })
	}
	check := func(a Authority) (Proof, error) { return a.CheckBundle(b, s.Digest) }
	f, predicateType := v.statement(s, evidence, envelope.GetPayload(), claimed, check)
	return f.claiming(predicateType, func() string { return claimedByBundle(b) })
}

// statement checks what is in a bundle, a signature or an attestation, and says which predicate type it is of. check proves
// that an authority signed exactly this payload.
func (v *Verifier) statement(
	s policy.Subject, evidence digest.Digest, payload []byte, claimed string, check func(Authority) (Proof, error),
) (f findings, predicateType string) {
	if len(payload) > MaxPayloadBytes {
		return v.attestation(s, evidence, payload, check), claimed // what a signature states fits many times over
	}
	// Read once, here; the signature below is checked over these very bytes. What is not verified can make the bundle count
	// less, never more.
	st, err := readStatement(payload)
	if err != nil && v.needsOf(s).Attestations() {
		return v.attestation(s, evidence, payload, check), claimed
	}
	if err != nil {
		return rejectedAs(StatementInvalid, evidence, "a bundle around a statement that cannot be read: %v", err), claimed
	}
	if err := st.checkForm(); err != nil {
		return rejectedAs(StatementInvalid, evidence, "%v", err), claimed
	}
	if st.PredicateType != SignaturePredicate {
		// An attestation is no signature.
		f := v.attestation(s, evidence, payload, check)
		if claimed == SignaturePredicate && len(f.attestations)+len(f.rejected) == 0 {
			f = rejectedAs(NotASignature, evidence, "what says to be a signature and is an attestation of type %.80q", st.PredicateType)
		}
		return f, st.PredicateType
	}
	if err := st.check(s.Digest); err != nil {
		return rejectedAs(ArtifactMismatch, evidence, "a signature that %v", err), st.PredicateType
	}
	proven, why := v.proofs(check)
	if len(proven) == 0 {
		return rejectedSignature(evidence, "a signature", why), st.PredicateType
	}
	return signedBy(proven, s, evidence), st.PredicateType
}

// statement is what a signature needs of an in-toto statement:
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
type statement struct {
	Type          string `json:"_type"`
	PredicateType string `json:"predicateType"`
	Subject       []struct {
		Digest map[string]string `json:"digest"`
	} `json:"subject"`
}

func readStatement(payload []byte) (statement, error) {
	var st statement
	err := strictjson.Decode(payload, &st)
	return st, err
}

// stronger are the digests that a statement may name a subject by, and that we do not know of it. A subject whose strongest
// digest nobody compared is not matched.
var stronger = [...]string{"sha384", "sha512", "sha3_256", "sha3_384", "sha3_512"}

// check holds the statement against the subject's SHA-256. The error continues the sentence "a signature that ...".
func (st statement) check(d digest.Digest) error {
	if len(st.Subject) == 0 {
		return errors.New("is for no image")
	}
	for _, subject := range st.Subject {
		if subject.Digest["sha256"] != d.Encoded() {
			continue
		}
		for _, algorithm := range stronger {
			if _, ok := subject.Digest[algorithm]; ok {
				return fmt.Errorf("names the image by %s too, which is not compared", algorithm)
			}
		}
		return nil
	}
	return fmt.Errorf("is for another image, sha256:%.12s…", st.Subject[0].Digest["sha256"])
}
