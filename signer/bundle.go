package signer

import (
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore-go/pkg/root"
)

// How cosign v3 marks the manifest of a bundle.
const (
	bundleType          = manifest.BundlePrefix + ".v0.3+json"
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
)

// bundleLayout is cosign v3's: a manifest with one layer, the bundle, refers to the image as its subject. The bundle is
// a DSSE envelope around a statement whose predicate type says "signature".
//
// The annotation org.opencontainers.image.created, which cosign adds and nobody reads, is left out: it would make every
// attempt a different manifest.
type bundleLayout struct {
	key     *Key
	store   Store
	subject policy.Subject
	image   ocispec.Descriptor // of the subject's manifest
}

func (b *bundleLayout) look(ctx context.Context) (standing, error) {
	listed, err := b.store.Listed(ctx, b.subject)
	if err != nil {
		return standing{}, fmt.Errorf("list referrers: %w", err)
	}
	if len(listed) > maxReferrers {
		return standing{}, fmt.Errorf("%d manifests refer to it, %d are allowed; remove some", len(listed), maxReferrers)
	}
	trusted, err := trust(b.key)
	if err != nil {
		return standing{}, err
	}

	var all standing
	for _, referrer := range listed {
		one, err := b.examine(ctx, referrer.Digest, trusted)
		if err != nil {
			return standing{}, fmt.Errorf("examine referrer %.150s: %w", referrer.Digest, err)
		}
		if all.seal == "" {
			all.seal = one.seal
		}
		all.foreign = all.foreign || one.foreign
	}
	return all, nil
}

// examine looks at one referrer. It sees a bundle exactly where cosign does: in a manifest with a single layer of a
// bundle's type that can be read as a bundle of at least version 0.3. What the list says about it does not count.
func (b *bundleLayout) examine(ctx context.Context, referrer digest.Digest, trusted root.TrustedMaterial) (standing, error) {
	if err := manifest.CheckDigest(referrer); err != nil {
		return standing{}, err
	}
	raw, mediaType, err := b.store.Manifest(ctx, b.subject.Repo, referrer.String())
	if absent(err) {
		return standing{}, nil // the list is ahead of a delete
	}
	if err != nil {
		return standing{}, err
	}
	if referrer.Algorithm().FromBytes(raw) != referrer {
		return standing{}, fmt.Errorf("got other bytes, of %s", digest.FromBytes(raw))
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil || len(m.Layers) != 1 || !strings.HasPrefix(m.Layers[0].MediaType, manifest.BundlePrefix) {
		return standing{}, nil
	}

	layer := m.Layers[0]
	if layer.Size > maxBundle {
		return standing{foreign: true}, nil
	}
	signed, err := b.store.Blob(ctx, b.subject.Repo, layer.Digest, maxBundle)
	if absent(err) {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, fmt.Errorf("fetch bundle %s: %w", layer.Digest, err)
	}
	if layer.Digest.Algorithm().FromBytes(signed) != layer.Digest {
		return standing{}, fmt.Errorf("fetch bundle %s: got other bytes", layer.Digest)
	}
	switch judge(signed, b.subject.Digest, trusted) {
	case foreign:
		return standing{foreign: true}, nil
	case signsSubject:
		if m.Subject != nil && m.Subject.Digest == b.subject.Digest {
			return standing{seal: referrer}, nil
		}
	}
	return standing{}, nil
}

// attach writes the bundle, then the manifest that names it, then the list that names the manifest.
func (b *bundleLayout) attach(ctx context.Context) (digest.Digest, error) {
	signed, err := signStatement(b.key, b.subject.Digest)
	if err != nil {
		return "", fmt.Errorf("make bundle: %w", err)
	}
	layer := describe(bundleType, signed)
	if err := b.store.PutBlob(ctx, b.subject.Repo, layer, signed); err != nil {
		return "", fmt.Errorf("store bundle: %w", err)
	}
	empty := ocispec.DescriptorEmptyJSON
	if err := b.store.PutBlob(ctx, b.subject.Repo, empty, empty.Data); err != nil {
		return "", fmt.Errorf("store empty configuration: %w", err)
	}

	raw, referrer, err := referTo(b.image, layer)
	if err != nil {
		return "", fmt.Errorf("encode bundle's manifest: %w", err)
	}
	if err := b.store.PutManifest(ctx, b.subject.Repo, referrer.Digest.String(), referrer.MediaType, raw); err != nil {
		return "", fmt.Errorf("store bundle's manifest: %w", err)
	}
	if err := b.store.Attach(ctx, b.subject, referrer); err != nil {
		return "", fmt.Errorf("list bundle: %w", err)
	}
	return referrer.Digest, nil
}

// referTo makes the manifest by which a bundle refers to an image, and how that manifest is listed.
func referTo(image, layer ocispec.Descriptor) (raw []byte, referrer ocispec.Descriptor, err error) {
	empty := ocispec.DescriptorEmptyJSON
	annotations := map[string]string{contentAnnotation: "dsse-envelope", predicateAnnotation: signPredicate}
	raw, err = encode(ocispec.Manifest{
		Versioned:    specs.Versioned{SchemaVersion: 2},
		MediaType:    ocispec.MediaTypeImageManifest,
		ArtifactType: bundleType,
		Config: ocispec.Descriptor{
			MediaType: empty.MediaType, Digest: empty.Digest, Size: empty.Size, ArtifactType: bundleType,
		},
		Layers:      []ocispec.Descriptor{layer},
		Subject:     &image,
		Annotations: annotations,
	})
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	referrer = describe(ocispec.MediaTypeImageManifest, raw)
	referrer.ArtifactType, referrer.Annotations = bundleType, annotations
	return raw, referrer, nil
}
