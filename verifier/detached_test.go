package verifier

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sigstore/sigstore-go/pkg/testing/data"
)

func fileArtifact(t testing.TB, content string) Artifact {
	t.Helper()
	a, err := FileArtifact(strings.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func digestOf(t testing.TB, text string) Artifact {
	t.Helper()
	a, err := DigestArtifact(digest.Digest(text))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func wantFailure(t *testing.T, d Detached, code FailureCode) {
	t.Helper()
	proof, err := d.Verify()
	if code == "" {
		if err != nil || proof.Signer == "" {
			t.Errorf("got %+v, %v, want a proof", proof, err)
		}
		return
	}
	if f, ok := errors.AsType[*Failure](err); !ok || f.Code != code || f.Why == "" || proof != (Proof{}) {
		t.Errorf("got %+v, %v, want %s", proof, err, code)
	}
}

// The bundles that sigstore-go tests itself with: made by Sigstore's public instance.
func TestRealBundlesVerifyAgainstTheBuiltInRoot(t *testing.T) {
	r, err := PublicGood()
	if err != nil {
		t.Fatal(err)
	}
	dehamer := Identity{Issuer: "https://github.com/login/oauth", Subject: "brian@dehamer.com"}
	release := Identity{Issuer: testIssuer, Subject: "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main"}
	const (
		slsa = "sha512:bbfd372fc9beeb777fe35d05bb10c0c70a9733d366a75fed7dd18866c7391de3ee7e88ba74dd47abf3e15c845e547fcf0e5c3da80854c751554224d3a6d4e55f"
		js   = "sha512:46d4e2f74c4877316640000a6fdf8a8b59f1e0847667973e9859f774dd31b8f1e0937813b777fb66a2ac67d50540fe34640966eee9fc2ccca387082b4c85cd3c"
	)
	for name, c := range map[string]struct {
		bundle   string
		id       Identity
		artifact string
		code     FailureCode
	}{
		"v0.1 around a statement":    {"dsse.sigstore.json", dehamer, slsa, ""},
		"v0.1 with a proof":          {"sigstore.js@2.0.0-provenance.sigstore.json", release, js, ""},
		"two signatures":             {"dsse-2sigs.sigstore.json", dehamer, slsa, SignatureInvalid},
		"another artifact":           {"dsse.sigstore.json", dehamer, js, ArtifactMismatch},
		"the same by another digest": {"dsse.sigstore.json", dehamer, "sha256:" + strings.Repeat("0", 64), ArtifactMismatch},
		"another subject":            {"dsse.sigstore.json", Identity{Issuer: dehamer.Issuer, Subject: "brian@dehamer.co"}, slsa, IdentityMismatch},
		"another issuer":             {"dsse.sigstore.json", Identity{Issuer: testIssuer, Subject: dehamer.Subject}, slsa, IdentityMismatch},
		"another instance's":         {"othername.sigstore.json", Identity{Issuer: "http://oidc.local:8080", Subject: "foo!oidc.local"}, "sha256:bc103b4a84971ef6459b294a2b98568a2bfb72cded09d4acd1e16366a401f95b", NotLogged},
		"a key's":                    {"public-key-validity.sigstore.json", dehamer, "sha256:6ae8a75555209fd6c44157c0aed8016e763ff435a19cf186f76863140143ff72", CertificateMissing},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := data.Bundle(t, c.bundle).MarshalJSON()
			if err != nil {
				t.Fatal(err)
			}
			wantFailure(t, Detached{Bundle: raw, Identity: &c.id, Root: r, Artifact: digestOf(t, c.artifact)}, c.code)
		})
	}
}

func TestABundleOverAFileOrAroundAStatementAboutItVerifies(t *testing.T) {
	s := newSigstore(t)
	by, trust, id := s.holder(t, nil), s.trust(t, nil), testIdentity()
	const content = "the artifact"
	sum := sha256.Sum256([]byte(content))
	over, around := s.sign(t, by, []byte(content)), s.attest(t, by, statementFor(digest.FromString(content), "https://slsa.dev/provenance/v1"))
	for _, version := range []string{"0.1", "0.2", "0.3"} {
		for name, d := range map[string]sealed{"over": over, "around": around} {
			d.version = version
			raw := s.bundle(t, d)
			for named, artifact := range map[string]Artifact{"file": fileArtifact(t, content), "digest": digestOf(t, "sha256:"+hex.EncodeToString(sum[:]))} {
				t.Run(version+" "+name+" "+named, func(t *testing.T) {
					wantFailure(t, Detached{Bundle: raw, Identity: &id, Root: trust, Artifact: artifact}, "")
				})
			}
			wantFailure(t, Detached{Bundle: raw, Identity: &id, Root: trust, Artifact: fileArtifact(t, content+"x")}, ArtifactMismatch)
			wantFailure(t, Detached{Bundle: raw, Identity: &id, Root: trust, Artifact: digestOf(t, digest.FromString("x").String())}, ArtifactMismatch)
		}
	}
}

func TestWhatADetachedBundleCarriesMustVerify(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	id, trust := testIdentity(), s.trust(t, nil)
	by, stranger := s.holder(t, nil), newSigner(t)
	const content = "the artifact"
	for name, c := range map[string]struct {
		by     holder
		change func(*sealed)
		code   FailureCode
	}{
		"all of it":                      {by, func(*sealed) {}, ""},
		"no timestamp":                   {by, func(d *sealed) { d.stamp = nil }, ""},
		"no entry":                       {by, func(d *sealed) { d.entry = nil }, NotLogged},
		"another signature's timestamp":  {by, func(d *sealed) { d.stamp = s.stamp(t, []byte("x")) }, TimestampInvalid},
		"another authority's timestamp":  {by, func(d *sealed) { d.stamp = other.stamp(t, d.sig) }, TimestampInvalid},
		"neither promise nor timestamp":  {by, func(d *sealed) { d.entry.set, d.stamp = nil, nil }, TimestampMissing},
		"a proof and a timestamp":        {by, func(d *sealed) { d.entry.set = nil }, ""},
		"a promise that was changed":     {by, func(d *sealed) { d.entry.set[8] ^= 1 }, LogEntryInvalid},
		"an entry of another instance":   {by, func(d *sealed) { *d.entry = other.log(t, d.entry.body, time.Now()) }, LogEntryInvalid},
		"another Fulcio":                 {other.holder(t, nil), func(*sealed) {}, CertificateUntrusted},
		"no certificate log":             {s.holder(t, func(c *x509.Certificate) { c.Subject.CommonName = "not logged" }), func(*sealed) {}, SCTMissing},
		"no certificate":                 {by, func(d *sealed) { d.certificate = nil }, CertificateMissing},
		"a signature by somebody else":   {holder{stranger, by.certificate}, func(d *sealed) { d.entry = nil }, NotLogged},
		"another subject":                {s.holder(t, func(c *x509.Certificate) { setExtension(t, c, 8, "https://issuer.example") }), func(*sealed) {}, IdentityMismatch},
		"a certificate that was expired": {s.holder(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Second) }), func(*sealed) {}, LogEntryInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			var d sealed
			if c.by.signer == stranger {
				sig := stranger.sign(t, []byte(content))
				d = sealed{version: "0.3", certificate: by.certificate, message: []byte(content), sig: sig, stamp: s.stamp(t, sig)}
			} else {
				d = s.sign(t, c.by, []byte(content))
			}
			c.change(&d)
			wantFailure(t, Detached{Bundle: s.bundle(t, d), Identity: &id, Root: trust, Artifact: fileArtifact(t, content)}, c.code)
		})
	}

	// Without logs in the root a timestamp is enough; it still has to be the certificate's time.
	unlogged := s.trust(t, func(p *parts) { p.logs, p.ct = nil, nil })
	d := s.sign(t, by, []byte(content))
	d.entry = nil
	wantFailure(t, Detached{Bundle: s.bundle(t, d), Identity: &id, Root: unlogged, Artifact: fileArtifact(t, content)}, "")
	d.stamp = nil
	wantFailure(t, Detached{Bundle: s.bundle(t, d), Identity: &id, Root: unlogged, Artifact: fileArtifact(t, content)}, TimestampMissing)
	old := s.holder(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-30 * time.Second) })
	d = s.sign(t, old, []byte(content))
	d.entry = nil
	wantFailure(t, Detached{Bundle: s.bundle(t, d), Identity: &id, Root: unlogged, Artifact: fileArtifact(t, content)}, CertificateExpired)
	forged := s.sign(t, by, []byte(content))
	forged.entry, forged.sig = nil, stranger.sign(t, []byte(content))
	forged.stamp = s.stamp(t, forged.sig)
	wantFailure(t, Detached{Bundle: s.bundle(t, forged), Identity: &id, Root: unlogged, Artifact: fileArtifact(t, content)}, SignatureInvalid)
}

