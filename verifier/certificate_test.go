package verifier

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"
)

// ownCA is a certificate authority of one's own, with one intermediate.
type ownCA struct {
	root, intermediate *x509.Certificate
	leaf               holder
}

// newOwnCA makes one whose certificates are valid in the given hours from now: root, intermediate, leaf.
func newOwnCA(t testing.TB, valid [3][2]float64) ownCA {
	t.Helper()
	hours := func(n float64) time.Time { return time.Now().Add(time.Duration(n * float64(time.Hour))) }
	authority := func(name string, of [2]float64) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: asNumber(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
			NotBefore: hours(of[0]), NotAfter: hours(of[1]), IsCA: true, BasicConstraintsValid: true,
			KeyUsage: x509.KeyUsageCertSign,
		}
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	rootKey, intermediateKey, leafKey := newKey(), newKey(), newKey()
	template := authority("acme root", valid[0])
	c := ownCA{root: issueBy(t, template, rootKey.Public(), template, rootKey)}
	c.intermediate = issueBy(t, authority("acme signing", valid[1]), intermediateKey.Public(), c.root, rootKey)
	c.leaf = holder{signerOf(t, leafKey, 5), issueBy(t, &x509.Certificate{
		SerialNumber: asNumber(7), NotBefore: hours(valid[2][0]), NotAfter: hours(valid[2][1]),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
		EmailAddresses: []string{"release@acme.example"},
	}, leafKey.Public(), c.intermediate, intermediateKey)}
	return c
}

var now3 = [3][2]float64{{-1, 1}, {-1, 1}, {-1, 1}}

func (c ownCA) authority(t testing.TB, change func(*Certificate)) []Authority {
	t.Helper()
	config := Certificate{
		Identity: Identity{Subject: "release@acme.example"}, Roots: []*x509.Certificate{c.root}, Intermediates: []*x509.Certificate{c.intermediate},
	}
	if change != nil {
		change(&config)
	}
	a, err := NewCertificateAuthority("release", config)
	if err != nil {
		t.Fatal(err)
	}
	return []Authority{a}
}

func TestACertificateOfOnesOwnAuthoritySignsInBothFormats(t *testing.T) {
	s, c := newSigstore(t), newOwnCA(t, now3)
	bare := func(d *sealed) { d.entry, d.stamp = nil, nil }
	s.inBothFormats(t, c.leaf, bare, c.authority(t, nil), "release", "")
	s.inBothFormats(t, c.leaf, nil, c.authority(t, nil), "release", "")

	// The intermediate may come with the signature instead: cosign's chain annotation, a bundle's chain.
	alone := c.authority(t, func(c *Certificate) { c.Intermediates = nil })
	s.inBothFormats(t, c.leaf, bare, alone, "", "CERTIFICATE_UNTRUSTED")
	for _, version := range []string{"0.1", "0.2", "0.3"} { // v0.3 has no room for it, and cosign v3 writes it
		s.inBothFormats(t, c.leaf, func(d *sealed) {
			bare(d)
			d.version, d.chain = version, []*x509.Certificate{c.intermediate, c.root}
		}, alone, "release", "")
	}

	// Never the root.
	other := newOwnCA(t, now3)
	s.inBothFormats(t, other.leaf, func(d *sealed) {
		bare(d)
		d.version, d.chain = "0.1", []*x509.Certificate{other.intermediate, other.root}
	}, alone, "", "CERTIFICATE_UNTRUSTED")
}

func TestACertificatesSubjectIsExactly(t *testing.T) {
	s, c := newSigstore(t), newOwnCA(t, now3)
	for name, f := range map[string]struct {
		change func(*Certificate)
		want   string
		why    string
	}{
		"subject":           {func(c *Certificate) { c.Subject += "s" }, "", "IDENTITY_MISMATCH"},
		"pattern":           {func(c *Certificate) { c.Subject, c.SubjectPattern = "", `.+@acme\.example` }, "release", ""},
		"half a pattern":    {func(c *Certificate) { c.Subject, c.SubjectPattern = "", `@acme\.example` }, "", "IDENTITY_MISMATCH"},
		"an issuer":         {func(c *Certificate) { c.Issuer = testIssuer }, "", "IDENTITY_MISMATCH"},
		"another root":      {func(c *Certificate) { c.Roots = []*x509.Certificate{newOwnCA(t, now3).root} }, "", "CERTIFICATE_UNTRUSTED"},
		"one root of two":   {func(c *Certificate) { c.Roots = append(c.Roots, newOwnCA(t, now3).root) }, "release", ""},
		"and a trigger too": {func(c *Certificate) { c.Trigger = "push" }, "", "IDENTITY_MISMATCH"},
	} {
		t.Run(name, func(t *testing.T) { s.inBothFormats(t, c.leaf, nil, c.authority(t, f.change), f.want, f.why) })
	}
}

