package verifier

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
	"github.com/sealgate/sealgate/policy/manifest"
	"github.com/sigstore/cosign/v2/pkg/cosign/bundle"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/rekor/pkg/generated/models"
	"github.com/sigstore/rekor/pkg/types"
	_ "github.com/sigstore/rekor/pkg/types/dsse"
	_ "github.com/sigstore/rekor/pkg/types/intoto"
	_ "github.com/sigstore/rekor/pkg/types/intoto/v0.0.1"
)

// rekorBody is what a Rekor keeps of an envelope, as Rekor's own code writes it.
func rekorBody(t testing.TB, kind, version string, envelope, public []byte) []byte {
	t.Helper()
	proposed, err := types.NewProposedEntry(context.Background(), kind, version, types.ArtifactProperties{
		ArtifactBytes: envelope, PublicKeyBytes: [][]byte{public},
	})
	if err != nil {
		t.Fatal(err)
	}
	entry, err := types.UnmarshalEntry(proposed)
	if err != nil {
		t.Fatal(err)
	}
	body, err := types.CanonicalizeEntry(context.Background(), entry)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// keylessAttestation is what `cosign attest` of v2 attaches for an identity.
type keylessAttestation struct {
	envelope []byte
	by       holder
	entry    *logged
	stamp    []byte // over the whole envelope
}

// attestForTag attests as an identity, logged in an entry of a kind and stamped now.
func (s *sigstore) attestForTag(t testing.TB, by holder, payload []byte, kind, version string) keylessAttestation {
	t.Helper()
	envelope := enveloped(t, inTotoPayload, payload, by.signer)
	entry := s.log(t, rekorBody(t, kind, version, envelope, pemCertificates(by.certificate)), time.Now())
	return keylessAttestation{envelope: envelope, by: by, entry: &entry, stamp: s.stamp(t, envelope)}
}

// attach puts it under the .att tag, with the annotations that cosign's own code makes of it.
func (s *sigstore) attachAttestation(t testing.TB, m *memory, subject policy.Subject, a keylessAttestation, change func(map[string]string)) {
	t.Helper()
	options := []static.Option{static.WithLayerMediaType(manifest.DSSE), static.WithCertChain(pemCertificates(a.by.certificate), pemCertificates(s.intermediate, s.root))}
	if a.entry != nil {
		index, at := int64(0), a.entry.at.Unix()
		options = append(options, static.WithBundle(bundle.EntryToBundle(&models.LogEntryAnon{
			Body: base64.StdEncoding.EncodeToString(a.entry.body), IntegratedTime: &at, LogIndex: &index, LogID: &s.logID,
			Verification: &models.LogEntryAnonVerification{SignedEntryTimestamp: a.entry.set},
		})))
	}
	if a.stamp != nil {
		options = append(options, static.WithRFC3161Timestamp(bundle.TimestampToRFC3161Timestamp(a.stamp)))
	}
	made, err := static.NewAttestation(a.envelope, options...)
	if err != nil {
		t.Fatal(err)
	}
	layer := m.putBlob(subject.Repo, manifest.DSSE, a.envelope)
	if layer.Annotations, err = made.Annotations(); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(layer.Annotations)
	}
	m.putManifest(t, subject.Repo, image(layer), attestationTag(subject))
}

func TestAKeylessAttestationHasItsSignerAndATrustedTime(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	unlogged := newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true })
	subject, by := aSubject(), s.holder(t, nil)
	payload := attest(subject.Digest, reviewType, aReview)

	stampedOnly := s.attestForTag(t, by, payload, "dsse", "0.0.1")
	stampedOnly.entry = nil
	loggedOnly := s.attestForTag(t, by, payload, "dsse", "0.0.1")
	loggedOnly.stamp = nil
	signatureStamped := stampedOnly
	var envelope struct{ Signatures []struct{ Sig []byte } }
	if err := json.Unmarshal(signatureStamped.envelope, &envelope); err != nil {
		t.Fatal(err)
	}
	signatureStamped.stamp = s.stamp(t, envelope.Signatures[0].Sig)

	for name, c := range map[string]struct {
		attach      func(*memory)
		authorities []Authority
	}{
		"in a bundle": {func(m *memory) { m.refer(t, subject, s.bundle(t, s.attest(t, by, payload)), nil) }, authorities},
		"under the tag, logged as dsse": {func(m *memory) {
			s.attachAttestation(t, m, subject, s.attestForTag(t, by, payload, "dsse", "0.0.1"), nil)
		}, authorities},
		"under the tag, logged as intoto": {func(m *memory) {
			s.attachAttestation(t, m, subject, s.attestForTag(t, by, payload, "intoto", "0.0.2"), nil)
		}, authorities},
		"under the tag, logged and not stamped":          {func(m *memory) { s.attachAttestation(t, m, subject, loggedOnly, nil) }, authorities},
		"under the tag, stamped as a whole":              {func(m *memory) { s.attachAttestation(t, m, subject, stampedOnly, nil) }, unlogged},
		"under the tag, with a stamp over the signature": {func(m *memory) { s.attachAttestation(t, m, subject, signatureStamped, nil) }, unlogged},
	} {
		m := newMemory()
		c.attach(m)
		ev := verified(t, newVerifier(t, m, c.authorities...).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != 1 || len(ev.Rejected) != 0 {
			t.Errorf("%s: got %+v", name, ev)
			continue
		}
		if a := ev.Attestations[0]; a.Signer != testSubject+" ("+testIssuer+")" || time.Since(a.Vouched).Abs() > time.Minute {
			t.Errorf("%s: got signer %q, time %v", name, a.Signer, a.Vouched)
		}
	}
}

