package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
)

// Statement is what is attested beside the signature.
type Statement = policy.Statement

const (
	inTotoPayload = "application/vnd.in-toto+json"
	statementType = policy.StatementType
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// signatureStatement is the signature in a bundle: its predicate is empty, the type says it all.
var signatureStatement = Statement{
	PredicateType: signPredicate, Predicate: []byte("{}"), Same: func([]byte) bool { return true },
}

// written is a statement in the form in which it is signed.
type written struct {
	Statement
	payload []byte
}

// prepare encodes statements about a subject. A signature is none of those that callers have to say.
func prepare(subject digest.Digest, statements []Statement) ([]written, error) {
	all := make([]written, len(statements))
	for i, st := range statements {
		if st.PredicateType == signPredicate {
			return nil, fmt.Errorf("statement %d says that it is a signature", i)
		}
		payload, err := st.Encode(subject)
		if err != nil {
			return nil, fmt.Errorf("statement %d: %w", i, err)
		}
		all[i] = written{st, payload}
	}
	return all, nil
}

// said is a statement about the subject that one of our parties is proven to have signed.
type said struct {
	by        Party
	payload   []byte
	created   string        // when, as the manifest claims; it decides nothing but which one makes room first
	carrier   digest.Digest // the bundle's manifest, or the layer of a .att
	statement struct {
		Type          string          `json:"_type"`
		PredicateType string          `json:"predicateType"`
		Predicate     json.RawMessage `json:"predicate"`
	}
}

// says reports that nothing needs to be added for a party to have said a statement.
func (s *said) says(by Party, st written) bool {
	switch {
	case !same(s.by, by) || s.statement.Type != statementType || s.statement.PredicateType != st.PredicateType:
		return false
	case st.Same != nil:
		return st.Same(s.statement.Predicate)
	}
	return bytes.Equal(s.payload, st.payload)
}

// pen signs with one key. What it signed once it does not sign again: with a key elsewhere each signature is a round trip.
type pen struct {
	*Key
	done map[[sha256.Size]byte][]byte
}

func newPen(key *Key) *pen { return &pen{key, map[[sha256.Size]byte][]byte{}} }

func (p *pen) sign(ctx context.Context, data []byte) (signature, hash []byte, err error) {
	sum := sha256.Sum256(data)
	if made, ok := p.done[sum]; ok {
		return made, sum[:], nil
	}
	if signature, hash, err = p.Key.sign(ctx, data); err == nil {
		p.done[sum] = signature
	}
	return signature, hash, err
}

// bundle signs a statement, in the form that goes into a bundle.
func (p *pen) bundle(ctx context.Context, payload []byte, _ digest.Digest) ([]byte, error) {
	trusted, err := trust(p.Key)
	if err != nil {
		return nil, err
	}
	// With a root to check against, the bundle is verified before it is returned.
	made, err := sign.Bundle(&sign.DSSEData{Data: payload, PayloadType: inTotoPayload}, keypair{p},
		sign.BundleOptions{Context: ctx, TrustedRoot: trusted})
	if err != nil {
		return nil, err
	}
	return marshal(made)
}

// envelope signs a statement, in the form that goes under a .att tag.
func (p *pen) envelope(ctx context.Context, payload []byte, _ digest.Digest) (raw []byte, annotations map[string]string, err error) {
	signature, _, err := p.sign(ctx, dsse.PAE(inTotoPayload, payload))
	if err != nil {
		return nil, nil, err
	}
	raw, err = encode(dsse.Envelope{
		PayloadType: inTotoPayload,
		Payload:     base64.StdEncoding.EncodeToString(payload),
		Signatures:  []dsse.Signature{{Sig: base64.StdEncoding.EncodeToString(signature)}},
	})
	return raw, map[string]string{signatureAnnotation: ""}, err
}

func (p *pen) signature(ctx context.Context, payload []byte) (annotations map[string]string, err error) {
	signature, _, err := p.sign(ctx, payload)
	return map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}, err
}

// openEnvelope reads what is under a .att tag. It returns nil for what none of us signed, or is about something else.
func openEnvelope(raw []byte, subject digest.Digest, annotations map[string]string, own []Party) *said {
	payload, _, ok := readEnvelope(raw)
	if !ok {
		return nil
	}
	for _, by := range own {
		if by.madeEnvelope(raw, subject, annotations) {
			return read(by, payload, subject)
		}
	}
	return nil
}

