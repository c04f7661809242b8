package signer

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
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
	own     []Party
	subject policy.Subject
	sig     sharedManifest
	att     sharedManifest
	budget  *int64 // bytes that may still be read

	says     payload.Critical
	signed   []Party // who of us signed each layer under .sig; nil for a stranger
	attested []said  // under .att
	held     bool    // one of our signatures of the subject is there

	// What attest and seal add.
	signatures, attestations []sharedLayer
}

func newTagLayout(own []Party, store Store, subject policy.Subject, reference string, budget *int64) *tagLayout {
	prefix := strings.Replace(subject.Digest.String(), ":", "-", 1)
	return &tagLayout{
		own: own, subject: subject, budget: budget,
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
	if err := t.recognise(ctx); err != nil {
		return false, err
	}
	strangers = slices.Contains(t.signed, nil)

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
		s := openEnvelope(raw, t.subject.Digest, layer.Annotations, t.own)
		if s == nil || layer.MediaType != manifest.DSSE {
			strangers = true
			continue
		}
		s.carrier, s.created = layer.Digest, layer.Annotations[ocispec.AnnotationCreated]
		t.attested = append(t.attested, *s)
	}
	return strangers, nil
}

// recognise finds out who of us signed what is there.
func (t *tagLayout) recognise(ctx context.Context) error {
	t.signed = make([]Party, len(t.sig.layers()))
	for i, layer := range t.sig.layers() {
		var err error
		if t.signed[i], err = t.signedBy(ctx, layer); err != nil {
			return err
		}
	}
	return nil
}

// signedBy is who of us signed a layer, nil for a stranger. What it is over is fetched only where somebody of us needs it to
// know, and not at all where it is what we say ourselves.
func (t *tagLayout) signedBy(ctx context.Context, layer ocispec.Descriptor) (Party, error) {
	if layer.MediaType != manifest.SimpleSigning || layer.Digest.Algorithm() != digest.SHA256 {
		return nil, nil
	}
	signature, err := base64.StdEncoding.DecodeString(layer.Annotations[signatureAnnotation])
	if err != nil {
		return nil, nil
	}
	content := sync.OnceValues(func() ([]byte, error) {
		if own, err := t.payload(); err != nil || digest.FromBytes(own) == layer.Digest {
			return own, err
		}
		if layer.Size > maxPayload {
			return nil, nil
		}
		raw, err := t.fetch(ctx, layer)
		if absent(err) {
			return nil, nil
		}
		return raw, err
	})
	for _, by := range t.own {
		if made, err := by.madeSignature(layer, signature, content); made || err != nil {
			return by, err
		}
	}
	return nil, nil
}

func (t *tagLayout) fetch(ctx context.Context, layer ocispec.Descriptor) ([]byte, error) {
	raw, err := t.sig.store.Blob(ctx, t.sig.repo, layer.Digest, maxPayload)
	if err != nil {
		return nil, fmt.Errorf("fetch payload %s: %w", layer.Digest, err)
	}
	if digest.FromBytes(raw) != layer.Digest {
		return nil, fmt.Errorf("fetch payload %s: got other bytes", layer.Digest)
	}
	return raw, nil
}

// holds reports that one of the layers is a party's signature of the subject under the reference. Only payloads that it
// signed are fetched. One that is gone does not count: it is written anew.
func (t *tagLayout) holds(ctx context.Context, by Party) (bool, error) {
	for i, layer := range t.sig.layers() {
		if t.signed[i] == nil || !same(t.signed[i], by) {
			continue
		}
		raw, err := t.fetch(ctx, layer)
		if absent(err) {
			continue
		}
		if err != nil {
			return false, err
		}
		var said payload.SimpleContainerImage
		if json.Unmarshal(raw, &said) == nil && said.Critical == t.says {
			return true, nil
		}
	}
	return false, nil
}

func (t *tagLayout) sign(ctx context.Context, w writer, statements []written) error {
	if len(statements) > 0 && t.att.broken != nil {
		return t.att.broken
	}
	for _, st := range statements {
		if slices.ContainsFunc(t.attested, func(s said) bool { return s.says(w, st) }) {
			continue
		}
		raw, annotations, err := w.envelope(ctx, st.payload, t.subject.Digest)
		if err != nil {
			return fmt.Errorf("make envelope: %w", err)
		}
		layer := describe(manifest.DSSE, raw)
		layer.Annotations = annotations
		layer.Annotations[predicateTypeAnnotation] = st.PredicateType
		if !st.Time.IsZero() {
			layer.Annotations[ocispec.AnnotationCreated] = st.Time.UTC().Format(time.RFC3339)
		}
		t.attestations = append(t.attestations, sharedLayer{layer, raw})
		s := read(w, st.payload, t.subject.Digest)
		s.carrier, s.created = layer.Digest, layer.Annotations[ocispec.AnnotationCreated]
		t.attested = append(t.attested, *s)
	}

	held, err := t.holds(ctx, w)
	t.held = t.held || held
	if held || err != nil {
		return err
	}
	layer, err := t.signature(ctx, w)
	t.signatures = append(t.signatures, layer)
	return err
}

// payload is what is signed under .sig.
func (t *tagLayout) payload() ([]byte, error) {
	signed, err := json.Marshal(payload.SimpleContainerImage{Critical: t.says})
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return signed, nil
}

// signature makes the layer that says: this digest is signed. Where only the payload of such a layer is gone, it is that one.
func (t *tagLayout) signature(ctx context.Context, w writer) (sharedLayer, error) {
	signed, err := t.payload()
	if err != nil {
		return sharedLayer{}, err
	}
	layer := describe(manifest.SimpleSigning, signed)
	for i, there := range t.sig.layers() {
		if by := t.signed[i]; by != nil && same(by, w) && there.Digest == layer.Digest {
			return sharedLayer{there, signed}, nil
		}
	}
	layer.Annotations, err = w.signature(ctx, signed)
	return sharedLayer{layer, signed}, err
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
