// Package signer signs digests and statements, and attaches them to what was signed: the seal.
//
// A seal is a signature, and beside it attestations: what was found out about the image, each by the same key or, without
// one, by the same identity (keyless.go). It comes in
// two layouts, and each alone is a whole seal. [Tag] is cosign v2's: a manifest under the tag sha256-<hex>.sig with one
// layer per signature and one under sha256-<hex>.att with one per attestation, shared by all who sign (tag.go). [Bundle] is
// cosign v3's: manifests of their own that refer to the image (bundle.go). Stock `cosign verify --key` and
// `cosign verify-attestation --key` of both generations accept what is written here, without a transparency log and
// without a network.
//
// # Order
//
// Nothing is written before everything is signed: a signer that does not answer leaves no trace. Then come all attestations
// in all layouts, in the order in which they were given, and the signatures last, because a signature is what a pull rule
// asks for first. Whoever finds a signature of ours finds all that was said with it. Content is written before the manifest
// that names it, and a manifest before the list that names it. So a crash between any two writes leaves blobs or manifests
// that nothing refers to, or attestations without a signature; the next attempt completes it.
//
// # What is there already
//
// Sealing adds only what is missing. What is there is recognised by verifying it, never by its annotations: not every key
// signs one thing twice in the same way. A key in a file does, and no clock goes into a signature, so that two gateways
// that seal one image at once write the same bytes. An attestation is there if its statement is, or one of which the caller
// says that it is the same ([Statement].Same): a summary that differs in nothing but its time need not be said again.
//
// An attestation that says something new is added beside the older ones, of which the last few stay: what decides is always
// the newest. Those that are too many are removed, and only such as were verified to be ours. Between the addition of the new
// and the removal of the old nothing is missing.
package signer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// Store is where seals are written to and what is attached to a subject is read from. Repositories are named as clients
// of the gateway name them. An error that says by a method NotFound() bool that something is definitely absent is an
// answer; every other means that nobody knows. It is safe for concurrent use.
type Store interface {
	// Manifest reads a manifest of at most [manifest.MaxBytes] by tag or digest; by digest, the bytes have that digest.
	Manifest(ctx context.Context, repo, reference string) (raw []byte, mediaType string, err error)

	// Blob reads a blob of at most limit bytes that have the digest.
	Blob(ctx context.Context, repo string, d digest.Digest, limit int64) ([]byte, error)

	// PutManifest stores a manifest under a tag or its digest.
	PutManifest(ctx context.Context, repo, reference, mediaType string, raw []byte) error

	// PutBlob stores a blob that may be there already.
	PutBlob(ctx context.Context, repo string, d ocispec.Descriptor, raw []byte) error

	// Listed names the manifests that refer to a subject, from every place where such a list can be.
	Listed(ctx context.Context, s policy.Subject) ([]ocispec.Descriptor, error)

	// Attach lists a referrer of a subject. Nothing is listed twice. The caller holds Lock.
	Attach(ctx context.Context, s policy.Subject, referrer ocispec.Descriptor) error

	// Detach takes a referrer of a subject off the list, where the registry does not do that when it is deleted. The caller
	// holds Lock.
	Detach(ctx context.Context, s policy.Subject, referrer digest.Digest) error

	// DeleteManifest deletes a manifest by its digest.
	DeleteManifest(ctx context.Context, repo, reference string) error

	// Lock serialises, within this process, whoever changes what is attached to a subject.
	Lock(s policy.Subject) (unlock func())
}

// Format is the layout of a seal.
type Format string

// The formats, as they are configured.
const (
	Tag    Format = "tag"    // cosign v2: the tags sha256-<hex>.sig and .att
	Bundle Format = "bundle" // cosign v3: referrers
)

// ParseFormats reads the configured formats: "auto" alone, or any of "tag" and "bundle". For auto it returns nil.
func ParseFormats(words []string) ([]Format, error) {
	if len(words) == 0 || slices.Equal(words, []string{"auto"}) {
		return nil, nil
	}
	var formats []Format
	for _, word := range words {
		f := Format(word)
		if f != Tag && f != Bundle {
			return nil, fmt.Errorf("format %.40q is not one of tag, bundle, or auto alone", word)
		}
		if slices.Contains(formats, f) {
			return nil, fmt.Errorf("format %q is there twice", word)
		}
		formats = append(formats, f)
	}
	return formats, nil
}

