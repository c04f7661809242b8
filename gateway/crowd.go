package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/gateway/upstream"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Whoever may push or sign in a repository attaches to any image in it. What he attaches must not keep others from pulling the
// image: a verifier reads so much about a subject and no more, and does not guess what it could not read. So what is attached
// is counted, and a list names nothing that is not there.

// maxReferrers bounds what clients attach to one subject. A verifier reads up to a hundred; the rest is left to the seal.
const maxReferrers = 64

// maxAttestation bounds one layer of what clients attach, in bytes: a verifier that needs attestations reads no larger ones,
// and what it cannot read refuses the image.
const maxAttestation = 64 << 20

// maxAttached bounds the large ones of all that clients attach to one subject in one place, in bytes: a verifier that needs
// attestations reads them all, one by one, in the time that it has.
const maxAttached = 2 * maxAttestation

// smallAttestation is up to where attestations are not added up.
const smallAttestation = 1 << 20

// oversized refuses evidence that no verifier would read: whoever may push could make somebody's image be refused.
func oversized(m *manifest.Manifest) *policy.Reason {
	for _, layer := range m.Layers {
		if layer.Size > maxAttestation {
			reason := tooMuch("it has a layer of %d bytes, %d are accepted", layer.Size, maxAttestation)
			reason.Fix = "attest a summary, and keep the document elsewhere"
			return reason
		}
	}
	return nil
}

func tooMuch(why string, args ...any) *policy.Reason {
	return &policy.Reason{
		Code: policy.EvidenceTooMuch,
		Why:  fmt.Sprintf(why, args...),
		Fix:  "ask whoever keeps the registry to remove old ones",
	}
}

// crowded refuses one more referrer of a subject than a verifier would read, and more than it could read. Those that are being
// pushed count from [arrivals.begin] on: many at once are not one.
func (g *Gateway) crowded(ctx context.Context, x *exchange, m *manifest.Manifest) (*policy.Reason, error) {
	if m.Subject == nil {
		return nil, nil
	}
	subject := policy.Subject{Repo: x.t.Repo, Digest: m.Subject.Digest}
	arriving := g.arrivals.of(subject) // before the list, so that each is in one of the two
	there, err := x.re.Registries.Listed(ctx, subject)
	if err != nil {
		return nil, fmt.Errorf("list referrers of %s: %w", m.Subject.Digest, err)
	}
	if len(there)+arriving.referrers > maxReferrers {
		return tooMuch("its subject has %d referrers, the most that are accepted", len(there)+arriving.referrers-1), nil
	}
	if large(m) == 0 {
		return oversized(m), nil
	}
	total := arriving.bytes
	for _, d := range there {
		one, err := g.fetch(ctx, x.re, Target{Repo: subject.Repo, Digest: d.Digest})
		switch {
		case errors.Is(err, upstream.ErrNotFound) || errors.Is(err, manifest.ErrInvalid):
		case err != nil:
			return nil, fmt.Errorf("read referrer %s: %w", d.Digest, err)
		case one.Digest != m.Digest:
			total += large(one)
		}
	}
	if total > maxAttached {
		return tooMuch("with it, %d bytes of attestations are attached to its subject, %d are accepted", total, maxAttached), nil
	}
	return oversized(m), nil
}

// large is how much of a manifest a verifier reads that is worth adding up.
func large(m *manifest.Manifest) (total int64) {
	for _, layer := range m.Layers {
		if layer.Size > smallAttestation && (manifest.IsBundleType(layer.MediaType) || layer.MediaType == manifest.DSSE) {
			total += min(layer.Size, maxAttestation+1) // no sum of a thousand overflows
		}
	}
	return total
}

// judgeEntries says what speaks against the entries that a list of referrers has and did not have before: each must be there and
// refer to the subject, so that it is taken off the list when it is deleted.
func (g *Gateway) judgeEntries(ctx context.Context, x *exchange, subject policy.Subject, after, before *manifest.Manifest) (*policy.Reason, error) {
	for _, d := range after.Manifests {
		if slices.ContainsFunc(before.Manifests, func(known ocispec.Descriptor) bool { return known.Digest == d.Digest }) {
			continue
		}
		entry, err := g.fetch(ctx, x.re, Target{Repo: subject.Repo, Digest: d.Digest})
		switch {
		case errors.Is(err, upstream.ErrNotFound):
			return misplaced("it lists %s, which is not there", d.Digest), nil
		case err != nil && !errors.Is(err, manifest.ErrInvalid):
			return nil, fmt.Errorf("read %s that is listed: %w", d.Digest, err)
		case err != nil || entry.Subject == nil || entry.Subject.Digest != subject.Digest:
			return misplaced("it lists %s, which refers to something else", d.Digest), nil
		}
	}
	return nil, nil
}

func misplaced(why string, args ...any) *policy.Reason {
	return &policy.Reason{
		Code: policy.EvidenceMisplaced,
		Why:  fmt.Sprintf(why, args...),
		Fix:  "push what refers to the image, by its digest; it is listed then",
	}
}

// arrivals are the referrers that are being pushed, by their subjects. The zero value is ready.
type arrivals struct {
	mu sync.Mutex // guards by
	by map[policy.Subject]arriving
}

type arriving struct {
	referrers int
	bytes     int64 // of the large ones
}

// begin counts a referrer as being pushed until end is called.
func (a *arrivals) begin(s policy.Subject, bytes int64) (end func()) {
	a.add(s, 1, bytes)
	return func() { a.add(s, -1, -bytes) }
}

func (a *arrivals) add(s policy.Subject, referrers int, bytes int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil {
		a.by = map[policy.Subject]arriving{}
	}
	one := a.by[s]
	one.referrers, one.bytes = one.referrers+referrers, one.bytes+bytes
	a.by[s] = one
	if one.referrers == 0 {
		delete(a.by, s)
	}
}

func (a *arrivals) of(s policy.Subject) arriving {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.by[s]
}
