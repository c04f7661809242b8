package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore/pkg/signature"
)

// signer is somebody with a key.
type signer struct {
	signature.Signer
	pub crypto.PublicKey
}

func newSigner(t testing.TB) signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signerOf(t, key, crypto.SHA256)
}

func signerOf(t testing.TB, key crypto.Signer, hash crypto.Hash) signer {
	t.Helper()
	s, err := signature.LoadSigner(key, hash)
	if err != nil {
		t.Fatal(err)
	}
	return signer{s, key.Public()}
}

func (s signer) sign(t testing.TB, message []byte) []byte {
	t.Helper()
	sig, err := s.SignMessage(bytes.NewReader(message))
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func (s signer) authority(t testing.TB, name string) Authority {
	t.Helper()
	a, err := NewKeyAuthority(name, s.pub)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newVerifier(t testing.TB, source Source, authorities ...Authority) *Verifier {
	t.Helper()
	v, err := New(source, authorities)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// payloadFor is what cosign v2 signs.
func payloadFor(s policy.Subject, reference string) []byte {
	return fmt.Appendf(nil, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},`+
		`"type":"cosign container image signature"},"optional":null}`, reference, s.Digest.String())
}

// layer stores a payload and puts a signature beside it.
func (m *memory) layer(repo string, payload, sig []byte) ocispec.Descriptor {
	d := m.putBlob(repo, manifest.SimpleSigning, payload)
	d.Annotations = map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(sig)}
	return d
}

// signTag puts one signature for each signer under the .sig tag of s, in place of what was there.
func (m *memory) signTag(t testing.TB, s policy.Subject, signers ...signer) ocispec.Descriptor {
	t.Helper()
	payload := payloadFor(s, "registry.example:5000/"+s.Repo)
	var layers []ocispec.Descriptor
	for _, by := range signers {
		layers = append(layers, m.layer(s.Repo, payload, by.sign(t, payload)))
	}
	return m.putManifest(t, s.Repo, image(layers...), signatureTag(s))
}

// bundleOf is a bundle before it is written: a test changes what it wants to be wrong.
type bundleOf struct {
	mediaType   string
	material    map[string]any
	payloadType string
	payload     []byte
	signatures  []map[string]any
}

func statementFor(d digest.Digest, predicateType string) []byte {
	return fmt.Appendf(nil, `{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":%q}}],`+
		`"predicateType":%q,"predicate":{}}`, d.Encoded(), predicateType)
}

func pae(payloadType string, payload []byte) []byte {
	return fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(payload), payload)
}

// newBundle is a bundle around a payload as cosign v3 writes it, signed by one signer.
func newBundle(t testing.TB, by signer, payload []byte) bundleOf {
	t.Helper()
	return bundleOf{
		mediaType:   "application/vnd.dev.sigstore.bundle.v0.3+json",
		material:    map[string]any{"publicKey": map[string]any{"hint": "whatever"}},
		payloadType: inTotoPayload, payload: payload,
		signatures: []map[string]any{{"sig": by.sign(t, pae(inTotoPayload, payload))}},
	}
}

func (b bundleOf) json(t testing.TB) []byte {
	t.Helper()
	raw, err := json.Marshal(map[string]any{
		"mediaType": b.mediaType, "verificationMaterial": b.material,
		"dsseEnvelope": map[string]any{"payload": b.payload, "payloadType": b.payloadType, "signatures": b.signatures},
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// refer attaches bundle bytes to s as cosign v3 does, after change had its way with the manifest, and lists them.
func (m *memory) refer(t testing.TB, s policy.Subject, raw []byte, change func(*ocispec.Manifest)) ocispec.Descriptor {
	t.Helper()
	doc := image(m.putBlob(s.Repo, "application/vnd.dev.sigstore.bundle.v0.3+json", raw))
	doc.ArtifactType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	doc.Subject = &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: s.Digest, Size: 9}
	if change != nil {
		change(&doc)
	}
	d := m.putManifest(t, s.Repo, doc)
	m.listed[s] = append(m.listed[s], d)
	return d
}

func (m *memory) signBundle(t testing.TB, s policy.Subject, by signer) ocispec.Descriptor {
	t.Helper()
	return m.refer(t, s, newBundle(t, by, statementFor(s.Digest, SignaturePredicate)).json(t), nil)
}

// signers are the names of who is proven to have signed, each as often as it is listed.
func signers(ev policy.Evidence) string {
	var names []string
	for _, sig := range ev.Signatures {
		names = append(names, sig.Authority)
	}
	return strings.Join(names, " ")
}

// wantSigners checks who signed and how many pieces of evidence do not count; the first of those says why.
func wantSigners(t testing.TB, ev policy.Evidence, want string, rejected int, why string) {
	t.Helper()
	if got := signers(ev); got != want {
		t.Errorf("signed by %q, want %q", got, want)
	}
	if len(ev.Rejected) != rejected {
		t.Errorf("rejected %+v, want %d", ev.Rejected, rejected)
	} else if rejected > 0 && !strings.Contains(ev.Rejected[0].Why, why) {
		t.Errorf("rejected because %q, want %q", ev.Rejected[0].Why, why)
	}
}

// everyKey makes a key of each kind that is accepted, signing in each way that signers do.
func everyKey(t testing.TB) map[string]signer {
	t.Helper()
	all := map[string]signer{}
	for name, c := range map[string]struct {
		curve elliptic.Curve
		hash  crypto.Hash
	}{
		"P-256":              {elliptic.P256(), crypto.SHA256},
		"P-384 with SHA-384": {elliptic.P384(), crypto.SHA384},
		"P-384 with SHA-256": {elliptic.P384(), crypto.SHA256},
		"P-521 with SHA-512": {elliptic.P521(), crypto.SHA512},
		"P-521 with SHA-256": {elliptic.P521(), crypto.SHA256},
	} {
		key, err := ecdsa.GenerateKey(c.curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = signerOf(t, key, c.hash)
	}
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all["Ed25519"] = signerOf(t, key, crypto.SHA512)
	prehashed, err := signature.LoadED25519phSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	all["Ed25519ph"] = signer{prehashed, key.Public()}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	all["RSA 2048"] = signerOf(t, rsaKey, crypto.SHA256)
	return all
}

func sortedKeys[V any](m map[string]V) []string {
	var keys []string
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