// CVE-2026-24122: the whole chain counts, at the time of the signature.
func TestGHSA_wfqv_66vq_46rm_TheWholeChainIsValidWhenItWasSigned(t *testing.T) {
	s := newSigstore(t)
	trust := s.trust(t, nil)
	for name, valid := range map[string][3][2]float64{
		"an expired leaf":               {{-2, 1}, {-2, 1}, {-2, -1}},
		"an expired intermediate":       {{-2, 1}, {-2, -1}, {-2, 1}},
		"an expired root":               {{-2, -1}, {-2, 1}, {-2, 1}},
		"a leaf not yet valid":          {{-2, 2}, {-2, 2}, {1, 2}},
		"an intermediate not yet valid": {{-2, 2}, {1, 2}, {-2, 2}},
		"a root not yet valid":          {{1, 2}, {-2, 2}, {-2, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newOwnCA(t, valid)
			s.inBothFormats(t, c.leaf, func(d *sealed) { d.entry, d.stamp = nil, nil }, c.authority(t, nil), "", "CERTIFICATE_")
			s.inBothFormats(t, c.leaf, func(d *sealed) { d.entry = nil }, c.authority(t, func(c *Certificate) { c.Root = trust }), "", "CERTIFICATE_")
		})
	}
}

func TestACertificateThatExpiredSinceCountsWithATrustedTime(t *testing.T) {
	s := newSigstore(t)
	c := newOwnCA(t, [3][2]float64{{-1, -0.25}, {-1, -0.25}, {-1, -0.25}})
	then := time.Now().Add(-30 * time.Minute)
	loggedAt := func(at time.Time) func(*sealed) {
		return func(d *sealed) {
			body := hashedRekord(d.message, d.sig, pemCertificates(d.certificate))
			if d.payload != nil {
				body = dsseRekord(d.payload, d.sig, pemCertificates(d.certificate))
			}
			entry := s.log(t, body, at)
			d.entry, d.stamp = &entry, nil
		}
	}
	s.inBothFormats(t, c.leaf, loggedAt(then), c.authority(t, nil), "", "CERTIFICATE_EXPIRED")
	timed := func(r *TrustRoot) []Authority { return c.authority(t, func(c *Certificate) { c.Root = r }) }
	s.inBothFormats(t, c.leaf, loggedAt(then), timed(s.trust(t, nil)), "release", "")
	s.inBothFormats(t, c.leaf, loggedAt(time.Now()), timed(s.trust(t, nil)), "", "")
	s.inBothFormats(t, c.leaf, loggedAt(then), timed(s.trust(t, func(p *parts) { p.logs = nil })), "", "TIMESTAMP_MISSING")
	s.inBothFormats(t, c.leaf, func(d *sealed) { d.entry, d.stamp = nil, nil }, timed(s.trust(t, nil)), "", "")
}

