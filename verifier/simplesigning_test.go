package verifier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestThreat042_NothingAttachedIsNoSignatureAndNoError(t *testing.T) {
	ev := verified(t, newVerifier(t, newMemory(), newSigner(t).authority(t, "gateway")), aSubject())
	if len(ev.Signatures) != 0 || len(ev.Rejected) != 0 {
		t.Errorf("got %+v, want nothing", ev)
	}
}

func TestASignatureUnderTheTagIsProven(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	at := m.signTag(t, s, key)
	ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
	want := policy.Signature{
		Authority: "gateway", Signer: key.authority(t, "gateway").Fingerprint(), Signed: s.Digest, Evidence: at.Digest,
		Format: policy.FormatSignatureTag,
	}
	if len(ev.Signatures) != 1 || ev.Signatures[0] != want || len(ev.Rejected) != 0 || ev.Pinned {
		t.Errorf("got %+v, want %+v alone", ev, want)
	}
}

func TestEveryKindOfKeySignsUnderTheTag(t *testing.T) {
	for name, key := range everyKey(t) {
		m, s := newMemory(), aSubject()
		m.signTag(t, s, key)
		wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, name)), s), name, 0, "")
	}
}

func TestEveryAuthorityIsAskedAboutEverySignature(t *testing.T) {
	m, s := newMemory(), aSubject()
	gateway, ci, stranger := newSigner(t), newSigner(t), newSigner(t)
	m.signTag(t, s, stranger, ci, gateway, ci)
	ev := verified(t, newVerifier(t, m, gateway.authority(t, "gateway"), ci.authority(t, "ci")), s)
	wantSigners(t, ev, "ci gateway ci", 1, "a signature by an unknown key")

	// One payload, signed four times, is fetched once.
	if got := strings.Count(strings.Join(m.requests, "\n"), "blob "); got != 1 {
		t.Errorf("%d requests for blobs, want 1: %v", got, m.requests)
	}
}

func TestWithoutAuthoritiesNothingIsProven(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.signTag(t, s, key)
	m.signBundle(t, s, key)
	wantSigners(t, verified(t, newVerifier(t, m), s), "", 2, "a signature by an unknown key")
}

func TestThreat043_ASignatureOfAnotherDigestUnderThisTagDoesNotCount(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	other := policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}
	m.signTag(t, other, key)
	m.manifests[s.Repo+" "+signatureTag(s)] = m.manifests[s.Repo+" "+signatureTag(other)]
	ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
	wantSigners(t, ev, "", 1, `a signature by gateway that is for another image, "sha256:`)
}

func TestThreat044_ASignatureFromAnotherRepositoryDoesNotCount(t *testing.T) {
	m, key := newMemory(), newSigner(t)
	dev := policy.Subject{Repo: "dev/app", Digest: aSubject().Digest}
	prod := policy.Subject{Repo: "prod/app", Digest: aSubject().Digest}
	payload := payloadFor(dev, "registry.example/dev/app")
	m.putManifest(t, "prod/app", image(m.layer("prod/app", payload, key.sign(t, payload))), signatureTag(prod))

	v := newVerifier(t, m, key.authority(t, "gateway"))
	wantSigners(t, verified(t, v, prod), "", 1, `is for another repository, "registry.example/dev/app"`)

	// Only who says that the two are one repository accepts it, and the verifier that was changed is another one.
	same := v.WithSameRepository(func(repo, ref string) bool {
		return repo == "prod/app" && ref == "registry.example/dev/app"
	})
	wantSigners(t, verified(t, same, prod), "gateway", 0, "")
	wantSigners(t, verified(t, v, prod), "", 1, "another repository")
}

