package verifier

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
)

// sealed is a signature with all that may stand around it; a test changes what it wants to be wrong.
type sealed struct {
	version     string // of the bundle
	certificate *x509.Certificate
	chain       []*x509.Certificate
	message     []byte // signed as it is, or
	payload     []byte // an envelope's
	sig         []byte
	entry       *logged
	proof       bool
	stamp       []byte
}

// sign signs a message as it is, logged and stamped now.
func (s *sigstore) sign(t testing.TB, by holder, message []byte) sealed {
	t.Helper()
	sig := by.sign(t, message)
	entry := s.log(t, hashedRekord(message, sig, pemCertificates(by.certificate)), time.Now())
	return sealed{
		version: "0.3", certificate: by.certificate, message: message, sig: sig, entry: &entry, proof: true, stamp: s.stamp(t, sig),
	}
}

// attest signs a statement in an envelope, logged and stamped now.
func (s *sigstore) attest(t testing.TB, by holder, payload []byte) sealed {
	t.Helper()
	sig := by.sign(t, pae(inTotoPayload, payload))
	entry := s.log(t, dsseRekord(payload, sig, pemCertificates(by.certificate)), time.Now())
	return sealed{
		version: "0.3", certificate: by.certificate, payload: payload, sig: sig, entry: &entry, proof: true, stamp: s.stamp(t, sig),
	}
}

// bundle is the signature as a bundle.
func (s *sigstore) bundle(t testing.TB, d sealed) []byte {
	t.Helper()
	material := map[string]any{}
	raw := func(c *x509.Certificate) map[string]any { return map[string]any{"rawBytes": c.Raw} }
	switch {
	case d.certificate == nil:
		material["publicKey"] = map[string]any{"hint": "x"}
	case d.version == "0.3" && len(d.chain) == 0:
		material["certificate"] = raw(d.certificate)
	default:
		chain := []any{raw(d.certificate)}
		for _, c := range d.chain {
			chain = append(chain, raw(c))
		}
		material["x509CertificateChain"] = map[string]any{"certificates": chain}
	}
	if d.entry != nil {
		material["tlogEntries"] = []any{s.json(t, *d.entry, d.proof && d.version != "0.1")}
	}
	if d.stamp != nil {
		material["timestampVerificationData"] = map[string]any{"rfc3161Timestamps": []any{map[string]any{"signedTimestamp": d.stamp}}}
	}
	doc := map[string]any{"mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json", "verificationMaterial": material}
	if d.version != "0.3" {
		doc["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=" + d.version
	}
	if d.payload != nil {
		doc["dsseEnvelope"] = map[string]any{
			"payload": d.payload, "payloadType": inTotoPayload, "signatures": []any{map[string]any{"sig": d.sig}},
		}
	} else {
		sum := sha256.Sum256(d.message)
		doc["messageSignature"] = map[string]any{
			"messageDigest": map[string]any{"algorithm": "SHA2_256", "digest": sum[:]}, "signature": d.sig,
		}
	}
	out, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// annotations are the signature as cosign v2 writes it beside a payload.
func (s *sigstore) annotations(t testing.TB, d sealed) map[string]string {
	t.Helper()
	all := map[string]string{signatureAnnotation: base64.StdEncoding.EncodeToString(d.sig)}
	if d.certificate != nil {
		all[certificateAnnotation] = string(pemCertificates(d.certificate))
	}
	if len(d.chain) > 0 {
		all[chainAnnotation] = string(pemCertificates(d.chain...))
	}
	if d.entry != nil {
		raw, err := json.Marshal(map[string]any{"SignedEntryTimestamp": d.entry.set, "Payload": map[string]any{
			"body": d.entry.body, "integratedTime": d.entry.at.Unix(), "logIndex": 0, "logID": s.logID,
		}})
		if err != nil {
			t.Fatal(err)
		}
		all[bundleAnnotation] = string(raw)
	}
	if d.stamp != nil {
		raw, err := json.Marshal(map[string]any{"SignedRFC3161Timestamp": d.stamp})
		if err != nil {
			t.Fatal(err)
		}
		all[timestampAnnotation] = string(raw)
	}
	return all
}

// tag puts signatures under the .sig tag of a subject, in place of what was there.
func (s *sigstore) tag(t testing.TB, m *memory, subject policy.Subject, all ...sealed) {
	t.Helper()
	var layers []ocispec.Descriptor
	for _, d := range all {
		layer := m.layer(subject.Repo, d.message, d.sig)
		layer.Annotations = s.annotations(t, d)
		layers = append(layers, layer)
	}
	m.putManifest(t, subject.Repo, image(layers...), signatureTag(subject))
}

// signed is cosign's signature for a subject by somebody with a certificate, in both formats.
func (s *sigstore) signed(t testing.TB, by holder, subject policy.Subject) (tag, bundle sealed) {
	t.Helper()
	return s.sign(t, by, payloadFor(subject, "registry.example/"+subject.Repo)), s.attest(t, by, statementFor(subject.Digest, SignaturePredicate))
}

// inBothFormats attaches a signature in either format, changed alike, and checks who is proven to have signed.
func (s *sigstore) inBothFormats(t *testing.T, by holder, change func(*sealed), authorities []Authority, want string, why string) {
	t.Helper()
	subject := policy.Subject{Repo: "prod/app", Digest: digest.FromString("the image")}
	tag, bundle := s.signed(t, by, subject)
	if change != nil {
		change(&tag)
		change(&bundle)
	}
	count := 0
	if want == "" {
		count = 1
	}
	for name, attach := range map[string]func(*memory){
		"tag":    func(m *memory) { s.tag(t, m, subject, tag) },
		"bundle": func(m *memory) { m.refer(t, subject, s.bundle(t, bundle), nil) },
	} {
		m := newMemory()
		attach(m)
		ev := verified(t, newVerifier(t, m, authorities...), subject)
		if got := signers(ev); got != want || len(ev.Rejected) != count || count > 0 && !rejectedFor(ev, why) {
			t.Errorf("%s: signed by %q, rejected %+v; want %q, and %q", name, got, ev.Rejected, want, why)
		}
	}
}

// rejectedFor reports whether the first rejection has a code that begins so, or a text in its reason.
func rejectedFor(ev policy.Evidence, why string) bool {
	return strings.HasPrefix(ev.Rejected[0].Code, why) || strings.Contains(ev.Rejected[0].Why, why)
}

func asRejections(all []policy.Rejection) (codes []string) {
	for _, r := range all {
		codes = append(codes, r.Code)
	}
	return codes
}