func TestCertificatesThatCannotBeTrustedAreRefusedAtOnce(t *testing.T) {
	c, s := newOwnCA(t, now3), newSigstore(t)
	id := Identity{Subject: "a"}
	many := make([]*x509.Certificate, MaxChain+1)
	for name, f := range map[string]struct {
		config Certificate
		why    string
	}{
		"no root":                    {Certificate{Identity: id}, "no root certificate"},
		"too many roots":             {Certificate{Identity: id, Roots: many}, "more than 10"},
		"no subject":                 {Certificate{Roots: []*x509.Certificate{c.root}}, "without a subject"},
		"an intermediate for a root": {Certificate{Identity: id, Roots: []*x509.Certificate{c.intermediate}}, "is no root certificate"},
		"a leaf for a root":          {Certificate{Identity: id, Roots: []*x509.Certificate{c.leaf.certificate}}, "is no root certificate"},
		"a leaf for an intermediate": {Certificate{Identity: id, Roots: []*x509.Certificate{c.root}, Intermediates: []*x509.Certificate{c.leaf.certificate}}, "is no authority's"},
		"nobody who says the time": {Certificate{
			Identity: id, Roots: []*x509.Certificate{c.root}, Root: s.trust(t, func(p *parts) { p.logs, p.timestamps = nil, nil }),
		}, "who says the time"},
	} {
		if a, err := NewCertificateAuthority("x", f.config); err == nil || !strings.Contains(err.Error(), f.why) {
			t.Errorf("%s: got %v, %v, want an error with %q", name, a, err, f.why)
		}
	}

	good := pemCertificates(c.root, c.intermediate)
	if all, err := ParseCertificatesPEM(good); err != nil || len(all) != 2 || !all[1].Equal(c.intermediate) {
		t.Errorf("got %v, %v", all, err)
	}
	for name, raw := range map[string][]byte{
		"nothing":      nil,
		"text":         []byte("x"),
		"text between": bytes.Replace(good, []byte("-----\n-----BEGIN"), []byte("-----\nx\n-----BEGIN"), 1),
		"text behind":  append(bytes.Clone(good), 'x'),
		"a key":        []byte(pemOf(t, c.leaf.pub)),
		"too many":     bytes.Repeat(pemCertificates(c.root), MaxChain+1),
		"broken":       bytes.Replace(good, []byte("M"), []byte("N"), 1),
	} {
		if all, err := ParseCertificatesPEM(raw); err == nil {
			t.Errorf("%s: got %v", name, all)
		}
	}
}

// GHSA-wqqc-jjcq-vfxm: the time in which a key counts is held against a trusted time, and without one nothing counts.
func TestThreat080_AKeyCountsOnlyInItsValidity(t *testing.T) {
	s := newSigstore(t)
	key := newSigner(t)
	public := []byte(pemOf(t, key.pub))
	trust := s.trust(t, nil)
	at := func(m int) time.Time { return time.Now().Add(time.Duration(m) * time.Minute) }
	relog := func(when time.Time) func(*sealed) {
		return func(d *sealed) {
			body := hashedRekord(d.message, d.sig, public)
			if d.payload != nil {
				body = dsseRekord(d.payload, d.sig, public)
			}
			entry := s.log(t, body, when)
			d.certificate, d.entry, d.stamp = nil, &entry, nil
		}
	}
	stamped := func(d *sealed) { d.certificate, d.entry = nil, nil }
	neither := func(d *sealed) { d.certificate, d.entry, d.stamp = nil, nil, nil }
	for name, c := range map[string]struct {
		key    Key
		change func(*sealed)
		want   string
		why    string
	}{
		"no validity, no time":               {Key{}, neither, "release", ""},
		"stamped in it":                      {Key{ValidFrom: at(-9), ValidUntil: at(9)}, stamped, "release", ""},
		"logged in it":                       {Key{ValidFrom: at(-9), ValidUntil: at(9)}, relog(at(-1)), "release", ""},
		"no time":                            {Key{ValidUntil: at(9)}, neither, "", "TIMESTAMP_MISSING"},
		"stamped after it":                   {Key{ValidUntil: at(-1)}, stamped, "", "KEY_OUTSIDE_VALIDITY"},
		"stamped before it":                  {Key{ValidFrom: at(1)}, stamped, "", "KEY_OUTSIDE_VALIDITY"},
		"logged after it":                    {Key{ValidUntil: at(-5)}, relog(at(-1)), "", ""},
		"logged before it":                   {Key{ValidFrom: at(-5)}, relog(at(-6)), "", ""},
		"signed before it ended":             {Key{ValidUntil: at(-5)}, relog(at(-6)), "release", ""},
		"stamped, where a log is needed":     {Key{Logged: true}, stamped, "", "NOT_LOGGED"},
		"logged, where a log is needed":      {Key{Logged: true}, relog(at(-1)), "release", ""},
		"revoked":                            {Key{Revoked: true}, neither, "", "KEY_REVOKED"},
		"revoked, whatever the time":         {Key{Revoked: true, ValidUntil: at(9)}, stamped, "", "KEY_REVOKED"},
		"stamped for another signature":      {Key{ValidUntil: at(9)}, func(d *sealed) { stamped(d); d.stamp = s.stamp(t, []byte("x")) }, "", "TIMESTAMP_INVALID"},
		"a log entry of another's key":       {Key{ValidUntil: at(9)}, func(d *sealed) { relog(at(-1))(d); *d = withKey(t, s, *d, newSigner(t)) }, "", ""},
		"nonsense beside an unbounded key's": {Key{}, func(d *sealed) { neither(d); d.stamp = []byte("x") }, "release", ""},
	} {
		t.Run(name, func(t *testing.T) {
			c.key.Public, c.key.Root = key.pub, trust
			a, err := NewBoundedKeyAuthority("release", c.key)
			if err != nil {
				t.Fatal(err)
			}
			// The reason is this key's also where others are asked, who never made it.
			s.inBothFormats(t, holder{key, s.root}, c.change, []Authority{a, newSigner(t).authority(t, "next")}, c.want, c.why)
			s.inBothFormats(t, holder{key, s.root}, c.change, []Authority{a}, c.want, c.why)
		})
	}
}