func TestThreat046_APayloadOfAnotherFormDoesNotCount(t *testing.T) {
	s := aSubject()
	const kind = `"type":"cosign container image signature"`
	for name, c := range map[string]struct{ change, to, why string }{
		"another type":                {kind, `"type":"atomic container signature"`, "is of type"},
		"the type in another case":    {kind, `"type":"Cosign container image signature"`, "is of type"},
		"an empty type":               {kind, `"type":""`, "is of type"},
		"a type of null":              {kind, `"type":null`, "is of type"},
		"a type that is no text":      {kind, `"type":1`, "cannot be read"},
		"the type twice":              {kind, kind + "," + kind, "cannot be read"},
		"the type's key in a case":    {kind, `"Type":"cosign container image signature"`, "cannot be read"},
		"an unknown critical key":     {kind, kind + `,"expires":1`, "unknown key"},
		"an unknown key at the top":   {`"optional":null`, `"optional":null,"x":1`, "unknown key"},
		"an unknown key of identity":  {`"identity":{`, `"identity":{"x":1,`, "unknown key"},
		"an unknown key of the image": {`"image":{`, `"image":{"x":1,`, "unknown key"},
		"critical twice":              {`"optional":null`, `"optional":null,"critical":{}`, "is there twice"},
		"something behind it":         {`"optional":null}`, `"optional":null}{}`, "after top-level value"},
		"no digest":                   {s.Digest.String(), "", "is for another image"},
		"the digest in upper case":    {s.Digest.String(), strings.ToUpper(s.Digest.String()), "is for another image"},
		"the digest and white space":  {s.Digest.String(), s.Digest.String() + " ", "is for another image"},
		"the digest without sha256":   {s.Digest.String(), s.Digest.Encoded(), "is for another image"},
	} {
		m, key := newMemory(), newSigner(t)
		whole := string(payloadFor(s, "registry.example/"+s.Repo))
		payload := []byte(strings.ReplaceAll(whole, c.change, c.to))
		if string(payload) == whole {
			t.Fatalf("%s: changes nothing", name)
		}
		m.putManifest(t, s.Repo, image(m.layer(s.Repo, payload, key.sign(t, payload))), signatureTag(s))
		t.Run(name, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, c.why)
		})
	}
}

func TestThreat046_WhatIsOptionalIsTheSignersToFill(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	payload := []byte(strings.Replace(string(payloadFor(s, "r.example/prod/app")), `"optional":null`,
		`"optional":{"timestamp":9999999999,"creator":"cosign","critical":{"type":"x"}}`, 1))
	m.putManifest(t, s.Repo, image(m.layer(s.Repo, payload, key.sign(t, payload))), signatureTag(s))
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
}

func TestThreat047_APayloadThatIsNotWhatItsDigestSaysIsAFailure(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	other := policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}
	m.signTag(t, other, key)
	m.manifests[s.Repo+" "+signatureTag(s)] = m.manifests[s.Repo+" "+signatureTag(other)]
	for at := range m.blobs { // a source that does not hash: the blob is the right payload under the wrong name
		m.blobs[at] = payloadFor(s, "registry.example:5000/"+s.Repo)
	}
	if ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s); !errors.Is(errOf(err), errOtherBytes) {
		t.Errorf("got %+v, %v, want an error", ev, err)
	}
}

func TestThreat047_ASignatureOverOtherBytesDoesNotCount(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	sig := key.sign(t, payloadFor(policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}, s.Repo))
	m.putManifest(t, s.Repo, image(m.layer(s.Repo, payloadFor(s, "r.example/"+s.Repo), sig)), signatureTag(s))
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a signature by an unknown key")
}

