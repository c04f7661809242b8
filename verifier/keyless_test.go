package verifier

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sigstore/sigstore-go/pkg/root"
	"google.golang.org/protobuf/encoding/protojson"
)

func newKeyless(t testing.TB, r *TrustRoot, change func(*Keyless)) []Authority {
	t.Helper()
	k := Keyless{Identity: testIdentity(), Root: r}
	if change != nil {
		change(&k)
	}
	a, err := NewKeylessAuthority("ci", k)
	if err != nil {
		t.Fatal(err)
	}
	return []Authority{a}
}

func TestAKeylessSignatureIsProvenInBothFormatsWithItsSignerAndTime(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	by := s.holder(t, nil)
	s.inBothFormats(t, by, nil, authorities, "ci", "")

	m, subject := newMemory(), aSubject()
	tag, bundle := s.signed(t, by, subject)
	s.tag(t, m, subject, tag)
	m.refer(t, subject, s.bundle(t, bundle), nil)
	for _, sig := range verified(t, newVerifier(t, m, authorities...), subject).Signatures {
		if sig.Signer != testSubject+" ("+testIssuer+")" || time.Since(sig.Time).Abs() > time.Minute {
			t.Errorf("got signer %q, time %v", sig.Signer, sig.Time)
		}
	}
}

// One field after the other: what an authority says must be what the certificate says.
func TestThreat072_AnIdentityIsExactlyWhatTheCertificateSays(t *testing.T) {
	s := newSigstore(t)
	trust, by := s.trust(t, nil), s.holder(t, nil)
	for name, c := range map[string]struct {
		change func(*Keyless)
		want   string
	}{
		"all of it": {func(k *Keyless) {
			k.SourceRepository, k.SourceRef, k.Trigger = "https://github.com/acme/app", "refs/heads/main", "push"
			k.Workflow = "https://github.com/acme/app/.github/workflows/top.yml@refs/heads/main"
		}, "ci"},
		"a pattern":                  {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `https://github\.com/acme/.+` }, "ci"},
		"a pattern of alternatives":  {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `a|https://.+|b` }, "ci"},
		"issuer":                     {func(k *Keyless) { k.Issuer += "/" }, ""},
		"issuer, a part of it":       {func(k *Keyless) { k.Issuer = "https://token.actions" }, ""},
		"issuer in another case":     {func(k *Keyless) { k.Issuer = strings.ToUpper(k.Issuer) }, ""},
		"subject":                    {func(k *Keyless) { k.Subject += "x" }, ""},
		"subject, a part of it":      {func(k *Keyless) { k.Subject = k.Subject[:len(k.Subject)-1] }, ""},
		"subject as a pattern":       {func(k *Keyless) { k.Subject = ".*" }, ""},
		"pattern of the beginning":   {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `https://github\.com/acme/` }, ""},
		"pattern of the end":         {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `refs/heads/main` }, ""},
		"pattern of an alternative":  {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `https|main` }, ""},
		"pattern with lines":         {func(k *Keyless) { k.Subject, k.SubjectPattern = "", `(?m)https` }, ""},
		"source repository":          {func(k *Keyless) { k.SourceRepository = "https://github.com/acme/ap" }, ""},
		"source ref":                 {func(k *Keyless) { k.SourceRef = "refs/heads/main-evil" }, ""},
		"workflow":                   {func(k *Keyless) { k.Workflow = testSubject }, ""},
		"trigger":                    {func(k *Keyless) { k.Trigger = "pull_request_target" }, ""},
		"trigger and all the others": {func(k *Keyless) { k.Trigger, k.SourceRef = "push", "refs/tags/v1" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s.inBothFormats(t, by, nil, newKeyless(t, trust, c.change), c.want, "IDENTITY_MISMATCH")
		})
	}
}