func TestThreat076_AnEntryOfSomethingElseIsNoEntryOfAnAttestation(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	subject, by, stranger := aSubject(), s.holder(t, nil), s.holder(t, nil)
	payload := attest(subject.Digest, reviewType, aReview)
	good := func() keylessAttestation { return s.attestForTag(t, by, payload, "dsse", "0.0.1") }
	withEntry := func(entry logged) keylessAttestation {
		a := good()
		a.entry = &entry
		return a
	}
	public := pemCertificates(by.certificate)
	older := enveloped(t, inTotoPayload, attest(subject.Digest, reviewType, `{"approved":false}`), by.signer)
	again := enveloped(t, inTotoPayload, payload, by.signer)
	strangers := enveloped(t, inTotoPayload, payload, stranger.signer)

	unpromised := s.log(t, good().entry.body, time.Now())
	unpromised.set = nil
	otherBody := good().entry
	otherBody.body = s.attestForTag(t, by, payload, "dsse", "0.0.1").entry.body
	message := pae(inTotoPayload, payload)

	for name, c := range map[string]struct {
		attestation keylessAttestation
		change      func(map[string]string)
		code        FailureCode
	}{
		"none":                            {attestation: func() keylessAttestation { a := good(); a.entry = nil; return a }(), code: NotLogged},
		"of another statement by it":      {attestation: withEntry(s.log(t, rekorBody(t, "dsse", "0.0.1", older, public), time.Now())), code: LogEntryInvalid},
		"of another statement, as intoto": {attestation: withEntry(s.log(t, rekorBody(t, "intoto", "0.0.2", older, public), time.Now())), code: LogEntryInvalid},
		"of another signature over it":    {attestation: withEntry(s.log(t, rekorBody(t, "dsse", "0.0.1", again, public), time.Now())), code: LogEntryInvalid},
		"of somebody else's":              {attestation: withEntry(s.log(t, rekorBody(t, "dsse", "0.0.1", strangers, pemCertificates(stranger.certificate)), time.Now())), code: LogEntryInvalid},
		"without the log's promise":       {attestation: withEntry(unpromised), code: LogEntryInvalid},
		"whose promise is for another":    {attestation: withEntry(*otherBody), code: LogEntryInvalid},
		"from before the certificate":     {attestation: withEntry(s.log(t, good().entry.body, time.Now().Add(-time.Hour))), code: LogEntryInvalid},
		"of the bytes, as hashedrekord":   {attestation: withEntry(s.log(t, hashedRekord(message, by.sign(t, message), public), time.Now())), code: LogEntryInvalid},
		"of kind intoto 0.0.1":            {attestation: s.attestForTag(t, by, payload, "intoto", "0.0.1"), code: LogEntryInvalid},
		"of a log that nobody knows": {attestation: good(), change: func(annotations map[string]string) {
			annotations[bundleAnnotation] = strings.ReplaceAll(annotations[bundleAnnotation], s.logID, hex.EncodeToString(make([]byte, 32)))
		}, code: NotLogged},
		"with a certificate of somebody else": {attestation: good(), change: func(annotations map[string]string) {
			annotations[certificateAnnotation] = string(pemCertificates(stranger.certificate))
		}, code: LogEntryInvalid},
	} {
		m := newMemory()
		s.attachAttestation(t, m, subject, c.attestation, c.change)
		ev := verified(t, newVerifier(t, m, authorities...).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != 0 || len(ev.Rejected) != 1 {
			t.Errorf("an entry %s: got %+v", name, ev)
			continue
		}
		if got := ev.Rejected[0].Code; got != string(c.code) {
			t.Errorf("an entry %s: got %s (%s), want %s", name, got, ev.Rejected[0].Why, c.code)
		}
	}
}

func TestThreat075_AStampOverSomethingElseIsNoTimeOfAnAttestation(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true })
	subject, by := aSubject(), s.holder(t, nil)
	payload := attest(subject.Digest, reviewType, aReview)
	for name, c := range map[string]struct {
		stamp func(envelope []byte) []byte
		code  FailureCode
	}{
		"none":                     {func([]byte) []byte { return nil }, TimestampMissing},
		"over another envelope":    {func([]byte) []byte { return s.stamp(t, enveloped(t, inTotoPayload, payload, by.signer)) }, TimestampInvalid},
		"over the payload":         {func([]byte) []byte { return s.stamp(t, payload) }, TimestampInvalid},
		"over less than the whole": {func(envelope []byte) []byte { return s.stamp(t, envelope[:len(envelope)-1]) }, TimestampInvalid},
		"by a stranger":            {func(envelope []byte) []byte { return newSigstore(t).stamp(t, envelope) }, TimestampInvalid},
	} {
		a := s.attestForTag(t, by, payload, "dsse", "0.0.1")
		a.entry, a.stamp = nil, c.stamp(a.envelope)
		m := newMemory()
		s.attachAttestation(t, m, subject, a, nil)
		ev := verified(t, newVerifier(t, m, authorities...).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != 0 || len(ev.Rejected) != 1 || ev.Rejected[0].Code != string(c.code) {
			t.Errorf("a stamp %s: got %+v, want %s", name, ev, c.code)
		}
	}
}

