package signer

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// Key signs, and tells everything about itself but the secret. It is immutable and safe for concurrent use.
//
// Printing a Key in any way, as text, log value or JSON, gives its fingerprint. The private half is held by a function,
// because nothing that prints or encodes values looks into one.
type Key struct {
	signHash    func(ctx context.Context, hash []byte) ([]byte, error)
	public      crypto.PublicKey
	pkix        []byte
	fingerprint string
	secret      func(label string) ([]byte, error) // nil where the private half is not here
}

// NewKey wraps a private key: ECDSA on P-256, or RSA of at least 2048 bits with PKCS #1 v1.5. Both sign SHA-256, which
// is what every version of cosign expects of such a key. Other curves and Ed25519 are refused: cosign's versions do not
// agree on the hash that goes with them.
func NewKey(private crypto.Signer) (*Key, error) {
	random := rand.Reader
	if _, ok := private.(*ecdsa.PrivateKey); ok {
		random = nil // RFC 6979: one digest, one signature
	}
	k, err := wrap(private.Public(), func(_ context.Context, sha256 []byte) ([]byte, error) {
		return private.Sign(random, sha256, crypto.SHA256)
	})
	if err != nil {
		return nil, err
	}
	if der, err := x509.MarshalPKCS8PrivateKey(private); err == nil { // which fails for what is not a key itself
		k.secret = func(label string) ([]byte, error) { return hkdf.Key(sha256.New, der, nil, label, sha256.Size) }
	}
	return k, nil
}

// Remote is a private key that somebody else keeps, such as a key management service. It is safe for concurrent use.
type Remote interface {
	// Public is the public half. It never changes.
	Public() crypto.PublicKey

	// SignDigest signs a SHA-256. It returns when the context ends.
	SignDigest(ctx context.Context, sha256 []byte) ([]byte, error)
}

// NewRemoteKey wraps a key of the same kinds that is kept elsewhere. What it signs is verified before it is used, as with
// any other.
func NewRemoteKey(remote Remote) (*Key, error) { return wrap(remote.Public(), remote.SignDigest) }

func wrap(public crypto.PublicKey, signHash func(context.Context, []byte) ([]byte, error)) (*Key, error) {
	switch public := public.(type) {
	case *ecdsa.PublicKey:
		if public.Curve != elliptic.P256() {
			return nil, fmt.Errorf("ECDSA key on %s: only P-256 and RSA keys sign here", public.Params().Name)
		}
	case *rsa.PublicKey:
		if public.N.BitLen() < minRSA {
			return nil, fmt.Errorf("RSA key of %d bits: at least %d are needed", public.N.BitLen(), minRSA)
		}
	default:
		return nil, fmt.Errorf("key of type %T: only ECDSA P-256 and RSA keys sign here", public)
	}

	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	sum := sha256.Sum256(pkix)
	return &Key{signHash: signHash, public: public, pkix: pkix, fingerprint: hex.EncodeToString(sum[:])}, nil
}

// Secret derives 32 bytes from the private half that whoever has it not cannot know, for a purpose that label names. ok is
// false for a key that is kept elsewhere, such as in a key service.
func (k *Key) Secret(label string) (secret []byte, ok bool) {
	if k.secret == nil {
		return nil, false
	}
	secret, err := k.secret(label)
	return secret, err == nil
}

// Public is the public half.
func (k *Key) Public() crypto.PublicKey { return k.public }

// PublicPEM is the public half as a PEM block "PUBLIC KEY", which is what `cosign verify --key` reads.
func (k *Key) PublicPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.pkix})
}

// Fingerprint is the SHA-256 of the public half in PKIX form, in hexadecimal.
func (k *Key) Fingerprint() string { return k.fingerprint }

// sign signs data, and returns the hash that was signed as well. A signature that does not verify is not handed out: a
// deterministic signature that a hardware fault spoilt would tell the key.
func (k *Key) sign(ctx context.Context, data []byte) (signature, hash []byte, err error) {
	sum := sha256.Sum256(data)
	signature, err = k.signHash(ctx, sum[:])
	if err != nil {
		return nil, nil, fmt.Errorf("sign with key %s: %w", k.fingerprint, err)
	}
	if !k.signed(sum[:], signature) {
		return nil, nil, errors.New("the signature just made does not verify under its own key")
	}
	return signature, sum[:], nil
}

// signed reports that signature is this key's, over data of that SHA-256.
func (k *Key) signed(hash, signature []byte) bool {
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(public, hash, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(public, crypto.SHA256, hash, signature) == nil
	}
	return false
}

// String, Format, LogValue and MarshalJSON name the key by its fingerprint, whatever the verb.
func (k Key) String() string { return "key " + k.fingerprint }

// Format is for package fmt.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue is for package slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is for package json.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }
