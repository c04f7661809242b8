package verifier

import (
	"bytes"
	"encoding/base64"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/verifier/predicate"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
)

// tagEnvelope is the DSSE envelope that a layer under the .att tag is.
type tagEnvelope struct {
	raw         []byte // the whole layer
	payloadType string
	payload     []byte
	subject     artifact // that the statement must name
}

// newTagAttestation returns the signatures of an envelope, each as one over it, with the layer's annotations. They are for one
// goroutine.
func newTagAttestation(raw []byte, e predicate.Envelope, subject digest.Digest, annotations map[string]string) ([]*TagSignature, error) {
	a, err := sumOf(subject)
	if err != nil {
		return nil, err
	}
	envelope := &tagEnvelope{raw: raw, payloadType: e.PayloadType, payload: e.Payload, subject: a}
	// The bytes that are signed begin with DSSEv1, so that they are never taken for a payload of another format.
	signed, all := e.PAE(), []*TagSignature(nil)
	for _, sig := range e.Signatures {
		one := NewTagSignature(signed, sig, annotations)
		one.envelope = envelope
		all = append(all, one)
	}
	return all, nil
}

// CheckTagAttestation checks a layer of a .att manifest with its annotations: one of the envelope's signatures must be the
// authority's, and its statement must name the subject.
func CheckTagAttestation(a Authority, raw []byte, subject digest.Digest, annotations map[string]string) (Proof, error) {
	e, err := predicate.ReadEnvelope(raw)
	if err != nil {
		return Proof{}, failure(BundleMalformed, "cannot be read: %v", err)
	}
	if e.PayloadType != inTotoPayload {
		return Proof{}, failure(StatementInvalid, "is over a payload of type %.80q, not an in-toto statement", e.PayloadType)
	}
	attached, err := newTagAttestation(raw, e, subject, annotations)
	if err != nil {
		return Proof{}, err
	}
	return checkAny(a, attached)
}

// checkAny returns the first proof.
func checkAny(a Authority, attached []*TagSignature) (proof Proof, err error) {
	err = errNoWay
	for _, sig := range attached {
		if proof, err = a.CheckTagSignature(sig); err == nil {
			return proof, nil
		}
	}
	return Proof{}, err
}

// content is the envelope as the library verifies it, around one of its signatures: a bundle has no more. Ids of keys, which
// are claims, are left out.
func (e *tagEnvelope) content(sig []byte) verify.SignatureContent {
	return &bundle.Envelope{Envelope: &dsse.Envelope{
		PayloadType: e.payloadType,
		Payload:     base64.StdEncoding.EncodeToString(e.payload),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(sig)}},
	}}
}

// around is the check for an entity whose timestamps may be over more than its signature: cosign v2 has the whole envelope
// stamped, where bundles have the signature in it. Whoever made the one had the other.
func (c *check) around(entity verify.SignedEntity) (*check, error) {
	e, ok := entity.(*tagEntity)
	if !ok || e.envelope == nil || len(e.timestamps) == 0 {
		return c, nil
	}
	about, err := newCheck(stampedEnvelope{c.material, e.signature.Signature(), e.envelope.raw}, c.needs, c.identity)
	if err != nil {
		return nil, err
	}
	return about.under(c.root), nil
}

// stampedEnvelope takes a timestamp over an envelope for one over the signature in it.
type stampedEnvelope struct {
	root.TrustedMaterial
	signature, envelope []byte
}

func (m stampedEnvelope) TimestampingAuthorities() (all []root.TimestampingAuthority) {
	for _, tsa := range m.TrustedMaterial.TimestampingAuthorities() {
		all = append(all, envelopeStamp{tsa, m.signature, m.envelope})
	}
	return all
}

type envelopeStamp struct {
	root.TimestampingAuthority
	signature, envelope []byte
}

func (s envelopeStamp) Verify(stamp, signature []byte) (*root.Timestamp, error) {
	at, err := s.TimestampingAuthority.Verify(stamp, signature)
	if err != nil && bytes.Equal(signature, s.signature) {
		return s.TimestampingAuthority.Verify(stamp, s.envelope)
	}
	return at, err
}