func TestAKeylessAttestationOfAnotherImageOrIdentityDoesNotCount(t *testing.T) {
	s := newSigstore(t)
	subject, by := aSubject(), s.holder(t, nil)
	for name, c := range map[string]struct {
		about  digest.Digest
		change func(*Keyless)
	}{
		"another image":    {about: digest.FromString("another image")},
		"another identity": {about: subject.Digest, change: func(k *Keyless) { k.Subject = testSubject + "-evil" }},
		"another issuer":   {about: subject.Digest, change: func(k *Keyless) { k.Issuer = "https://evil.example" }},
	} {
		m := newMemory()
		s.attachAttestation(t, m, subject, s.attestForTag(t, by, attest(c.about, reviewType, aReview), "dsse", "0.0.1"), nil)
		ev := verified(t, newVerifier(t, m, newKeyless(t, s.trust(t, nil), c.change)...).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != 0 || len(ev.Rejected) != 1 {
			t.Errorf("%s: got %+v", name, ev)
		}
	}
}

// A key that is valid for a while needs a time for what it attested, as for what it signed.
func TestAKeyThatIsLoggedAttestsWithAnEntryOfTheEnvelope(t *testing.T) {
	s, subject, key := newSigstore(t), aSubject(), newSigner(t)
	a, err := NewBoundedKeyAuthority("release", Key{Public: key.pub, Logged: true, Root: s.trust(t, nil)})
	if err != nil {
		t.Fatal(err)
	}
	envelope := enveloped(t, inTotoPayload, attest(subject.Digest, reviewType, aReview), key)
	other := enveloped(t, inTotoPayload, attest(subject.Digest, reviewType, `{}`), key)
	for name, c := range map[string]struct {
		logged []byte
		want   int
	}{"its own": {envelope, 1}, "another's": {other, 0}} {
		entry := s.log(t, rekorBody(t, "dsse", "0.0.1", c.logged, []byte(pemOf(t, key.pub))), time.Now())
		m := newMemory()
		s.attachAttestation(t, m, subject, keylessAttestation{envelope: envelope, by: s.holder(t, nil), entry: &entry}, func(annotations map[string]string) {
			delete(annotations, certificateAnnotation)
			delete(annotations, chainAnnotation)
		})
		ev := verified(t, newVerifier(t, m, a).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != c.want {
			t.Errorf("%s: got %+v", name, ev)
		}
	}
}

// One envelope may hold signatures of several; each is checked as if it were alone.
func TestAnEnvelopeOfTwoCountsForTheOneThatIsKnown(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.WithoutTransparencyLogUnsafe = true })
	subject, by, stranger := aSubject(), s.holder(t, nil), newSigner(t)
	payload := attest(subject.Digest, reviewType, aReview)
	for _, all := range [][]signer{{by.signer, stranger}, {stranger, by.signer}} {
		envelope := enveloped(t, inTotoPayload, payload, all...)
		m := newMemory()
		s.attachAttestation(t, m, subject, keylessAttestation{envelope: envelope, by: by, stamp: s.stamp(t, envelope)}, nil)
		if ev := verified(t, newVerifier(t, m, authorities...).WithNeeds(needing(reviewType)), subject); len(ev.Attestations) != 1 {
			t.Errorf("got %+v", ev)
		}
	}
	if bytes.Equal(by.sign(t, payload), by.sign(t, payload)) {
		t.Fatal("signatures are deterministic here, so that another signature over it is none")
	}
}