// readEnvelope reads an envelope with a statement and one signature.
func readEnvelope(raw []byte) (payload, signature []byte, ok bool) {
	var e dsse.Envelope
	if json.Unmarshal(raw, &e) != nil || e.PayloadType != inTotoPayload || len(e.Signatures) != 1 {
		return nil, nil, false
	}
	payload, err := e.DecodeB64Payload()
	if err != nil {
		return nil, nil, false
	}
	signature, err = base64.StdEncoding.DecodeString(e.Signatures[0].Sig)
	return payload, signature, err == nil
}

func (k *Key) madeEnvelope(raw []byte, _ digest.Digest, _ map[string]string) bool {
	payload, signature, ok := readEnvelope(raw)
	if !ok {
		return false
	}
	sum := sha256.Sum256(dsse.PAE(inTotoPayload, payload))
	return k.signed(sum[:], signature)
}

// madeSignature knows by the layer's digest: P-256 and RSA keys sign the SHA-256 of a payload, which it is.
func (k *Key) madeSignature(layer ocispec.Descriptor, signature []byte, _ func() ([]byte, error)) (bool, error) {
	hash, err := hex.DecodeString(layer.Digest.Encoded())
	return err == nil && k.signed(hash, signature), nil
}

// read reads a statement that a party is proven to have signed. It returns nil for one about something else.
func read(by Party, payload []byte, subject digest.Digest) *said {
	s := &said{by: by, payload: payload}
	var about struct {
		Subject []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if json.Unmarshal(payload, &s.statement) != nil || json.Unmarshal(payload, &about) != nil {
		return nil
	}
	if len(about.Subject) != 1 || about.Subject[0].Digest[subject.Algorithm().String()] != subject.Encoded() {
		return nil
	}
	return s
}

// content is what a bundle turned out to be.
type content int

const (
	unreadable content = iota // no bundle to anybody
	foreign                   // signed by none of us, or about something else
	ours                      // a statement about the subject that one of us signed
)

// open opens a bundle.
func open(raw []byte, subject digest.Digest, own []Party) (content, *said) {
	var b bundle.Bundle
	if b.UnmarshalJSON(raw) != nil || !b.MinVersion("v0.3") {
		return unreadable, nil
	}
	if b.GetDsseEnvelope() == nil {
		return foreign, nil
	}
	for _, by := range own {
		if !by.made(&b, subject) {
			continue
		}
		if s := read(by, b.GetDsseEnvelope().GetPayload(), subject); s != nil {
			return ours, s
		}
	}
	return foreign, nil
}

func (k *Key) writer() writer { return newPen(k) }

func (k *Key) made(b *bundle.Bundle, subject digest.Digest) bool {
	hash, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return false
	}
	trusted, err := trust(k)
	if err != nil {
		return false
	}
	verifier, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps(), verify.WithoutStatementPredicate())
	if err != nil {
		return false
	}
	_, err = verifier.Verify(b, verify.NewPolicy(verify.WithArtifactDigest(subject.Algorithm().String(), hash), verify.WithKey()))
	return err == nil
}

// trust is a trust root of one key, whatever hint a bundle gives.
func trust(key *Key) (root.TrustedMaterial, error) {
	verifier, err := signature.LoadVerifier(key.public, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	always := root.NewExpiringKey(verifier, time.Time{}, time.Time{})
	return root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return always, nil }), nil
}

// keypair is a key as sigstore-go wants to see it.
type keypair struct{ *pen }

func (keypair) GetHashAlgorithm() protocommon.HashAlgorithm {
	return protocommon.HashAlgorithm_SHA2_256
}

func (k keypair) GetSigningAlgorithm() protocommon.PublicKeyDetails {
	details, err := signature.GetDefaultAlgorithmDetails(k.public)
	if err != nil {
		return protocommon.PublicKeyDetails_PUBLIC_KEY_DETAILS_UNSPECIFIED
	}
	return details.GetSignatureAlgorithm()
}

// GetHint is the fingerprint as cosign writes it into a bundle.
func (k keypair) GetHint() []byte {
	sum, _ := hex.DecodeString(k.fingerprint)
	return []byte(base64.StdEncoding.EncodeToString(sum))
}

func (k keypair) GetKeyAlgorithm() string {
	if _, ok := k.public.(*rsa.PublicKey); ok {
		return "RSA"
	}
	return "ECDSA"
}

func (k keypair) GetPublicKey() crypto.PublicKey { return k.public }

func (k keypair) GetPublicKeyPem() (string, error) { return string(k.PublicPEM()), nil }

func (k keypair) SignData(ctx context.Context, data []byte) (signed, hash []byte, err error) {
	return k.sign(ctx, data)
}
