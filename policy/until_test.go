package policy

import (
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// TestThreat128_AVerdictIsTheSameUntilItsEnd judges random evidence at random times: before the time that Until names, a verdict
// is what it was, with its warnings.
func TestThreat128_AVerdictIsTheSameUntilItsEnd(t *testing.T) {
	const rounds = 30_000
	random := rand.New(rand.NewPCG(1, 2))
	near := func() time.Time { // of now, and often exactly at a limit
		spans := []time.Duration{0, maxSkew, time.Hour, 24 * time.Hour, 48 * time.Hour, 168 * time.Hour}
		at := now.Add(-spans[random.IntN(len(spans))] + spans[random.IntN(len(spans))]/2)
		switch random.IntN(4) {
		case 0:
			return time.Time{}
		case 1:
			return at
		}
		return at.Add(time.Duration(random.Int64N(int64(2*time.Hour))) - time.Hour)
	}
	doc := full()
	doc.Pull = &PullDocument{SignedBy: &SignedBy{Any: []string{"ci", "release"}, MaxAge: 24 * time.Hour, TrustStatementTime: true}, Attested: []AttestedDocument{
		{
			Predicate: "vuln", By: &SignedBy{Any: []string{"ci", "gateway"}}, MaxAge: 24 * time.Hour, MaxDatabaseAge: 48 * time.Hour, TrustStatementTime: true,
			AdmitUncounted: true, Deny: "finding.severity >= HIGH", VEX: &VEXDocument{By: []string{"release"}, MaxAge: 168 * time.Hour, TrustStatementTime: true},
			Grace: &GraceDocument{NewFindings: 48 * time.Hour, KnownExploited: time.Hour},
		},
	}}
	rule := mustCompile(t, doc).Rule("prod/app")

	admitted, ended := 0, 0
	for range rounds {
		ev := Evidence{Pinned: true, Signatures: []Signature{{Authority: "ci", Time: now, Claimed: near()}}}
		for range random.IntN(3) {
			ev.Signatures = append(ev.Signatures, Signature{Authority: []string{"release", "ci"}[random.IntN(2)], Time: near(), Claimed: near()})
		}
		ev.Signatures = ev.Signatures[random.IntN(2):]
		for range 1 + random.IntN(3) {
			finding := Finding{ID: "CVE-1", Package: "p", Severity: Severity(random.IntN(6)), Published: near(), KnownExploited: random.IntN(3) == 0}
			ev.Attestations = append(ev.Attestations, Attestation{
				PredicateType: ScanByCosign, Authority: []string{"ci", "gateway"}[random.IntN(2)], Signed: subject.Digest, Vouched: near(),
				Facts: Facts{Claimed: near(), Scan: &Scan{Scanner: "s", Finished: near(), Database: near(), Findings: []Finding{finding}[:random.IntN(2)]}},
			})
		}
		if random.IntN(2) == 0 {
			ev.Attestations = append(ev.Attestations, Attestation{
				PredicateType: "https://openvex.dev/ns/v0.2.0", Authority: "release", Signed: subject.Digest, Vouched: near(),
				Facts: Facts{Claimed: near(), VEX: &VEX{Statements: []VEXStatement{{
					Vulnerability: "CVE-1", Products: []VEXProduct{{ID: "pkg:oci/app@" + subject.Digest.String()}},
					Status: "not_affected", Justification: "component_not_present", Time: near(),
				}}}},
			})
		}
		at := near()
		if at.IsZero() {
			at = now
		}
		before := rule.Judge(subject, ev, at)
		if !before.Admitted() {
			continue
		}
		admitted++
		until := rule.Until(ev, at)
		if until.IsZero() {
			until = at.Add(1000 * time.Hour)
		} else if !rule.Judge(subject, ev, until.Add(1)).Admitted() {
			ended++
		}
		for range 8 {
			if !until.After(at) {
				break
			}
			later := at.Add(time.Duration(random.Int64N(int64(until.Sub(at)))))
			if after := rule.Judge(subject, ev, later); !reflect.DeepEqual(after, before) {
				t.Fatalf("at %v: %+v\nat %v, before %v: %+v\nof %+v", at, before, later, until, after, ev)
			}
		}
	}
	if admitted < 100 || ended < 20 {
		t.Errorf("only %d verdicts were admits, and %d of those ended when they could: nothing was tried", admitted, ended)
	}
}

func TestUntilIsTheEarliestLimit(t *testing.T) {
	if until := (*Rule)(nil).Until(Evidence{}, now); !until.IsZero() {
		t.Errorf("without a rule: %v", until)
	}
	rule := mustCompile(t, full()).Rule("prod/app")
	if until := rule.Until(Evidence{Until: now.Add(time.Second)}, now); !until.Equal(now.Add(time.Second)) {
		t.Errorf("what is proven for a second is so until %v", until)
	}
}

// A signature that is too old tomorrow ends a verdict today that is remembered because of an attestation.
func TestThreat128_AVerdictEndsWithTheAgeOfItsSignatures(t *testing.T) {
	rule := pullRule(t, PullDocument{
		SignedBy: &SignedBy{Any: []string{"ci"}, MaxAge: 24 * time.Hour}, Attested: []AttestedDocument{demand("spdx", SignedBy{Any: []string{"ci"}})},
	})
	ev := Evidence{Signatures: []Signature{{Authority: "ci", Time: now.Add(-23 * time.Hour)}}}
	if until := rule.Until(ev, now); !until.Equal(now.Add(time.Hour)) {
		t.Errorf("the signature is good for an hour, the verdict until %v", until)
	}
}
