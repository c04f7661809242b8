package verifier

import (
	"errors"
	"io"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// MaxBundleFile bounds a bundle that a person hands over, which may be a whole SBOM.
const MaxBundleFile = 64 << 20

// Detached is a bundle beside the artifact that it is about. What it carries must verify, and what the trusted root could
// have witnessed must be there, as https://github.com/sigstore/sigstore-conformance wants it: an entry where the root has
// transparency logs, a certificate that was logged where it has certificate logs, and a trusted time for a certificate.
type Detached struct {
	Bundle   []byte
	Artifact Artifact

	// Who must have signed: exactly one of the two.
	Identity *Identity
	Key      *Key // its validity and Root are not looked at

	// Root is needed with an Identity. With a Key and no Root, log entries and timestamps count for nothing.
	Root *TrustRoot
}

// Artifact is what a bundle is about: whole, or known by a digest alone.
type Artifact struct{ artifact }

// FileArtifact reads content of a size once to the end, and again where a signature needs it.
func FileArtifact(content io.ReaderAt, size int64) (Artifact, error) {
	a, err := contentArtifact(func() io.Reader { return io.NewSectionReader(content, 0, size) })
	return Artifact{a}, err
}

// DigestArtifact is whatever has a digest.
func DigestArtifact(d digest.Digest) (Artifact, error) {
	if err := d.Validate(); err != nil {
		return Artifact{}, err
	}
	a, err := sumOf(d)
	return Artifact{a}, err
}

// Verify proves that the bundle is a signature of whom it must be by. An error that is a [Failure] says that it is not; any
// other says that the question cannot be answered.
func (d Detached) Verify() (proof Proof, err error) {
	err = guarded(func() error {
		proof, err = d.verify()
		return err
	})()
	if err != nil {
		return Proof{}, err
	}
	return proof, nil
}

func (d Detached) verify() (Proof, error) {
	who, material, signer, err := d.signer()
	if err != nil {
		return Proof{}, err
	}
	if len(d.Bundle) > MaxBundleFile {
		return Proof{}, failure(BundleMalformed, "is larger than %d bytes", MaxBundleFile)
	}
	b, err := readBundle(d.Bundle)
	if err != nil {
		return Proof{}, err
	}
	n, err := d.needs(b)
	if err != nil {
		return Proof{}, err
	}
	c, err := newCheck(material, n, who)
	if err != nil {
		return Proof{}, err
	}
	proof, err := c.verify(b, d.Artifact.artifact)
	if err != nil {
		return Proof{}, err
	}
	if err := d.checkStatement(b); err != nil {
		return Proof{}, err
	}
	if signer != "" {
		proof.Signer = signer
	}
	return proof, nil
}

// signer is who must have signed, and by what he is known.
func (d Detached) signer() (who *identity, material root.TrustedMaterial, fingerprint string, err error) {
	switch {
	case (d.Identity == nil) == (d.Key == nil):
		return nil, nil, "", errors.New("a bundle is checked against an identity or a key")
	case d.Identity != nil && d.Root == nil:
		return nil, nil, "", errors.New("an identity needs a trusted root")
	case d.Identity != nil:
		who, err = d.Identity.compile(true)
		return who, d.Root, "", err
	}
	a, err := newKeyAuthority("key", Key{Public: d.Key.Public})
	if err != nil {
		return nil, nil, "", err
	}
	material = a.signed.material
	if d.Root != nil {
		material = root.TrustedMaterialCollection{material, d.Root}
	}
	return nil, material, a.signer, nil
}

func (d Detached) needs(b *bundle.Bundle) (needs, error) {
	stamps, err := b.Timestamps()
	if err != nil {
		return needs{}, failure(BundleMalformed, "has timestamps that cannot be read: %v", err)
	}
	n := needs{
		log:        d.Root.hasLogs(),
		integrated: d.Root.hasLogs() && b.HasInclusionPromise(),
		timestamp:  d.Root.hasTimestamps() && len(stamps) > 0,
	}
	if d.Identity != nil {
		n.sct = d.Root.hasCTLogs()
		n.time = !n.integrated && !n.timestamp // nobody says it, so that this fails
	}
	return n, nil
}

// checkStatement holds what a verified envelope says to what we read of it, strictly.
func (d Detached) checkStatement(b *bundle.Bundle) error {
	envelope := b.GetDsseEnvelope()
	if envelope == nil {
		return nil
	}
	if envelope.GetPayloadType() != inTotoPayload {
		return failure(StatementInvalid, "is over a payload of type %.80q, not an in-toto statement", envelope.GetPayloadType())
	}
	st, err := readStatement(envelope.GetPayload())
	if err != nil {
		return failure(StatementInvalid, "is over a statement that cannot be read: %v", err)
	}
	if err := st.checkForm(); err != nil {
		return failure(StatementInvalid, "is over %v", err)
	}
	if !st.names(d.Artifact.artifact) {
		return failure(ArtifactMismatch, "is for another artifact")
	}
	return nil
}
