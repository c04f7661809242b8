package verifier

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/strictjson"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	protorekor "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/tlog"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"google.golang.org/protobuf/encoding/protojson"
)

// What cosign v2 writes beside a signature under the .sig tag:
// https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md
const (
	certificateAnnotation = "dev.sigstore.cosign/certificate"
	chainAnnotation       = "dev.sigstore.cosign/chain"
	bundleAnnotation      = "dev.sigstore.cosign/bundle"
	timestampAnnotation   = "dev.sigstore.cosign/rfc3161timestamp"
)

// TagSignature is a signature in cosign v2's format, over the payload itself, with what stands beside it.
type TagSignature struct {
	Payload   []byte
	Signature []byte

	annotations    map[string]string
	envelope       *tagEnvelope // around what is signed; nil under the .sig tag
	keyed, keyless func() (verify.SignedEntity, error)
}

// NewTagSignature returns the signature that a layer of a .sig manifest carries, with the layer's annotations. It is for one
// goroutine.
func NewTagSignature(payload, signature []byte, annotations map[string]string) *TagSignature {
	s := &TagSignature{Payload: payload, Signature: signature, annotations: annotations}
	s.keyed = sync.OnceValues(func() (verify.SignedEntity, error) { return s.read(true) })
	s.keyless = sync.OnceValues(func() (verify.SignedEntity, error) { return s.read(false) })
	return s
}

// read makes the signature what the library verifies, so that one path decides on both formats. What stands beside the
// signature is read only here: a key that needs nothing of it is not disturbed by nonsense in it.
func (s *TagSignature) read(keyed bool) (verify.SignedEntity, error) {
	sum := sha256.Sum256(s.Payload)
	e := &tagEntity{
		signature: bundle.NewMessageSignature(sum[:], protocommon.HashAlgorithm_SHA2_256.String(), s.Signature),
		content:   &bundle.PublicKey{},
	}
	if s.envelope != nil {
		e.signature, e.envelope = s.envelope.content(s.Signature), s.envelope
	}
	var err error
	if !keyed {
		if e.content, err = s.certificate(); err != nil {
			return nil, failure(BundleMalformed, "has a certificate that cannot be read: %v", err)
		}
	}
	if text := s.annotations[bundleAnnotation]; text != "" {
		entry, err := logEntry([]byte(text), s.loggedAs())
		if err != nil {
			return nil, failure(LogEntryInvalid, "has a log entry that cannot be read: %v", err)
		}
		e.entries = []*tlog.Entry{entry}
	}
	if text := s.annotations[timestampAnnotation]; text != "" {
		var stamp struct {
			SignedRFC3161Timestamp []byte
		}
		if err := strictjson.DecodeExact([]byte(text), &stamp); err != nil {
			return nil, failure(BundleMalformed, "has a timestamp that cannot be read: %v", err)
		}
		e.timestamps = [][]byte{stamp.SignedRFC3161Timestamp}
	}
	return e, nil
}

// artifact is what the signature must be over.
func (s *TagSignature) artifact() artifact {
	if s.envelope != nil {
		return s.envelope.subject
	}
	return bytesArtifact(s.Payload)
}

// loggedAs are the kinds of log entries that can hold the signature. No archive ever is parsed.
func (s *TagSignature) loggedAs() []string {
	if s.envelope != nil {
		return []string{"dsse", "intoto"}
	}
	return []string{"hashedrekord"}
}

func (s *TagSignature) certificate() (verify.VerificationContent, error) {
	text := s.annotations[certificateAnnotation]
	if text == "" {
		return &bundle.PublicKey{}, nil // no certificate is not a broken one
	}
	leaf, err := parseCertificates([]byte(text), 1)
	if err != nil {
		return nil, err
	}
	var intermediates []*x509.Certificate
	if chain := s.annotations[chainAnnotation]; chain != "" {
		all, err := parseCertificates([]byte(chain), MaxChain)
		if err != nil {
			return nil, fmt.Errorf("its chain: %w", err)
		}
		intermediates = onlyIntermediates(all)
	}
	return withIntermediates(leaf[0], intermediates), nil
}

