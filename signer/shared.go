package signer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

const dockerConfig = "application/vnd.docker.container.image.v1+json"

// sharedManifest is what an evidence tag names: a manifest whose layers belong to all who sign an image.
//
// Adding a layer means to read it, append and write it back. A registry offers no compare-and-swap; the lock keeps our own
// process in line, and reading again after the write tells whether somebody else's write swallowed ours.
type sharedManifest struct {
	store     Store
	repo, tag string

	current *manifest.Manifest // what the tag named when it was last read; nil: nothing that can be added to
	broken  error              // why what it names cannot be added to
}

// sharedLayer is a layer to be added, with its content.
type sharedLayer struct {
	ocispec.Descriptor
	raw []byte
}

// is reports that a layer is this very one.
func (l sharedLayer) is(other ocispec.Descriptor) bool {
	return l.Digest == other.Digest && l.MediaType == other.MediaType &&
		l.Annotations[signatureAnnotation] == other.Annotations[signatureAnnotation]
}

func (s *sharedManifest) layers() []ocispec.Descriptor {
	if s.current == nil {
		return nil
	}
	return s.current.Layers
}

// read takes what the tag names now. What is no manifest of signatures is broken: writing would replace it. The error says
// that nobody knows.
func (s *sharedManifest) read(ctx context.Context) error {
	s.current, s.broken = nil, nil
	raw, mediaType, err := s.store.Manifest(ctx, s.repo, s.tag)
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fetch %s: %w", s.tag, err)
	}
	m, err := manifest.Parse(raw, mediaType)
	switch {
	case err != nil:
		s.broken = fmt.Errorf("read %s, which is to be removed if it is no signature or attestation: %w", s.tag, err)
	case m.IsIndex():
		s.broken = fmt.Errorf("%s is an index and no signature or attestation; remove it", s.tag)
	case len(m.Layers) > maxSignatures:
		s.broken = fmt.Errorf("%s has %d layers, %d are allowed; remove some", s.tag, len(m.Layers), maxSignatures)
	default:
		s.current = m
	}
	return nil
}

// add appends layers, and in the same write takes out those for which drop says so.
func (s *sharedManifest) add(ctx context.Context, layers []sharedLayer, drop func(ocispec.Descriptor) bool) error {
	for range maxWrites {
		if s.broken != nil {
			return s.broken
		}
		if err := s.write(ctx, layers, drop); err != nil {
			return err
		}
		if err := s.read(ctx); err != nil {
			return err
		}
		if !slices.ContainsFunc(layers, func(l sharedLayer) bool { return !slices.ContainsFunc(s.layers(), l.is) }) {
			return nil
		}
	}
	return fmt.Errorf("%s: somebody else replaced it after each of %d writes", s.tag, maxWrites)
}

// write puts the tag's manifest with our layers behind those that are there. Their content and the configuration come
// first.
func (s *sharedManifest) write(ctx context.Context, layers []sharedLayer, drop func(ocispec.Descriptor) bool) error {
	next, err := s.extend(layers, drop)
	if err != nil {
		return fmt.Errorf("extend %s: %w", s.tag, err)
	}
	for _, l := range layers {
		bare := ocispec.Descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size}
		if err := s.store.PutBlob(ctx, s.repo, bare, l.raw); err != nil {
			return fmt.Errorf("store what %s is to hold: %w", s.tag, err)
		}
	}
	if next.config != nil {
		if err := s.store.PutBlob(ctx, s.repo, next.configured, next.config); err != nil {
			return fmt.Errorf("store configuration of %s: %w", s.tag, err)
		}
	}
	if err := s.store.PutManifest(ctx, s.repo, s.tag, next.mediaType, next.raw); err != nil {
		return fmt.Errorf("store %s: %w", s.tag, err)
	}
	return nil
}

// extended is a manifest to be written.
type extended struct {
	raw        []byte
	mediaType  string
	config     []byte // nil: the configuration stays
	configured ocispec.Descriptor
}

// extend appends our layers to the current manifest. What others wrote, known to us or not, is carried over as raw JSON.
func (s *sharedManifest) extend(add []sharedLayer, drop func(ocispec.Descriptor) bool) (extended, error) {
	add = slices.DeleteFunc(slices.Clone(add), func(l sharedLayer) bool { return slices.ContainsFunc(s.layers(), l.is) })
	if s.current == nil {
		layers := descriptors(add)
		config, configured, err := configure(ocispec.MediaTypeImageConfig, layers)
		if err != nil {
			return extended{}, err
		}
		raw, err := encode(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageManifest,
			Config:    configured,
			Layers:    layers,
		})
		return extended{raw, ocispec.MediaTypeImageManifest, config, configured}, err
	}
	if len(add) == 0 {
		return extended{raw: s.current.Raw, mediaType: s.current.MediaType}, nil // only the content was gone
	}

	var document map[string]json.RawMessage
	var theirs, layers []json.RawMessage
	if err := json.Unmarshal(s.current.Raw, &document); err != nil {
		return extended{}, err
	}
	if err := json.Unmarshal(document["layers"], &theirs); err != nil {
		return extended{}, err
	}
	var all []ocispec.Descriptor
	for i, layer := range s.current.Layers {
		if drop == nil || !drop(layer) {
			layers, all = append(layers, theirs[i]), append(all, layer)
		}
	}
	if len(layers)+len(add) > maxSignatures {
		return extended{}, fmt.Errorf("it has %d layers already; remove some", len(layers))
	}
	for _, l := range add {
		layer, err := encode(l.Descriptor)
		if err != nil {
			return extended{}, err
		}
		layers, all = append(layers, layer), append(all, l.Descriptor)
	}

	var err error
	if document["layers"], err = encode(layers); err != nil {
		return extended{}, err
	}
	next := extended{mediaType: s.current.MediaType}
	if kind := s.current.Config.MediaType; kind == ocispec.MediaTypeImageConfig || kind == dockerConfig {
		if next.config, next.configured, err = configure(kind, all); err != nil {
			return extended{}, err
		}
		if document["config"], err = encode(next.configured); err != nil {
			return extended{}, err
		}
	}
	if next.raw, err = encode(document); err != nil {
		return extended{}, err
	}
	if len(next.raw) > manifest.MaxBytes {
		return extended{}, errors.New("it would be larger than a manifest may be")
	}
	return next, nil
}

func descriptors(layers []sharedLayer) []ocispec.Descriptor {
	all := make([]ocispec.Descriptor, len(layers))
	for i, l := range layers {
		all[i] = l.Descriptor
	}
	return all
}

// configure makes the image configuration that the format calls for. It says nothing but which layers there are, so it
// is made anew rather than merged.
func configure(mediaType string, layers []ocispec.Descriptor) ([]byte, ocispec.Descriptor, error) {
	image := ocispec.Image{RootFS: ocispec.RootFS{Type: "layers"}}
	for _, layer := range layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, layer.Digest) // payloads are not compressed
		image.History = append(image.History, ocispec.History{})
	}
	raw, err := encode(image)
	if err != nil {
		return nil, ocispec.Descriptor{}, err
	}
	return raw, describe(mediaType, raw), nil
}