func TestThreat061to063_AStatementIsReadStrictly(t *testing.T) {
	key := newSigner(t)
	const content = "the artifact"
	d := digest.FromString(content)
	whole := string(statementFor(d, "https://slsa.dev/provenance/v1"))
	sum := sha512.Sum512([]byte(content))
	for name, c := range map[string]struct {
		change, to string
		code       FailureCode
		digestCode FailureCode
	}{
		"as it is":                        {"", "", "", ""},
		"v0.1":                            {"Statement/v1", "Statement/v0.1", "", ""},
		"another version":                 {"Statement/v1", "Statement/v2", StatementInvalid, StatementInvalid},
		"no type":                         {`"_type":"https://in-toto.io/Statement/v1",`, "", StatementInvalid, StatementInvalid},
		"no predicate type":               {`"predicateType":"https://slsa.dev/provenance/v1",`, "", StatementInvalid, StatementInvalid},
		"a key twice":                     {`"predicate":{}`, `"predicate":{},"predicate":{}`, StatementInvalid, StatementInvalid},
		"subject twice":                   {`"predicate":{}`, `"subject":[],"predicate":{}`, StatementInvalid, StatementInvalid},
		"no subject":                      {`[{"digest":{"sha256":"` + d.Encoded() + `"}}]`, `[]`, ArtifactMismatch, ArtifactMismatch},
		"another artifact":                {d.Encoded(), digest.FromString("x").Encoded(), ArtifactMismatch, ArtifactMismatch},
		"sha512 right too":                {`{"sha256":`, `{"sha512":"` + hex.EncodeToString(sum[:]) + `","sha256":`, "", ""},
		"sha512 wrong":                    {`{"sha256":`, `{"sha512":"` + strings.Repeat("0", 128) + `","sha256":`, ArtifactMismatch, ""},
		"sha512 alone":                    {`"sha256":"` + d.Encoded() + `"`, `"sha512":"` + hex.EncodeToString(sum[:]) + `"`, "", ArtifactMismatch},
		"the digest under another's name": {`"sha256":`, `"sha384":`, ArtifactMismatch, ArtifactMismatch},
		"sha1 alone":                      {`"sha256":`, `"sha1":`, ArtifactMismatch, ArtifactMismatch},
	} {
		payload := []byte(whole)
		if c.change != "" {
			payload = []byte(strings.Replace(whole, c.change, c.to, 1))
		}
		raw := newBundle(t, key, payload).json(t)
		t.Run(name, func(t *testing.T) {
			wantFailure(t, Detached{Bundle: raw, Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, content)}, c.code)
			wantFailure(t, Detached{Bundle: raw, Key: &Key{Public: key.pub}, Artifact: digestOf(t, d.String())}, c.digestCode)
		})
	}
	b := newBundle(t, key, []byte(whole))
	b.payloadType = "application/json"
	b.signatures = []map[string]any{{"sig": key.sign(t, pae(b.payloadType, b.payload))}}
	wantFailure(t, Detached{Bundle: b.json(t), Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, content)}, StatementInvalid)
}