func TestThreat072_AnEmailAddressIsNoURI(t *testing.T) {
	s := newSigstore(t)
	trust := s.trust(t, nil)
	by := s.holder(t, func(c *x509.Certificate) { c.URIs, c.EmailAddresses = nil, []string{"dev@acme.example"} })
	email := func(k *Keyless) { k.Subject = "dev@acme.example" }
	s.inBothFormats(t, by, nil, newKeyless(t, trust, email), "ci", "")
	s.inBothFormats(t, by, nil, newKeyless(t, trust, func(k *Keyless) { k.Subject = "mailto:dev@acme.example" }), "", "IDENTITY_MISMATCH")

	// A field that the certificate does not have is no match.
	bare := s.holder(t, func(c *x509.Certificate) { c.ExtraExtensions = c.ExtraExtensions[:1] })
	s.inBothFormats(t, bare, nil, newKeyless(t, trust, nil), "ci", "")
	s.inBothFormats(t, bare, nil, newKeyless(t, trust, func(k *Keyless) { k.Trigger = "push" }), "", "IDENTITY_MISMATCH")
	none := s.holder(t, func(c *x509.Certificate) { c.ExtraExtensions = nil })
	s.inBothFormats(t, none, nil, newKeyless(t, trust, nil), "", "IDENTITY_MISMATCH")
}

func TestThreat071_PatternsThatWouldMatchTooMuchAreRefused(t *testing.T) {
	s := newSigstore(t)
	r := s.trust(t, nil)
	for name, c := range map[string]struct {
		k   Keyless
		why string
	}{
		"no issuer":                    {Keyless{Identity: Identity{Subject: "a"}, Root: r}, "without an issuer"},
		"no subject":                   {Keyless{Identity: Identity{Issuer: "a"}, Root: r}, "without a subject"},
		"two subjects":                 {Keyless{Identity: Identity{Issuer: "a", Subject: "a", SubjectPattern: "a"}, Root: r}, "and a pattern"},
		"a pattern that is none":       {Keyless{Identity: Identity{Issuer: "a", SubjectPattern: "("}, Root: r}, "missing closing"},
		"a pattern that breaks out":    {Keyless{Identity: Identity{Issuer: "a", SubjectPattern: "a)|(?:b"}, Root: r}, "unexpected )"},
		"a pattern for nothing":        {Keyless{Identity: Identity{Issuer: "a", SubjectPattern: ".*"}, Root: r}, "matches an empty subject"},
		"a pattern for nothing, too":   {Keyless{Identity: Identity{Issuer: "a", SubjectPattern: "a|"}, Root: r}, "matches an empty subject"},
		"no root":                      {Keyless{Identity: testIdentity()}, "without a certificate authority"},
		"a root without an authority":  {Keyless{Identity: testIdentity(), Root: s.trust(t, func(p *parts) { p.authorities = nil })}, "without a certificate authority"},
		"a root without a log":         {Keyless{Identity: testIdentity(), Root: s.trust(t, func(p *parts) { p.logs = nil })}, "without a transparency log"},
		"nobody who says the time":     {Keyless{Identity: testIdentity(), WithoutTransparencyLogUnsafe: true, Root: s.trust(t, func(p *parts) { p.timestamps = nil })}, "nobody says the time"},
		"nothing that says the time":   {Keyless{Identity: testIdentity(), WithoutTransparencyLogUnsafe: true, Root: s.trust(t, func(p *parts) { p.timestamps, p.logs = nil, nil })}, "nobody says the time"},
		"neither name nor fingerprint": {Keyless{}, "authority"},
	} {
		if a, err := NewKeylessAuthority("ci", c.k); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: got %v, %v, want an error with %q", name, a, err, c.why)
		}
	}
}

func TestThreat073_078And079_ACertificateIsOneThatFulcioIssuedForSignatures(t *testing.T) {
	s, other := newSigstore(t), newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	for name, c := range map[string]struct {
		by  holder
		why string
	}{
		"another Fulcio's":      {other.holder(t, nil), "CERTIFICATE_UNTRUSTED"},
		"an authority's":        {s.holder(t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "an authority's own"},
		"for servers":           {s.holder(t, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), "not for code signing"},
		"for anything":          {s.holder(t, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "not for code signing"},
		"not for signatures":    {s.holder(t, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }), "not for signatures"},
		"in no certificate log": {s.holder(t, func(c *x509.Certificate) { c.Subject.CommonName = "not logged" }), "SCT_MISSING"},
		"in another's certificate log": {s.holder(t, func(c *x509.Certificate) {
			key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			c.Subject.CommonName = "not logged"
			c.ExtraExtensions = append(c.ExtraExtensions, s.sct(t, c, key.Public(), key))
		}), "SCT_MISSING"},
		"with a promise that was made for another": {s.holder(t, func(c *x509.Certificate) {
			c.Subject.CommonName = "not logged"
			promised := *c
			promised.SerialNumber = asNumber(7)
			c.ExtraExtensions = append(c.ExtraExtensions, s.sct(t, &promised, s.ctKey.Public(), s.ctKey))
		}), "SCT_MISSING"},
	} {
		t.Run(name, func(t *testing.T) { s.inBothFormats(t, c.by, nil, authorities, "", c.why) })
	}

	// Only who says so in so many words does without the certificate log.
	unlogged := s.holder(t, func(c *x509.Certificate) { c.Subject.CommonName = "not logged" })
	s.inBothFormats(t, unlogged, nil, newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.WithoutSCTUnsafe = true }), "ci", "")
	s.inBothFormats(t, unlogged, nil, newKeyless(t, s.trust(t, func(p *parts) { p.ct = nil }), nil), "ci", "")
}

