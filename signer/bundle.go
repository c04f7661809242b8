package signer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

// How cosign v3 marks the manifest of a bundle.
const (
	bundleType          = manifest.BundlePrefix + ".v0.3+json"
	contentAnnotation   = "dev.sigstore.bundle.content"
	predicateAnnotation = "dev.sigstore.bundle.predicateType"
)

// bundleLayout is cosign v3's: a manifest with one layer, the bundle, refers to the image as its subject. The bundle is
// a DSSE envelope around a statement, whose predicate type says "signature", or what else it is.
//
// The annotation org.opencontainers.image.created, which cosign adds and nobody reads, is left out of signatures: it would
// make every attempt a different manifest. An attestation has a time anyway, that of its statement.
type bundleLayout struct {
	own     []Party
	store   Store
	subject policy.Subject
	image   ocispec.Descriptor // of the subject's manifest
	budget  *int64             // bytes that may still be read

	there []said
	new   []newBundle
}

// newBundle is a bundle to be attached.
type newBundle struct {
	said
	raw []byte
}

func (b *bundleLayout) look(ctx context.Context) (strangers bool, err error) {
	listed, err := b.store.Listed(ctx, b.subject)
	if err != nil {
		return false, fmt.Errorf("list referrers: %w", err)
	}
	if len(listed) > maxReferrers {
		return false, fmt.Errorf("%d manifests refer to it, %d are allowed; remove some", len(listed), maxReferrers)
	}
	for _, referrer := range listed {
		content, err := b.examine(ctx, referrer.Digest)
		if err != nil {
			return false, fmt.Errorf("examine referrer %.150s: %w", referrer.Digest, err)
		}
		strangers = strangers || content == foreign
	}
	return strangers, nil
}

// examine looks at one referrer, and takes note of what is ours. It sees a bundle exactly where cosign does: in a manifest
// with a single layer of a bundle's type that can be read as a bundle of at least version 0.3. What the list says about it
// does not count.
func (b *bundleLayout) examine(ctx context.Context, referrer digest.Digest) (content, error) {
	if err := manifest.CheckDigest(referrer); err != nil {
		return unreadable, err
	}
	raw, mediaType, err := b.store.Manifest(ctx, b.subject.Repo, referrer.String())
	if absent(err) {
		return unreadable, nil // the list is ahead of a delete
	}
	if err != nil {
		return unreadable, err
	}
	if referrer.Algorithm().FromBytes(raw) != referrer {
		return unreadable, fmt.Errorf("got other bytes, of %s", digest.FromBytes(raw))
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil || len(m.Layers) != 1 || !strings.HasPrefix(m.Layers[0].MediaType, manifest.BundlePrefix) {
		return unreadable, nil
	}

	signed, err := readBlob(ctx, b.store, b.subject.Repo, m.Layers[0], b.budget)
	switch {
	case absent(err):
		return unreadable, nil
	case err != nil:
		return unreadable, fmt.Errorf("fetch bundle %w", err)
	case signed == nil:
		return foreign, nil // too large for one of ours
	}
	content, s := open(signed, b.subject.Digest, b.own)
	if content == ours && m.Subject != nil && m.Subject.Digest == b.subject.Digest {
		s.carrier, s.created = referrer, m.Annotations[ocispec.AnnotationCreated]
		b.there = append(b.there, *s)
	}
	return content, nil
}

// readBlob reads a blob whole, as far as a budget allows, and checks its digest. Nil is what is larger.
func readBlob(ctx context.Context, store Store, repo string, d ocispec.Descriptor, budget *int64) ([]byte, error) {
	if d.Size < 0 || d.Size > maxEnvelope || d.Size > *budget {
		return nil, nil
	}
	*budget -= d.Size
	raw, err := store.Blob(ctx, repo, d.Digest, maxEnvelope)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", d.Digest, err)
	}
	if d.Digest.Algorithm().FromBytes(raw) != d.Digest {
		return nil, fmt.Errorf("%s: got other bytes", d.Digest)
	}
	if raw == nil {
		raw = []byte{}
	}
	return raw, nil
}

