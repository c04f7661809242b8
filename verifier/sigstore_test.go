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
	"testing"
	"time"

	ct "github.com/google/certificate-transparency-go"
	"github.com/google/certificate-transparency-go/tls"
	ctx509 "github.com/google/certificate-transparency-go/x509"
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

func (s *sigstore) stamp(t testing.TB, sig []byte) []byte {
	t.Helper()
	stamp, err := s.virtual.TimestampResponse(sig)
	if err != nil {
		t.Fatal(err)
	}
	return stamp
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
