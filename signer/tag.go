package signer

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// signatureAnnotation is on each layer of a .sig manifest: the signature of the layer's bytes, in base64.
const signatureAnnotation = "dev.cosignproject.cosign/signature"

const dockerConfig = "application/vnd.docker.container.image.v1+json"

// tagLayout is cosign v2's: the tag sha256-<hex>.sig names a manifest whose layers are simple-signing payloads.
//
// All signatures of an image share that manifest, so adding one means to read it, append a layer and write it back. A
// registry offers no compare-and-swap; the lock keeps our own process in line, and reading again after the write tells
// whether somebody else's write swallowed ours.
type tagLayout struct {
	key    *Key
	store  Store
	repo   string
	prefix string // sha256-<hex>

	says    payload.Critical
	current *manifest.Manifest // what the tag named when it was last read; nil: nothing

	// What attach adds.
	payload []byte
	layer   ocispec.Descriptor // of the payload, with the signature
}

func newTagLayout(key *Key, store Store, subject policy.Subject, reference string) *tagLayout {
	return &tagLayout{
		key: key, store: store, repo: subject.Repo,
		prefix: strings.Replace(subject.Digest.String(), ":", "-", 1),
		says: payload.Critical{
			Identity: payload.Identity{DockerReference: reference},
			Image:    payload.Image{DockerManifestDigest: subject.Digest.String()},
			Type:     payload.CosignSignatureType,
		},
	}
}

func (t *tagLayout) look(ctx context.Context) (standing, error) {
	if err := t.read(ctx); err != nil {
		return standing{}, err
	}
	held, err := t.held(ctx)
	if err != nil {
		return standing{}, err
	}
	var st standing
	if held {
		st.seal = t.current.Digest
	}
	if t.current != nil {
		st.foreign = slices.ContainsFunc(t.current.Layers, func(layer ocispec.Descriptor) bool { return !t.ours(layer) })
	}

	if st.foreign {
		return st, nil
	}

	// A bundle hides an attestation of cosign v2 just as it hides a signature.
	if _, _, err := t.store.Manifest(ctx, t.repo, t.prefix+".att"); err == nil {
		st.foreign = true
	} else if !absent(err) {
		return standing{}, fmt.Errorf("fetch %s.att: %w", t.prefix, err)
	}
	return st, nil
}

func (t *tagLayout) attach(ctx context.Context) (digest.Digest, error) {
	if err := t.sign(); err != nil {
		return "", err
	}
	for range maxWrites {
		if err := t.write(ctx); err != nil {
			return "", err
		}
		if err := t.read(ctx); err != nil {
			return "", err
		}
		held, err := t.held(ctx)
		if err != nil {
			return "", err
		}
		if held {
			return t.current.Digest, nil
		}
	}
	return "", fmt.Errorf("%s.sig: somebody else replaced it after each of %d writes", t.prefix, maxWrites)
}

// sign makes the layer that attach adds.
func (t *tagLayout) sign() error {
	signed, err := json.Marshal(payload.SimpleContainerImage{Critical: t.says})
	if err != nil {
		return fmt.Errorf("encode payload: %w", err)
	}
	signature, _, err := t.key.sign(signed)
	if err != nil {
		return err
	}
	t.payload, t.layer = signed, describe(manifest.SimpleSigning, signed)
	t.layer.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
	return nil
}

// read takes what the tag names now. What cannot be read as a signature manifest is an error: writing would replace it.
func (t *tagLayout) read(ctx context.Context) error {
	t.current = nil
	raw, mediaType, err := t.store.Manifest(ctx, t.repo, t.prefix+".sig")
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("fetch %s.sig: %w", t.prefix, err)
	}
	m, err := manifest.Parse(raw, mediaType)
	if err != nil {
		return fmt.Errorf("read %s.sig, which is to be removed if it is no signature: %w", t.prefix, err)
	}
	if m.IsIndex() {
		return fmt.Errorf("%s.sig is an index and no signature; remove it", t.prefix)
	}
	if len(m.Layers) > maxSignatures {
		return fmt.Errorf("%s.sig has %d signatures, %d are allowed; remove some", t.prefix, len(m.Layers), maxSignatures)
	}
	t.current = m
	return nil
}