func TestAKeyNeedsALogEntryOnlyWhereARootWithLogsIsGiven(t *testing.T) {
	s := newSigstore(t)
	key, stranger := newSigner(t), newSigner(t)
	const content = "the artifact"
	sig := key.sign(t, []byte(content))
	logged := s.log(t, hashedRekord([]byte(content), sig, []byte(pemOf(t, key.pub))), time.Now())
	bare := sealed{version: "0.3", message: []byte(content), sig: sig}
	entered := bare
	entered.entry, entered.proof = &logged, true
	foreign := entered
	other := s.log(t, hashedRekord([]byte(content), stranger.sign(t, []byte(content)), []byte(pemOf(t, stranger.pub))), time.Now())
	foreign.entry = &other
	trust, noLogs := s.trust(t, nil), s.trust(t, func(p *parts) { p.logs = nil })
	for name, c := range map[string]struct {
		sealed sealed
		root   *TrustRoot
		by     signer
		code   FailureCode
	}{
		"no root":                              {bare, nil, key, ""},
		"no root, an entry":                    {entered, nil, key, ""},
		"a root and an entry":                  {entered, trust, key, ""},
		"a root and no entry":                  {bare, trust, key, NotLogged},
		"a root and another's entry":           {foreign, trust, key, LogEntryInvalid},
		"a root without logs":                  {bare, noLogs, key, ""},
		"another key":                          {bare, nil, stranger, SignatureInvalid},
		"another key, logged":                  {entered, trust, stranger, LogEntryInvalid},
		"a certificate where a key is wanted":  {s.sign(t, s.holder(t, nil), []byte(content)), trust, key, KeyMismatch},
		"a certificate around the key, no log": {s.sign(t, s.holder(t, nil), []byte(content)), nil, key, KeyMismatch},
	} {
		t.Run(name, func(t *testing.T) {
			wantFailure(t, Detached{
				Bundle: s.bundle(t, c.sealed), Key: &Key{Public: c.by.pub}, Root: c.root, Artifact: fileArtifact(t, content),
			}, c.code)
		})
	}
}

