package signer

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/cosign/v2/pkg/oci"
	"github.com/sigstore/cosign/v2/pkg/oci/empty"
	"github.com/sigstore/cosign/v2/pkg/oci/mutate"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

func sigTag(s policy.Subject) string { return strings.Replace(s.Digest.String(), ":", "-", 1) + ".sig" }

// cosignSigns attaches signatures as cosign's own library writes them, with an annotation that needs care.
func cosignSigns(t testing.TB, store *memory, subject policy.Subject, keys ...*Key) {
	t.Helper()
	var signatures []oci.Signature
	for i, key := range keys {
		said := must(encode(payload.SimpleContainerImage{
			Critical: payload.Critical{
				Identity: payload.Identity{DockerReference: host + subject.Repo},
				Image:    payload.Image{DockerManifestDigest: subject.Digest.String()},
				Type:     payload.CosignSignatureType,
			},
			Optional: map[string]any{"i": i},
		}))
		sig, _, err := key.sign(t.Context(), said)
		if err != nil {
			t.Fatal(err)
		}
		signatures = append(signatures, must(static.NewSignature(said, base64.StdEncoding.EncodeToString(sig),
			static.WithAnnotations(map[string]string{"note": "a<b && c>d \u2028"}))))
	}
	image := must(mutate.AppendSignatures(empty.Signatures(), false, signatures...))
	blobs := [][]byte{must(image.RawConfigFile())}
	for _, layer := range must(image.Layers()) {
		blobs = append(blobs, must(io.ReadAll(must(layer.Compressed()))))
	}
	for _, raw := range blobs {
		store.blobs[at(subject.Repo, digest.FromBytes(raw).String())] = raw
	}
	store.put(subject.Repo, sigTag(subject), string(must(image.MediaType())), must(image.RawManifest()))
}