func TestLayersThatAreNoSignaturesDoNotCount(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	payload := payloadFor(s, "r.example/"+s.Repo)
	good := m.layer(s.Repo, payload, key.sign(t, payload))
	for name, c := range map[string]struct {
		change func(*ocispec.Descriptor)
		why    string
	}{
		"another type":          {func(d *ocispec.Descriptor) { d.MediaType = ocispec.MediaTypeImageLayer }, "a layer of type"},
		"no annotation":         {func(d *ocispec.Descriptor) { d.Annotations = nil }, "a layer without a signature"},
		"no base64":             {func(d *ocispec.Descriptor) { d.Annotations[signatureAnnotation] = "%" }, "not base64"},
		"another size":          {func(d *ocispec.Descriptor) { d.Size++ }, "where the manifest says"},
		"an attestation's type": {func(d *ocispec.Descriptor) { d.MediaType = manifest.DSSE }, "a layer of type"},
	} {
		bad := good
		bad.Annotations = map[string]string{signatureAnnotation: good.Annotations[signatureAnnotation]}
		c.change(&bad)
		t.Run(name, func(t *testing.T) {
			m.putManifest(t, s.Repo, image(bad), signatureTag(s))
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, c.why)
			if bad.Size != good.Size {
				return // a manifest with one digest in two sizes is none
			}
			m.putManifest(t, s.Repo, image(bad, good), signatureTag(s))
			if bad.MediaType == good.MediaType { // nor one with two types
				wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 1, c.why)
			}
		})
	}
}

func TestWhatIsNoManifestUnderTheTagDoesNotCount(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for name, doc := range map[string]any{
		"garbage": []byte("<html>"),
		"nothing": []byte(""),
		"an index": ocispec.Index{
			Versioned: image().Versioned, MediaType: ocispec.MediaTypeImageIndex, Manifests: []ocispec.Descriptor{},
		},
		"two in one": []byte(`{"schemaVersion":2,"layers":[],"manifests":[]}`),
	} {
		m := newMemory()
		m.putManifest(t, s.Repo, doc, signatureTag(s))
		t.Run(name, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "what is under the .sig tag is")
		})
	}
	m := newMemory()
	m.putManifest(t, s.Repo, image(), signatureTag(s))
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 0, "")
}

func TestThreat048_AGoodSignatureCountsBesideABadOneInEitherFormat(t *testing.T) {
	key, stranger := newSigner(t), newSigner(t)
	m, s := newMemory(), aSubject()
	m.signTag(t, s, key)
	m.signBundle(t, s, stranger)
	v := newVerifier(t, m, key.authority(t, "gateway"))
	wantSigners(t, verified(t, v, s), "gateway", 1, "a signature by an unknown key")

	m = newMemory()
	m.signTag(t, s, stranger)
	m.signBundle(t, s, key)
	v = newVerifier(t, m, key.authority(t, "gateway"))
	wantSigners(t, verified(t, v, s), "gateway", 1, "a signature by an unknown key")
}

func TestThreat049_MoreSignaturesThanAreReadAreNotReadAtAll(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	good := payloadFor(s, "r.example/"+s.Repo)
	for count, want := range map[int]string{MaxSignatures: "gateway", MaxSignatures + 1: ""} {
		m := newMemory()
		var layers []ocispec.Descriptor
		for i := range count - 1 {
			layers = append(layers, m.layer(s.Repo, fmt.Appendf(nil, "junk %d", i), []byte("junk")))
		}
		m.putManifest(t, s.Repo, image(append(layers, m.layer(s.Repo, good, key.sign(t, good)))...), signatureTag(s))

		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if got := signers(ev); got != want {
			t.Errorf("%d signatures: signed by %q, want %q", count, got, want)
		}
		if want == "" && (len(m.requests) != 2 || !strings.Contains(ev.Rejected[0].Why, "at most 100 are read")) {
			t.Errorf("%d signatures: %d requests, rejected %v", count, len(m.requests), ev.Rejected)
		}
	}
}

func TestPayloadsAreBounded(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	short := payloadFor(s, "r.example/"+s.Repo)
	for size, want := range map[int]string{MaxPayloadBytes: "gateway", MaxPayloadBytes + 1: ""} {
		m := newMemory()
		payload := append(append([]byte{}, short...), strings.Repeat(" ", size-len(short))...)
		m.putManifest(t, s.Repo, image(m.layer(s.Repo, payload, key.sign(t, payload))), signatureTag(s))
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if got := signers(ev); got != want {
			t.Errorf("%d bytes: signed by %q, want %q", size, got, want)
		}
		if want == "" && len(m.requests) != 2 {
			t.Errorf("%d bytes: it was fetched: %v", size, m.requests)
		}
	}
}

