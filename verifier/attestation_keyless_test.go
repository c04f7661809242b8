package verifier

import (
	"testing"
	"time"
)

func TestAKeylessAttestationHasItsSignerAndATrustedTime(t *testing.T) {
	s := newSigstore(t)
	authorities := newKeyless(t, s.trust(t, nil), nil)
	subject, by := aSubject(), s.holder(t, nil)
	sealed := s.attest(t, by, attest(subject.Digest, reviewType, aReview))
	for name, attach := range map[string]func(*memory){
		"bundle": func(m *memory) { m.refer(t, subject, s.bundle(t, sealed), nil) },
	} {
		m := newMemory()
		attach(m)
		ev := verified(t, newVerifier(t, m, authorities...).WithNeeds(needing(reviewType)), subject)
		if len(ev.Attestations) != 1 {
			t.Errorf("%s: got %+v", name, ev)
			continue
		}
		if a := ev.Attestations[0]; a.Signer != testSubject+" ("+testIssuer+")" || time.Since(a.Vouched).Abs() > time.Minute {
			t.Errorf("%s: got signer %q, time %v", name, a.Signer, a.Vouched)
		}
	}
}
