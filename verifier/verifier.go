// Package verifier proves facts: it discovers what is attached to a subject and checks it against authorities.
//
// A signature is a signature only if its verified content says so. Nothing that stands around it counts: not the tag under
// which it was found, not the artifact type that a listing claims, not an annotation, not the key that it hints at. Two
// formats are read, in every place where they may be:
//
//   - cosign v2's simple signing: a manifest under the tag sha256-<hex>.sig, whose layers are payloads with the signature in
//     an annotation (https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md);
//   - cosign v3's bundles: manifests that refer to the subject (OCI 1.1), each with a Sigstore bundle around an in-toto
//     statement, whose predicate type says that it is a signature.
//
// Attestations come in bundles as well, and in cosign v2's envelopes under the tag sha256-<hex>.att. They are read where a
// rule needs them: see [Verifier.WithNeeds].
//
// Every piece of evidence is checked against every authority. What verifies is listed as a signature; what was found but
// does not count is listed as rejected, with the reason. An error is neither: it says that something could not be read, so
// that nobody knows what is there. What cannot be fetched is never taken for absent, and absence is only what a registry
// definitely said.
package verifier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
	"unicode"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"golang.org/x/sync/errgroup"
)

// Verifier checks what is attached to subjects. It is immutable, safe for concurrent use and remembers nothing: see [Cache].
type Verifier struct {
	source         Source
	authorities    []Authority
	sameRepository func(repo, reference string) bool
	needs          func(repo string) policy.Needs // nil for none
	large          chan struct{}                  // held while one large attestation is in memory
	memory         Memory                         // nil: outages are not bridged
	bridge         time.Duration                  // how long an outage is bridged

	enough func(s policy.Subject, signatures []policy.Signature) bool // nil: never
}

// New returns a verifier that reads from source. Each authority has a name and a fingerprint of its own. Without any
// authority nothing verifies.
func New(source Source, authorities []Authority) (*Verifier, error) {
	if source == nil {
		return nil, errors.New("a verifier needs a source")
	}
	if err := checkAuthorities(authorities); err != nil {
		return nil, err
	}
	return &Verifier{source: source, authorities: slices.Clone(authorities), sameRepository: SameRepository, large: make(chan struct{}, 1)}, nil
}

// WithSameRepository returns a verifier that decides with same, instead of [SameRepository], whether a signature's
// docker-reference means the repository: for registries where one repository has several names.
func (v *Verifier) WithSameRepository(same func(repo, reference string) bool) *Verifier {
	other := *v
	other.sameRepository = same
	return &other
}

// Verify proves what is attached to s, within [MaxTime]. Evidence comes in the order in which it is listed: the .sig tag's
// signatures as they stand there, then the referrers'.
//
// An error is an [UndecidedError]: it could not be found out what is attached. It never means that nothing is there.
func (v *Verifier) Verify(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	verify := v.verify
	if v.memory != nil {
		verify = v.verifyBridged
	}
	ev, err := verify(ctx, s)
	if err != nil {
		return policy.Evidence{}, &UndecidedError{Subject: s, Cause: err}
	}
	return ev, nil
}

