package policy

import (
	"fmt"
	"testing"
	"time"
)

func TestStandingIsWhatTheJudgeLooksAt(t *testing.T) {
	older := changed(aScan("ci"), func(a *Attestation) { a.Vouched = now.Add(-3 * time.Hour) })
	vex := Attestation{PredicateType: PredicateTypes("openvex")[0], Authority: "release", Signed: subject.Digest}
	ev := Evidence{Attestations: []Attestation{older, aScan("ci"), aScan("gateway"), aProvenance("ci"), vex}}
	ci := SignedBy{Any: []string{"ci"}}
	withVEX := demand("vuln", ci, func(q *AttestedDocument) { q.Deny, q.VEX = "finding.fixed", &VEXDocument{By: []string{"release"}} })
	perPlatform := demand("vuln", ci, func(q *AttestedDocument) { q.PerPlatform = true })
	signed := &SignedBy{Any: []string{"ci"}}

	for name, c := range map[string]struct {
		pull  PullDocument
		index bool
		want  []Standing
	}{
		"nothing asked":            {PullDocument{AdmitUnverified: true}, false, []Standing{0, 0, 0, 0, 0}},
		"a scan, and a newer one":  {PullDocument{Attested: []AttestedDocument{demand("vuln", ci)}}, false, []Standing{Outdated, Decides, 0, 0, 0}},
		"scan and provenance":      {PullDocument{Attested: []AttestedDocument{demand("vuln", ci), demand("slsa-provenance", ci)}}, false, []Standing{Outdated, Decides, 0, Decides, 0}},
		"a scan, and VEX about it": {PullDocument{Attested: []AttestedDocument{withVEX}}, false, []Standing{Outdated, Decides, 0, 0, Decides}},
		"of a platform":            {PullDocument{SignedBy: signed, Attested: []AttestedDocument{perPlatform}}, false, []Standing{Outdated, Decides, 0, 0, 0}},
		"of an index":              {PullDocument{SignedBy: signed, Attested: []AttestedDocument{perPlatform}}, true, []Standing{0, 0, 0, 0, 0}},
	} {
		ev.Index = c.index
		if got := pullRule(t, c.pull).StandingOfAttestations(subject, ev); fmt.Sprint(got) != fmt.Sprint(c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}

	standing := func(r *Rule, sig Signature) Standing {
		s, _ := r.StandingOfSignature(sig, now)
		return s
	}
	r := pullRule(t, PullDocument{SignedBy: signed})
	if standing(r, Signature{Authority: "ci"}) != Decides || standing(r, Signature{Authority: "gateway"}) != Unasked {
		t.Error("a signature decides where its authority is named, and nowhere else")
	}
	aged := pullRule(t, PullDocument{SignedBy: &SignedBy{Any: []string{"ci"}, MaxAge: time.Hour}})
	if standing(aged, Signature{Authority: "ci", Time: now}) != Decides || standing(aged, Signature{Authority: "gateway"}) != Unasked {
		t.Error("a signature that is new decides")
	}
	if s, why := aged.StandingOfSignature(Signature{Authority: "ci", Time: now.Add(-3 * time.Hour)}, now); s != Late || why != "is 3 hours old, at most 1 hours are allowed" {
		t.Errorf("an old signature is %v: %s", s, why)
	}
	var none *Rule
	if standing(none, Signature{Authority: "ci"}) != Unasked || none.StandingOfAttestations(subject, ev)[1] != Unasked {
		t.Error("without a rule nothing is asked")
	}
}