func TestASignatureThatCannotBeFetchedIsAFailureNotAnAbsence(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	outage := errors.New("503 from upstream")
	for name, c := range map[string]struct {
		request string
		err     error
	}{
		"the tag":               {"manifest " + signatureTag(s), outage},
		"a payload":             {"blob ", outage},
		"a payload, definitely": {"blob ", &notFoundError{"blob"}},
	} {
		m := newMemory()
		m.signTag(t, s, key)
		m.signBundle(t, s, key)
		m.before = func(_ context.Context, request string) error {
			if strings.HasPrefix(request, c.request) {
				return c.err
			}
			return nil
		}
		ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s)
		if err == nil || len(ev.Signatures) != 0 {
			t.Errorf("%s: got %+v, %v, want an error", name, ev, err)
		}
		// An image whose signature is missing is not a missing image.
		if gone := new(notFoundError); errors.As(err, &gone) || absent(err) {
			t.Errorf("%s: %v reads as if the image were absent", name, err)
		}
	}
}

// errOf is the cause of an undecided answer, which is not to be unwrapped outside of tests.
func errOf(err error) error {
	if undecided := new(UndecidedError); errors.As(err, &undecided) {
		return undecided.Cause
	}
	return err
}

func TestWhatDoesNotCountHasACode(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	other := policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}
	for code, payload := range map[FailureCode][]byte{
		ArtifactMismatch:   payloadFor(other, s.Repo),
		RepositoryMismatch: payloadFor(s, "registry.example/dev/app"),
		StatementInvalid:   []byte("{}"),
	} {
		m := newMemory()
		m.putManifest(t, s.Repo, image(m.layer(s.Repo, payload, key.sign(t, payload))), signatureTag(s))
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if len(ev.Rejected) != 1 || ev.Rejected[0].Code != string(code) {
			t.Errorf("got %+v, want %s", ev.Rejected, code)
		}
	}
	for code, raw := range map[FailureCode][]byte{
		BundleMalformed:  []byte("junk"),
		ArtifactMismatch: newBundle(t, key, statementFor(other.Digest, SignaturePredicate)).json(t),
		StatementInvalid: newBundle(t, key, []byte("{}")).json(t),
		SignatureInvalid: newBundle(t, newSigner(t), statementFor(s.Digest, SignaturePredicate)).json(t),
	} {
		m := newMemory()
		m.refer(t, s, raw, nil)
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if len(ev.Rejected) != 1 || ev.Rejected[0].Code != string(code) {
			t.Errorf("got %+v, want %s", ev.Rejected, code)
		}
	}
}

// What podman signs says when it was made. A rule decides whether it believes that.
func TestTheTimeThatASignatureGivesItselfIsAClaim(t *testing.T) {
	for optional, want := range map[string]time.Time{
		`{"creator":"containers/image 5.36","timestamp":1795608000}`: time.Unix(1795608000, 0).UTC(),
		`null`: {}, `{}`: {}, `{"timestamp":null}`: {}, `{"timestamp":"1795608000"}`: {}, `{"timestamp":1795608000.5}`: {}, `{"timestamp":0}`: {},
		`{"timestamp":-1}`: {}, `{"timestamp":253402300799}`: time.Unix(253402300799, 0).UTC(), `{"timestamp":253402300800}`: {}, `{"timestamp":1e300}`: {},
		`{"Timestamp":1795608000}`: {}, `{"timestamp":[1795608000]}`: {},
	} {
		m, s, key := newMemory(), aSubject(), newSigner(t)
		payload := bytes.Replace(payloadFor(s, "registry.example/"+s.Repo), []byte(`"optional":null`), []byte(`"optional":`+optional), 1)
		m.putManifest(t, s.Repo, image(m.layer(s.Repo, payload, key.sign(t, payload))), signatureTag(s))
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if len(ev.Signatures) != 1 || !ev.Signatures[0].Claimed.Equal(want) || !ev.Signatures[0].Time.IsZero() {
			t.Errorf("%s: got %+v, want the claim %v", optional, ev, want)
		}
	}
}