// parseCertificates reads up to most certificates in PEM, and nothing else.
func parseCertificates(raw []byte, most int) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for rest := bytes.TrimSpace(raw); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		if !bytes.HasPrefix(rest, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("something that is no certificate in PEM")
		}
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) > 0 {
			return nil, errors.New("something that is no certificate in PEM")
		}
		if len(all) == most {
			return nil, fmt.Errorf("more than %d certificates", most)
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		all = append(all, parsed)
	}
	if len(all) == 0 {
		return nil, errors.New("no certificate")
	}
	return all, nil
}

// onlyIntermediates drops what claims to be a root: a root is trusted because it is configured, never because it came along.
func onlyIntermediates(all []*x509.Certificate) (some []*x509.Certificate) {
	for _, c := range all {
		if c.IsCA && !bytes.Equal(c.RawIssuer, c.RawSubject) {
			some = append(some, c)
		}
	}
	return some
}

// rekorBundle is what Rekor answered to whoever signed, as cosign v2 keeps it.
type rekorBundle struct {
	SignedEntryTimestamp []byte
	Payload              struct {
		Body           []byte `json:"body"`
		IntegratedTime int64  `json:"integratedTime"`
		LogIndex       int64  `json:"logIndex"`
		LogID          string `json:"logID"`
	}
}

// logEntry reads a Rekor bundle around an entry of one of the kinds.
func logEntry(raw []byte, kinds []string) (*tlog.Entry, error) {
	var b rekorBundle
	if err := strictjson.DecodeExact(raw, &b); err != nil {
		return nil, err
	}
	var kind struct {
		Kind    string `json:"kind"`
		Version string `json:"apiVersion"`
	}
	if err := strictjson.Decode(b.Payload.Body, &kind); err != nil {
		return nil, fmt.Errorf("body: %w", err)
	}
	if !slices.Contains(kinds, kind.Kind) {
		return nil, fmt.Errorf("an entry of kind %.40q", kind.Kind)
	}
	if kind.Kind == "intoto" && kind.Version == "0.0.1" {
		return nil, errors.New("an entry of kind intoto 0.0.1, which does not hold the signature; attest with --rekor-entry-type dsse")
	}
	id, err := hex.DecodeString(b.Payload.LogID)
	if err != nil || len(id) == 0 {
		return nil, errors.New("no log ID")
	}
	if len(b.SignedEntryTimestamp) == 0 {
		return nil, errors.New("no signed entry timestamp")
	}
	return tlog.ParseTransparencyLogEntry(&protorekor.TransparencyLogEntry{
		LogIndex: b.Payload.LogIndex, LogId: &protocommon.LogId{KeyId: id}, IntegratedTime: b.Payload.IntegratedTime,
		KindVersion:       &protorekor.KindVersion{Kind: kind.Kind, Version: kind.Version},
		InclusionPromise:  &protorekor.InclusionPromise{SignedEntryTimestamp: b.SignedEntryTimestamp},
		CanonicalizedBody: b.Payload.Body,
	})
}

// tagEntity is a signature under the .sig or the .att tag.
type tagEntity struct {
	signature  verify.SignatureContent
	envelope   *tagEnvelope // nil under the .sig tag
	content    verify.VerificationContent
	entries    []*tlog.Entry
	timestamps [][]byte
}

var _ verify.SignedEntity = (*tagEntity)(nil)

func (e *tagEntity) SignatureContent() (verify.SignatureContent, error) { return e.signature, nil }
func (e *tagEntity) TlogEntries() ([]*tlog.Entry, error)                { return e.entries, nil }
func (e *tagEntity) Timestamps() ([][]byte, error)                      { return e.timestamps, nil }
func (e *tagEntity) HasInclusionPromise() bool                          { return len(e.entries) > 0 }
func (e *tagEntity) HasInclusionProof() bool                            { return false }

func (e *tagEntity) VerificationContent() (verify.VerificationContent, error) { return e.content, nil }

// Version is that of the bundles that carry the same: with it, the library knows how old signers hashed.
func (e *tagEntity) Version() (string, error) { return "v0.1", nil }

// bundleEntity is a bundle whose intermediate certificates are offered for the path to a root that is configured. The
// library takes them from bundles of v0.3 alone, which must not have any.
type bundleEntity struct{ *bundle.Bundle }

