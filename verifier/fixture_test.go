package verifier

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// recording is what a stock cosign attached to an image in a registry, byte for byte.
type recording struct {
	About     string
	Repo      string
	Digest    digest.Digest
	Keys      map[string]string
	Root      string // of certificates
	Listed    []ocispec.Descriptor
	Manifests map[string]string
	Blobs     map[string]string
}

func readTestdata(t testing.TB, name string, into any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func readRecording(t testing.TB, name string) (r recording, m *memory, s policy.Subject) {
	t.Helper()
	readTestdata(t, name, &r)
	m, s = newMemory(), policy.Subject{Repo: r.Repo, Digest: r.Digest}
	for _, document := range r.Manifests {
		d := m.putManifest(t, r.Repo, []byte(document))
		if len(r.Listed) == 0 {
			m.manifests[r.Repo+" "+signatureTag(s)] = m.manifests[r.Repo+" "+d.Digest.String()]
		}
	}
	for _, blob := range r.Blobs {
		m.putBlob(r.Repo, "", []byte(blob))
	}
	m.listed[s] = r.Listed
	return r, m, s
}

func TestWhatStockCosignSignedVerifies(t *testing.T) {
	for _, name := range []string{"cosign-v2.json", "cosign-v3.json"} {
		r, m, s := readRecording(t, name)
		var authorities []Authority
		for _, key := range sortedKeys(r.Keys) {
			pub, err := ParsePublicKeyPEM([]byte(r.Keys[key]))
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			a, err := NewKeyAuthority(key, pub)
			if err != nil {
				t.Fatalf("%s: %v", key, err)
			}
			authorities = append(authorities, a)

			// One authority alone finds its own signature; the others are somebody's unknown key, the attestation is nothing.
			alone := verified(t, newVerifier(t, m, a), s)
			wantSigners(t, alone, key, len(r.Keys)-1, "a signature by an unknown key")
		}

		ev := verified(t, newVerifier(t, m, authorities...), s)
		got := strings.Fields(signers(ev))
		slices.Sort(got)
		if !slices.Equal(got, sortedKeys(r.Keys)) || len(ev.Rejected) != 0 {
			t.Errorf("%s (%s): signed by %v, rejected %v", name, r.About, got, ev.Rejected)
		}
	}
}

func TestWhatStockCosignSignedDoesNotSignAnotherImage(t *testing.T) {
	for _, name := range []string{"cosign-v2.json", "cosign-v3.json"} {
		r, m, s := readRecording(t, name)
		pub, err := ParsePublicKeyPEM([]byte(r.Keys["p256"]))
		if err != nil {
			t.Fatal(err)
		}
		a, err := NewKeyAuthority("p256", pub)
		if err != nil {
			t.Fatal(err)
		}
		other := policy.Subject{Repo: s.Repo, Digest: digest.FromString("another image")}
		m.listed[other] = m.listed[s]
		m.manifests[s.Repo+" "+signatureTag(other)] = m.manifests[s.Repo+" "+signatureTag(s)]
		if ev := verified(t, newVerifier(t, m, a), other); len(ev.Signatures) != 0 || len(ev.Rejected) == 0 {
			t.Errorf("%s: %+v", name, ev)
		}
	}
}

// With certificates of an authority of one's own: cosign v2 puts them into annotations, cosign v3 into a bundle.
func TestWhatStockCosignSignedWithACertificateVerifies(t *testing.T) {
	for _, name := range []string{"cosign-v2-certificate.json", "cosign-v3-certificate.json"} {
		r, m, s := readRecording(t, name)
		roots, err := ParseCertificatesPEM([]byte(r.Root))
		if err != nil {
			t.Fatal(err)
		}
		for subject, want := range map[string]string{"release@acme.example": "release", "release@acme.example.org": ""} {
			a, err := NewCertificateAuthority("release", Certificate{Identity: Identity{Subject: subject}, Roots: roots})
			if err != nil {
				t.Fatal(err)
			}
			ev := verified(t, newVerifier(t, m, a), s)
			if got := signers(ev); got != want || want == "" && ev.Rejected[0].Code != string(IdentityMismatch) {
				t.Errorf("%s (%s): got %+v, want %q", name, r.About, ev, want)
			}
		}
	}
}
