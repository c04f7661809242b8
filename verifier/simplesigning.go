package verifier

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sealgate/sealgate/policy/strictjson"
	"golang.org/x/sync/errgroup"
)

// signatureAnnotation is where a layer of a .sig manifest carries the signature over its payload, in base64.
const signatureAnnotation = "dev.cosignproject.cosign/signature"

// simpleSigningType is what critical.type of cosign's payloads says.
const simpleSigningType = "cosign container image signature"

// signatureTag is where cosign v2 keeps the signatures of a subject.
func signatureTag(s policy.Subject) string { return "sha256-" + s.Digest.Encoded() + ".sig" }

// tagged reads the signatures under the .sig tag: one request for the manifest, and one round of requests for the payloads.
func (v *Verifier) tagged(ctx context.Context, s policy.Subject) (found findings, err error) {
	defer func() { found.attachedAs(policy.FormatSignatureTag) }()
	tag := signatureTag(s)
	raw, mediaType, err := v.source.Manifest(ctx, s.Repo, tag)
	if absent(err) {
		return findings{}, nil
	}
	if err != nil {
		return findings{}, fmt.Errorf("fetch tag %s: %w", tag, err)
	}

	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return rejected(digest.FromBytes(raw), "what is under the .sig tag is no manifest: %v", err), nil
	}
	if m.IsIndex() {
		return rejected(m.Digest, "what is under the .sig tag is an index, not signatures"), nil
	}
	if len(m.Layers) > MaxSignatures {
		return rejected(m.Digest, "%d signatures under the .sig tag, at most %d are read", len(m.Layers), MaxSignatures), nil
	}

	payloads, err := v.payloads(ctx, s.Repo, m.Layers)
	if err != nil {
		return findings{}, err
	}
	all := make([]findings, 0, len(m.Layers))
	for _, layer := range m.Layers {
		if err := ctx.Err(); err != nil {
			return findings{}, err
		}
		all = append(all, v.simpleSignature(s, m.Digest, layer, payloads[layer.Digest]).
			claiming("", func() string { return claimedByTag(layer.Annotations) }))
	}
	return join(all), nil
}

// payloads fetches the layers that may be payloads, each digest once: several keys sign the same payload.
func (v *Verifier) payloads(
	ctx context.Context, repo string, layers []ocispec.Descriptor,
) (map[digest.Digest][]byte, error) {
	var wanted []ocispec.Descriptor
	for _, layer := range layers {
		known := slices.ContainsFunc(wanted, func(d ocispec.Descriptor) bool { return d.Digest == layer.Digest })
		if checkPayload(layer) == nil && !known {
			wanted = append(wanted, layer)
		}
	}

	got := make([][]byte, len(wanted))
	fetches, ctx := errgroup.WithContext(ctx)
	fetches.SetLimit(maxFetches)
	for i, layer := range wanted {
		fetches.Go(guarded(func() (err error) {
			got[i], err = fetchBlob(ctx, v.source, repo, layer, MaxPayloadBytes)
			return err
		}))
	}
	if err := fetches.Wait(); err != nil {
		return nil, err
	}
	payloads := make(map[digest.Digest][]byte, len(wanted))
	for i, layer := range wanted {
		payloads[layer.Digest] = got[i]
	}
	return payloads, nil
}

// checkPayload says what keeps a layer from being a payload, before it is fetched.
func checkPayload(layer ocispec.Descriptor) error {
	switch {
	case layer.MediaType != manifest.SimpleSigning:
		return fmt.Errorf("a layer of type %.80q under the .sig tag", layer.MediaType)
	case layer.Size > MaxPayloadBytes:
		return fmt.Errorf("a signature over %d bytes, at most %d are read", layer.Size, MaxPayloadBytes)
	case layer.Annotations[signatureAnnotation] == "":
		return errors.New("a layer without a signature under the .sig tag")
	}
	return nil
}

