package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/options"
)

// Key says what signatures an authority makes that holds the private half of a key.
//
// Without more, they need no log and no timestamp: the key itself is what is trusted, for as long as it is configured. With a
// validity, a signature counts only with a trusted time inside of it: without one, nobody could tell what was signed before
// the key was lost from what was signed after.
type Key struct {
	// Public is ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of at least 2048 bits.
	Public crypto.PublicKey

	ValidFrom  time.Time // a signature before it does not count; zero: from ever
	ValidUntil time.Time // a signature at this time, or after it, does not count; zero: for ever
	Revoked    bool      // no signature counts
	Logged     bool      // a signature counts only with an entry in a transparency log of Root

	// Root is who says the time of a signature. It is needed with a validity or Logged, and means nothing without.
	Root *TrustRoot
}

func (k Key) bounded() bool { return k.Logged || !k.ValidFrom.IsZero() || !k.ValidUntil.IsZero() }

// keyAuthority is whoever holds the private half of a key.
type keyAuthority struct {
	name        string
	fingerprint string
	signer      string // the key's own fingerprint
	key         *trustedKey
	revoked     bool
	signed      *check // that the key signed, whenever that was
	timed       checks // that it signed when it was valid; nil where that does not matter
}

// NewKeyAuthority returns the authority that holds the private half of pub. Its fingerprint is the SHA-256 of the key in PKIX
// form, in hexadecimal.
func NewKeyAuthority(name string, pub crypto.PublicKey) (Authority, error) {
	return NewBoundedKeyAuthority(name, Key{Public: pub})
}

// NewBoundedKeyAuthority returns the authority that holds the private half of a key, for as long as the key is valid.
func NewBoundedKeyAuthority(name string, k Key) (Authority, error) {
	a, err := newKeyAuthority(name, k)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", name, err)
	}
	return a, nil
}

func newKeyAuthority(name string, k Key) (*keyAuthority, error) {
	key, err := newTrustedKey(k.Public)
	if err != nil {
		return nil, err
	}
	key.from, key.until = k.ValidFrom, k.ValidUntil
	if !k.ValidFrom.IsZero() && !k.ValidUntil.IsZero() && !k.ValidFrom.Before(k.ValidUntil) {
		return nil, errors.New("a key that is valid until before it is valid from")
	}
	der, err := x509.MarshalPKIXPublicKey(k.Public)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	a := &keyAuthority{name: name, signer: hex.EncodeToString(sum[:]), key: key, revoked: k.Revoked}
	a.fingerprint = a.signer

	// Whatever key a bundle hints at, it is checked against this one: a hint is a claim, and following it could only lead
	// away from the key that is trusted.
	material := root.NewTrustedPublicKeyMaterial(func(string) (root.TimeConstrainedVerifier, error) { return key, nil })
	if a.signed, err = newCheck(material, needs{}, nil); err != nil {
		return nil, err
	}
	rootPrint := ""
	if k.bounded() {
		if k.Root == nil {
			return nil, errors.New("a key with a validity, and no trusted root that says the time of a signature")
		}
		rootPrint = k.Root.fingerprint
		if a.timed, err = timed(root.TrustedMaterialCollection{material, k.Root}, k.Root, k.Logged, nil); err != nil {
			return nil, err
		}
	}
	if k.bounded() || k.Revoked {
		a.fingerprint = fingerprintOf("key", a.signer, k.ValidFrom, k.ValidUntil, k.Revoked, k.Logged, rootPrint)
	}
	return a, nil
}

func (a *keyAuthority) Name() string        { return a.name }
func (a *keyAuthority) Fingerprint() string { return a.fingerprint }

func (a *keyAuthority) CheckTagSignature(sig *TagSignature) (Proof, error) {
	if err := a.key.VerifySignature(bytes.NewReader(sig.Signature), bytes.NewReader(sig.Payload)); err != nil {
		if sig.annotations[certificateAnnotation] != "" { // it says so, and that tells more than that this key did not make it
			return Proof{}, failure(KeyMismatch, "was made with a certificate, not with the key")
		}
		return Proof{}, failure(SignatureInvalid, "does not verify: %v", err)
	}
	return a.whileValid(sig.keyed, sig.artifact())
}

func (a *keyAuthority) CheckBundle(b *bundle.Bundle, d digest.Digest) (Proof, error) {
	subject, err := sumOf(d)
	if err != nil {
		return Proof{}, err
	}
	if _, err := a.signed.verify(b, subject); err != nil {
		return Proof{}, err
	}
	return a.whileValid(func() (verify.SignedEntity, error) { return b, nil }, subject)
}

// whileValid proves of a signature, which the key made, that it made it while it was valid.
func (a *keyAuthority) whileValid(entity func() (verify.SignedEntity, error), signed artifact) (Proof, error) {
	proof, err := a.validity(entity, signed)
	if err != nil {
		why := *asFailure(err)
		why.signed = true
		return Proof{}, &why
	}
	return proof, nil
}

func (a *keyAuthority) validity(entity func() (verify.SignedEntity, error), signed artifact) (Proof, error) {
	if a.revoked {
		return Proof{}, failure(KeyRevoked, "was made with a key that is revoked")
	}
	proof := Proof{Signer: a.signer}
	if a.timed != nil {
		e, err := entity()
		if err != nil {
			return Proof{}, err
		}
		if proof, err = a.timed.verify(e, signed); err != nil {
			return Proof{}, err
		}
		proof.Signer = a.signer
	}
	return proof, nil
}

