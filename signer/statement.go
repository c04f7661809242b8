package signer

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/sign"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"google.golang.org/protobuf/encoding/protojson"
)

// A signature is a statement of this type with this predicate. Its predicate is empty: the type says it all.
const (
	inTotoPayload = "application/vnd.in-toto+json"
	statementType = "https://in-toto.io/Statement/v1"
	signPredicate = "https://sigstore.dev/cosign/sign/v1"
)

// signStatement makes the bundle that says: this digest is signed.
func signStatement(key *Key, subject digest.Digest) ([]byte, error) {
	type resource struct {
		Digest map[string]string `json:"digest"`
	}
	statement, err := encode(struct {
		Type          string     `json:"_type"`
		Subject       []resource `json:"subject"`
		PredicateType string     `json:"predicateType"`
		Predicate     struct{}   `json:"predicate"`
	}{
		Type:          statementType,
		Subject:       []resource{{Digest: map[string]string{subject.Algorithm().String(): subject.Encoded()}}},
		PredicateType: signPredicate,
	})
	if err != nil {
		return nil, err
	}
	trusted, err := trust(key)
	if err != nil {
		return nil, err
	}

	// With a root to check against, the bundle is verified before it is returned.
	made, err := sign.Bundle(&sign.DSSEData{Data: statement, PayloadType: inTotoPayload}, keypair{key},
		sign.BundleOptions{TrustedRoot: trusted})
	if err != nil {
		return nil, err
	}
	loose, err := protojson.Marshal(made)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer // protojson varies its spaces on purpose
	if err := json.Compact(&compact, loose); err != nil {
		return nil, err
	}
	return compact.Bytes(), nil
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

// content is what a bundle turned out to be.
type content int

const (
	unreadable   content = iota // no bundle to anybody
	foreign                     // not signed by our key, or about something else
	attests                     // signed by our key, but no signature
	signsSubject                // our signature of the subject
)

// judge opens a bundle.
func judge(raw []byte, subject digest.Digest, trusted root.TrustedMaterial) content {
	var read bundle.Bundle
	if read.UnmarshalJSON(raw) != nil || !read.MinVersion("v0.3") {
		return unreadable
	}
	verifier, err := verify.NewVerifier(trusted, verify.WithNoObserverTimestamps())
	if err != nil {
		return foreign
	}
	hash, err := hex.DecodeString(subject.Encoded())
	if err != nil {
		return foreign
	}
	proven, err := verifier.Verify(&read,
		verify.NewPolicy(verify.WithArtifactDigest(subject.Algorithm().String(), hash), verify.WithKey()))
	if err != nil {
		return foreign
	}
	if proven.Statement.GetType() != statementType || proven.Statement.GetPredicateType() != signPredicate {
		return attests
	}
	return signsSubject
}

// keypair is a key as sigstore-go wants to see it.
type keypair struct{ *Key }

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

func (k keypair) SignData(_ context.Context, data []byte) (signed, hash []byte, err error) {
	return k.sign(data)
}