// Sealer seals subjects for one or several parties. It is immutable and safe for concurrent use.
type Sealer struct {
	store   Store
	signers []signer
	own     []Party // also others who seal for us
}

// signer is a party with the formats that it writes; nil follows what is there.
type signer struct {
	party   Party
	formats []Format
}

// NewSealer returns a sealer that writes the given formats.
//
// Without formats it follows what others attached. That matters, because as soon as a bundle is attached, be it only an
// SBOM's, `cosign verify` does not look for a .sig any more and takes an image that its owner signed there for
// unsigned. So an image that carries nothing gets both, one with somebody's .sig or .att gets a .sig and .att, and one with
// somebody's bundle gets bundles.
//
// What comes later cannot be followed: on an image that got both, a .sig that somebody adds afterwards is hidden from
// cosign by our bundle. Where images are signed with cosign v2 after they were sealed, the formats must be [Tag].
//
// What is signed without a key has a place in a .sig that every cosign verifies only with a log of version 1: any other
// [Keyless] writes bundles, whatever the formats are.
func NewSealer(party Party, store Store, formats []Format) *Sealer {
	formats = slices.Clone(formats)
	if k, ok := party.(*Keyless); ok && !k.tags() {
		formats = []Format{Bundle}
	}
	return &Sealer{store: store, signers: []signer{{party, formats}}, own: []Party{party}}
}

// Join returns a sealer that seals for all of them, each in its formats: either all of them sign, or none does. They
// share a store.
func Join(first *Sealer, others ...*Sealer) *Sealer {
	joined := &Sealer{store: first.store, signers: slices.Clone(first.signers), own: slices.Clone(first.own)}
	for _, s := range others {
		joined.signers, joined.own = append(joined.signers, s.signers...), append(joined.own, s.own...)
	}
	return joined
}

// Beside returns a sealer that takes what these signed for our own as well, so that it does not follow it: a key that
// takes over from another one seals an image as if it were the first.
func (s *Sealer) Beside(others ...Party) *Sealer {
	other := *s
	other.own = slices.Concat(s.own, others)
	return &other
}

// layout is one way to attach a seal. Its methods are called in this order.
type layout interface {
	// look finds out what is attached, and whether some of it is a stranger's.
	look(ctx context.Context) (strangers bool, err error)

	// sign makes what a party has to add, and writes nothing.
	sign(ctx context.Context, w writer, statements []written) error

	// attest writes the attestations, seal the signatures.
	attest(ctx context.Context) error
	seal(ctx context.Context) error

	// tidy removes what is superseded.
	tidy(ctx context.Context)

	// evidence names the manifests that hold what our keys signed, signatures first.
	evidence() []digest.Digest
}

// Seal makes sure that subject carries our signature and says the statements, and returns the digests of the manifests that
// hold them. It signs nothing but the digest of a manifest that is in the repository. It is idempotent: what is there and
// verifies is not added again. What others signed stays as it is, in its order.
//
// reference is the name that a .sig gives to the repository, such as registry.acme.dev/prod/app: the subject's
// repository, behind the gateway's name where it has one. Neither tag nor digest belong to it.
//
// After an error the subject may carry a part of the seal: see the order above. Calling again completes it.
func (s *Sealer) Seal(ctx context.Context, subject policy.Subject, reference string, statements []Statement) ([]digest.Digest, error) {
	sealed, err := s.sealLocked(ctx, subject, reference, statements)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", subject, err)
	}
	return sealed, nil
}

func (s *Sealer) sealLocked(ctx context.Context, subject policy.Subject, reference string, statements []Statement) ([]digest.Digest, error) {
	if err := checkReference(subject.Repo, reference); err != nil {
		return nil, err
	}
	unlock := s.store.Lock(subject)
	defer unlock()

	image, err := s.find(ctx, subject)
	if err != nil {
		return nil, err
	}
	toSay, err := prepare(subject.Digest, statements)
	if err != nil {
		return nil, err
	}
	budget := int64(maxRead)
	layouts := map[Format]layout{
		Tag:    newTagLayout(s.own, s.store, subject, reference, &budget),
		Bundle: &bundleLayout{own: s.own, store: s.store, subject: subject, image: image, budget: &budget},
	}
	return s.complete(ctx, layouts, toSay)
}