func (b *bundleLayout) sign(ctx context.Context, w writer, statements []written) error {
	signature, err := signatureStatement.Encode(b.subject.Digest)
	if err != nil {
		return err
	}
	for _, st := range append(slices.Clone(statements), written{signatureStatement, signature}) {
		if slices.ContainsFunc(b.there, func(s said) bool { return s.says(w, st) }) {
			continue
		}
		raw, err := w.bundle(ctx, st.payload, b.subject.Digest)
		if err != nil {
			return fmt.Errorf("make bundle: %w", err)
		}
		s := read(w, st.payload, b.subject.Digest)
		if !st.Time.IsZero() {
			s.created = st.Time.UTC().Format(time.RFC3339)
		}
		b.new = append(b.new, newBundle{*s, raw})
	}
	return nil
}

func (b *bundleLayout) attest(ctx context.Context) error { return b.attach(ctx, false) }
func (b *bundleLayout) seal(ctx context.Context) error   { return b.attach(ctx, true) }

// attach writes either all signatures or all that is no signature: each bundle, then the manifest that names it, then the
// list that names the manifest.
func (b *bundleLayout) attach(ctx context.Context, signatures bool) error {
	for _, n := range b.new {
		if (n.statement.PredicateType == signPredicate) != signatures {
			continue
		}
		layer := describe(bundleType, n.raw)
		if err := b.store.PutBlob(ctx, b.subject.Repo, layer, n.raw); err != nil {
			return fmt.Errorf("store bundle: %w", err)
		}
		empty := ocispec.DescriptorEmptyJSON
		if err := b.store.PutBlob(ctx, b.subject.Repo, empty, empty.Data); err != nil {
			return fmt.Errorf("store empty configuration: %w", err)
		}
		raw, referrer, err := referTo(b.image, layer, n.statement.PredicateType, n.created)
		if err != nil {
			return fmt.Errorf("encode bundle's manifest: %w", err)
		}
		if err := b.store.PutManifest(ctx, b.subject.Repo, referrer.Digest.String(), referrer.MediaType, raw); err != nil {
			return fmt.Errorf("store bundle's manifest: %w", err)
		}
		if err := b.store.Attach(ctx, b.subject, referrer); err != nil {
			return fmt.Errorf("list bundle: %w", err)
		}
		n.carrier = referrer.Digest
		b.there = append(b.there, n.said)
	}
	return nil
}

// tidy removes attestations of ours that newer ones supersede. They were opened and verified, so that nobody makes us remove
// what we did not write. It leaves the list before it leaves the registry: who reads the list finds all that it names.
//
// A registry that deletes nothing keeps them. They do no harm there, because the newest counts, so that is no error.
func (b *bundleLayout) tidy(ctx context.Context) {
	for _, old := range superseded(b.there) {
		if b.store.Detach(ctx, b.subject, old.carrier) != nil || b.store.DeleteManifest(ctx, b.subject.Repo, old.carrier.String()) != nil {
			continue
		}
		b.there = slices.DeleteFunc(b.there, func(s said) bool { return s.carrier == old.carrier })
	}
}

// superseded are those of our attestations that are too many: of each type by each of us all but the newest [maxKept]. Those
// without a time are the oldest. A signature is never among them.
func superseded(all []said) []said {
	type group struct {
		fingerprint, predicateType string
	}
	kept := map[group]int{}
	newestFirst := slices.Clone(all)
	slices.Reverse(newestFirst) // of one time, what was added last
	slices.SortStableFunc(newestFirst, func(a, b said) int { return strings.Compare(b.created, a.created) })
	var old []said
	for _, s := range newestFirst {
		if s.statement.PredicateType == signPredicate {
			continue
		}
		g := group{s.by.Fingerprint(), s.statement.PredicateType}
		if kept[g]++; kept[g] > maxKept {
			old = append(old, s)
		}
	}
	return old
}

func (b *bundleLayout) evidence() []digest.Digest {
	var signatures, attestations []digest.Digest
	for _, s := range b.there {
		switch {
		case s.statement.PredicateType != signPredicate:
			attestations = append(attestations, s.carrier)
		case s.statement.Type == statementType:
			signatures = append(signatures, s.carrier)
		}
	}
	return append(signatures, attestations...)
}

// referTo makes the manifest by which a bundle refers to an image, and how that manifest is listed.
func referTo(image, layer ocispec.Descriptor, predicateType, created string) (raw []byte, referrer ocispec.Descriptor, err error) {
	empty := ocispec.DescriptorEmptyJSON
	annotations := map[string]string{contentAnnotation: "dsse-envelope", predicateAnnotation: predicateType}
	if created != "" {
		annotations[ocispec.AnnotationCreated] = created
	}
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
