package verifier

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/sigstore-go/pkg/bundle"
)

func TestABundleThatRefersToTheSubjectIsProven(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	at := m.signBundle(t, s, key)
	ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
	want := policy.Signature{
		Authority: "gateway", Signer: key.authority(t, "gateway").Fingerprint(), Signed: s.Digest, Evidence: at.Digest,
		Format: policy.FormatBundle,
	}
	if len(ev.Signatures) != 1 || ev.Signatures[0] != want || len(ev.Rejected) != 0 {
		t.Errorf("got %+v, want %+v alone", ev, want)
	}
}

func TestEveryKindOfKeySignsBundles(t *testing.T) {
	for name, key := range everyKey(t) {
		m, s := newMemory(), aSubject()
		m.signBundle(t, s, key)
		wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, name)), s), name, 0, "")
	}
}

func TestEveryAuthorityIsAskedAboutEveryBundle(t *testing.T) {
	m, s := newMemory(), aSubject()
	gateway, ci, stranger := newSigner(t), newSigner(t), newSigner(t)
	for _, by := range []signer{stranger, ci, gateway, ci} {
		m.signBundle(t, s, by)
	}
	ev := verified(t, newVerifier(t, m, gateway.authority(t, "gateway"), ci.authority(t, "ci")), s)
	wantSigners(t, ev, "ci gateway ci", 1, "a signature by an unknown key")
}

// What a bundle or its signature says about the key that made it leads nowhere: not past a check, not to another key.
func TestHintsAndKeyIDsNeitherHelpNorHinder(t *testing.T) {
	key, stranger := newSigner(t), newSigner(t)
	gateway := key.authority(t, "gateway")
	for _, hint := range []string{"", "another key", gateway.Fingerprint(), "gateway"} {
		for _, id := range []string{"", "another key", gateway.Fingerprint()} {
			m, s := newMemory(), aSubject()
			for _, by := range []signer{key, stranger} {
				b := newBundle(t, by, statementFor(s.Digest, SignaturePredicate))
				b.material = map[string]any{"publicKey": map[string]any{"hint": hint}}
				b.signatures[0]["keyid"] = id
				m.refer(t, s, b.json(t), nil)
			}
			wantSigners(t, verified(t, newVerifier(t, m, gateway), s), "gateway", 1, "a signature by an unknown key")
		}
	}
}

func TestThreat063_OnlyTheSignPredicateMakesASignatureWhoeverSigned(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for _, predicate := range []string{
		"https://spdx.dev/Document", "https://slsa.dev/provenance/v1", "https://cosign.sigstore.dev/attestation/vuln/v1",
		SignaturePredicate + "/", SignaturePredicate + "x", strings.ToUpper(SignaturePredicate), strings.TrimPrefix(SignaturePredicate, "https://"),
		"https://sigstore.dev/cosign/sign/v2", " " + SignaturePredicate,
	} {
		m := newMemory()
		m.refer(t, s, newBundle(t, key, statementFor(s.Digest, predicate)).json(t), func(doc *ocispec.Manifest) {
			doc.Annotations = map[string]string{predicateAnnotation: SignaturePredicate} // the claim does not make it one
		})
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if len(ev.Signatures) != 0 || len(ev.Rejected) != 1 || ev.Rejected[0].Code != string(NotASignature) {
			t.Errorf("predicate %q: got %+v, want NOT_A_SIGNATURE", predicate, ev)
		}

		// What does not say to be a signature is no attempt at one.
		m = newMemory()
		m.refer(t, s, newBundle(t, key, statementFor(s.Digest, predicate)).json(t), nil)
		if ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s); len(ev.Signatures)+len(ev.Rejected) != 0 {
			t.Errorf("predicate %q without an annotation: got %+v, want nothing", predicate, ev)
		}
	}
}