// complete looks at what is there and adds what is missing.
func (s *Sealer) complete(ctx context.Context, layouts map[Format]layout, statements []written) ([]digest.Digest, error) {
	formats, strangers := s.formats(), map[Format]bool{}
	for _, format := range formats {
		found, err := layouts[format].look(ctx)
		if err != nil {
			return nil, err
		}
		strangers[format] = found
	}

	for _, one := range s.signers {
		wanted, w := one.formats, one.party.writer()
		if wanted == nil {
			wanted = follow(strangers[Tag], strangers[Bundle])
		}
		for _, format := range wanted {
			if err := layouts[format].sign(ctx, w, statements); err != nil {
				return nil, err
			}
		}
	}

	for _, format := range formats {
		if err := layouts[format].attest(ctx); err != nil {
			return nil, err
		}
	}
	for _, format := range formats {
		if err := layouts[format].seal(ctx); err != nil {
			return nil, err
		}
	}
	var sealed []digest.Digest
	for _, format := range formats {
		layouts[format].tidy(ctx)
		sealed = append(sealed, layouts[format].evidence()...)
	}
	return sealed, nil
}

// formats are those that some signer may write.
func (s *Sealer) formats() []Format {
	var all []Format
	for _, one := range s.signers {
		if one.formats == nil {
			return []Format{Tag, Bundle}
		}
		for _, format := range one.formats {
			if !slices.Contains(all, format) {
				all = append(all, format)
			}
		}
	}
	return all
}

// follow chooses the formats from what others attached. What we attached ourselves does not count, or a seal that a
// crash left in one format would never get its other.
func follow(foreignTag, foreignBundle bool) []Format {
	switch {
	case foreignBundle:
		return []Format{Bundle}
	case foreignTag:
		return []Format{Tag}
	}
	return []Format{Tag, Bundle}
}

// find describes the subject's manifest, and refuses to sign what is not a manifest of an image, index or artifact in
// that repository under exactly that digest.
func (s *Sealer) find(ctx context.Context, subject policy.Subject) (ocispec.Descriptor, error) {
	if err := manifest.CheckDigest(subject.Digest); err != nil {
		return ocispec.Descriptor{}, err
	}
	if subject.Digest.Algorithm() != digest.SHA256 {
		return ocispec.Descriptor{}, fmt.Errorf("only sha256 digests are signed, not %s", subject.Digest.Algorithm())
	}
	raw, mediaType, err := s.store.Manifest(ctx, subject.Repo, subject.Digest.String())
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("fetch subject: %w", err)
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return ocispec.Descriptor{}, fmt.Errorf("read subject: %w", err)
	}
	if m.Digest != subject.Digest {
		return ocispec.Descriptor{}, fmt.Errorf("fetch subject: got other bytes, of %s", m.Digest)
	}
	if m.IsEvidence() {
		return ocispec.Descriptor{}, errors.New("the subject is itself a signature or attestation")
	}
	return ocispec.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(raw))}, nil
}

// checkReference wants the repository, alone or behind host and port.
func checkReference(repo, reference string) error {
	if repo == "" {
		return errors.New("no repository")
	}
	if reference == repo {
		return nil
	}
	host, ok := strings.CutSuffix(reference, "/"+repo)
	if !ok || host == "" || strings.ContainsFunc(host, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune(".-:[]", c)
	}) {
		return fmt.Errorf("reference %.300q is not the repository, alone or behind a host", reference)
	}
	return nil
}

// absent reports that a store said that something is definitely not there.
func absent(err error) bool {
	var missing interface{ NotFound() bool }
	return errors.As(err, &missing) && missing.NotFound()
}

// encode is JSON without the escapes that are meant for web pages: what others wrote stays as it was.
func encode(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// describe describes a blob or manifest of ours.
func describe(mediaType string, raw []byte) ocispec.Descriptor {
	return ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}
