package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"github.com/sealgate/sealgate/signer/kms"
	"github.com/sealgate/sealgate/signer/safefile"
	"github.com/sealgate/sealgate/verifier"
)

// PublicKey names a public key, and when it counts.
type PublicKey struct {
	// File holds one public key in PEM: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of at least 2048 bits. Beside kms
	// it is a copy of the key there: it is used when the service cannot be asked, and must be the same when it can.
	File string `mapstructure:"file"`

	// KMS is a key that a key management service keeps, whose public half is fetched with the configuration:
	// awskms://[ENDPOINT]/[ID, ALIAS OR ARN], gcpkms://projects/..., azurekms://VAULT/KEY, hashivault://KEY or openbao://KEY.
	// Where the service is, and who asks, is read from the environment as its own tools do.
	KMS string `mapstructure:"kms"`

	// Fingerprint is the SHA-256 of the key in PKIX form, in hexadecimal, as sealgate keys public prints it. Another key, in
	// the file or the service, is refused. Default: whatever key is there.
	Fingerprint string `mapstructure:"fingerprint"`

	// ValidFrom is a date, such as 2026-01-01, whose beginning in UTC is meant, or a time, such as 2026-01-01T12:00:00Z.
	// A signature before it does not count. With valid_from or valid_until, a signature needs a trusted time. Default: from
	// ever.
	ValidFrom Moment `mapstructure:"valid_from"`

	// ValidUntil is a date or a time. A signature at or after it does not count. Default: for ever.
	ValidUntil Moment `mapstructure:"valid_until"`

	// Revoked lets no signature of the key count. The name stays known to policies. Default false.
	Revoked bool `mapstructure:"revoked"`

	// Logged lets a signature count only with an entry in a transparency log of the trusted root. Default false.
	Logged bool `mapstructure:"logged"`

	// TrustedRoot says whose logs and timestamp authorities are believed the time of a signature: public-good, or a
	// trusted_root.json. Only with valid_from, valid_until or logged. Default public-good.
	TrustedRoot string `mapstructure:"trusted_root"`
}

// Moment is a date, of which the beginning in UTC is meant, or a time.
type Moment string

// time is zero for an empty moment.
func (m Moment) time() (time.Time, error) {
	if m == "" {
		return time.Time{}, nil
	}
	if day, err := time.Parse(time.DateOnly, string(m)); err == nil {
		return day, nil
	}
	return time.Parse(time.RFC3339, string(m))
}

// bounded reports whether somebody trusted must say something of a signature.
func (k PublicKey) bounded() bool { return k.ValidFrom != "" || k.ValidUntil != "" || k.Logged }

var fingerprintPattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func (v *validator) publicKey(at string, k PublicKey) {
	from, _ := k.ValidFrom.time()
	until, _ := k.ValidUntil.time()
	switch {
	case k.File == "" && k.KMS == "":
		v.add(at, "has neither file nor kms; name the public key's")
	case !from.IsZero() && !until.IsZero() && !from.Before(until):
		v.add(at+".valid_until", "is not after valid_from")
	case k.TrustedRoot != "" && !k.bounded():
		v.add(at+".trusted_root", "means nothing without valid_from, valid_until or logged; leave it out")
	}
}

func (v *validator) remoteKey(at string, k PublicKey) {
	if k.KMS != "" {
		if err := kms.CheckReference(k.KMS); err != nil {
			v.add(at+".kms", "%v", err)
		}
	}
	if k.Fingerprint != "" && !fingerprintPattern.MatchString(k.Fingerprint) {
		v.add(at+".fingerprint", "is not a SHA-256 in hexadecimal, 64 digits in lower case")
	}
}

// remoteKeysTime bounds the asking of key management services for public keys, all of them together.
const remoteKeysTime = 10 * time.Second

const maxPublicKeyFile = 64 << 10 // bytes

func openKey(
	ctx context.Context, name string, k PublicKey, roots trustRoots, warn func(string, ...any),
) (made verifier.Authority, where string, err error) {
	key := verifier.Key{Revoked: k.Revoked, Logged: k.Logged}
	public, where, err := openPublicKey(ctx, name, k, warn)
	if err != nil {
		return nil, where, err
	}
	key.Public = public
	if key.ValidFrom, err = k.ValidFrom.time(); err != nil {
		return nil, ".key.valid_from", err
	}
	if key.ValidUntil, err = k.ValidUntil.time(); err != nil {
		return nil, ".key.valid_until", err
	}
	if k.bounded() {
		if key.Root, err = roots.one(k.TrustedRoot); err != nil {
			return nil, ".key.trusted_root", err
		}
	}
	made, err = verifier.NewBoundedKeyAuthority(name, key)
	return made, ".key", err
}

// openPublicKey reads an authority's key from its file, or from the key management service that keeps it. It is asked once,
// with the configuration: what the regime trusts does not change while it is in force. where is the setting that an error is
// about.
//
// The file beside a kms is a copy. With it, a gateway starts while the service cannot be asked, and one whose key was changed
// there does not. Without it, no service means no start: nobody knows who could vouch.
func openPublicKey(ctx context.Context, name string, k PublicKey, warn func(string, ...any)) (public crypto.PublicKey, where string, err error) {
	var copied crypto.PublicKey
	if k.File != "" {
		if copied, err = readPublicKey(k.File); err != nil {
			return nil, ".key.file", err
		}
		if err := checkFingerprint(copied, k.Fingerprint); err != nil {
			return nil, ".key.file", fmt.Errorf("public key %s: %w", k.File, err)
		}
	}
	if k.KMS == "" {
		return copied, "", nil
	}

	public, err = kms.PublicKey(ctx, k.KMS)
	switch {
	case err != nil && copied == nil:
		return nil, ".key.kms", fmt.Errorf("%w; to start without the service, name a copy of the key in file", err)
	case err != nil:
		warn("the key management service cannot be asked; the copy of the key is used", "authority", name, "file", k.File, "error", err)
		return copied, "", nil
	}
	if err := checkFingerprint(public, k.Fingerprint); err != nil {
		return nil, ".key.kms", fmt.Errorf("%s: %w", k.KMS, err)
	}
	if copied != nil {
		if err := checkFingerprint(public, fingerprint(copied)); err != nil {
			return nil, ".key.kms", fmt.Errorf("%s and its copy %s differ: %w", k.KMS, k.File, err)
		}
	}
	return public, "", nil
}

func readPublicKey(file string) (crypto.PublicKey, error) {
	raw, err := safefile.Read(file, maxPublicKeyFile, 0)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", file, err)
	}
	public, err := verifier.ParsePublicKeyPEM(raw)
	if err != nil {
		return nil, fmt.Errorf("public key %s: %w", file, err)
	}
	return public, nil
}

// checkFingerprint holds a key against the fingerprint that is wanted, if one is.
func checkFingerprint(public crypto.PublicKey, want string) error {
	if got := fingerprint(public); want != "" && got != want {
		return fmt.Errorf("its key has the fingerprint %s, not %s", got, want)
	}
	return nil
}

// fingerprint is the SHA-256 of a key in PKIX form, in hexadecimal. What has no such form has no fingerprint that is wanted.
func fingerprint(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "none"
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}
