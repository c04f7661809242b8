package verifier

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
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
	want := policy.Signature{Authority: "gateway", Signed: s.Digest, Evidence: at.Digest}
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
				b := newBundle(t, by, statementFor(s.Digest, signPredicate))
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
		signPredicate + "/", signPredicate + "x", strings.ToUpper(signPredicate), strings.TrimPrefix(signPredicate, "https://"),
		"https://sigstore.dev/cosign/sign/v2", " " + signPredicate,
	} {
		m := newMemory()
		m.refer(t, s, newBundle(t, key, statementFor(s.Digest, predicate)).json(t), func(doc *ocispec.Manifest) {
			doc.Annotations = map[string]string{predicateAnnotation: signPredicate} // the claim does not make it one
		})
		ev := verified(t, newVerifier(t, m, key.authority(t, "gateway")), s)
		if len(ev.Signatures)+len(ev.Rejected) != 0 {
			t.Errorf("predicate %q: got %+v, want nothing", predicate, ev)
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
		"something behind it":                  {`"predicate":{}}`, `"predicate":{}}{}`, "something follows"},
	} {
		m, key := newMemory(), newSigner(t)
		whole := string(statementFor(s.Digest, signPredicate))
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
		payload := strings.Replace(string(statementFor(s.Digest, signPredicate)), statementTypes[0], version, 1)
		m.refer(t, s, newBundle(t, key, []byte(payload)).json(t), nil)
		wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
	}
}

func TestThreat062_AStatementMayNameOtherImagesToo(t *testing.T) {
	m, s, key := newMemory(), aSubject(), newSigner(t)
	payload := strings.Replace(string(statementFor(s.Digest, signPredicate)), `"subject":[`,
		`"subject":[{"name":"x","digest":{"sha256":"`+digest.FromString("x").Encoded()+`"}},`, 1)
	m.refer(t, s, newBundle(t, key, []byte(payload)).json(t), nil)
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "gateway", 0, "")
}

func TestThreat059And060_BundlesOfAnotherFormDoNotCount(t *testing.T) {
	s, key, other := aSubject(), newSigner(t), newSigner(t)
	good := func() bundleOf { return newBundle(t, key, statementFor(s.Digest, signPredicate)) }
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
			b.signatures = sig(key, inTotoPayload, statementFor(digest.FromString("x"), signPredicate))
		}, "unknown key"},
		"another payload type, signed": {func(b *bundleOf) {
			b.payloadType = "application/json"
			b.signatures = sig(key, b.payloadType, b.payload)
		}, "without an in-toto statement"},
		"another payload type, relabelled": {func(b *bundleOf) {
			b.signatures = sig(key, "application/json", b.payload)
		}, "unknown key"},
		"no payload":                  {func(b *bundleOf) { b.payload = nil }, "cannot be read"},
		"no verification material":    {func(b *bundleOf) { b.material = map[string]any{} }, "cannot be read"},
		"a certificate that is none":  {func(b *bundleOf) { b.material = certificate("junk") }, "unknown key"},
		"a bundle of the future":      {func(b *bundleOf) { b.mediaType = "application/vnd.dev.sigstore.bundle.v0.4+json" }, "cannot be read"},
		"a bundle of no version":      {func(b *bundleOf) { b.mediaType = "application/vnd.dev.sigstore.bundle+json" }, "cannot be read"},
		"a log entry that is none":    {func(b *bundleOf) { b.material["tlogEntries"] = []any{map[string]any{"logIndex": "1"}} }, "cannot be read"},
		"log entries without an end":  {func(b *bundleOf) { b.material["tlogEntries"] = many(33) }, "cannot be read"},
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
		b := newBundle(t, key, statementFor(s.Digest, signPredicate))
		b.material["tlogEntries"] = []any{map[string]any{
			"logIndex": "1", "logId": map[string]any{"keyId": "eA=="}, "integratedTime": "1700000000",
			"kindVersion":       map[string]any{"kind": kind, "version": "0.0.1"},
			"inclusionPromise":  map[string]any{"signedEntryTimestamp": "eA=="},
			"inclusionProof":    map[string]any{"logIndex": "1", "rootHash": "eA==", "treeSize": "2", "checkpoint": map[string]any{"envelope": "x"}},
			"canonicalizedBody": fmt.Appendf(nil, `{"apiVersion":"0.0.1","kind":%q,"spec":{"archive":{"content":"H4sIAAAAAAAA"},"message":""}}`, kind),
		}}
		m := newMemory()
		m.refer(t, s, b.json(t), nil)
		t.Run(kind, func(t *testing.T) {
			wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a bundle that cannot be read")
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
	b := newBundle(t, key, statementFor(s.Digest, signPredicate))
	b.material = certificate(string(der))
	m.refer(t, s, b.json(t), nil)
	wantSigners(t, verified(t, newVerifier(t, m, key.authority(t, "gateway")), s), "", 1, "a signature by an unknown key")
}

// One bit of anything: what still verifies says the same, byte for byte.
func TestWithOneBitChangedABundleIsRefusedOrTheSame(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	payload := statementFor(s.Digest, signPredicate)
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

func certificate(raw string) map[string]any {
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

func TestThreat056_AReferrerOfAnotherSubjectDoesNotCount(t *testing.T) {
	s, key := aSubject(), newSigner(t)
	elsewhere := &ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: digest.FromString("x"), Size: 9}
	for name, c := range map[string]struct {
		change   func(*ocispec.Manifest)
		want     string
		rejected int
		why      string
	}{
		"another subject":            {func(m *ocispec.Manifest) { m.Subject = elsewhere }, "", 1, "refers to another image"},
		"no subject":                 {func(m *ocispec.Manifest) { m.Subject = nil }, "", 1, "refers to another image, or to none"},
		"two layers":                 {func(m *ocispec.Manifest) { m.Layers = append(m.Layers, ocispec.DescriptorEmptyJSON) }, "", 1, "2 layers"},
		"no layers":                  {func(m *ocispec.Manifest) { m.Layers = []ocispec.Descriptor{} }, "", 0, ""},
		"a layer of another type":    {func(m *ocispec.Manifest) { m.Layers[0].MediaType = "text/plain" }, "", 0, ""},
		"another artifact type":      {func(m *ocispec.Manifest) { m.ArtifactType = "application/spdx+json" }, "gateway", 0, ""},
		"annotations that mislead":   {func(m *ocispec.Manifest) { m.Annotations = map[string]string{predicateAnnotation: "x"} }, "gateway", 0, ""},
		"a layer of an older bundle": {func(m *ocispec.Manifest) { m.Layers[0].MediaType = manifest.BundlePrefix + "+json;version=0.2" }, "gateway", 0, ""},
	} {
		m := newMemory()
		m.refer(t, s, newBundle(t, key, statementFor(s.Digest, signPredicate)).json(t), c.change)
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
	short := newBundle(t, key, statementFor(s.Digest, signPredicate)).json(t)
	for size, want := range map[int]string{MaxBundleBytes: "gateway", MaxBundleBytes + 1: ""} {
		for _, claim := range []string{"", signPredicate, "https://spdx.dev/Document"} {
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
	short := statementFor(s.Digest, signPredicate)
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