func TestFreshSigLooksLikeCosigns(t *testing.T) {
	ours, theirs, key := newMemory(), newMemory(), newKey(t)
	subject := push(t, ours, "prod/app", "x")
	push(t, theirs, "prod/app", "x")
	mustSeal(t, NewSealer(key, ours, []Format{Tag}), subject)
	cosignSigns(t, theirs, subject, key)

	outline := func(m *memory) string {
		s := m.manifests["prod/app:"+sigTag(subject)]
		read := must(manifest.Parse(s.raw, s.mediaType))
		config := must(m.Blob(t.Context(), "prod/app", read.Config.Digest, 1<<20))
		var image ocispec.Image
		if err := json.Unmarshal(config, &image); err != nil {
			t.Fatal(err)
		}
		layer := read.Layers[0]
		if image.RootFS.DiffIDs[0] != layer.Digest {
			t.Errorf("diff_id is %s, the layer %s", image.RootFS.DiffIDs[0], layer.Digest)
		}
		return fmt.Sprint(s.mediaType, read.ArtifactType, read.Subject, read.Annotations, read.Config.MediaType,
			len(read.Layers), layer.MediaType, len(layer.Annotations["dev.cosignproject.cosign/signature"]) > 80,
			image.RootFS.Type, len(image.RootFS.DiffIDs), len(image.History))
	}
	if got, want := outline(ours), outline(theirs); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestSignaturesOfOthersStayInTheirOrder(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	others := []*Key{newKey(t), newKey(t), newKey(t)}
	cosignSigns(t, store, subject, others...)
	before := must(manifest.Parse(store.manifests["prod/app:"+sigTag(subject)].raw, ocispec.MediaTypeImageManifest))

	mustSeal(t, NewSealer(key, store, nil), subject)
	after := must(manifest.Parse(store.manifests["prod/app:"+sigTag(subject)].raw, ocispec.MediaTypeImageManifest))
	if len(after.Layers) != 4 || fmt.Sprint(after.Layers[:3]) != fmt.Sprint(before.Layers) {
		t.Errorf("layers are\n%v\nwere\n%v", after.Layers, before.Layers)
	}
	for _, other := range others {
		wantCount(t, store, subject, other, 1, 0)
	}
	wantCount(t, store, subject, key, 1, 0)
}

func TestWhatIsNotUnderstoodIsCarriedOver(t *testing.T) {
	for name, c := range map[string]struct{ mediaType, config string }{
		"Docker's media types":       {manifest.DockerManifest, dockerConfig},
		"a configuration of its own": {ocispec.MediaTypeImageManifest, "application/vnd.acme.config+json"},
	} {
		t.Run(name, func(t *testing.T) {
			store, key := newMemory(), newKey(t)
			subject := push(t, store, "prod/app", "x")
			blob := []byte("their bytes")
			theirs := describe("application/x-theirs", blob)
			store.blobs[at("prod/app", theirs.Digest.String())] = blob
			raw := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"x-other":{"n":12345678901234567890,"s":"<&>"},
				"config":{"mediaType":%q,"digest":%q,"size":11,"x-config":true},
				"layers":[{"mediaType":"application/x-theirs","digest":%q,"size":11,"x-layer":[1,2],"annotations":{"k":"<&>"}}],
				"annotations":{"a":"b"}}`, c.mediaType, c.config, theirs.Digest, theirs.Digest)
			store.put("prod/app", sigTag(subject), c.mediaType, []byte(raw))

			mustSeal(t, NewSealer(key, store, nil), subject)
			wantCount(t, store, subject, key, 1, 0)
			after := store.manifests["prod/app:"+sigTag(subject)]
			if after.mediaType != c.mediaType {
				t.Errorf("media type is %s, was %s", after.mediaType, c.mediaType)
			}
			keep := []string{
				`"x-other":{"n":12345678901234567890,"s":"<&>"}`,
				`"x-layer":[1,2],"annotations":{"k":"<&>"}`,
				`"annotations":{"a":"b"}`,
			}
			if c.config != dockerConfig {
				keep = append(keep, `"x-config":true`)
			}
			for _, want := range keep {
				if !bytes.Contains(after.raw, []byte(want)) {
					t.Errorf("%s is lost in\n%s", want, after.raw)
				}
			}
		})
	}
}

func TestWhatIsNoSignatureManifestIsNotReplaced(t *testing.T) {
	index := `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	for name, c := range map[string]stored{
		"an index":              {ocispec.MediaTypeImageIndex, []byte(index)},
		"garbage":               {ocispec.MediaTypeImageManifest, []byte(`garbage`)},
		"an ambiguous manifest": {ocispec.MediaTypeImageManifest, []byte(`{"schemaVersion":2,"layers":[],"Layers":[]}`)},
		"a foreign type":        {"text/html", []byte(`<html>`)},
	} {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		store.put("prod/app", sigTag(subject), c.mediaType, c.raw)
		_, err := NewSealer(newKey(t), store, nil).Seal(t.Context(), subject, host+"prod/app", nil)
		if err == nil || !strings.Contains(err.Error(), ".sig") {
			t.Errorf("%s: got %v", name, err)
		}
		if !bytes.Equal(store.manifests["prod/app:"+sigTag(subject)].raw, c.raw) {
			t.Errorf("%s was replaced", name)
		}
	}
}

func TestThreat049_MoreSignaturesThanAnybodyReadsAreAnError(t *testing.T) {
	stranger := newKey(t)
	for _, c := range []struct {
		there int
		fails bool
	}{{maxSignatures - 1, false}, {maxSignatures, true}, {maxSignatures + 1, true}} {
		store, key := newMemory(), newKey(t)
		subject := push(t, store, "prod/app", "x")
		cosignSigns(t, store, subject, slices.Repeat([]*Key{stranger}, c.there)...)
		_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+"prod/app", nil)
		if (err != nil) != c.fails {
			t.Errorf("%d signatures there: got %v", c.there, err)
		}
		if !c.fails {
			mustSeal(t, NewSealer(key, store, nil), subject) // ours is the last that fits, and is found
		}
	}
}

func TestThreat053_AWriteThatSwallowedOursIsRepaired(t *testing.T) {
	for _, c := range []struct {
		times int
		fails bool
	}{{1, false}, {maxWrites - 1, false}, {maxWrites, true}} {
		store, key, stranger := newMemory(), newKey(t), newKey(t)
		subject := push(t, store, "prod/app", "x")
		written, swallowed := false, 0
		store.fail = func(operation, what string) error {
			if operation == "PutManifest" && what == sigTag(subject) {
				written = true
			}
			if operation == "Manifest" && what == sigTag(subject) && written && swallowed < c.times {
				written = false
				swallowed++
				cosignSigns(t, store, subject, slices.Repeat([]*Key{stranger}, swallowed)...) // knows nothing of ours
			}
			return nil
		}
		_, err := NewSealer(key, store, []Format{Tag}).Seal(t.Context(), subject, host+"prod/app", nil)
		store.fail = nil
		if (err != nil) != c.fails || swallowed != c.times {
			t.Errorf("swallowed %d times (%d): got %v", c.times, swallowed, err)
		}
		if !c.fails {
			wantCount(t, store, subject, key, 1, 0)
			wantCount(t, store, subject, stranger, c.times, 0)
		}
	}
}

func TestPayloadThatIsGoneIsWrittenAgain(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	sealed := mustSeal(t, NewSealer(key, store, []Format{Tag}), subject)
	m := must(manifest.Parse(store.manifests["prod/app:"+sigTag(subject)].raw, ocispec.MediaTypeImageManifest))
	delete(store.blobs, at("prod/app", m.Layers[0].Digest.String()))

	if again := mustSeal(t, NewSealer(key, store, []Format{Tag}), subject); !slices.Equal(sealed, again) {
		t.Errorf("sealed %v, then %v", sealed, again)
	}
	wantCount(t, store, subject, key, 1, 0)
}

func TestThreat043_ASignatureOfAnotherDigestUnderTheTagIsNotTheSeal(t *testing.T) {
	store, key := newMemory(), newKey(t)
	old, subject := push(t, store, "prod/app", "old"), push(t, store, "prod/app", "new")
	mustSeal(t, NewSealer(key, store, []Format{Tag}), old)
	moved := store.manifests["prod/app:"+sigTag(old)]
	store.put("prod/app", sigTag(subject), moved.mediaType, moved.raw)

	mustSeal(t, NewSealer(key, store, []Format{Tag}), subject)
	wantCount(t, store, subject, key, 1, 0)
}

func TestANewNameOfTheGatewayGetsItsOwnSignature(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	if _, err := NewSealer(key, store, nil).Seal(t.Context(), subject, "old.acme.dev/prod/app", nil); err != nil {
		t.Fatal(err)
	}
	wantCount(t, store, subject, key, 0, 1)
	mustSeal(t, NewSealer(key, store, nil), subject)
	wantCount(t, store, subject, key, 1, 1)
}

func TestOursIsRecognisedByVerifyingOnly(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	subject := policy.Subject{Repo: "prod/app", Digest: digest.FromString("x")}
	layout := &tagLayout{own: []Party{key}, says: newTagLayout(nil, nil, subject, host+"prod/app", nil).says}
	own, theirs := must(layout.signature(t.Context(), newPen(key))), must(layout.signature(t.Context(), newPen(stranger)))
	change := func(f func(*ocispec.Descriptor)) ocispec.Descriptor {
		layer := own.Descriptor
		layer.Annotations = map[string]string{signatureAnnotation: own.Annotations[signatureAnnotation]}
		f(&layer)
		return layer
	}
	if must(layout.signedBy(t.Context(), own.Descriptor)) != Party(key) {
		t.Fatal("our own layer is not recognised")
	}
	for name, layer := range map[string]ocispec.Descriptor{
		"a stranger's signature":  theirs.Descriptor,
		"no signature":            change(func(l *ocispec.Descriptor) { l.Annotations = nil }),
		"an empty signature":      change(func(l *ocispec.Descriptor) { l.Annotations[signatureAnnotation] = "" }),
		"no base64":               change(func(l *ocispec.Descriptor) { l.Annotations[signatureAnnotation] = "%%" }),
		"another payload":         change(func(l *ocispec.Descriptor) { l.Digest = digest.FromString("y") }),
		"a sha512 layer":          change(func(l *ocispec.Descriptor) { l.Digest = digest.SHA512.FromBytes(own.raw) }),
		"a layer of another type": change(func(l *ocispec.Descriptor) { l.MediaType = manifest.DSSE }),
		"a digest that is none":   change(func(l *ocispec.Descriptor) { l.Digest = "sha256:zz" }),
	} {
		if must(layout.signedBy(t.Context(), layer)) != nil {
			t.Errorf("%s is taken for ours", name)
		}
	}
}

// FuzzExtend holds what must be true of any manifest that is found under a .sig tag: either it is refused and stays, or
// its layers stay in front and ours is behind them.
func FuzzExtend(f *testing.F) {
	key := newKey(f)
	seed := newMemory()
	subject := push(f, seed, "prod/app", "x")
	cosignSigns(f, seed, subject, newKey(f), newKey(f))
	f.Add(seed.manifests["prod/app:"+sigTag(subject)].raw)
	mustSeal(f, NewSealer(key, seed, []Format{Tag}), subject)
	f.Add(seed.manifests["prod/app:"+sigTag(subject)].raw)
	f.Add(must(json.Marshal(ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, Layers: []ocispec.Descriptor{}})))
	f.Add([]byte(`{"schemaVersion":2,"layers":[],"config":{}}`))
	f.Add([]byte(`{}`))

	f.Fuzz(func(t *testing.T, raw []byte) {
		store := newMemory()
		push(t, store, "prod/app", "x")
		store.blobs = map[string][]byte{}
		store.put("prod/app", sigTag(subject), ocispec.MediaTypeImageManifest, raw)
		layout := newTagLayout([]Party{key}, store, subject, host+"prod/app", nil)
		_, err := layout.look(t.Context())
		before := layout.sig.current
		if before == nil {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		own := must(layout.signature(t.Context(), newPen(key)))
		next, err := layout.sig.extend([]sharedLayer{own}, nil)
		if err != nil {
			return
		}
		after, err := manifest.Parse(next.raw, next.mediaType)
		if err != nil {
			t.Fatalf("%v\nfrom %s\nto   %s", err, raw, next.raw)
		}
		n := len(before.Layers)
		if len(after.Layers) < n || len(after.Layers) > n+1 || fmt.Sprint(after.Layers[:n]) != fmt.Sprint(before.Layers) {
			t.Fatalf("layers are\n%v\nwere\n%v", after.Layers, before.Layers)
		}
		if !slices.ContainsFunc(after.Layers, own.is) {
			t.Fatal("ours is not among the layers")
		}
		if fmt.Sprint(after.Annotations, after.ArtifactType) != fmt.Sprint(before.Annotations, before.ArtifactType) {
			t.Fatal("annotations or artifact type changed")
		}
	})
}

// FuzzPayload holds that only a payload that says exactly what we would say is the seal, even where our key signed it.
func FuzzPayload(f *testing.F) {
	key := newKey(f)
	subject := policy.Subject{Repo: "prod/app", Digest: digest.FromString("x")}
	layout := newTagLayout([]Party{key}, nil, subject, host+"prod/app", nil)
	f.Add(must(layout.signature(f.Context(), newPen(key))).raw)
	f.Add([]byte(`{"critical":null}`))
	f.Add([]byte(`{"critical":{"type":"cosign container image signature"}}`))
	f.Fuzz(func(t *testing.T, said []byte) {
		store := newMemory()
		signature, _, err := key.sign(t.Context(), said)
		if err != nil {
			t.Fatal(err)
		}
		layer := describe(manifest.SimpleSigning, said)
		layer.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(signature)}
		store.blobs[at("prod/app", layer.Digest.String())] = said
		reader := newTagLayout([]Party{key}, store, subject, host+"prod/app", nil)
		reader.sig.current = &manifest.Manifest{Layers: []ocispec.Descriptor{layer}}
		if err := reader.recognise(t.Context()); err != nil {
			t.Fatal(err)
		}
		held, err := reader.holds(t.Context(), key)
		if held && (err != nil || !bytes.Contains(said, []byte(`"`))) {
			t.Fatalf("held with %v: %s", err, said)
		}
		var parsed payload.SimpleContainerImage
		if held && (json.Unmarshal(said, &parsed) != nil || parsed.Critical != layout.says) {
			t.Fatalf("held: %s", said)
		}
	})
}

func TestAnotherStoresBytesAreNotBelieved(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	mustSeal(t, NewSealer(key, store, []Format{Tag}), subject)
	m := must(manifest.Parse(store.manifests["prod/app:"+sigTag(subject)].raw, ocispec.MediaTypeImageManifest))
	store.blobs[at("prod/app", m.Layers[0].Digest.String())] = []byte("{}")
	if _, err := NewSealer(key, store, []Format{Tag}).Seal(t.Context(), subject, host+"prod/app", nil); err == nil ||
		!strings.Contains(err.Error(), "other bytes") {
		t.Errorf("got %v", err)
	}
}

func TestAManifestThatWouldBecomeTooLargeIsLeft(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	cosignSigns(t, store, subject, newKey(t))
	tag := "prod/app:" + sigTag(subject)
	pad := func(n int) {
		raw := store.manifests[tag].raw
		padding := bytes.Repeat([]byte("x"), n)
		padded := slices.Concat(raw[:len(raw)-1], []byte(`,"annotations":{"pad":"`), padding, []byte(`"}}`))
		store.put("prod/app", sigTag(subject), ocispec.MediaTypeImageManifest, padded)
	}
	pad(manifest.MaxBytes - len(store.manifests[tag].raw) - 100)
	before := store.manifests[tag]
	_, err := NewSealer(key, store, []Format{Tag}).Seal(t.Context(), subject, host+"prod/app", nil)
	if err == nil || !strings.Contains(err.Error(), "larger") || errors.Is(err, manifest.ErrInvalid) {
		t.Errorf("got %v", err)
	}
	if !bytes.Equal(before.raw, store.manifests[tag].raw) {
		t.Error("it was replaced")
	}
}
