package verifier

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/sigstore/sigstore-go/pkg/root"
)

// TrustRoot is what a Sigstore deployment is trusted by: its certificate authorities, its transparency logs, its certificate
// logs and its timestamp authorities, each with the time in which it is believed. It is immutable.
type TrustRoot struct {
	root.TrustedMaterial
	fingerprint string

	dated func() time.Time // of which day it is; nil where its age does not matter
	most  time.Duration
}

// WithMaxAge returns a root that vouches for nothing once it is older: whoever is able to keep news from us, such as a log's
// key that was revoked, is able to for that long. dated says of which time it is; it is asked each time, for a root that is
// shown to be the newest grows younger without a change. most is positive.
func (r *TrustRoot) WithMaxAge(dated func() time.Time, most time.Duration) *TrustRoot {
	aged := *r
	aged.dated, aged.most = dated, most
	aged.fingerprint = fingerprintOf(r.fingerprint, most.String())
	return &aged
}

// until is when the root will be too old, as things stand; zero where its age does not matter.
func (r *TrustRoot) until() time.Time {
	if r == nil || r.dated == nil {
		return time.Time{}
	}
	return r.dated().Add(r.most)
}

// stale is the failure of a root that is too old, nil for one that is not. A clock that stands before the root's day knows no
// age, and nothing is believed by it.
func (r *TrustRoot) stale(now time.Time) *Failure {
	if r == nil || r.dated == nil {
		return nil
	}
	const skew = time.Hour
	at := r.dated()
	if age := now.Sub(at); age > r.most || age < -skew {
		return failure(TrustRootStale, "cannot be checked: the trusted root is of %s, and at most %s old it is believed", at.UTC().Format(time.DateOnly), r.most)
	}
	return nil
}

// ParseTrustRoot reads a trusted_root.json:
// https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_trustroot.proto
// Nothing is fetched.
func ParseTrustRoot(raw []byte) (*TrustRoot, error) {
	if len(raw) > MaxTrustRoot {
		return nil, fmt.Errorf("a trusted root of more than %d bytes", MaxTrustRoot)
	}
	material, err := root.NewTrustedRootFromJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("not a trusted root: %w", err)
	}
	for _, tsa := range material.TimestampingAuthorities() {
		if a, ok := tsa.(*root.SigstoreTimestampingAuthority); !ok || a.Root == nil {
			return nil, errors.New("not a trusted root: a timestamp authority without a root certificate")
		}
	}
	sum := sha256.Sum256(raw)
	return &TrustRoot{TrustedMaterial: material, fingerprint: hex.EncodeToString(sum[:])}, nil
}

// ParseTrustRoots reads one trusted root, or up to [MaxTrustRoots] with a line each, as `gh attestation trusted-root` prints
// those of all instances that it knows. Each stays a root of its own: what one of them vouches for needs all that it has.
func ParseTrustRoots(raw []byte) ([]*TrustRoot, error) {
	if len(raw) > MaxTrustRoot {
		return nil, fmt.Errorf("a trusted root of more than %d bytes", MaxTrustRoot)
	}
	lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
	if len(lines) == 1 || !json.Valid(lines[0]) {
		one, err := ParseTrustRoot(raw)
		return []*TrustRoot{one}, err
	}
	if len(lines) > MaxTrustRoots {
		return nil, fmt.Errorf("more than %d trusted roots", MaxTrustRoots)
	}
	var all []*TrustRoot
	for i, line := range lines {
		one, err := ParseTrustRoot(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		all = append(all, one)
	}
	return all, nil
}

// Fingerprint is the SHA-256 of the bytes that the root was read from.
func (r *TrustRoot) Fingerprint() string { return r.fingerprint }

// PublicGoodDate is the day of which the built-in root of Sigstore's public instance is. What that instance has trusted
// since then is not in it.
const PublicGoodDate = "2026-11-05"

// publicGood is the target trusted_root.json of Sigstore's TUF repository under its root version 16.
//
//go:embed public-good.json
var publicGood []byte

// PublicGood is the root of Sigstore's public instance, as of [PublicGoodDate].
func PublicGood() (*TrustRoot, error) { return ParseTrustRoot(publicGood) }

func (r *TrustRoot) hasLogs() bool       { return r != nil && len(r.RekorLogs()) > 0 }
func (r *TrustRoot) hasCTLogs() bool     { return r != nil && len(r.CTLogs()) > 0 }
func (r *TrustRoot) hasTimestamps() bool { return r != nil && len(r.TimestampingAuthorities()) > 0 }