// withKey makes the log entry one of another's signature over the same.
func withKey(t testing.TB, s *sigstore, d sealed, other signer) sealed {
	t.Helper()
	public := []byte(pemOf(t, other.pub))
	body := hashedRekord(d.message, other.sign(t, d.message), public)
	if d.payload != nil {
		body = dsseRekord(d.payload, other.sign(t, pae(inTotoPayload, d.payload)), public)
	}
	entry := s.log(t, body, d.entry.at)
	d.entry = &entry
	return d
}

func TestAKeysBoundsAreCheckedAndPartOfWhatItIs(t *testing.T) {
	s, key := newSigstore(t), newSigner(t)
	trust := s.trust(t, nil)
	day := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, k := range map[string]Key{
		"an end before the beginning": {ValidFrom: day, ValidUntil: day, Root: trust},
		"no root":                     {ValidUntil: day},
		"no log in the root":          {Logged: true, Root: s.trust(t, func(p *parts) { p.logs = nil })},
		"nobody who says the time":    {ValidUntil: day, Root: s.trust(t, func(p *parts) { p.logs, p.timestamps = nil, nil })},
	} {
		k.Public = key.pub
		if a, err := NewBoundedKeyAuthority("x", k); err == nil {
			t.Errorf("%s: is an authority: %v", name, a)
		}
	}

	seen := map[string]int{}
	all := []Key{
		{}, {ValidUntil: day, Root: trust}, {ValidFrom: day, Root: trust}, {Logged: true, Root: trust}, {Revoked: true},
		{ValidUntil: day.Add(1), Root: trust}, {ValidUntil: day, Root: s.trust(t, func(p *parts) { p.logs = nil })},
	}
	for i, k := range all {
		k.Public = key.pub
		a, err := NewBoundedKeyAuthority("x", k)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[a.Fingerprint()]; ok {
			t.Errorf("%d has the fingerprint of %d", i, other)
		}
		seen[a.Fingerprint()] = i
	}
}

func TestFingerprintsOfKeylessAuthoritiesTellThemApart(t *testing.T) {
	s := newSigstore(t)
	trust := s.trust(t, nil)
	seen := map[string]string{}
	for name, change := range map[string]func(*Keyless){
		"as it is": nil, "issuer": func(k *Keyless) { k.Issuer = "x" }, "subject": func(k *Keyless) { k.Subject = "x" },
		"pattern":    func(k *Keyless) { k.SubjectPattern, k.Subject = k.Subject, "" },
		"repository": func(k *Keyless) { k.SourceRepository = "x" }, "ref": func(k *Keyless) { k.SourceRef = "x" },
		"workflow": func(k *Keyless) { k.Workflow = "x" }, "trigger": func(k *Keyless) { k.Trigger = "x" },
		"log": func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true }, "sct": func(k *Keyless) { k.WithoutSCTUnsafe = true },
		"root": func(k *Keyless) { k.Root = s.trust(t, func(p *parts) { p.timestamps = nil }) },
	} {
		print := newKeyless(t, trust, change)[0].Fingerprint()
		if other, ok := seen[print]; ok {
			t.Errorf("%q and %q have one fingerprint", name, other)
		}
		seen[print] = name
	}
}
