package verifier

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// keylessRecording is what a stock cosign attached to an image as an identity, byte for byte, with the trusted root of the
// Sigstore deployment where it did. That deployment is gone; what it witnessed stays true.
type keylessRecording struct {
	About, Repo     string
	Digest          digest.Digest
	Issuer, Subject string
	Root            json.RawMessage
	Tags            map[string]string // manifests by .sig and .att
	Listed          []ocispec.Descriptor
	Manifests       map[string]string // of referrers
	Blobs           map[string]string
}

func readKeylessRecording(t testing.TB, name string) (r keylessRecording, m *memory, s policy.Subject, builder Authority) {
	t.Helper()
	readTestdata(t, name, &r)
	m, s = newMemory(), policy.Subject{Repo: r.Repo, Digest: r.Digest}
	for suffix, document := range r.Tags {
		m.putManifest(t, r.Repo, []byte(document), map[string]string{".sig": signatureTag(s), ".att": attestationTag(s)}[suffix])
	}
	for _, document := range r.Manifests {
		m.putManifest(t, r.Repo, []byte(document))
	}
	for _, blob := range r.Blobs {
		m.putBlob(r.Repo, "", []byte(blob))
	}
	if len(r.Listed) > 0 {
		m.listed[s] = r.Listed
	}
	root, err := ParseTrustRoot(r.Root)
	if err != nil {
		t.Fatal(err)
	}
	builder, err = NewKeylessAuthority("builder", Keyless{Identity: Identity{Issuer: r.Issuer, Subject: r.Subject}, Root: root})
	if err != nil {
		t.Fatal(err)
	}
	return r, m, s, builder
}

func TestWhatStockCosignSignedAsAnIdentityVerifiesForEver(t *testing.T) {
	for name, format := range map[string][2]policy.Format{
		"cosign-v2-keyless.json": {policy.FormatSignatureTag, policy.FormatAttestationTag},
		"cosign-v3-keyless.json": {policy.FormatBundle, policy.FormatBundle},
	} {
		r, m, s, builder := readKeylessRecording(t, name)
		v := newVerifier(t, m, builder).WithNeeds(func(string) policy.Needs { return policy.NeedsEverything() })
		ev := verified(t, v, s)
		if len(ev.Signatures) != 1 || len(ev.Attestations) != 1 || len(ev.Rejected) != 0 {
			t.Fatalf("%s: got %+v", name, ev)
		}
		sig, attestation := ev.Signatures[0], ev.Attestations[0]
		day := time.Date(2026, time.November, 24, 0, 0, 0, 0, time.UTC)
		for what, at := range map[string]time.Time{"signature": sig.Time, "attestation": attestation.Vouched} {
			if at.Before(day) || !at.Before(day.AddDate(0, 0, 2)) {
				t.Errorf("%s: the %s is of %s", name, what, at)
			}
		}
		for what, w := range map[string]policy.Witness{"signature": sig.Witness, "attestation": attestation.Witness} {
			if w.Clock == "" || w.Log == "" {
				t.Errorf("%s: the %s is witnessed by %+v", name, what, w)
			}
		}
		if want := r.Subject + " (" + r.Issuer + ")"; sig.Signer != want || attestation.Signer != want {
			t.Errorf("%s: signed by %q and attested by %q, want %q", name, sig.Signer, attestation.Signer, want)
		}
		if got := [2]policy.Format{sig.Format, attestation.Format}; got != format {
			t.Errorf("%s: attached as %v, want %v", name, got, format)
		}

		// Nobody else's root knows any of it.
		public, err := PublicGood()
		if err != nil {
			t.Fatal(err)
		}
		elsewhere, err := NewKeylessAuthority("builder", Keyless{Identity: Identity{Issuer: r.Issuer, Subject: r.Subject}, Root: public})
		if err != nil {
			t.Fatal(err)
		}
		ev = verified(t, newVerifier(t, m, elsewhere), s)
		if len(ev.Signatures) != 0 || len(ev.Rejected) != 1 || ev.Rejected[0].Code != string(NotLogged) || ev.Rejected[0].Claims != sig.Signer {
			t.Errorf("%s: under the public root: %+v", name, ev)
		}
	}
}