// simpleSignature checks one layer against all authorities. What it says is read only once it is verified.
func (v *Verifier) simpleSignature(
	s policy.Subject, evidence digest.Digest, layer ocispec.Descriptor, payload []byte,
) findings {
	if err := checkPayload(layer); err != nil && layer.MediaType != manifest.SimpleSigning {
		return rejectedAs(NotASignature, evidence, "%v", err)
	} else if err != nil {
		return rejected(evidence, "%v", err)
	}
	sig, err := base64.StdEncoding.Strict().DecodeString(layer.Annotations[signatureAnnotation])
	if err != nil {
		return rejected(evidence, "a signature that is not base64")
	}
	if int64(len(payload)) != layer.Size {
		return rejected(evidence, "a payload of %d bytes where the manifest says %d", len(payload), layer.Size)
	}

	attached := NewTagSignature(payload, sig, layer.Annotations)
	proven, why := v.proofs(func(a Authority) (Proof, error) { return a.CheckTagSignature(attached) })
	if len(proven) == 0 {
		return rejectedSignature(evidence, "a signature", why)
	}
	claimed, err := v.checkSimpleSigning(s, payload)
	if err != nil {
		return rejectedAs(asFailure(err).Code, evidence, "a signature by %s that %v", names(proven), err)
	}
	f := signedBy(proven, s, evidence)
	for i := range f.signatures {
		f.signatures[i].Claimed = claimed
	}
	return f
}

// proven is what one authority proved.
type proven struct {
	authority string
	Proof
}

// proofs asks every authority, whatever the others said. Where none has a proof, why is the failure before which the most
// held, and nil where there is none to tell.
func (v *Verifier) proofs(check func(Authority) (Proof, error)) (all []proven, why *Failure) {
	for _, a := range v.authorities {
		proof, err := check(a)
		if err == nil {
			all = append(all, proven{a.Name(), proof})
			continue
		}
		if f, ok := errors.AsType[*Failure](err); ok && f.further(why) {
			why = f
		}
	}
	return all, why
}

func names(all []proven) string {
	var names []string
	for _, p := range all {
		names = append(names, p.authority)
	}
	return strings.Join(names, " and ")
}

// rejectedSignature says of a signature, or an attestation, that nobody made why it does not count. To say that a key is
// unknown is to say less than the library does: its words are about one authority of many.
func rejectedSignature(evidence digest.Digest, what string, why *Failure) findings {
	if why == nil {
		return rejected(evidence, "%s by an unknown key", what)
	}
	switch why.Code {
	case SignatureInvalid, KeyMismatch, CertificateMissing, NotVerified:
		return rejectedAs(why.Code, evidence, "%s by an unknown key", what)
	}
	return rejectedAs(why.Code, evidence, "%s that %v", what, why)
}

func signedBy(all []proven, s policy.Subject, evidence digest.Digest) (f findings) {
	for _, p := range all {
		f.signatures = append(f.signatures, policy.Signature{
			Authority: p.authority, Signer: p.Signer, Time: p.Time, Witness: p.Witness, Signed: s.Digest, Evidence: evidence,
		})
		f.until = earliest(f.until, p.Until)
	}
	return f
}

// simpleSigning is the payload of a signature. "optional" is the signer's to fill and proves nothing, not even the time that
// it gives, in seconds; "critical" must hold nothing that we do not understand:
// https://github.com/containers/image/blob/main/docs/containers-signature.5.md#json-data-format
type simpleSigning struct {
	Critical struct {
		Identity struct {
			DockerReference string `json:"docker-reference"`
		} `json:"identity"`
		Image struct {
			DockerManifestDigest string `json:"docker-manifest-digest"`
		} `json:"image"`
		Type string `json:"type"`
	} `json:"critical"`
	Optional map[string]any `json:"optional"`
}

// checkSimpleSigning reads a verified payload, and when it says that it was made. The error is a [Failure] that continues the
// sentence "a signature that ...".
func (v *Verifier) checkSimpleSigning(s policy.Subject, payload []byte) (claimed time.Time, err error) {
	var p simpleSigning
	if err := strictjson.DecodeExact(payload, &p); err != nil {
		return claimed, failure(StatementInvalid, "cannot be read: %v", err)
	}
	critical := p.Critical
	if critical.Type != simpleSigningType {
		return claimed, failure(StatementInvalid, "is of type %.60q", critical.Type)
	}
	if critical.Image.DockerManifestDigest != s.Digest.String() {
		return claimed, failure(ArtifactMismatch, "is for another image, %.19q", critical.Image.DockerManifestDigest)
	}
	if !v.sameRepository(s.Repo, critical.Identity.DockerReference) {
		return claimed, failure(RepositoryMismatch, "is for another repository, %.120q", critical.Identity.DockerReference)
	}
	return p.made(), nil
}

// maxSeconds is the last second of the year 9999, beyond which a time is none to most of those who read it.
const maxSeconds = 253402300799

// made is when a signature says that it was made: a whole number of seconds since 1970, as podman writes it. Anything else is
// no time.
func (p simpleSigning) made() time.Time {
	seconds, ok := p.Optional["timestamp"].(float64)
	if !ok || seconds != math.Trunc(seconds) || seconds <= 0 || seconds > maxSeconds {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0).UTC()
}