// trustedKey verifies signatures under one public key. Signers hash differently: cosign v2 takes SHA-256 with any key,
// cosign v3 the hash that suits the curve, and Ed25519 is used with and without hashing first. Each way is tried; all of
// them need the private key.
type trustedKey struct {
	pub         crypto.PublicKey
	ways        []signature.Verifier
	from, until time.Time // zero: open
}

var _ root.TimeConstrainedVerifier = (*trustedKey)(nil)

func newTrustedKey(pub crypto.PublicKey) (*trustedKey, error) {
	var how [][]signature.LoadOption
	with := func(o ...signature.LoadOption) { how = append(how, o) }
	switch pub := pub.(type) {
	case *ecdsa.PublicKey:
		if pub == nil || pub.Curve == nil {
			return nil, errors.New("an ECDSA key without a curve")
		}
		switch pub.Curve {
		case elliptic.P256():
		case elliptic.P384():
			with(options.WithHash(crypto.SHA384))
		case elliptic.P521():
			with(options.WithHash(crypto.SHA512))
		default:
			return nil, fmt.Errorf("an ECDSA key on %s; P-256, P-384 and P-521 are accepted", pub.Params().Name)
		}
		if _, err := pub.ECDH(); err != nil {
			return nil, fmt.Errorf("an ECDSA key that is none: %w", err)
		}
		with(options.WithHash(crypto.SHA256))
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("an Ed25519 key of %d bytes", len(pub))
		}
		with()
		with(options.WithED25519ph())
	case *rsa.PublicKey:
		if pub == nil || pub.N == nil || pub.N.BitLen() < 2048 {
			return nil, errors.New("an RSA key of less than 2048 bits")
		}
		with(options.WithHash(crypto.SHA256))
	default:
		return nil, fmt.Errorf("a key of type %T; ECDSA, Ed25519 and RSA are accepted", pub)
	}

	key := &trustedKey{pub: pub}
	for _, o := range how {
		way, err := signature.LoadVerifierWithOpts(pub, o...)
		if err != nil {
			return nil, err
		}
		key.ways = append(key.ways, way)
	}
	return key, nil
}

// VerifySignature implements [signature.Verifier].
func (k *trustedKey) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return fmt.Errorf("read signature: %w", err)
	}
	m, err := readMessage(message)
	if err != nil {
		return fmt.Errorf("read message: %w", err)
	}

	var sum []byte
	for _, o := range opts {
		o.ApplyDigest(&sum)
	}
	err = errNoWay // should there be no way to verify, nothing verifies
	for _, way := range k.ways {
		// Ed25519 without hashing signs messages, never digests: it would take the message for an empty one.
		if _, ok := way.(*signature.ED25519Verifier); ok && sum != nil {
			continue
		}
		if err = way.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...); err == nil {
			return nil
		}
	}
	return err
}

// readMessage reads a message that may be large, into no more memory than it needs where it tells how long it is.
func readMessage(message io.Reader) ([]byte, error) {
	var b bytes.Buffer
	if sized, ok := message.(interface{ Len() int }); ok {
		b.Grow(sized.Len() + bytes.MinRead)
	}
	_, err := b.ReadFrom(message)
	return b.Bytes(), err
}

var errNoWay = errors.New("the key verifies nothing")

// PublicKey implements [signature.Verifier].
func (k *trustedKey) PublicKey(...signature.PublicKeyOption) (crypto.PublicKey, error) {
	return k.pub, nil
}

// ValidAtTime implements [root.TimeConstrainedVerifier].
func (k *trustedKey) ValidAtTime(at time.Time) bool {
	return (k.from.IsZero() || !at.Before(k.from)) && (k.until.IsZero() || at.Before(k.until))
}

// ParsePublicKeyPEM reads a file that holds one public key in PKIX form (BEGIN PUBLIC KEY), as cosign and openssl write it,
// and nothing else: which of two keys would be trusted must not depend on the reader.
func ParsePublicKeyPEM(raw []byte) (crypto.PublicKey, error) {
	if len(raw) > maxKeyPEM {
		return nil, fmt.Errorf("more than %d bytes", maxKeyPEM)
	}
	text := bytes.TrimSpace(raw)
	block, rest := pem.Decode(text)
	switch {
	case block == nil:
		return nil, errors.New("no PEM block; a public key begins with -----BEGIN PUBLIC KEY-----")
	case bytes.Contains([]byte(block.Type), []byte("PRIVATE KEY")):
		return nil, fmt.Errorf("a %s; give the public key only, and keep this file away from here", block.Type)
	case block.Type == "CERTIFICATE":
		return nil, errors.New("a certificate; give its public key: openssl x509 -pubkey -noout -in FILE")
	case block.Type == "RSA PUBLIC KEY":
		return nil, errors.New("an RSA key in PKCS #1; convert it: openssl rsa -RSAPublicKey_in -pubout -in FILE")
	case block.Type != "PUBLIC KEY":
		return nil, fmt.Errorf("a PEM block of type %.40q, want PUBLIC KEY", block.Type)
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("something follows the public key; give one key in a file")
	case len(block.Headers) > 0 || bytes.Count(text, []byte("-----BEGIN")) != 1 || !bytes.HasPrefix(text, []byte("-----BEGIN")):
		return nil, errors.New("something stands before or inside the public key; give one key in a file")
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse public key: %w", err)
	}
	return pub, nil
}
