package verifier

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
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
		if v.checkSimpleSigning(s, payload) != nil {
			return
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
	payload := statementFor(s.Digest, signPredicate)
	good := newBundle(f, key, payload)
	f.Add(good.json(f))
	good.material = certificateOf("junk")
	f.Add(good.json(f))
	_, recorded, _ := readRecording(f, "cosign-v3.json")
	for _, raw := range recorded.blobs {
		f.Add(raw)
	}

	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) > MaxBundleBytes {
			return
		}
		ev := v.bundle(s, digest.FromBytes(raw), raw)
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
// panic.
func FuzzTagAnnotations(f *testing.F) {
	s := newSigstore(f)
	ci := newKeyless(f, s.trust(f, nil), nil)[0]
	good := s.sign(f, s.holder(f, nil), payloadFor(aSubject(), "registry.example/prod/app"))
	good.chain = []*x509.Certificate{s.intermediate}
	a := s.annotations(f, good)
	f.Add(a[certificateAnnotation], a[chainAnnotation], a[bundleAnnotation], a[timestampAnnotation])
	f.Add("", "", "", "")
	f.Add(a[chainAnnotation], a[certificateAnnotation], a[timestampAnnotation], a[bundleAnnotation])
	f.Add(a[certificateAnnotation], "", `{"SignedEntryTimestamp":"","Payload":{"body":"e30=","integratedTime":1,"logIndex":1,"logID":"00"}}`, "{}")

	f.Fuzz(func(t *testing.T, certificate, chain, entry, stamp string) {
		proof, err := ci.CheckTagSignature(NewTagSignature(good.message, good.sig, map[string]string{
			certificateAnnotation: certificate, chainAnnotation: chain, bundleAnnotation: entry, timestampAnnotation: stamp,
		}))
		if err != nil {
			if _, ok := errors.AsType[*Failure](err); !ok {
				t.Errorf("%v is no failure", err)
			}
			return
		}
		block, _ := pem.Decode([]byte(certificate))
		if block == nil || !bytes.Equal(block.Bytes, good.certificate.Raw) || proof.Signer != testSubject+" ("+testIssuer+")" {
			t.Errorf("%q proves %+v", certificate, proof)
		}
		if !strings.Contains(entry, base64.StdEncoding.EncodeToString(good.entry.set)) && !json.Valid([]byte(entry)) {
			t.Errorf("%q is a log entry", entry)
		}
	})
}

// Whatever the bytes of a bundle, only one over the very artifact, by the very identity, verifies; nothing is a panic.
func FuzzDetached(f *testing.F) {
	s, id := newSigstore(f), testIdentity()
	trust := s.trust(f, nil)
	by := s.holder(f, nil)
	const content = "the artifact"
	d := s.sign(f, by, []byte(content))
	for _, version := range []string{"0.1", "0.2", "0.3"} {
		d.version = version
		f.Add(s.bundle(f, d))
	}
	f.Add(s.bundle(f, s.attest(f, by, statementFor(digest.FromString(content), signPredicate))))
	a := fileArtifact(f, content)
	f.Fuzz(func(t *testing.T, raw []byte) {
		proof, err := Detached{Bundle: raw, Identity: &id, Root: trust, Artifact: a}.verify()
		if err == nil && proof.Signer != testSubject+" ("+testIssuer+")" {
			t.Errorf("%q proves %+v", raw, proof)
		}
	})
}