func TestThreat061And062_StatementsOfAnotherFormOrSubjectDoNotCount(t *testing.T) {
	s := aSubject()
	subject := `"subject":[{"digest":{"sha256":"` + s.Digest.Encoded() + `"}}]`
	for name, c := range map[string]struct{ change, to, why string }{
		"another image":                        {s.Digest.Encoded(), digest.FromString("x").Encoded(), "is for another image"},
		"the digest in upper case":             {s.Digest.Encoded(), strings.ToUpper(s.Digest.Encoded()), "is for another image"},
		"another algorithm":                    {`"sha256"`, `"sha512"`, "is for another image"},
		"the algorithm in a case":              {`"sha256"`, `"SHA256"`, "is for another image"},
		"a weak algorithm":                     {`"sha256"`, `"sha1"`, "is for another image"},
		"sha256 right and sha512 not compared": {`{"sha256"`, `{"sha512":"00","sha256"`, "which is not compared"},
		"no subject":                           {subject, `"subject":[]`, "is for no image"},
		"no digest":                            {subject, `"subject":[{"name":"prod/app"}]`, "is for another image"},
		"subjects that are null":               {subject, `"subject":null`, "is for no image"},
		"subject twice":                        {subject, subject + "," + subject, "is there twice"},
		"digest twice":                         {`"digest":`, `"digest":{},"digest":`, "is there twice"},
		"subject in another case":              {subject, `"Subject":[]`, "differs from"},
		"predicateType twice":                  {`"predicate":{}`, `"predicateType":"x"`, "is there twice"},
		"another statement":                    {"Statement/v1", "Statement/v2", "a statement of type"},
		"no type":                              {`"_type":"https://in-toto.io/Statement/v1",`, "", "a statement of type"},
		"a list":                               {`{"_type"`, `[{"_type"`, "cannot be read"},
		"something behind it":                  {`"predicate":{}}`, `"predicate":{}}{}`, "after top-level value"},
	} {
		m, key := newMemory(), newSigner(t)
		whole := string(statementFor(s.Digest, SignaturePredicate))
		payload := []byte(strings.ReplaceAll(whole, c.change, c.to))
		if string(payload) == whole {
			t.Fatalf("%s: changes nothing", name)
		}
		m.refer(t, s, newBundle(t, key, payload).json(t), nil)
		t.Run(name, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, c.why)
		})
	}
}

func TestThreat061_BothVersionsOfTheStatementAreRead(t *testing.T) {
	for _, version := range statementTypes {
		m, s, key := newMemory(), aSubject(), newSigner(t)
		payload := strings.Replace(string(statementFor(s.Digest, SignaturePredicate)), statementTypes[0], version, 1)
		m.refer(t, s, newBundle(t, key, []byte(payload)).json(t), nil)
		wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
	}
}

func TestThreat062_AStatementMayNameOtherImagesToo(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	payload := strings.Replace(string(statementFor(s.Digest, SignaturePredicate)), `"subject":[`,
		`"subject":[{"name":"x","digest":{"sha256":"`+digest.FromString("x").Encoded()+`"}},`, 1)
	m.refer(t, s, newBundle(t, key, []byte(payload)).json(t), nil)
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
}

func TestThreat059And060_BundlesOfAnotherFormDoNotCount(t *testing.T) {
	s, key, other := aSubject(), newSigner(t), newSigner(t)
	good := func() bundleOf { return newBundle(t, key, statementFor(s.Digest, SignaturePredicate)) }
	sig := func(by signer, payloadType string, payload []byte) []map[string]any {
		return []map[string]any{{"sig": by.sign(t, pae(payloadType, payload))}}
	}
	for name, c := range map[string]struct {
		change func(*bundleOf)
		why    string
	}{
		"no signature":            {func(b *bundleOf) { b.signatures = nil }, "unknown key"},
		"an empty signature":      {func(b *bundleOf) { b.signatures[0]["sig"] = "" }, "unknown key"},
		"another's signature":     {func(b *bundleOf) { b.signatures = sig(other, inTotoPayload, b.payload) }, "unknown key"},
		"a signature without PAE": {func(b *bundleOf) { b.signatures[0]["sig"] = key.sign(t, b.payload) }, "unknown key"},
		"two signatures": {func(b *bundleOf) {
			b.signatures = append(sig(other, inTotoPayload, b.payload), b.signatures...)
		}, "unknown key"},
		"a thousand signatures, all good": {func(b *bundleOf) {
			for range 999 {
				b.signatures = append(b.signatures, b.signatures[0])
			}
		}, "unknown key"},
		"one signature twice under two ids": {func(b *bundleOf) {
			b.signatures = []map[string]any{
				{"sig": b.signatures[0]["sig"], "keyid": "a"}, {"sig": b.signatures[0]["sig"], "keyid": "b"},
			}
		}, "unknown key"},
		"simple signing under in-toto's type": {func(b *bundleOf) {
			b.payload = payloadFor(s, "r.example/"+s.Repo)
			b.signatures = sig(key, b.payloadType, b.payload)
		}, "a statement of type"},
		"in-toto under simple signing's type": {func(b *bundleOf) {
			b.payloadType = manifest.SimpleSigning
			b.signatures = sig(key, b.payloadType, b.payload)
		}, "without an in-toto statement"},
		"the signature of another payload": {func(b *bundleOf) {
			b.signatures = sig(key, inTotoPayload, statementFor(digest.FromString("x"), SignaturePredicate))
		}, "unknown key"},
		"another payload type, signed": {func(b *bundleOf) {
			b.payloadType = "application/json"
			b.signatures = sig(key, b.payloadType, b.payload)
		}, "without an in-toto statement"},
		"another payload type, relabelled": {func(b *bundleOf) {
			b.signatures = sig(key, "application/json", b.payload)
		}, "unknown key"},
		"no payload":                 {func(b *bundleOf) { b.payload = nil }, "cannot be read"},
		"no verification material":   {func(b *bundleOf) { b.material = map[string]any{} }, "cannot be read"},
		"a certificate that is none": {func(b *bundleOf) { b.material = certificateOf("junk") }, "cannot be read"},
		"a bundle of the future": {func(b *bundleOf) {
			b.mediaType = "application/vnd.dev.sigstore.bundle.v0.4+json"
		}, "cannot be read"},
		"a bundle of no version": {func(b *bundleOf) {
			b.mediaType = "application/vnd.dev.sigstore.bundle+json"
		}, "cannot be read"},
		"a log entry that is none": {func(b *bundleOf) {
			b.material["tlogEntries"] = []any{map[string]any{"logIndex": "1"}}
		}, "cannot be read"},
		"log entries without an end": {func(b *bundleOf) {
			b.material["tlogEntries"] = many(33)
		}, "cannot be read"},
		"an unknown field":            {func(b *bundleOf) { b.material["x"] = 1 }, "cannot be read"},
		"a signature that is no text": {func(b *bundleOf) { b.signatures[0]["sig"] = 1 }, "cannot be read"},
	} {
		m := newMemory()
		b := good()
		c.change(&b)
		m.refer(t, s, b.json(t), nil)
		t.Run(name, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, c.why)
		})
	}
	for _, raw := range []string{"", "null", "{}", "[]", "<html>", `{"mediaType":"x"}`, `{"dsseEnvelope":{}}`} {
		m := newMemory()
		m.refer(t, s, []byte(raw), nil)
		t.Run(raw, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a bundle that cannot be read")
		})
	}
}

