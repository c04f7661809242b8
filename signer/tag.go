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
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

// signatureAnnotation is on each layer of a .sig manifest: the signature of the layer's bytes, in base64. On each layer of
// a .att manifest it is empty, and predicateTypeAnnotation says what is in the envelope.
const (
	signatureAnnotation     = "dev.cosignproject.cosign/signature"
	predicateTypeAnnotation = "predicateType"
)

// tagLayout is cosign v2's: the tag sha256-<hex>.sig names a manifest whose layers are simple-signing payloads, and
// sha256-<hex>.att one whose layers are envelopes around attestations.
type tagLayout struct {
	keys    []*Key // ours
	subject policy.Subject
	sig     sharedManifest
	att     sharedManifest
	budget  *int64 // bytes that may still be read

	says     payload.Critical
	attested []said // under .att
	held     bool   // one of our signatures of the subject is there

	// What attest and seal add.
	signatures, attestations []sharedLayer
}

func newTagLayout(keys []*Key, store Store, subject policy.Subject, reference string, budget *int64) *tagLayout {
	prefix := strings.Replace(subject.Digest.String(), ":", "-", 1)
	return &tagLayout{
		keys: keys, subject: subject, budget: budget,
		sig: sharedManifest{store: store, repo: subject.Repo, tag: prefix + ".sig"},
		att: sharedManifest{store: store, repo: subject.Repo, tag: prefix + ".att"},
		says: payload.Critical{
			Identity: payload.Identity{DockerReference: reference},
			Image:    payload.Image{DockerManifestDigest: subject.Digest.String()},
			Type:     payload.CosignSignatureType,
		},
	}
}

// look finds somebody else's signature, or attestation: a bundle hides the one just as it hides the other.
func (t *tagLayout) look(ctx context.Context) (strangers bool, err error) {
	if err := t.sig.read(ctx); err != nil {
		return false, err
	}
	if t.sig.broken != nil {
		return false, t.sig.broken
	}
	strangers = slices.ContainsFunc(t.sig.layers(), func(layer ocispec.Descriptor) bool { return t.signedBy(layer) == nil })

	if err := t.att.read(ctx); err != nil {
		return false, err
	}
	strangers = strangers || t.att.broken != nil
	for _, layer := range t.att.layers() {
		raw, err := readBlob(ctx, t.att.store, t.att.repo, layer, t.budget)
		if absent(err) {
			continue // nobody reads it
		}
		if err != nil {
			return false, fmt.Errorf("fetch attestation %w", err)
		}
		s := openEnvelope(raw, t.subject.Digest, t.keys)
		if s == nil || layer.MediaType != manifest.DSSE {
			strangers = true
			continue
		}
		s.carrier, s.created = layer.Digest, layer.Annotations[ocispec.AnnotationCreated]
		t.attested = append(t.attested, *s)
	}
	return strangers, nil
}

// signedBy is the key of ours that signed a layer, nil for a stranger's. P-256 and RSA keys sign the SHA-256 of a payload,
// which is the layer's very digest, so the payload need not be fetched to know.
func (t *tagLayout) signedBy(layer ocispec.Descriptor) *Key {
	if layer.MediaType != manifest.SimpleSigning || layer.Digest.Algorithm() != digest.SHA256 {
		return nil
	}
	signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
	if err != nil {
		return nil
	}
	hash, err := hex.DecodeString(layer.Digest.Encoded())
	if err != nil {
		return nil
	}
	for _, key := range t.keys {
		if key.signed(hash, signature) {
			return key
		}
	}
	return nil
}

// holds reports that one of the layers is a key's signature of the subject under the reference. Only payloads that the key
// signed are fetched. One that is gone does not count: it is written anew.
func (t *tagLayout) holds(ctx context.Context, key *Key) (bool, error) {
	for _, layer := range t.sig.layers() {
		if by := t.signedBy(layer); by == nil || !by.is(key) {
			continue
		}
		raw, err := t.sig.store.Blob(ctx, t.sig.repo, layer.Digest, maxPayload)
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

func (t *tagLayout) sign(ctx context.Context, w writer, statements []written) error {
	p, ok := w.(*pen)
	if !ok {
		return errors.New("the format tag has no place for what is signed without a key")
	}
	if len(statements) > 0 && t.att.broken != nil {
		return t.att.broken
	}
	for _, st := range statements {
		if slices.ContainsFunc(t.attested, func(s said) bool { return s.says(p.Key, st) }) {
			continue
		}
		raw, err := p.envelope(ctx, st.payload)
		if err != nil {
			return fmt.Errorf("make envelope: %w", err)
		}
		layer := describe(manifest.DSSE, raw)
		layer.Annotations = map[string]string{signatureAnnotation: "", predicateTypeAnnotation: st.PredicateType}
		if !st.Time.IsZero() {
			layer.Annotations[ocispec.AnnotationCreated] = st.Time.UTC().Format(time.RFC3339)
		}
		t.attestations = append(t.attestations, sharedLayer{layer, raw})
		s := read(p.Key, st.payload, t.subject.Digest)
		s.carrier, s.created = layer.Digest, layer.Annotations[ocispec.AnnotationCreated]
		t.attested = append(t.attested, *s)
	}

	held, err := t.holds(ctx, p.Key)
	t.held = t.held || held
	if held || err != nil {
		return err
	}
	layer, err := t.signature(ctx, p)
	t.signatures = append(t.signatures, layer)
	return err
}

// signature makes the layer that says: this digest is signed. Where only the payload of such a layer is gone, it is that one.
func (t *tagLayout) signature(ctx context.Context, p *pen) (sharedLayer, error) {
	signed, err := json.Marshal(payload.SimpleContainerImage{Critical: t.says})
	if err != nil {
		return sharedLayer{}, fmt.Errorf("encode payload: %w", err)
	}
	layer := describe(manifest.SimpleSigning, signed)
	for _, there := range t.sig.layers() {
		if by := t.signedBy(there); by != nil && by.is(p.Key) && there.Digest == layer.Digest {
			return sharedLayer{there, signed}, nil
		}
	}
	signature, _, err := p.sign(ctx, signed)
	if err != nil {
		return sharedLayer{}, err
	}
	layer.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
	return sharedLayer{layer, signed}, nil
}

// attest adds the attestations and, in the same write, takes out those of ours that they supersede.
func (t *tagLayout) attest(ctx context.Context) error {
	if len(t.attestations) == 0 {
		return nil
	}
	drop := map[digest.Digest]bool{}
	for _, old := range superseded(t.attested) {
		drop[old.carrier] = true
	}
	return t.att.add(ctx, t.attestations, func(layer ocispec.Descriptor) bool { return drop[layer.Digest] })
}

func (t *tagLayout) seal(ctx context.Context) error {
	if len(t.signatures) == 0 {
		return nil
	}
	err := t.sig.add(ctx, t.signatures, nil)
	t.held = err == nil
	return err
}

func (t *tagLayout) tidy(context.Context) {}

func (t *tagLayout) evidence() (all []digest.Digest) {
	if t.held {
		all = append(all, t.sig.current.Digest)
	}
	if len(t.attested) > 0 && t.att.current != nil {
		all = append(all, t.att.current.Digest)
	}
	return all
}
