package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore-go/pkg/testing/ca"
	"github.com/sigstore/sigstore-go/pkg/tlog"
)

// sigstore is a Sigstore deployment in memory with real cryptography: a Fulcio whose certificates a test can make as it likes,
// a certificate log, a Rekor and a timestamp authority.
type sigstore struct {
	virtual *ca.VirtualSigstore // logs and timestamps
	logID   string              // of its Rekor, in hexadecimal

	root, intermediate       *x509.Certificate
	rootKey, intermediateKey *ecdsa.PrivateKey
	ctKey                    *ecdsa.PrivateKey
}

func newSigstore(t testing.TB) *sigstore {
	t.Helper()
	s := new(sigstore)
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.virtual, err = ca.NewVirtualSigstore()
	must()
	s.logID, err = s.virtual.RekorLogID()
	must()
	s.root, s.rootKey, err = ca.GenerateRootCa()
	must()
	s.intermediate, s.intermediateKey, err = ca.GenerateFulcioIntermediate(s.root, s.rootKey)
	must()
	s.ctKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must()
	return s
}

// parts are what a trusted root is made of; a test leaves out or changes what it wants.
type parts struct {
	authorities []root.CertificateAuthority
	timestamps  []root.TimestampingAuthority
	logs, ct    map[string]*root.TransparencyLog
}

func (s *sigstore) trust(t testing.TB, change func(*parts)) *TrustRoot {
	t.Helper()
	log := *s.virtual.RekorLogs()[s.logID]
	log.ID = fromHex(t, s.logID)
	ctID := sha256.Sum256(der(t, s.ctKey.Public()))
	p := parts{
		authorities: append(s.virtual.FulcioCertificateAuthorities(), &root.FulcioCertificateAuthority{
			Root: s.root, Intermediates: []*x509.Certificate{s.intermediate},
			ValidityPeriodStart: time.Now().Add(-5 * time.Hour), URI: "https://fulcio.test",
		}),
		timestamps: s.virtual.TimestampingAuthorities(),
		logs:       map[string]*root.TransparencyLog{s.logID: &log},
		ct: map[string]*root.TransparencyLog{hex.EncodeToString(ctID[:]): {
			BaseURL: "https://ct.test", ID: ctID[:], HashFunc: crypto.SHA256, SignatureHashFunc: crypto.SHA256,
			PublicKey: s.ctKey.Public(), ValidityPeriodStart: time.Now().Add(-time.Hour),
		}},
	}
	if change != nil {
		change(&p)
	}
	trusted, err := ParseTrustRoot(p.json(t))
	if err != nil {
		t.Fatal(err)
	}
	return trusted
}

func (p parts) json(t testing.TB) []byte {
	t.Helper()
	made, err := root.NewTrustedRoot(root.TrustedRootMediaType01, p.authorities, p.ct, p.timestamps, p.logs)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := made.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// rootJSON is the trusted_root.json of a deployment, indented.
func rootJSON(t testing.TB, s *sigstore) []byte {
	t.Helper()
	var raw []byte
	s.trust(t, func(p *parts) { raw = p.json(t) })
	var indented bytes.Buffer
	if err := json.Indent(&indented, raw, "", "  "); err != nil {
		t.Fatal(err)
	}
	return indented.Bytes()
}

func asRejections(all []policy.Rejection) (codes []string) {
	for _, r := range all {
		codes = append(codes, r.Code)
	}
	return codes
}

// Whom the tests' certificates are for.
const (
	testIssuer  = "https://token.actions.githubusercontent.com"
	testSubject = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main"
)

func testIdentity() Identity { return Identity{Issuer: testIssuer, Subject: testSubject} }

// holder is somebody with a certificate.
type holder struct {
	signer
	certificate *x509.Certificate
}

// holder gets a certificate from Fulcio, after change had its way with it, logged by the certificate log.
func (s *sigstore) holder(t testing.TB, change func(*x509.Certificate)) holder {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()),
		NotBefore:    time.Now().Add(-time.Minute), NotAfter: time.Now().Add(9 * time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		URIs: []*url.URL{address(t, testSubject)},
		ExtraExtensions: []pkix.Extension{
			extension(t, 8, testIssuer),
			extension(t, 12, "https://github.com/acme/app"),
			extension(t, 14, "refs/heads/main"),
			extension(t, 18, "https://github.com/acme/app/.github/workflows/top.yml@refs/heads/main"),
			extension(t, 20, "push"),
		},
	}
	logged := true
	if change != nil {
		change(template)
		logged = template.Subject.CommonName != "not logged"
	}
	if logged {
		template.ExtraExtensions = append(template.ExtraExtensions, s.sct(t, template, key.Public(), s.ctKey))
	}
	return holder{signerOf(t, key, crypto.SHA256), s.issue(t, template, key.Public())}
}

func (s *sigstore) issue(t testing.TB, template *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	t.Helper()
	return issueBy(t, template, pub, s.intermediate, s.intermediateKey)
}

