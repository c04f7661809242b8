package signer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestBundleManifestIsAsCosignWritesIt(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	sealed := mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	raw := store.manifests[at("prod/app", sealed[0].String())].raw
	m := must(manifest.Parse(raw, ocispec.MediaTypeImageManifest))
	image := store.manifests[at("prod/app", subject.Digest.String())]

	want := fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json",`+
		`"config":{"mediaType":"application/vnd.oci.empty.v1+json",`+
		`"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,`+
		`"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"},`+
		`"layers":[{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":%q,"size":%d}],`+
		`"subject":{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":%q,"size":%d},`+
		`"annotations":{"dev.sigstore.bundle.content":"dsse-envelope",`+
		`"dev.sigstore.bundle.predicateType":"https://sigstore.dev/cosign/sign/v1"}}`,
		m.Layers[0].Digest, m.Layers[0].Size, subject.Digest, len(image.raw))
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}

	var b struct {
		MediaType string `json:"mediaType"`
		Material  struct {
			Key *struct {
				Hint []byte `json:"hint"`
			} `json:"publicKey"`
		} `json:"verificationMaterial"`
		Envelope struct {
			Type       string              `json:"payloadType"`
			Payload    []byte              `json:"payload"`
			Signatures []map[string]string `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(store.blobs[at("prod/app", m.Layers[0].Digest.String())], &b); err != nil {
		t.Fatal(err)
	}
	if b.MediaType != bundleType || b.Material.Key == nil || fmt.Sprintf("%x", b.Material.Key.Hint) != key.Fingerprint() ||
		b.Envelope.Type != "application/vnd.in-toto+json" || len(b.Envelope.Signatures) != 1 {
		t.Errorf("bundle is %+v", b)
	}
	said := `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + subject.Digest.Encoded() +
		`"}}],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`
	if string(b.Envelope.Payload) != said {
		t.Errorf("statement is %s\nwant %s", b.Envelope.Payload, said)
	}
	listed := store.listed[subject]
	if len(listed) != 1 || listed[0].ArtifactType != bundleType ||
		listed[0].Size != int64(len(raw)) || len(listed[0].Annotations) != 2 {
		t.Errorf("listed as %+v", listed)
	}
}

// signed is a bundle with a signature of a digest.
func signed(t testing.TB, key *Key, subject digest.Digest) []byte {
	t.Helper()
	return must(newPen(key).bundle(t.Context(), must(signatureStatement.Encode(subject)), subject))
}

func TestThreat058_TheListIsNotBelieved(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	store.listed[subject][0].ArtifactType = "application/x-nothing"
	store.listed[subject][0].Annotations = nil
	mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	if n := len(store.listed[subject]); n != 1 {
		t.Errorf("%d referrers, want the one that was there", n)
	}
}

func TestThreat151_AForgedSealIsNotOurs(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	for name, forge := range map[string]func(*testing.T, *memory, policy.Subject){
		"our manifest around a stranger's bundle": func(t *testing.T, m *memory, s policy.Subject) {
			mustSeal(t, NewSealer(stranger, m, []Format{Bundle}), s)
		},
		"our hint in a stranger's bundle": func(t *testing.T, m *memory, s policy.Subject) {
			forged := *stranger
			forged.fingerprint = key.fingerprint
			made := signed(t, &forged, s.Digest)
			refer(t, m, s, bundleType, made)
		},
		"our signature of another image": func(t *testing.T, m *memory, s policy.Subject) {
			refer(t, m, s, bundleType, signed(t, key, digest.FromString("another")))
		},
		"our attestation": func(t *testing.T, m *memory, s policy.Subject) {
			attest(t, m, s, key, "https://spdx.dev/Document")
		},
		"our attestation of almost the right type": func(t *testing.T, m *memory, s policy.Subject) {
			attest(t, m, s, key, signPredicate+"evil")
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := newMemory()
			subject := push(t, store, "prod/app", "x")
			forge(t, store, subject)
			before := len(store.listed[subject])
			mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
			wantCount(t, store, subject, key, 0, 1)
			if after := len(store.listed[subject]); after != before+1 {
				t.Errorf("%d referrers, were %d", after, before)
			}
		})
	}
}

func TestThreat056_AReferrerOfAnotherSubjectIsNotTheSeal(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject, other := push(t, store, "prod/app", "x"), push(t, store, "prod/app", "other")
	made := signed(t, key, subject.Digest)
	refer(t, store, other, bundleType, made) // a good bundle, but its manifest refers to another image
	store.listed[subject] = store.listed[other]
	mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	wantCount(t, store, subject, key, 0, 1)
}