// ours reports that our key signed a layer. P-256 and RSA keys sign the SHA-256 of a payload, which is the layer's very
// digest, so the payload need not be fetched to know.
func (t *tagLayout) ours(layer ocispec.Descriptor) bool {
	if layer.MediaType != manifest.SimpleSigning || layer.Digest.Algorithm() != digest.SHA256 {
		return false
	}
	signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
	if err != nil {
		return false
	}
	hash, err := hex.DecodeString(layer.Digest.Encoded())
	return err == nil && t.key.signed(hash, signature)
}

// held reports that one of the layers is our signature of the subject under the reference. Only payloads that our key
// signed are fetched. One that is gone does not count: it is written anew.
func (t *tagLayout) held(ctx context.Context) (bool, error) {
	if t.current == nil {
		return false, nil
	}
	for _, layer := range t.current.Layers {
		if !t.ours(layer) {
			continue
		}
		raw, err := t.store.Blob(ctx, t.repo, layer.Digest, maxPayload)
		if absent(err) {
			continue
		}
		if err != nil {
			return false, fmt.Errorf("fetch payload %s: %w", layer.Digest, err)
		}
		if digest.FromBytes(raw) != layer.Digest {
			return false, fmt.Errorf("fetch payload %s: got other bytes", layer.Digest)
		}
		var said payload.SimpleContainerImage
		if json.Unmarshal(raw, &said) == nil && said.Critical == t.says {
			return true, nil
		}
	}
	return false, nil
}

// write puts the tag's manifest with our layer behind those that are there. The payload and the configuration come
// first.
func (t *tagLayout) write(ctx context.Context) error {
	next, err := t.extend()
	if err != nil {
		return fmt.Errorf("extend %s.sig: %w", t.prefix, err)
	}
	if err := t.store.PutBlob(ctx, t.repo, t.layer, t.payload); err != nil {
		return fmt.Errorf("store payload: %w", err)
	}
	if next.config != nil {
		if err := t.store.PutBlob(ctx, t.repo, next.configured, next.config); err != nil {
			return fmt.Errorf("store configuration of %s.sig: %w", t.prefix, err)
		}
	}
	if err := t.store.PutManifest(ctx, t.repo, t.prefix+".sig", next.mediaType, next.raw); err != nil {
		return fmt.Errorf("store %s.sig: %w", t.prefix, err)
	}
	return nil
}

// extended is a .sig manifest to be written.
type extended struct {
	raw        []byte
	mediaType  string
	config     []byte // nil: the configuration stays
	configured ocispec.Descriptor
}

// extend appends our layer to the current manifest. What others wrote, known to us or not, is carried over as raw JSON.
func (t *tagLayout) extend() (extended, error) {
	if t.current == nil {
		config, configured, err := configure(ocispec.MediaTypeImageConfig, []ocispec.Descriptor{t.layer})
		if err != nil {
			return extended{}, err
		}
		raw, err := encode(ocispec.Manifest{
			Versioned: specs.Versioned{SchemaVersion: 2},
			MediaType: ocispec.MediaTypeImageManifest,
			Config:    configured,
			Layers:    []ocispec.Descriptor{t.layer},
		})
		return extended{raw, ocispec.MediaTypeImageManifest, config, configured}, err
	}

	if slices.ContainsFunc(t.current.Layers, t.same) {
		return extended{raw: t.current.Raw, mediaType: t.current.MediaType}, nil // only the payload was gone
	}

	var document map[string]json.RawMessage
	var layers []json.RawMessage
	if err := json.Unmarshal(t.current.Raw, &document); err != nil {
		return extended{}, err
	}
	if err := json.Unmarshal(document["layers"], &layers); err != nil {
		return extended{}, err
	}
	if len(layers) >= maxSignatures {
		return extended{}, fmt.Errorf("it has %d signatures already; remove some", len(layers))
	}
	layer, err := encode(t.layer)
	if err != nil {
		return extended{}, err
	}
	layers = append(layers, layer)

	if document["layers"], err = encode(layers); err != nil {
		return extended{}, err
	}
	next := extended{mediaType: t.current.MediaType}
	if kind := t.current.Config.MediaType; kind == ocispec.MediaTypeImageConfig || kind == dockerConfig {
		if next.config, next.configured, err = configure(kind, append(slices.Clone(t.current.Layers), t.layer)); err != nil {
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

// same reports that a layer is the very one that we would add.
func (t *tagLayout) same(layer ocispec.Descriptor) bool {
	return layer.Digest == t.layer.Digest && layer.MediaType == t.layer.MediaType &&
		layer.Annotations[signatureAnnotation] == t.layer.Annotations[signatureAnnotation]
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
