package verifier

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
	"github.com/sigstore/sigstore-go/pkg/testing/data"
)

// Whatever stands under a .sig tag, only the very payload that was signed counts, and nothing is a failure or a panic.
func FuzzSimpleSigning(f *testing.F) {
	s, key := aSubject(), newSigner(f)
	gateway := key.authority(f, "gateway")
	payload := payloadFor(s, "registry.example/"+s.Repo)
	seed := newMemory()
	layer := seed.layer(s.Repo, payload, key.sign(f, payload))
	document, err := json.Marshal(image(layer))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(document, payload)
	f.Add(document, []byte(`{"critical":{}}`))
	f.Add([]byte(`{}`), payload)
	recorded, _, _, _ := readKeylessRecording(f, "cosign-v2-keyless.json")
	for _, document := range recorded.Tags {
		for _, blob := range recorded.Blobs {
			f.Add([]byte(document), []byte(blob))
		}
	}

	f.Fuzz(func(t *testing.T, document, other []byte) {
		m := newMemory()
		m.putManifest(t, s.Repo, document, signatureTag(s))
		m.layer(s.Repo, payload, nil)
		m.layer(s.Repo, other, nil)
		// Once with the manifest as it is, once with one that names the other payload beside the good signature.
		swapped := layer
		swapped.Digest, swapped.Size = m.putBlob(s.Repo, "", other).Digest, int64(len(other))
		ev, err := newVerifier(t, m, gateway).Verify(t.Context(), s)
		if err == nil && len(ev.Signatures) > 0 && !bytes.Contains(document, []byte(layer.Digest)) {
			t.Errorf("manifest %q proves %+v without the payload", document, ev)
		}

		m.putManifest(t, s.Repo, image(swapped), signatureTag(s))
		ev, err = newVerifier(t, m, gateway).Verify(t.Context(), s)
		if err != nil {
			t.Errorf("payload %q: %v", other, err)
		}
		if len(ev.Signatures) > 0 && !bytes.Equal(other, payload) {
			t.Errorf("payload %q proves %+v", other, ev)
		}
	})
}

// Whatever a payload says, once somebody signed it: it counts only when it names the image, the repository and its type.
func FuzzSignedPayload(f *testing.F) {
	s, key := aSubject(), newSigner(f)
	f.Add(payloadFor(s, "registry.example/"+s.Repo))
	f.Add([]byte(`{"critical":{"type":"cosign container image signature"},"critical":{}}`))
	v := newVerifier(f, newMemory(), key.authority(f, "gateway"))
	f.Fuzz(func(t *testing.T, payload []byte) {
		made, err := v.checkSimpleSigning(s, payload)
		if err != nil {
			return
		}
		if !made.IsZero() && (made.Unix() <= 0 || made.Year() > 9999) {
			t.Errorf("%q was made at %v", payload, made)
		}
		var plain map[string]map[string]any
		if err := json.Unmarshal(payload, &plain); err != nil {
			t.Fatalf("%q is accepted: %v", payload, err)
		}
		named, _ := plain["critical"]["image"].(map[string]any)
		if plain["critical"]["type"] != simpleSigningType || named["docker-manifest-digest"] != s.Digest.String() {
			t.Errorf("%q is accepted", payload)
		}
	})
}

// Whatever the bytes of a bundle, only the very statement that was signed counts, and nothing is a panic.
func FuzzBundle(f *testing.F) {
	s, key := aSubject(), newSigner(f)
	v := newVerifier(f, newMemory(), key.authority(f, "gateway"))
	payload := statementFor(s.Digest, SignaturePredicate)
	good := newBundle(f, key, payload)
	f.Add(good.json(f))
	good.material = certificateOf("junk")
	f.Add(good.json(f))
	_, recorded, _ := readRecording(f, "cosign-v3.json")
	for _, raw := range recorded.blobs {
		f.Add(raw)
	}
	keyless, _, _, _ := readKeylessRecording(f, "cosign-v3-keyless.json")
	for _, raw := range keyless.Blobs {
		f.Add([]byte(raw))
	}

	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > MaxBundleBytes {
			return
		}
		ev := v.bundle(s, digest.FromBytes(raw), raw, SignaturePredicate)
		if len(ev.signatures) == 0 {
			return
		}
		var b bundle.Bundle
		if err := b.UnmarshalJSON(raw); err != nil || !bytes.Equal(b.GetDsseEnvelope().GetPayload(), payload) {
			t.Errorf("%q proves %+v", raw, ev)
		}
	})
}

func FuzzParsePublicKeyPEM(f *testing.F) {
	f.Add([]byte(pemOf(f, newSigner(f).pub)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		pub, err := ParsePublicKeyPEM(raw)
		if err != nil {
			return
		}
		if bytes.Count(raw, []byte("-----BEGIN")) != 1 {
			t.Errorf("%q: more than one block, yet %v", raw, pub)
		}
		a, err := NewKeyAuthority("x", pub)
		if err != nil {
			return
		}
		if _, err := a.CheckTagSignature(NewTagSignature([]byte("x"), []byte("y"), nil)); err == nil {
			t.Errorf("%q verifies anything", raw)
		}
	})
}

