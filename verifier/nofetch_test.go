package verifier

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/sealgate/sealgate/policy"
)

// A certificate, a bundle and a statement may name addresses wherever a format has room for one: of a certificate's issuer, of a
// list of revocations, of a key, of the artifact. Whoever answers there would learn of us, or be asked by us what he must not.
func TestNothingThatAnInputNamesIsFetched(t *testing.T) {
	var asked atomic.Int32
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer elsewhere.Close()
	at := elsewhere.URL + "/x"

	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), func(k *Keyless) { k.Subject, k.SubjectPattern = "", ".+" })
	by := s.holder(t, func(c *x509.Certificate) {
		c.OCSPServer, c.IssuingCertificateURL, c.CRLDistributionPoints = []string{at}, []string{at}, []string{at}
		c.URIs = []*url.URL{address(t, at)}
	})
	subject := aSubject()
	statement := strings.Replace(string(attest(subject.Digest, reviewType, fmt.Sprintf(`{"uri":%q}`, at))), `"name":"x"`,
		fmt.Sprintf(`"name":%q,"uri":%q,"downloadLocation":%q`, at, at, at), 1)
	signature, payload := s.attest(t, by, statementFor(subject.Digest, SignaturePredicate)), s.attest(t, by, []byte(statement))
	keyed := newBundle(t, newSigner(t), []byte(statement))
	keyed.material = map[string]any{"publicKey": map[string]any{"hint": at}}

	m := newMemory()
	for _, raw := range [][]byte{s.bundle(t, signature), s.bundle(t, payload), keyed.json(t)} {
		m.refer(t, subject, raw, nil)
	}
	s.tag(t, m, subject, s.sign(t, by, payloadFor(subject, strings.TrimPrefix(elsewhere.URL, "http://")+"/"+subject.Repo)))
	s.attachAttestation(t, m, subject, s.attestForTag(t, by, []byte(statement), "dsse", "0.0.1"), func(annotations map[string]string) {
		annotations["predicateType"] = at
	})
	v := newVerifier(t, m, authorities...).WithNeeds(func(string) policy.Needs { return policy.NeedsOf(reviewType) })
	ev := verified(t, v, subject)
	if len(ev.Signatures) != 2 || len(ev.Attestations) != 2 {
		t.Errorf("the inputs were not read to their end: %+v", ev)
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests were made to an address that came with the input", n)
	}
}

func TestGHSA_vjxv_45g9_9296_AnAttestationOfAnotherTypeOrByAStrangerIsNotTheOneThatIsWanted(t *testing.T) {
	s, ci, stranger := aSubject(), newSigner(t), newSigner(t)
	document := "https://spdx.dev/Document"
	for place, attach := range places(t, s) {
		for name, put := range map[string]func(*memory){
			"another type": func(m *memory) { attach(m, attest(s.Digest, document, `{"spdxVersion":"SPDX-2.3"}`), ci) },
			"a stranger's": func(m *memory) { attach(m, attest(s.Digest, policy.ScanByCosign, aScan), stranger) },
		} {
			m := newMemory()
			put(m)
			ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(policy.ScanByCosign)), s)
			if len(ev.Attestations) != 0 {
				t.Errorf("%s %s: got %+v", name, place, ev.Attestations)
			}
		}
	}
	// Both beside each other, in one place each: the trusted one of another type lends nothing to the stranger's.
	m := newMemory()
	m.attachTag(t, s, enveloped(t, inTotoPayload, attest(s.Digest, document, `{"spdxVersion":"SPDX-2.3"}`), ci),
		enveloped(t, inTotoPayload, attest(s.Digest, policy.ScanByCosign, aScan), stranger))
	ev := verified(t, newVerifier(t, m, ci.authority(t, "ci")).WithNeeds(needing(policy.ScanByCosign, document)), s)
	if got := attestations(ev); strings.Contains(got, policy.ScanByCosign) {
		t.Errorf("got %s", got)
	}
}
