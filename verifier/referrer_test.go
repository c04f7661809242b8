package verifier

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy/manifest"
)

func TestThreat056_AReferrerOfAnotherSubjectDoesNotCount(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	elsewhere := &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 9}
	for name, c := range map[string]struct {
		change   func(*ocispec.Manifest)
		want     string
		rejected int
		why      string
	}{
		"another subject": {func(m *ocispec.Manifest) { m.Subject = elsewhere }, "", 1, "refers to another image"},
		"no subject":      {func(m *ocispec.Manifest) { m.Subject = nil }, "", 1, "refers to another image, or to none"},
		"two layers": {func(m *ocispec.Manifest) {
			m.Layers = append(m.Layers, ocispec.DescriptorEmptyJSON)
		}, "", 1, "2 layers"},
		"no layers":               {func(m *ocispec.Manifest) { m.Layers = []ocispec.Descriptor{} }, "", 0, ""},
		"a layer of another type": {func(m *ocispec.Manifest) { m.Layers[0].MediaType = "text/plain" }, "", 0, ""},
		"another artifact type":   {func(m *ocispec.Manifest) { m.ArtifactType = "application/spdx+json" }, "gateway", 0, ""},
		"annotations that mislead": {func(m *ocispec.Manifest) {
			m.Annotations = map[string]string{predicateAnnotation: "x"}
		}, "gateway", 0, ""},
		"a layer of an older bundle": {func(m *ocispec.Manifest) {
			m.Layers[0].MediaType = manifest.BundlePrefix + "+json;version=0.2"
		}, "gateway", 0, ""},
	} {
		m := newMemory()
		m.refer(t, s, newBundle(t, key, statementFor(s.Digest, SignaturePredicate)).json(t), c.change)
		t.Run(name, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), c.want, c.rejected, c.why)
		})
	}
}

func TestThreat058_WhatAListingClaimsDoesNotHideABundle(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.signBundle(t, s, key)
	d := &m.listed[s][0]
	d.ArtifactType, d.Size, d.MediaType = "application/spdx+json", 1, ocispec.MediaTypeImageIndex
	d.Annotations = map[string]string{predicateAnnotation: "https://spdx.dev/Document"}
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
}

func TestAReferrerThatIsListedTwiceCountsOnce(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.signBundle(t, s, key)
	m.listed[s] = append(m.listed[s], m.listed[s][0])
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
}

func TestReferrersThatCannotBeReadByTypeOrSizeDoNotCount(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	m.listed[s] = []ocispec.Descriptor{
		{MediaType: "application/vnd.oci.artifact.manifest.v1+json", Digest: digest.FromString("1"), Size: 1},
		{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("2"), Size: manifest.MaxBytes + 1},
	}
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 2, "which is not read")
	if len(m.requests) != 2 {
		t.Errorf("they were fetched: %v", m.requests)
	}
}

func TestThreat049_MoreReferrersThanAreReadAreNotReadAtAll(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for count, want := range map[int]string{MaxReferrers: "gateway", MaxReferrers + 1: ""} {
		m := newMemory()
		for i := range count - 1 {
			m.refer(t, s, fmt.Appendf(nil, "junk %d", i), nil)
		}
		m.signBundle(t, s, key)
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if got := signers(ev); got != want {
			t.Errorf("%d referrers: signed by %q, want %q", count, got, want)
		}
		if want == "" && (len(m.requests) != 2 || !strings.Contains(ev.Rejected[0].Why, "at most 100 are read")) {
			t.Errorf("%d referrers: %d requests, rejected %v", count, len(m.requests), ev.Rejected)
		}

		// Junk that was attached to one place does not hide a signature in the other.
		m.signTag(t, s, key)
		if got := signers(verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)); !strings.HasPrefix(got, "gateway") {
			t.Errorf("%d referrers beside a .sig tag: signed by %q", count, got)
		}
	}
}