// Log entries prove nothing to a key, but they are parsed: only the kinds that hold signatures, never an archive.
func TestLogEntriesOfOtherKindsMakeABundleUnreadable(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	for _, kind := range []string{"cose", "jar", "apk", "rpm", "helm", "alpine", "tuf", "rfc3161", "", "x"} {
		b := newBundle(t, key, statementFor(s.Digest, SignaturePredicate))
		b.material["tlogEntries"] = []any{map[string]any{
			"logIndex": "1", "logId": map[string]any{"keyId": "eA=="}, "integratedTime": "1700000000",
			"kindVersion":      map[string]any{"kind": kind, "version": "0.0.1"},
			"inclusionPromise": map[string]any{"signedEntryTimestamp": "eA=="},
			"inclusionProof": map[string]any{
				"logIndex": "1", "rootHash": "eA==", "treeSize": "2", "checkpoint": map[string]any{"envelope": "x"},
			},
			"canonicalizedBody": fmt.Appendf(nil,
				`{"apiVersion":"0.0.1","kind":%q,"spec":{"archive":{"content":"H4sIAAAAAAAA"},"message":""}}`, kind),
		}}
		m := newMemory()
		m.refer(t, s, b.json(t), nil)
		t.Run(kind, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a log entry that cannot be read")
		})
	}
}

// A certificate is nobody that we know, even one around a key that is trusted.
func TestACertificateAroundATrustedKeyIsNotTheKey(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		EmailAddresses: []string{"release@acme.example"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	m, s, key := newMemory(), aSubject(), signerOf(t, private, crypto.SHA256)
	b := newBundle(t, key, statementFor(s.Digest, SignaturePredicate))
	b.material = certificateOf(string(der))
	m.refer(t, s, b.json(t), nil)
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a signature by an unknown key")
}

// One bit of anything: what still verifies says the same, byte for byte.
func TestWithOneBitChangedABundleIsRefusedOrTheSame(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	payload := statementFor(s.Digest, SignaturePredicate)
	good := newBundle(t, key, payload).json(t)
	gateway := key.authority(t, "gateway")
	for at := range good {
		raw := append([]byte{}, good...)
		raw[at] ^= 1 << (at % 8)
		m := newMemory()
		m.refer(t, s, raw, nil)
		if len(verified(t, newVerifier(t, m, gateway), s).Signatures) == 0 {
			continue
		}
		var b bundle.Bundle
		if err := b.UnmarshalJSON(raw); err != nil || !bytes.Equal(b.GetDsseEnvelope().GetPayload(), payload) {
			t.Errorf("byte %d: %q verifies", at, raw)
		}
	}
}

func certificateOf(raw string) map[string]any {
	return map[string]any{"certificate": map[string]any{"rawBytes": base64.StdEncoding.EncodeToString([]byte(raw))}}
}

func many(n int) (entries []any) {
	for range n {
		entries = append(entries, map[string]any{})
	}
	return entries
}

func TestABundleOverABlobIsNoSignature(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	sum := digest.FromString("the image")
	m.refer(t, s, fmt.Appendf(nil, `{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json",
		"verificationMaterial":{"publicKey":{"hint":"x"}},
		"messageSignature":{"messageDigest":{"algorithm":"SHA2_256","digest":%q},"signature":%q}}`,
		base64.StdEncoding.EncodeToString([]byte(sum)), base64.StdEncoding.EncodeToString(key.sign(t, []byte("the image")))), nil)
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a bundle without an in-toto statement")
}