func TestThreat079_ASelfSignedCertificateIsNobodys(t *testing.T) {
	s := newSigstore(t)
	by := s.holder(t, nil)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: asNumber(1), NotBefore: by.certificate.NotBefore, NotAfter: by.certificate.NotAfter,
		KeyUsage: by.certificate.KeyUsage, ExtKeyUsage: by.certificate.ExtKeyUsage, URIs: by.certificate.URIs,
		ExtraExtensions: []pkix.Extension{extension(t, 8, testIssuer)},
	}
	selfSigned := holder{signerOf(t, key, 5), issueBy(t, template, key.Public(), template, key)}
	authorities := newKeyless(t, s.trust(t, nil), nil)
	s.inBothFormats(t, selfSigned, nil, authorities, "", "CERTIFICATE_UNTRUSTED")
	// Nor does a root help that comes along.
	s.inBothFormats(t, selfSigned, func(d *sealed) {
		d.version, d.chain = "0.1", []*x509.Certificate{selfSigned.certificate}
	}, authorities, "", "CERTIFICATE_UNTRUSTED")
}

func TestThreat074to076_ASignatureNeedsItsOwnLogEntryAndATime(t *testing.T) {
	s, stranger := newSigstore(t), newSigstore(t)
	trust := s.trust(t, nil)
	by := s.holder(t, nil)
	foreignTag, foreignBundle := s.signed(t, s.holder(t, nil), aSubject())
	own := func(d *sealed) []byte { // what the log keeps of the signature
		if d.payload != nil {
			return dsseRekord(d.payload, d.sig, pemCertificates(d.certificate))
		}
		return hashedRekord(d.message, d.sig, pemCertificates(d.certificate))
	}
	relog := func(at time.Time) func(*sealed) {
		return func(d *sealed) {
			entry := s.log(t, own(d), at)
			d.entry = &entry
		}
	}
	for name, c := range map[string]struct {
		change func(*sealed)
		want   string
		why    string
	}{
		"no entry": {func(d *sealed) { d.entry = nil }, "", "NOT_LOGGED"},
		"GHSA-ccxc-vr6p-4858: another signature's entry": {func(d *sealed) {
			d.entry = foreignTag.entry
			if d.payload != nil {
				d.entry = foreignBundle.entry
			}
		}, "", "LOG_ENTRY_INVALID"},
		"an entry of the other kind": {func(d *sealed) {
			entry := s.log(t, hashedRekord([]byte("x"), d.sig, pemCertificates(d.certificate)), time.Now())
			if d.payload == nil {
				entry = s.log(t, dsseRekord([]byte("x"), d.sig, pemCertificates(d.certificate)), time.Now())
			}
			d.entry = &entry
		}, "", ""},
		"GHSA-whqx-f9j3-ch6m: an entry with another digest": {func(d *sealed) {
			message := []byte("another")
			entry := s.log(t, hashedRekord(message, d.sig, pemCertificates(d.certificate)), time.Now())
			if d.payload != nil {
				entry = s.log(t, dsseRekord(message, d.sig, pemCertificates(d.certificate)), time.Now())
			}
			d.entry = &entry
		}, "", "LOG_ENTRY_INVALID"},
		"GHSA-whqx-f9j3-ch6m: an entry with another certificate": {func(d *sealed) {
			other := pemCertificates(foreignTag.certificate)
			entry := s.log(t, hashedRekord(d.message, d.sig, other), time.Now())
			if d.payload != nil {
				entry = s.log(t, dsseRekord(d.payload, d.sig, other), time.Now())
			}
			d.entry = &entry
		}, "", "LOG_ENTRY_INVALID"},
		"another log's entry": {func(d *sealed) {
			entry := stranger.log(t, own(d), time.Now())
			d.entry = &entry
		}, "", "LOG_ENTRY_INVALID"},
		"a promise that was changed": {func(d *sealed) {
			entry := *d.entry
			entry.set = append([]byte{}, entry.set...)
			entry.set[len(entry.set)-1] ^= 1
			d.entry = &entry
		}, "", "LOG_ENTRY_INVALID"},
		"a time that was changed": {func(d *sealed) {
			entry := *d.entry
			entry.at = entry.at.Add(time.Second)
			d.entry = &entry
		}, "", "LOG_ENTRY_INVALID"},
		"logged before the certificate":                        {relog(time.Now().Add(-10 * time.Minute)), "", "LOG_ENTRY_INVALID"},
		"logged after the certificate":                         {relog(time.Now().Add(20 * time.Minute)), "", "LOG_ENTRY_INVALID"},
		"logged before the log":                                {relog(time.Now().Add(-2 * time.Hour)), "", "LOG_ENTRY_INVALID"},
		"the log's time alone":                                 {func(d *sealed) { d.stamp = nil }, "ci", ""},
		"a timestamp of another signature beside a log's time": {func(d *sealed) { d.stamp = s.stamp(t, []byte("x")) }, "ci", ""},
	} {
		t.Run(name, func(t *testing.T) { s.inBothFormats(t, by, c.change, newKeyless(t, trust, nil), c.want, c.why) })
	}

	unlogged := newKeyless(t, trust, func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true })
	for name, c := range map[string]struct {
		change func(*sealed)
		want   string
		why    string
	}{
		"a timestamp alone":                {func(d *sealed) { d.entry = nil }, "ci", ""},
		"neither log nor timestamp":        {func(d *sealed) { d.entry, d.stamp = nil, nil }, "", "TIMESTAMP_MISSING"},
		"a log's time that does not count": {func(d *sealed) { d.stamp = nil }, "", "TIMESTAMP_MISSING"},
		"a timestamp of another signature": {func(d *sealed) { d.entry, d.stamp = nil, s.stamp(t, []byte("x")) }, "", "TIMESTAMP_INVALID"},
		"another authority's timestamp":    {func(d *sealed) { d.entry, d.stamp = nil, stranger.stamp(t, d.sig) }, "", "TIMESTAMP_INVALID"},
		"a timestamp that is none":         {func(d *sealed) { d.entry, d.stamp = nil, []byte("x") }, "", "TIMESTAMP_INVALID"},
	} {
		t.Run(name, func(t *testing.T) { s.inBothFormats(t, by, c.change, unlogged, c.want, c.why) })
	}

	expired := s.holder(t, func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-90*time.Second), time.Now().Add(-time.Minute)
	})
	s.inBothFormats(t, expired, func(d *sealed) { d.entry = nil }, unlogged, "", "CERTIFICATE_EXPIRED")
	s.inBothFormats(t, expired, func(d *sealed) { relog(time.Now().Add(-70 * time.Second))(d); d.stamp = nil }, newKeyless(t, trust, nil), "ci", "")
	// All times that are proven must be right, not only one.
	s.inBothFormats(t, expired, relog(time.Now().Add(-70*time.Second)), newKeyless(t, trust, nil), "", "CERTIFICATE_EXPIRED")
}