func TestBundlesAreBounded(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	short := newBundle(t, key, statementFor(s.Digest, SignaturePredicate)).json(t)
	for size, want := range map[int]string{MaxBundleBytes: "gateway", MaxBundleBytes + 1: ""} {
		for _, claim := range []string{"", SignaturePredicate, "https://spdx.dev/Document"} {
			m := newMemory()
			raw := append(append([]byte{}, short...), strings.Repeat(" ", size-len(short))...)
			m.refer(t, s, raw, func(doc *ocispec.Manifest) { doc.Annotations = map[string]string{predicateAnnotation: claim} })
			ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
			if got := signers(ev); got != want {
				t.Errorf("%d bytes: signed by %q, want %q", size, got, want)
			}
			if want == "" && len(m.requests) != 3 {
				t.Errorf("%d bytes: it was fetched: %v", size, m.requests)
			}
			// A large attestation is the usual case and no attempt at a signature.
			if noise := len(ev.Rejected) > 0; want == "" && noise == strings.Contains(claim, "spdx") {
				t.Errorf("%d bytes that claim %q: rejected %v", size, claim, ev.Rejected)
			}
		}
	}
}

func TestStatementsAreBounded(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	short := statementFor(s.Digest, SignaturePredicate)
	for size, want := range map[int]string{MaxPayloadBytes: "gateway", MaxPayloadBytes + 1: ""} {
		m := newMemory()
		payload := append(append([]byte{}, short...), strings.Repeat(" ", size-len(short))...)
		m.refer(t, s, newBundle(t, key, payload).json(t), nil)
		if got := signers(verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)); got != want {
			t.Errorf("%d bytes: signed by %q, want %q", size, got, want)
		}
	}
}

func TestThreat054_AListingThatFailsIsUnknown(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for name, failure := range map[string]error{
		"throttled":                       errors.New("429 Too Many Requests"),
		"forbidden":                       errors.New("401 Unauthorized"),
		"not a listing":                   errors.New("200 text/html"),
		"not found, which is no listing":  &notFoundError{"referrers"},
		"a timeout":                       context.DeadlineExceeded,
		"not found on the way to a token": fmt.Errorf("token: %w", &notFoundError{"realm"}),
	} {
		m := newMemory()
		m.signTag(t, s, key) // even then: the list may hold what a rule asks for
		m.before = func(_ context.Context, request string) error {
			if strings.HasPrefix(request, "list ") {
				return failure
			}
			return nil
		}
		ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s)
		if undecided := new(UndecidedError); !errors.As(err, &undecided) || len(ev.Signatures) != 0 {
			t.Errorf("%s: got %+v, %v, want an UndecidedError", name, ev, err)
		}
	}
}

func TestOneReferrerThatCannotBeFetchedMakesTheAnswerUnknown(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for _, request := range []string{"manifest sha256:", "blob "} {
		for _, failure := range []error{errors.New("502"), &notFoundError{"it"}} {
			m := newMemory()
			m.signBundle(t, s, key)
			last := m.refer(t, s, []byte("the newest"), nil)
			blob := digest.FromString("the newest")
			m.before = func(_ context.Context, asked string) error {
				if asked == "manifest "+last.Digest.String() && request != "blob " || asked == request+blob.String() {
					return failure
				}
				return nil
			}
			ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s)
			if err == nil || absent(err) || len(ev.Signatures) != 0 {
				t.Errorf("%s, %v: got %+v, %v, want an error", request, failure, ev, err)
			}
		}
	}
}

func TestAListingWithADigestThatIsNoneIsUnknown(t *testing.T) {
	for _, d := range []digest.Digest{"", "sha256:../../x", "sha256:abc", "md5:d41d8cd98f00b204e9800998ecf8427e"} {
		m, s, key := newMemory(), aSubject(), newSigner(t)
		m.listed[s] = []ocispec.Descriptor{{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: 1}}
		if ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s); err == nil {
			t.Errorf("%q: got %+v, want an error", d, ev)
		}
		if slices.Contains(m.requests, "manifest "+d.String()) {
			t.Errorf("%q: was asked for", d)
		}
	}
}

func TestAReferrerThatIsNotWhatItsDigestSaysIsAFailure(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for _, kind := range []string{"manifest", "blob"} {
		m := newMemory()
		at := m.signBundle(t, s, key)
		if kind == "manifest" {
			m.manifests[s.Repo+" "+at.Digest.String()] = stored{[]byte("{}"), at.MediaType}
		} else {
			for key := range m.blobs {
				m.blobs[key] = append(m.blobs[key], ' ')
			}
		}
		ev, err := newVerifier(t, m, key.authority(t, "gateway")).Verify(t.Context(), s)
		if !errors.Is(errOf(err), errOtherBytes) {
			t.Errorf("%s: got %+v, %v, want an error", kind, ev, err)
		}
	}
}