func (e bundleEntity) VerificationContent() (verify.VerificationContent, error) {
	content, err := e.Bundle.VerificationContent()
	if err != nil || content.Certificate() == nil {
		return content, err
	}
	chain := e.GetVerificationMaterial().GetX509CertificateChain().GetCertificates()
	if len(chain) > MaxChain {
		return nil, fmt.Errorf("more than %d certificates", MaxChain)
	}
	var intermediates []*x509.Certificate
	for _, c := range chain[min(1, len(chain)):] {
		parsed, err := x509.ParseCertificate(c.GetRawBytes())
		if err != nil {
			return nil, err
		}
		intermediates = append(intermediates, parsed)
	}
	return withIntermediates(content.Certificate(), onlyIntermediates(intermediates)), nil
}

type certificateContent struct {
	verify.VerificationContent
	intermediates []*x509.Certificate
}

func withIntermediates(leaf *x509.Certificate, intermediates []*x509.Certificate) verify.VerificationContent {
	return certificateContent{bundle.NewCertificate(leaf), intermediates}
}

func (c certificateContent) Intermediates() []*x509.Certificate { return c.intermediates }

// readBundle reads the bytes of a bundle, exactly as its version demands.
func readBundle(raw []byte) (*bundle.Bundle, error) {
	b := new(bundle.Bundle)
	if err := b.UnmarshalJSON(raw); err != nil {
		if err := entriesAreWhy(raw); err != nil {
			return nil, failure(LogEntryInvalid, "has a log entry that cannot be read: %v", err)
		}
		return nil, failure(BundleMalformed, "cannot be read: %v", err)
	}
	withoutKeyIDs(b)
	return b, nil
}

// readAttachedBundle reads the bytes of a bundle that is attached to an image. `cosign sign --certificate-chain` of v3 writes
// the chain into bundles that call themselves v0.3, which has no room for it; but for that, v0.3 asks for what v0.2 does. The
// version is a claim like all that is around the signature, and what is needed of a log entry is the same in both.
func readAttachedBundle(raw []byte) (*bundle.Bundle, error) {
	doc := new(protobundle.Bundle)
	if protojson.Unmarshal(raw, doc) != nil {
		return readBundle(raw) // which says why
	}
	if doc.GetVerificationMaterial().GetX509CertificateChain() != nil && doc.MediaType == bundleV03 {
		doc.MediaType = bundleV02
	}
	b, err := bundle.NewBundle(doc) // what the library does behind the same parser
	if err != nil {
		return readBundle(raw) // which says the same
	}
	withoutKeyIDs(b)
	return b, nil
}

const (
	bundleV02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	bundleV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// withoutKeyIDs forgets what signatures say about their keys. "KeyID is unauthenticated and MUST NOT be used for security
// decisions" (DSSE protocol): yet the library skips a signature whose id is not the key's own, and then signers that label
// their keys differently would not verify.
func withoutKeyIDs(b *bundle.Bundle) {
	for _, sig := range b.GetDsseEnvelope().GetSignatures() {
		if sig != nil {
			sig.Keyid = ""
		}
	}
}

// entriesAreWhy returns what is wrong with the log entries of a bundle that is whole but for them.
func entriesAreWhy(raw []byte) error {
	doc := new(protobundle.Bundle)
	if protojson.Unmarshal(raw, doc) != nil || doc.GetVerificationMaterial() == nil {
		return nil
	}
	entries := doc.VerificationMaterial.TlogEntries
	doc.VerificationMaterial.TlogEntries = nil
	if _, err := bundle.NewBundle(doc); err != nil {
		return nil
	}
	for _, entry := range entries[:min(len(entries), 32)] {
		if _, err := tlog.ParseTransparencyLogEntry(entry); err != nil {
			return err
		}
	}
	return nil
}

// sumOf is a digest as the library compares it.
func sumOf(d digest.Digest) (artifact, error) {
	sum, err := hex.DecodeString(d.Encoded())
	if err != nil {
		return artifact{}, fmt.Errorf("digest %s: %w", d, err)
	}
	return digestArtifact(d.Algorithm().String(), sum), nil
}