// Ed25519 signs messages. Of a message that is known by its digest alone, nothing can be said; least of all that an empty
// one, which it may have signed, is it.
func TestThreat082_AnEd25519SignatureOverNothingIsNotOneOverEverything(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, key := newSigstore(t), signerOf(t, private, crypto.Hash(0))
	const content = "the artifact"
	write := func(signed string) []byte {
		raw := s.bundle(t, sealed{version: "0.3", message: []byte(content), sig: key.sign(t, []byte(signed))})
		return raw
	}
	by := &Key{Public: private.Public()}
	wantFailure(t, Detached{Bundle: write(content), Key: by, Artifact: fileArtifact(t, content)}, "")
	wantFailure(t, Detached{Bundle: write(content), Key: by, Artifact: digestOf(t, digest.FromString(content).String())}, SignatureInvalid)
	wantFailure(t, Detached{Bundle: write(""), Key: by, Artifact: digestOf(t, digest.FromString(content).String())}, SignatureInvalid)
	wantFailure(t, Detached{Bundle: write(""), Key: by, Artifact: fileArtifact(t, content)}, SignatureInvalid)
}

func TestAMessagesDigestIsAHintThatMustBeRight(t *testing.T) {
	s, key := newSigstore(t), newSigner(t)
	const content = "the artifact"
	raw := s.bundle(t, sealed{version: "0.3", message: []byte(content), sig: key.sign(t, []byte(content))})
	sum, other := sha256.Sum256([]byte(content)), sha256.Sum256([]byte("x"))
	wrong := bytes.Replace(raw, []byte(base64.StdEncoding.EncodeToString(sum[:])), []byte(base64.StdEncoding.EncodeToString(other[:])), 1)
	wantFailure(t, Detached{Bundle: wrong, Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, content)}, ArtifactMismatch)
	wantFailure(t, Detached{Bundle: wrong, Key: &Key{Public: key.pub}, Artifact: digestOf(t, digest.FromString("x").String())}, SignatureInvalid)
}

