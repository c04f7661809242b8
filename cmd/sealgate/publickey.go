package main

import (
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/sealgate/sealgate/signer/kms"
)

// remoteKeysTime bounds the asking of key management services for public keys, all of them together.
const remoteKeysTime = 10 * time.Second

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