// Whatever stands beside a signature under the tag: it counts only with the very certificate that made it, and nothing is a
// panic. The seed is recorded, because a fuzzer's processes must agree on what is good.
func FuzzTagAnnotations(f *testing.F) {
	r, m, subject := readRecording(f, "cosign-v2-certificate.json")
	roots, err := ParseCertificatesPEM([]byte(r.Root))
	if err != nil {
		f.Fatal(err)
	}
	release, err := NewCertificateAuthority("release", Certificate{Identity: Identity{Subject: "release@acme.example"}, Roots: roots})
	if err != nil {
		f.Fatal(err)
	}
	public, err := PublicGood()
	if err != nil {
		f.Fatal(err)
	}
	logged, err := NewCertificateAuthority("logged", Certificate{
		Identity: Identity{Subject: "release@acme.example"}, Roots: roots, Root: public, // which never saw it
	})
	if err != nil {
		f.Fatal(err)
	}
	raw, mediaType, err := m.Manifest(f.Context(), subject.Repo, signatureTag(subject))
	if err != nil {
		f.Fatal(err)
	}
	parsed, err := manifest.Parse(raw, mediaType)
	if err != nil {
		f.Fatal(err)
	}
	a := parsed.Layers[0].Annotations
	payload := m.blobs[subject.Repo+" "+parsed.Layers[0].Digest.String()]
	sig, err := base64.StdEncoding.DecodeString(a[signatureAnnotation])
	if err != nil || len(payload) == 0 {
		f.Fatal(err, len(payload))
	}
	const entry = `{"SignedEntryTimestamp":"MEUC","Payload":{"body":"eyJhcGlWZXJzaW9uIjoiMC4wLjEiLCJraW5kIjoiaGFzaGVkcmVrb3JkIiwic3BlYyI6e319",` +
		`"integratedTime":1,"logIndex":1,"logID":"c0d23d6ad406973f9559f3ba2d1ca01f84147d8ffc5b8445c224f98b9591801d"}}`
	f.Add(a[certificateAnnotation], a[chainAnnotation], "", "")
	f.Add(a[certificateAnnotation], a[chainAnnotation], entry, `{"SignedRFC3161Timestamp":"MIIC"}`)
	f.Add(a[chainAnnotation], a[certificateAnnotation], `{}`, `{}`)
	f.Add("", "", "", "")

	f.Fuzz(func(t *testing.T, certificate, chain, entry, stamp string) {
		s := NewTagSignature(payload, sig, map[string]string{
			certificateAnnotation: certificate, chainAnnotation: chain, bundleAnnotation: entry, timestampAnnotation: stamp,
		})
		if proof, err := logged.CheckTagSignature(s); err == nil {
			t.Errorf("%q and %q prove %+v", entry, stamp, proof)
		}
		proof, err := release.CheckTagSignature(s)
		if err != nil {
			if _, ok := errors.AsType[*Failure](err); !ok {
				t.Errorf("%v is no failure", err)
			}
			return
		}
		want, _ := pem.Decode([]byte(a[certificateAnnotation]))
		got, _ := pem.Decode([]byte(certificate))
		if got == nil || !bytes.Equal(got.Bytes, want.Bytes) || proof.Signer != "release@acme.example" {
			t.Errorf("%q proves %+v", certificate, proof)
		}
	})
}

// Whatever the bytes of a bundle, only one around the very statement, by the very identity, verifies; nothing is a panic.
func FuzzDetached(f *testing.F) {
	public, err := PublicGood()
	if err != nil {
		f.Fatal(err)
	}
	good, err := data.Bundle(&testing.T{}, "dsse.sigstore.json").MarshalJSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	_, recorded, _ := readRecording(f, "cosign-v3-certificate.json")
	for _, raw := range recorded.blobs {
		f.Add(raw)
	}
	var b bundle.Bundle
	if err := b.UnmarshalJSON(good); err != nil {
		f.Fatal(err)
	}
	payload := b.GetDsseEnvelope().GetPayload()
	id := Identity{Issuer: "https://github.com/login/oauth", Subject: "brian@dehamer.com"}
	a := digestOf(f, "sha512:bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f")
	if _, err := (Detached{Bundle: good, Identity: &id, Root: public, Artifact: a}).verify(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := (Detached{Bundle: raw, Identity: &id, Root: public, Artifact: a}).verify(); err != nil {
			return
		}
		var b bundle.Bundle
		if err := b.UnmarshalJSON(raw); err != nil || !bytes.Equal(b.GetDsseEnvelope().GetPayload(), payload) {
			t.Errorf("%q verifies", raw)
		}
	})
}