func TestWhatIsNoBundleIsMalformed(t *testing.T) {
	key := newSigner(t)
	b := newBundle(t, key, statementFor(digest.FromString("x"), SignaturePredicate))
	b.mediaType = "application/vnd.dev.sigstore.bundle.v0.4+json"
	for _, raw := range []string{"", "null", "{}", "[]", "<html>", `{"mediaType":"x"}`, string(b.json(t)), `{"dsseEnvelope":{}}`} {
		wantFailure(t, Detached{Bundle: []byte(raw), Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, "x")}, BundleMalformed)
	}
	wantFailure(t, Detached{Bundle: bytes.Repeat([]byte(" "), MaxBundleFile+1), Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, "x")}, BundleMalformed)

	// GHSA-cq38-jh5f-37mq: entries and timestamps have an end.
	b = newBundle(t, key, statementFor(digest.FromString("x"), SignaturePredicate))
	b.material["tlogEntries"] = many(33)
	if _, err := (Detached{Bundle: b.json(t), Key: &Key{Public: key.pub}, Artifact: fileArtifact(t, "x")}).Verify(); err == nil {
		t.Error("33 log entries verify")
	}
}

func TestAQuestionThatCannotBeAskedIsNoFailure(t *testing.T) {
	s, key, id := newSigstore(t), newSigner(t), testIdentity()
	raw := newBundle(t, key, statementFor(digest.FromString("x"), SignaturePredicate)).json(t)
	for name, d := range map[string]Detached{
		"nobody":             {},
		"a key and a person": {Key: &Key{Public: key.pub}, Identity: &id, Root: s.trust(t, nil)},
		"no root":            {Identity: &id},
		"no issuer":          {Identity: &Identity{Subject: "x"}, Root: s.trust(t, nil)},
		"no key":             {Key: &Key{}},
	} {
		d.Bundle, d.Artifact = raw, fileArtifact(t, "x")
		if proof, err := d.Verify(); err == nil || errors.As(err, new(*Failure)) {
			t.Errorf("%s: got %+v, %v", name, proof, err)
		}
	}
	if _, err := DigestArtifact("sha256:x"); err == nil {
		t.Error("sha256:x is a digest")
	}
}

func TestFailureCodesAreDistinctAndOrdered(t *testing.T) {
	seen := map[FailureCode]bool{}
	for i, code := range FailureCodes() {
		if seen[code] {
			t.Errorf("%s is there twice", code)
		}
		seen[code] = true
		if f := (&Failure{Code: code}); i > 0 && !f.further(&Failure{Code: FailureCodes()[i-1]}) {
			t.Errorf("%s is not further than the one before", code)
		}
	}
}

// One bit of anything: what still verifies says the same about the same artifact.
func TestWithOneBitChangedADetachedBundleFailsOrIsTheSame(t *testing.T) {
	s, id := newSigstore(t), testIdentity()
	trust := s.trust(t, nil)
	const content = "the artifact"
	d := s.sign(t, s.holder(t, nil), []byte(content))
	good := s.bundle(t, d)
	for at := 0; at < len(good); at += 3 {
		raw := bytes.Clone(good)
		raw[at] ^= 1 << (at % 8)
		proof, err := Detached{Bundle: raw, Identity: &id, Root: trust, Artifact: fileArtifact(t, content)}.Verify()
		if err == nil && proof.Signer != signerNameOf(id) {
			t.Errorf("byte %d: %+v", at, proof)
		}
		if _, ok := errors.AsType[*Failure](err); err != nil && !ok {
			t.Errorf("byte %d: %v is no failure", at, err)
		}
	}
}

func signerNameOf(id Identity) string { return fmt.Sprintf("%s (%s)", id.Subject, id.Issuer) }