func TestThreat084_ATrustedRootBelievesItsPartsOnlyInTheirTime(t *testing.T) {
	s := newSigstore(t)
	by := s.holder(t, nil)
	past := time.Now().Add(-30 * time.Minute)
	for name, c := range map[string]struct {
		change func(*parts)
		why    string
	}{
		"the log's key":        {func(p *parts) { p.logs[s.logID].ValidityPeriodEnd = past }, "LOG_ENTRY_INVALID"},
		"the certificate log":  {func(p *parts) { endAll(p.ct, past) }, "SCT_MISSING"},
		"the authority":        {func(p *parts) { p.authorities[1].(*root.FulcioCertificateAuthority).ValidityPeriodEnd = past }, "CERTIFICATE_UNTRUSTED"},
		"no intermediate":      {func(p *parts) { p.authorities[1].(*root.FulcioCertificateAuthority).Intermediates = nil }, "CERTIFICATE_UNTRUSTED"},
		"the virtual one only": {func(p *parts) { p.authorities = p.authorities[:1] }, "CERTIFICATE_UNTRUSTED"},
	} {
		t.Run(name, func(t *testing.T) { s.inBothFormats(t, by, nil, newKeyless(t, s.trust(t, c.change), nil), "", c.why) })
	}
}

func endAll(logs map[string]*root.TransparencyLog, at time.Time) {
	for _, l := range logs {
		l.ValidityPeriodEnd = at
	}
}

