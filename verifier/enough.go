package verifier

import (
	"context"

	"github.com/sealgate/sealgate/policy"
	"golang.org/x/sync/errgroup"
)

// WithEnough returns a verifier that stops looking when the signatures that it found are enough: when no other signature and
// no attestation could change the verdict. It is asked for repositories whose rule needs no attestation, and for those alone;
// a signature that is added never turns an admit into a deny. A subject whose signatures are not enough was looked for in
// every place, as ever: what is refused is refused with all the evidence that there is.
func (v *Verifier) WithEnough(enough func(s policy.Subject, signatures []policy.Signature) bool) *Verifier {
	other := *v
	other.enough = enough
	return &other
}

// sufficient looks for signatures in the order in which they are found with the fewest requests: in what refers to the
// subject, where cosign v3 and we put them, then under the .sig tag. Several referrers may all be SBOMs; then both are read at
// once, because one request more is less than the time of three.
func (v *Verifier) sufficient(ctx context.Context, s policy.Subject) (findings, error) {
	listed, refused, err := v.list(ctx, s)
	if err != nil {
		return findings{}, err
	}
	referring := refused
	if len(listed) == 1 {
		if referring, err = v.open(ctx, s, listed); err != nil {
			return findings{}, err
		}
		if v.enough(s, referring.signatures) {
			return referring, nil
		}
		listed = nil
	}

	var tagged findings
	both, ctx := errgroup.WithContext(ctx)
	both.Go(guarded(func() (err error) {
		tagged, err = v.tagged(ctx, s)
		return err
	}))
	if len(listed) > 0 {
		both.Go(guarded(func() (err error) {
			referring, err = v.open(ctx, s, listed)
			return err
		}))
	}
	if err := both.Wait(); err != nil {
		return findings{}, err
	}
	return join([]findings{tagged, referring}), nil
}
