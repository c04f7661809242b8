package verifier

import (
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// Authority is somebody whose signatures can be checked. It is immutable, safe for concurrent use, and does no I/O.
//
// The two Check methods prove that the authority signed exactly the bytes that they are given. Any error means that it did
// not, or that it cannot be told: the signature is then not this authority's. A [Failure] says why. What the bytes say is
// judged by the [Verifier], in one place for all authorities.
type Authority interface {
	// Name is how policies and evidence call the authority.
	Name() string

	// Fingerprint changes with whatever stands behind the name. No two authorities of a verifier have the same.
	Fingerprint() string

	// CheckTagSignature checks a signature in cosign v2's format.
	CheckTagSignature(sig *TagSignature) (Proof, error)

	// CheckBundle checks a Sigstore bundle around a statement that names the digest.
	CheckBundle(b *bundle.Bundle, d digest.Digest) (Proof, error)
}

// checkAuthorities makes sure that counting names counts somebodies: one key under two names would be a quorum of itself.
func checkAuthorities(all []Authority) error {
	names, fingerprints := map[string]bool{}, map[string]string{}
	for i, a := range all {
		if a == nil {
			return fmt.Errorf("authority %d is nil", i)
		}
		name, fingerprint := a.Name(), a.Fingerprint()
		if name == "" || fingerprint == "" {
			return fmt.Errorf("authority %d (%q) has no name or no fingerprint", i, name)
		}
		if names[name] {
			return fmt.Errorf("two authorities are named %q", name)
		}
		if other, ok := fingerprints[fingerprint]; ok {
			return fmt.Errorf("authorities %q and %q are the same key; one signature would count as two", other, name)
		}
		names[name], fingerprints[fingerprint] = true, name
	}
	return nil
}