func issueBy(t testing.TB, template *x509.Certificate, pub crypto.PublicKey, parent *x509.Certificate, key crypto.Signer) *x509.Certificate {
	t.Helper()
	raw, err := x509.CreateCertificate(rand.Reader, template, parent, pub, key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// sct is the promise of a certificate log to log the certificate, as an extension of it.
func (s *sigstore) sct(t testing.TB, template *x509.Certificate, pub crypto.PublicKey, key *ecdsa.PrivateKey) pkix.Extension {
	t.Helper()
	oid := asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11129, 2, 4, 2}
	with := *template
	with.ExtraExtensions = append(append([]pkix.Extension{}, template.ExtraExtensions...), pkix.Extension{Id: oid, Value: []byte{4, 0}})
	provisional := s.issue(t, &with, pub)
	var chain []*ctx509.Certificate
	for _, c := range []*x509.Certificate{provisional, s.intermediate} {
		parsed, err := ctx509.ParseCertificate(c.Raw)
		if ctx509.IsFatal(err) {
			t.Fatal(err)
		}
		chain = append(chain, parsed)
	}

	at := uint64(time.Now().UnixMilli())
	leaf, err := ct.MerkleTreeLeafForEmbeddedSCT(chain, at)
	if err != nil {
		t.Fatal(err)
	}
	id := sha256.Sum256(der(t, key.Public()))
	promise := ct.SignedCertificateTimestamp{SCTVersion: ct.V1, LogID: ct.LogID{KeyID: id}, Timestamp: at}
	input, err := ct.SerializeSCTSignatureInput(promise, ct.LogEntry{Leaf: *leaf})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(input)
	sig, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	promise.Signature = ct.DigitallySigned{
		Algorithm: tls.SignatureAndHashAlgorithm{Hash: tls.SHA256, Signature: tls.ECDSA}, Signature: sig,
	}
	raw, err := tls.Marshal(promise)
	if err != nil {
		t.Fatal(err)
	}
	list, err := tls.Marshal(ctx509.SignedCertificateTimestampList{SCTList: []ctx509.SerializedSCT{{Val: raw}}})
	if err != nil {
		t.Fatal(err)
	}
	value, err := asn1.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: oid, Value: value}
}

// logged is an entry in the log.
type logged struct {
	body []byte
	at   time.Time
	set  []byte // the log's promise
}

// hashedRekord is what a log keeps of a signature over a message.
func hashedRekord(message, sig, public []byte) []byte {
	sum := sha256.Sum256(message)
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"%x"}},`+
		`"signature":{"content":%q,"publicKey":{"content":%q}}}}`, sum, base64.StdEncoding.EncodeToString(sig), base64.StdEncoding.EncodeToString(public))
}

// dsseRekord is what a log keeps of an envelope.
func dsseRekord(payload, sig, public []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"%x"},`+
		`"payloadHash":{"algorithm":"sha256","value":"%x"},"signatures":[{"signature":%q,"verifier":%q}]}}`,
		sha256.Sum256([]byte("any")), sha256.Sum256(payload), base64.StdEncoding.EncodeToString(sig), base64.StdEncoding.EncodeToString(public))
}

func (s *sigstore) log(t testing.TB, body []byte, at time.Time) logged {
	t.Helper()
	set, err := s.virtual.RekorSignPayload(tlog.RekorPayload{
		Body: base64.StdEncoding.EncodeToString(body), IntegratedTime: at.Unix(), LogIndex: 0, LogID: s.logID,
	})
	if err != nil {
		t.Fatal(err)
	}
	return logged{body, at, set}
}

// json is the entry as bundles carry it.
func (s *sigstore) json(t testing.TB, e logged, proof bool) map[string]any {
	t.Helper()
	var kind struct{ Kind, APIVersion string }
	if err := json.Unmarshal(e.body, &kind); err != nil {
		t.Fatal(err)
	}
	entry := map[string]any{
		"logIndex": "0", "logId": map[string]any{"keyId": fromHex(t, s.logID)}, "integratedTime": fmt.Sprint(e.at.Unix()),
		"kindVersion":       map[string]any{"kind": kind.Kind, "version": kind.APIVersion},
		"canonicalizedBody": e.body,
	}
	if e.set != nil {
		entry["inclusionPromise"] = map[string]any{"signedEntryTimestamp": e.set}
	}
	if proof {
		p, err := s.virtual.GetInclusionProof(e.body)
		if err != nil {
			t.Fatal(err)
		}
		entry["inclusionProof"] = map[string]any{
			"logIndex": fmt.Sprint(*p.LogIndex), "treeSize": fmt.Sprint(*p.TreeSize), "rootHash": fromHex(t, *p.RootHash),
			"hashes": []any{}, "checkpoint": map[string]any{"envelope": *p.Checkpoint},
		}
	}
	return entry
}

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

func (s *sigstore) stamp(t testing.TB, sig []byte) []byte {
	t.Helper()
	stamp, err := s.virtual.TimestampResponse(sig)
	if err != nil {
		t.Fatal(err)
	}
	return stamp
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
	return s.sign(t, by, payloadFor(subject, "registry.example/"+subject.Repo)), s.attest(t, by, statementFor(subject.Digest, signPredicate))
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

func extension(t testing.TB, last int, value string) pkix.Extension {
	t.Helper()
	raw, err := asn1.MarshalWithParams(value, "utf8")
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 57264, 1, last}, Value: raw}
}

// setExtension replaces one of Fulcio's extensions.
func setExtension(t testing.TB, c *x509.Certificate, last int, value string) {
	t.Helper()
	e := extension(t, last, value)
	for i := range c.ExtraExtensions {
		if c.ExtraExtensions[i].Id.Equal(e.Id) {
			c.ExtraExtensions[i] = e
			return
		}
	}
	c.ExtraExtensions = append(c.ExtraExtensions, e)
}

func pemCertificates(all ...*x509.Certificate) []byte {
	var b bytes.Buffer
	for _, c := range all {
		_ = pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	return b.Bytes()
}

func address(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func der(t testing.TB, pub crypto.PublicKey) []byte {
	t.Helper()
	raw, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func fromHex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func asNumber(n int64) *big.Int { return big.NewInt(n) }