func TestReferrersThatAreNotThereAreSkipped(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	deleted := attest(t, store, subject, newKey(t), "https://spdx.dev/Document")
	delete(store.manifests, at("prod/app", deleted.String()))
	emptied := attest(t, store, subject, newKey(t), "https://openvex.dev/ns")
	m := must(manifest.Parse(store.manifests[at("prod/app", emptied.String())].raw, ocispec.MediaTypeImageManifest))
	delete(store.blobs, at("prod/app", m.Layers[0].Digest.String()))

	if sealed := mustSeal(t, NewSealer(key, store, nil), subject); len(sealed) != 2 {
		t.Errorf("sealed %v, want both formats: nothing is attached", sealed)
	}
}

func TestABundleManifestThatIsNotListedIsListed(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	first := mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	delete(store.listed, subject)
	second := mustSeal(t, NewSealer(key, store, []Format{Bundle}), subject)
	if first[0] != second[0] {
		t.Errorf("sealed %v, then %v", first, second)
	}
	wantCount(t, store, subject, key, 0, 1)
}

func TestThreat055_AListThatCannotBeTrueIsAnError(t *testing.T) {
	key := newKey(t)
	for name, c := range map[string]struct {
		listed func(*memory, policy.Subject)
		want   string
	}{
		"more than anybody reads": {func(m *memory, s policy.Subject) {
			for i := range maxReferrers + 1 {
				m.listed[s] = append(m.listed[s], ocispec.Descriptor{Digest: digest.FromString(fmt.Sprint(i))})
			}
		}, "101 manifests"},
		"a digest that is a path": {func(m *memory, s policy.Subject) {
			m.listed[s] = []ocispec.Descriptor{{Digest: "../../secret"}}
		}, "digest"},
		"other bytes than listed": {func(m *memory, s policy.Subject) {
			d := digest.FromString("other")
			m.listed[s] = []ocispec.Descriptor{{Digest: d}}
			m.manifests[at(s.Repo, d.String())] = m.manifests[at(s.Repo, s.Digest.String())]
		}, "other bytes"},
	} {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		c.listed(store, subject)
		_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+"prod/app", nil)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}

	t.Run("as many as are read are no error", func(t *testing.T) {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		for i := range maxReferrers {
			store.listed[subject] = append(store.listed[subject], ocispec.Descriptor{Digest: digest.FromString(fmt.Sprint(i))})
		}
		mustSeal(t, NewSealer(key, store, nil), subject)
	})
	t.Run("a bundle with other bytes than its digest", func(t *testing.T) {
		store := newMemory()
		subject := push(t, store, "prod/app", "x")
		d := attest(t, store, subject, newKey(t), "https://spdx.dev/Document")
		m := must(manifest.Parse(store.manifests[at("prod/app", d.String())].raw, ocispec.MediaTypeImageManifest))
		store.blobs[at("prod/app", m.Layers[0].Digest.String())] = []byte("{}")
		_, err := NewSealer(key, store, nil).Seal(t.Context(), subject, host+"prod/app", nil)
		if err == nil || !strings.Contains(err.Error(), "other bytes") {
			t.Errorf("got %v", err)
		}
	})
}

func TestABundleThatCannotBeListedIsAnErrorAndCanBeRetried(t *testing.T) {
	store, key := newMemory(), newKey(t)
	subject := push(t, store, "prod/app", "x")
	full := errors.New("disk full")
	store.fail = func(operation, _ string) error {
		if operation == "Attach" {
			return full
		}
		return nil
	}
	sealer := NewSealer(key, store, []Format{Bundle})
	if _, err := sealer.Seal(t.Context(), subject, host+"prod/app", nil); !errors.Is(err, full) {
		t.Fatalf("got %v", err)
	}
	wantCount(t, store, subject, key, 0, 0)
	store.fail = nil
	mustSeal(t, sealer, subject)
	wantCount(t, store, subject, key, 0, 1)
}

// FuzzOpen holds that bytes which our key did not sign are never ours, and that reading them never panics.
func FuzzOpen(f *testing.F) {
	key, stranger := newKey(f), newKey(f)
	subject := digest.FromString("x")
	theirs := signed(f, stranger, subject)
	f.Add(theirs)
	f.Add(bytes.Replace(theirs, []byte("v0.3"), []byte("v0.2"), 1))
	f.Add(bytes.Replace(theirs, []byte(`"signatures"`), []byte(`"signatures":[],"x"`), 1))
	for _, rest := range []string{
		`"verificationMaterial":{"publicKey":{}},"messageSignature":{"messageDigest":{"algorithm":"SHA2_256"}}}`,
		`"verificationMaterial":{"x509CertificateChain":{}},"dsseEnvelope":null}`,
		`"verificationMaterial":{"certificate":{"rawBytes":""}},"dsseEnvelope":{"signatures":[{"sig":""}]}}`,
	} {
		f.Add([]byte(`{"mediaType":"` + bundleType + `",` + rest))
	}
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if content, s := open(raw, subject, []Party{key}); content == ours || s != nil {
			t.Fatalf("taken for ours: %s", raw)
		}
	})
}
