// Package signer signs digests and attaches the signature to what was signed: the seal.
//
// A seal comes in two layouts, and each alone is a whole signature. [Tag] is cosign v2's: a manifest under the tag
// sha256-<hex>.sig with one layer per signature, shared by all who sign (tag.go). [Bundle] is cosign v3's: a manifest
// of its own that refers to the image (bundle.go). Stock `cosign verify --key` of both generations accepts what is
// written here, without a transparency log and without a network.
//
// Sealing is a function of key, digest and reference: keys sign deterministically, and no clock goes into the seal. So
// two gateways that seal one image at once write the same bytes, and so does a retry after a crash. What is there
// already is recognised by verifying it, never by its annotations.
//
// Blobs are written before the manifest that names them, and the manifest before the list that names it. A crash
// between any two writes leaves blobs or a manifest that nothing refers to; the next attempt writes the same and
// completes.
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

	// Lock serialises, within this process, whoever changes what is attached to a subject.
	Lock(s policy.Subject) (unlock func())
}

// Format is the layout of a seal.
type Format string

// The formats, as they are configured.
const (
	Tag    Format = "tag"    // cosign v2: the tag sha256-<hex>.sig
	Bundle Format = "bundle" // cosign v3: a referrer
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

// Sealer seals subjects with one key. It is safe for concurrent use.
type Sealer struct {
	key     *Key
	store   Store
	formats []Format
}

// NewSealer returns a sealer that writes the given formats.
//
// Without formats it follows what others attached. That matters, because as soon as a bundle is attached, be it only an
// SBOM's, `cosign verify` does not look for a .sig any more and takes an image that its owner signed there for
// unsigned. So an image that carries nothing gets both, one with somebody's .sig or .att gets a .sig, and one with
// somebody's bundle gets a bundle.
//
// What comes later cannot be followed: on an image that got both, a .sig that somebody adds afterwards is hidden from
// cosign by our bundle. Where images are signed with cosign v2 after they were sealed, the formats must be [Tag].
func NewSealer(key *Key, store Store, formats []Format) *Sealer {
	return &Sealer{key: key, store: store, formats: slices.Clone(formats)}
}

// Key is the key that seals.
func (s *Sealer) Key() *Key { return s.key }

// layout is one way to attach a seal.
type layout interface {
	// look finds out what is attached.
	look(ctx context.Context) (standing, error)

	// attach signs, adds the seal, and returns the digest of the manifest that then holds it. It comes after look.
	attach(ctx context.Context) (digest.Digest, error)
}

// standing is what is attached in one layout.
type standing struct {
	seal    digest.Digest // the manifest that holds our signature of the subject, empty if none does
	foreign bool          // something is there that our key did not sign
}

// Seal makes sure that subject carries our signature, and returns the digests of the manifests that hold it. It signs
// nothing but the digest of a manifest that is in the repository. It is idempotent: a signature of ours that is there
// and verifies is not added again. Signatures of others stay as they are, in their order.
//
// reference is the name that a .sig gives to the repository, such as registry.acme.dev/prod/app: the subject's
// repository, behind the gateway's name where it has one. Neither tag nor digest belong to it.
//
// After an error the subject may carry a seal in one format and not in the other. Calling again completes it.
func (s *Sealer) Seal(ctx context.Context, subject policy.Subject, reference string) ([]digest.Digest, error) {
	sealed, err := s.sealLocked(ctx, subject, reference)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", subject, err)
	}
	return sealed, nil
}

func (s *Sealer) sealLocked(ctx context.Context, subject policy.Subject, reference string) ([]digest.Digest, error) {
	if err := checkReference(subject.Repo, reference); err != nil {
		return nil, err
	}
	unlock := s.store.Lock(subject)
	defer unlock()

	image, err := s.find(ctx, subject)
	if err != nil {
		return nil, err
	}
	return s.complete(ctx, map[Format]layout{
		Tag:    newTagLayout(s.key, s.store, subject, reference),
		Bundle: &bundleLayout{key: s.key, store: s.store, subject: subject, image: image},
	})
}

// complete looks at what is there and adds what is missing.
func (s *Sealer) complete(ctx context.Context, layouts map[Format]layout) ([]digest.Digest, error) {
	formats := []Format{Tag, Bundle}
	if s.formats != nil {
		formats = s.formats
	}

	standings := map[Format]standing{}
	for _, format := range formats {
		st, err := layouts[format].look(ctx)
		if err != nil {
			return nil, err
		}
		standings[format] = st
	}

	wanted := s.formats
	if wanted == nil {
		wanted = follow(standings[Tag].foreign, standings[Bundle].foreign)
	}
	var sealed []digest.Digest
	for _, format := range formats {
		seal := standings[format].seal
		if seal == "" && slices.Contains(wanted, format) {
			attached, err := layouts[format].attach(ctx)
			if err != nil {
				return nil, err
			}
			seal = attached
		}
		if seal != "" {
			sealed = append(sealed, seal)
		}
	}
	return sealed, nil
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