func (v *Verifier) verify(ctx context.Context, s policy.Subject) (policy.Evidence, error) {
	if err := checkSubject(s); err != nil {
		return policy.Evidence{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, MaxTime)
	defer cancel()
	if v.enough != nil && !v.needsOf(s).Attestations() {
		all, err := v.sufficient(ctx, s)
		return all.evidence(), err
	}

	var tagged, attached, referring findings
	places, ctx := errgroup.WithContext(ctx)
	places.Go(guarded(func() (err error) {
		tagged, err = v.tagged(ctx, s)
		return err
	}))
	places.Go(guarded(func() (err error) {
		referring, err = v.referring(ctx, s)
		return err
	}))
	if v.needsOf(s).Attestations() {
		places.Go(guarded(func() (err error) {
			attached, err = v.attached(ctx, s)
			return err
		}))
	}
	if err := places.Wait(); err != nil {
		return policy.Evidence{}, err
	}
	return join([]findings{tagged, attached, referring}).evidence(), nil
}

// checkSubject accepts SHA-256 only: it is what the .sig tag and every signer name a subject by, and a second name for a
// subject would be a second set of evidence.
func checkSubject(s policy.Subject) error {
	if s.Repo == "" {
		return errors.New("a subject without a repository")
	}
	if err := manifest.CheckDigest(s.Digest); err != nil {
		return err
	}
	if s.Digest.Algorithm() != digest.SHA256 {
		return fmt.Errorf("a subject is named by its sha256 digest, not by %s", s.Digest.Algorithm())
	}
	return nil
}

// UndecidedError says that it could not be found out what is attached to a subject.
type UndecidedError struct {
	Subject policy.Subject
	Cause   error
}

func (e *UndecidedError) Error() string { return fmt.Sprintf("verify %s: %v", e.Subject, e.Cause) }

// Is lets a canceled or expired context be recognised, and nothing else of the cause. A signature that is missing must not
// be taken for an image that is missing.
func (e *UndecidedError) Is(target error) bool {
	return (target == context.Canceled || target == context.DeadlineExceeded) && errors.Is(e.Cause, target)
}

// findings is what was found in one place.
type findings struct {
	signatures   []policy.Signature
	attestations []policy.Attestation
	unread       []policy.Rejection
	rejected     []policy.Rejection
	until        time.Time // until when what was proven is, zero for ever
}

func (f findings) evidence() policy.Evidence {
	f.attachedAs(policy.FormatReferrer) // the places that have a format of their own said so
	return policy.Evidence{Signatures: f.signatures, Attestations: f.attestations, Unread: f.unread, Rejected: f.rejected, Until: f.until}
}

func join(all []findings) (sum findings) {
	for _, f := range all {
		sum.signatures = append(sum.signatures, f.signatures...)
		sum.attestations = append(sum.attestations, f.attestations...)
		sum.unread = append(sum.unread, f.unread...)
		sum.rejected = append(sum.rejected, f.rejected...)
		sum.until = earliest(sum.until, f.until)
	}
	return sum
}

// attachedAs says how that is attached of which nobody said it yet.
func (f findings) attachedAs(format policy.Format) {
	for i := range f.signatures {
		f.signatures[i].Format = cmp.Or(f.signatures[i].Format, format)
	}
	for i := range f.attestations {
		f.attestations[i].Format = cmp.Or(f.attestations[i].Format, format)
	}
	for _, list := range [][]policy.Rejection{f.rejected, f.unread} {
		for i := range list {
			list[i].Format = cmp.Or(list[i].Format, format)
		}
	}
}

// claiming adds to what does not count what it says of itself. who is asked only then: of what counts, all is proven.
func (f findings) claiming(predicateType string, who func() string) findings {
	if len(f.rejected) == 0 {
		return f
	}
	claims := oneLine(who())
	for i := range f.rejected {
		r := &f.rejected[i]
		r.PredicateType, r.Claims = cmp.Or(r.PredicateType, oneLine(predicateType)), claims
	}
	return f
}

func rejected(evidence digest.Digest, format string, args ...any) findings {
	return findings{rejected: []policy.Rejection{{Evidence: evidence, Why: oneLine(fmt.Sprintf(format, args...))}}}
}

func rejectedAs(code FailureCode, evidence digest.Digest, format string, args ...any) findings {
	f := rejected(evidence, format, args...)
	f.rejected[0].Code = string(code)
	return f
}

// oneLine makes a reason fit for a log and a terminal: what it quotes was written by whoever attached the evidence.
func oneLine(text string) string {
	const limit = 200
	clean := make([]rune, 0, min(len(text), limit))
	for _, r := range text {
		if len(clean) == limit {
			return string(clean) + "..."
		}
		if !unicode.IsPrint(r) { // line ends, escapes of terminals, marks that reverse the text
			r = ' '
		}
		clean = append(clean, r)
	}
	return string(clean)
}

// guarded turns a panic into an error: parsers and cryptography read what anybody may have attached.
func guarded(f func() error) func() error {
	return func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic: %v\n%.4000s", p, debug.Stack())
			}
		}()
		return f()
	}
}
