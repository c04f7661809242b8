package verifier

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

func pemOf(t testing.TB, pub crypto.PublicKey) string {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func TestEveryKindOfKeyIsReadFromPEM(t *testing.T) {
	for name, key := range everyKey(t) {
		text := pemOf(t, key.pub)
		for _, written := range []string{text, "\n" + text + "\n\n", strings.ReplaceAll(text, "\n", "\r\n")} {
			pub, err := ParsePublicKeyPEM([]byte(written))
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			a, err := NewKeyAuthority(name, pub)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			block, _ := pem.Decode([]byte(text))
			sum := sha256.Sum256(block.Bytes)
			if a.Name() != name || a.Fingerprint() != hex.EncodeToString(sum[:]) {
				t.Errorf("%s: name %q, fingerprint %s", name, a.Name(), a.Fingerprint())
			}
		}
	}
}

func TestAKeyFileHoldsOnePublicKeyAndNothingElse(t *testing.T) {
	one, two := pemOf(t, newSigner(t).pub), pemOf(t, newSigner(t).pub)
	block, _ := pem.Decode([]byte(one))
	as := func(kind string) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes}))
	}
	for name, c := range map[string]struct{ text, why string }{
		"nothing":                  {"", "no PEM block"},
		"text":                     {"release.pub", "no PEM block"},
		"two keys":                 {one + two, "one key in a file"},
		"a key and text":           {one + "\nnote", "one key in a file"},
		"text and a key":           {"note\n" + one, "one key in a file"},
		"a broken key, then one":   {strings.Replace(one, "-----END", "----END", 1) + two, ""},
		"half a key, then one":     {one[:60] + "\n" + two, ""},
		"a key with headers":       {strings.Replace(one, "KEY-----\n", "KEY-----\nA: b\n\n", 1), "before or inside"},
		"a private key":            {as("PRIVATE KEY"), "give the public key only"},
		"an EC private key":        {as("EC PRIVATE KEY"), "give the public key only"},
		"cosign's private key":     {as("ENCRYPTED SIGSTORE PRIVATE KEY"), "give the public key only"},
		"a public, then private":   {one + as("PRIVATE KEY"), "one key in a file"},
		"a certificate":            {as("CERTIFICATE"), "a certificate"},
		"PKCS 1":                   {as("RSA PUBLIC KEY"), "PKCS #1"},
		"another block":            {as("PGP PUBLIC KEY BLOCK"), "want PUBLIC KEY"},
		"a block that is no key":   {"-----BEGIN PUBLIC KEY-----\neA==\n-----END PUBLIC KEY-----\n", "parse public key"},
		"more than a file's worth": {one + strings.Repeat("\n", maxKeyPEM), "more than"},
	} {
		if pub, err := ParsePublicKeyPEM([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, %v, want an error with %q", name, pub, err, c.why)
		}
	}
}

func TestWeakAndMalformedKeysAreNoAuthorities(t *testing.T) {
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 2046, 1), E: 65537}
	for name, pub := range map[string]crypto.PublicKey{
		"nil":                   nil,
		"P-224":                 p224.Public(),
		"RSA of 2047 bits":      small,
		"no RSA key":            (*rsa.PublicKey)(nil),
		"an RSA key of nothing": &rsa.PublicKey{},
		"no ECDSA key":          (*ecdsa.PublicKey)(nil),
		"an ECDSA key of none":  &ecdsa.PublicKey{},
		"a short Ed25519 key":   ed25519.PublicKey{1, 2, 3},
		"a private key":         private,
		"a text":                "key",
	} {
		if a, err := NewKeyAuthority("x", pub); err == nil {
			t.Errorf("%s: is an authority: %v", name, a)
		}
	}
}

// A threshold counts authorities, so that no two of them may be one.
func TestAuthoritiesAreDistinct(t *testing.T) {
	key, other := newSigner(t), newSigner(t)
	for name, c := range map[string]struct {
		authorities []Authority
		why         string
	}{
		"one key under two names": {[]Authority{key.authority(t, "a"), key.authority(t, "b")}, "are the same key"},
		"two keys under one name": {[]Authority{key.authority(t, "a"), other.authority(t, "a")}, "two authorities are named"},
		"no name":                 {[]Authority{key.authority(t, "")}, "no name"},
		"nil":                     {[]Authority{nil}, "is nil"},
	} {
		if v, err := New(newMemory(), c.authorities); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, %v, want an error with %q", name, v, err, c.why)
		}
	}
	if _, err := New(nil, nil); err == nil {
		t.Error("a verifier without a source")
	}
}

func TestATrustedKeyThatVerifiesNoWayVerifiesNothing(t *testing.T) {
	key := &trustedKey{}
	if err := key.VerifySignature(strings.NewReader(""), strings.NewReader("")); err == nil {
		t.Error("it verifies")
	}
	if !key.ValidAtTime(time.Time{}) {
		t.Error("a key without a validity period is not valid")
	}
}

// fakeAuthority does what a test wants.
type fakeAuthority struct {
	name  string
	check func() error
}

func (a fakeAuthority) Name() string        { return a.name }
func (a fakeAuthority) Fingerprint() string { return "fingerprint of " + a.name }

func (a fakeAuthority) CheckTagSignature(*TagSignature) (Proof, error) { return Proof{}, a.check() }
func (a fakeAuthority) CheckBundle(*bundle.Bundle, digest.Digest) (Proof, error) {
	return Proof{}, a.check()
}
