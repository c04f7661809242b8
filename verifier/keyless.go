package verifier

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

// Keyless says what signatures a keyless authority makes: with certificates that a Fulcio issued to an identity.
//
// Without more, a signature needs an entry in a transparency log of the root, a trusted time by a log or a timestamp
// authority of the root, at which its certificate was valid, and, where the root has certificate logs, a certificate that one
// of them has.
type Keyless struct {
	Identity
	Root *TrustRoot

	// Logs and Timestamps are of how many different transparency logs an entry is wanted, and of how many different timestamp
	// authorities a timestamp: one that is stolen, or that lies, is then not enough. Two of one count as one. Zero Logs is one,
	// zero Timestamps is any trusted time.
	Logs, Timestamps int

	WithoutTransparencyLogUnsafe bool // nobody may ever learn of a signature by a stolen identity
	WithoutSCTUnsafe             bool // nobody may ever learn of a certificate that should not have been issued
}

// NewKeylessAuthority returns the authority that signs as an identity.
func NewKeylessAuthority(name string, k Keyless) (Authority, error) {
	a, err := newKeylessAuthority(name, k)
	if err != nil {
		return nil, fmt.Errorf("authority %q: %w", name, err)
	}
	return a, nil
}

func newKeylessAuthority(name string, k Keyless) (*certificateAuthority, error) {
	id, err := k.compile(true)
	if err != nil {
		return nil, err
	}
	switch {
	case k.Root == nil || len(k.Root.FulcioCertificateAuthorities()) == 0:
		return nil, errors.New("a trusted root without a certificate authority")
	case !k.Root.hasLogs() && !k.WithoutTransparencyLogUnsafe:
		return nil, errors.New("a trusted root without a transparency log, which signatures need to be in")
	case k.Logs < 0 || k.Timestamps < 0:
		return nil, errors.New("less than no log or timestamp")
	case k.Logs > len(k.Root.RekorLogs()) || k.Timestamps > len(k.Root.TimestampingAuthorities()):
		return nil, fmt.Errorf("more logs or timestamps are wanted than the trusted root has authorities: %d and %d",
			len(k.Root.RekorLogs()), len(k.Root.TimestampingAuthorities()))
	case k.Logs > 0 && k.WithoutTransparencyLogUnsafe:
		return nil, errors.New("entries of logs are wanted, and none")
	case !k.Root.hasTimestamps() && k.WithoutTransparencyLogUnsafe:
		return nil, errors.New("a trusted root without a timestamp authority: without a log, nobody says the time")
	}

	c, err := newCheck(k.Root, needs{
		log: !k.WithoutTransparencyLogUnsafe, logs: k.Logs, time: k.Timestamps == 0, timestamp: k.Timestamps > 0, stamps: k.Timestamps, sct: k.Root.hasCTLogs() && !k.WithoutSCTUnsafe,
	}, id)
	if err != nil {
		return nil, err
	}
	return &certificateAuthority{
		name: name, checks: checks{c.under(k.Root)},
		fingerprint: fingerprintOf("keyless", k.Identity, k.Root.fingerprint, c.needs),
	}, nil
}

// certificateAuthority is whoever signs with certificates for an identity.
type certificateAuthority struct {
	name        string
	fingerprint string
	checks      checks
}

func (a *certificateAuthority) Name() string        { return a.name }
func (a *certificateAuthority) Fingerprint() string { return a.fingerprint }

func (a *certificateAuthority) CheckTagSignature(sig *TagSignature) (Proof, error) {
	entity, err := sig.keyless()
	if err != nil {
		return Proof{}, err
	}
	return a.checks.verify(entity, sig.artifact())
}

func (a *certificateAuthority) CheckBundle(b *bundle.Bundle, d digest.Digest) (Proof, error) {
	subject, err := sumOf(d)
	if err != nil {
		return Proof{}, err
	}
	return a.checks.verify(bundleEntity{b}, subject)
}

// fingerprintOf is the SHA-256 over all that an authority consists of, in hexadecimal.
func fingerprintOf(parts ...any) string {
	for i, part := range parts {
		if n, ok := part.(needs); ok {
			parts[i] = []any{n.log, n.sct, n.time, n.integrated, n.timestamp, n.now, n.logs, n.stamps}
		}
	}
	raw, err := json.Marshal(parts)
	if err != nil {
		panic(err) // texts and truth values
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:])
}