func TestThreat077_BundlesOfAllVersionsAreReadAndFromV02OnAPromiseIsNoProof(t *testing.T) {
	s := newSigstore(t)
	by, authorities := s.holder(t, nil), newKeyless(t, s.trust(t, nil), nil)
	for _, version := range []string{"0.1", "0.2", "0.3"} {
		s.inBothFormats(t, by, func(d *sealed) { d.version = version }, authorities, "ci", "")
	}
	// From v0.2 on, a promise is no proof.
	m, subject := newMemory(), aSubject()
	_, bundle := s.signed(t, by, subject)
	bundle.proof = false
	m.refer(t, subject, s.bundle(t, bundle), nil)
	wantSigners(t, verified(t, newVerifier(t, m, authorities...), subject), "", 1, "inclusion proof missing")
}

// A proof says that something was logged, not when: the time comes from elsewhere.
func TestAnInclusionProofSaysNoTime(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	_, d := s.signed(t, s.holder(t, nil), aSubject())
	d.entry.set = nil
	for want, stamp := range map[string][]byte{"ci": d.stamp, "": nil} {
		m := newMemory()
		d.stamp = stamp
		m.refer(t, aSubject(), s.bundle(t, d), nil)
		ev := verified(t, newVerifier(t, m, authorities...), aSubject())
		if got := signers(ev); got != want || want == "" && ev.Rejected[0].Code != "TIMESTAMP_MISSING" {
			t.Errorf("got %+v, want %q", ev, want)
		}
	}
}

func TestRekor2EntriesNeedATimestamp(t *testing.T) {
	s := newSigstore(t)
	subject := aSubject()
	made, err := s.virtual.AttestAtTimeHashedRekordV2("dev@acme.example", testIssuer, statementFor(subject.Digest, SignaturePredicate), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	content, _ := made.VerificationContent()
	sig, _ := made.SignatureContent()
	stamps, _ := made.Timestamps()
	entries, _ := made.TlogEntries()
	entry, err := protojson.Marshal(entries[0].TransparencyLogEntry())
	if err != nil {
		t.Fatal(err)
	}
	d := sealed{
		version: "0.3", certificate: content.Certificate(), payload: statementFor(subject.Digest, SignaturePredicate),
		sig: sig.Signature(), stamp: stamps[0],
	}
	write := func(d sealed) []byte {
		var doc map[string]any
		if err := json.Unmarshal(s.bundle(t, d), &doc); err != nil {
			t.Fatal(err)
		}
		doc["verificationMaterial"].(map[string]any)["tlogEntries"] = []any{json.RawMessage(entry)}
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	authorities := newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.Subject, k.WithoutSCTUnsafe = "dev@acme.example", true })
	check := func(d sealed, want, code string) {
		t.Helper()
		m := newMemory()
		m.refer(t, subject, write(d), nil)
		ev := verified(t, newVerifier(t, m, authorities...), subject)
		if got := signers(ev); got != want || want == "" && ev.Rejected[0].Code != code {
			t.Errorf("got %+v, want %q, %s", ev, want, code)
		}
	}
	check(d, "ci", "")
	other := d
	other.stamp = nil
	check(other, "", "TIMESTAMP_MISSING")
	other = d
	other.payload = append([]byte(" "), d.payload...)
	check(other, "", "LOG_ENTRY_INVALID")
}

func TestASignatureThatIsForgedIsNobodysWhateverStandsAround(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	by, other := s.holder(t, nil), newSigner(t)
	s.inBothFormats(t, by, func(d *sealed) {
		if d.payload != nil {
			d.sig = other.sign(t, pae(inTotoPayload, d.payload))
			entry := s.log(t, dsseRekord(d.payload, d.sig, pemCertificates(d.certificate)), time.Now())
			d.entry, d.stamp = &entry, s.stamp(t, d.sig)
			return
		}
		d.sig = other.sign(t, d.message)
		entry := s.log(t, hashedRekord(d.message, d.sig, pemCertificates(d.certificate)), time.Now())
		d.entry, d.stamp = &entry, s.stamp(t, d.sig)
	}, authorities, "", "") // Rekor's own reader may find out first
	s.inBothFormats(t, by, func(d *sealed) {
		message := d.message
		if d.payload != nil {
			message = pae(inTotoPayload, d.payload)
		}
		d.entry, d.sig = nil, other.sign(t, message)
		d.stamp = s.stamp(t, d.sig)
	}, newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true }), "", "SIGNATURE_INVALID")
}

func TestAKeyIsNoIdentityAndAnIdentityIsNoKey(t *testing.T) {
	s := newSigstore(t)
	by := s.holder(t, nil)
	key := newSigner(t)
	keyless := newKeyless(t, s.trust(t, nil), nil)
	s.inBothFormats(t, holder{key, by.certificate}, func(d *sealed) { d.certificate, d.entry = nil, nil }, keyless, "", "a signature by an unknown key")
	// The holder's key without the certificate, and the certificate around the key that is trusted.
	owner := []Authority{by.authority(t, "owner")}
	m, subject := newMemory(), aSubject()
	_, bundle := s.signed(t, by, subject)
	m.refer(t, subject, s.bundle(t, bundle), nil)
	wantSigners(t, verified(t, newVerifier(t, m, owner...), subject), "", 1, "a signature by an unknown key")
}

// GHSA-9vcr-p3rj-q5q6: two authorities that accept one signer are told so by his name.
func TestThreat087_ASignerHasOneNameWhoeverAcceptsHim(t *testing.T) {
	s := newSigstore(t)
	exact := newKeyless(t, s.trust(t, nil), nil)[0]
	wide, err := NewKeylessAuthority("anybody at acme", Keyless{
		Identity: Identity{Issuer: testIssuer, SubjectPattern: `https://github\.com/acme/.+`}, Root: s.trust(t, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	m, subject := newMemory(), policy.Subject{Repo: "prod/app", Digest: digest.FromString("the image")}
	tag, _ := s.signed(t, s.holder(t, nil), subject)
	s.tag(t, m, subject, tag)
	ev := verified(t, newVerifier(t, m, exact, wide), subject)
	if len(ev.Signatures) != 2 || ev.Signatures[0].Signer != ev.Signatures[1].Signer {
		t.Errorf("got %+v", ev.Signatures)
	}
}

func TestTheBuiltInRootIsWhole(t *testing.T) {
	r, err := PublicGood()
	if err != nil {
		t.Fatal(err)
	}
	if !r.hasLogs() || !r.hasCTLogs() || !r.hasTimestamps() || len(r.FulcioCertificateAuthorities()) == 0 {
		t.Error("a part is missing")
	}
	if _, err := time.Parse(time.DateOnly, PublicGoodDate); err != nil {
		t.Error(err)
	}
	if _, err := NewKeylessAuthority("ci", Keyless{Identity: testIdentity(), Root: r}); err != nil {
		t.Error(err)
	}
}

func TestThreat084_ATrustedRootThatIsNoneIsRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"nothing":         "",
		"another type":    `{"mediaType":"x"}`,
		"an unknown key":  `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","x":1}`,
		"a key twice":     `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[],"tlogs":[]}`,
		"an empty log":    `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","tlogs":[{}]}`,
		"a log for ever":  strings.Replace(string(publicGood), `"start": "2021-01-12T11:53:27Z"`, ``, 1),
		"no certificates": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1","certificateAuthorities":[{}]}`,
		"a timestamp authority without a root": `{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1",` +
			`"timestampAuthorities":[{"certChain":{"certificates":[]}}]}`,
		"too much": string(publicGood) + strings.Repeat(" ", MaxTrustRoot),
	} {
		if _, err := ParseTrustRoot([]byte(raw)); err == nil {
			t.Errorf("%s: is a trusted root", name)
		}
	}
	if _, err := ParseTrustRoot([]byte(string(publicGood) + strings.Repeat(" ", MaxTrustRoot-len(publicGood)))); err != nil {
		t.Error(err)
	}
}
