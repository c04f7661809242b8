package policy

import (
	"strings"
	"testing"
	"time"
)

func TestSignaturesCountUntilTheyAreTooOld(t *testing.T) {
	const most = 90 * 24 * time.Hour
	at := func(authority string, ago time.Duration) Signature {
		return Signature{Authority: authority, Signer: authority, Time: now.Add(-ago)}
	}
	claims := func(authority string, ago time.Duration) Signature {
		return Signature{Authority: authority, Signer: authority, Claimed: now.Add(-ago)}
	}
	anyOf, allOf := SignedBy{Any: []string{"ci", "release"}, MaxAge: most}, SignedBy{All: []string{"ci", "release"}, MaxAge: most}
	trusting := SignedBy{Any: []string{"ci"}, MaxAge: most, TrustStatementTime: true}
	for name, c := range map[string]struct {
		by         SignedBy
		signatures []Signature
		code, why  string
	}{
		"at the limit":                 {anyOf, []Signature{at("ci", most)}, "", ""},
		"past the limit":               {anyOf, []Signature{at("ci", most+1)}, "STALE", "the signature by ci is more than 90 days old, at most 90 days are allowed; none by release counts either"},
		"long past the limit":          {anyOf, []Signature{at("ci", most+30*24*time.Hour)}, "STALE", "the signature by ci is 120 days old, at most 90 days are allowed"},
		"old and new":                  {anyOf, []Signature{at("ci", 2*most), at("ci", 0)}, "", ""},
		"the newest of the old":        {anyOf, []Signature{at("ci", 4*most), at("release", 2*most), at("ci", 3*most)}, "STALE", "the signature by release is 180 days old"},
		"of no time":                   {anyOf, []Signature{{Authority: "ci"}}, "UNTIMED", "the signature by ci has no time that a log or a timestamp authority vouches for"},
		"a claim":                      {anyOf, []Signature{claims("ci", 0)}, "UNTIMED", ""},
		"a claim that is believed":     {trusting, []Signature{claims("ci", most)}, "", ""},
		"an old claim":                 {trusting, []Signature{claims("ci", most+1)}, "STALE", ""},
		"a new claim of an old one":    {trusting, []Signature{{Authority: "ci", Time: now.Add(-2 * most), Claimed: now}}, "STALE", ""},
		"a clock that is ahead":        {anyOf, []Signature{at("ci", -maxSkew)}, "", ""},
		"the future":                   {anyOf, []Signature{at("ci", -maxSkew-1)}, "FUTURE_DATED", "the signature by ci is from the future, 2026-11-24T12:05:00Z"},
		"both, one of them old":        {allOf, []Signature{at("ci", 0), at("release", 2*most)}, "STALE", "the signature by release is 180 days old, at most 90 days are allowed"},
		"one, and it is old":           {allOf, []Signature{at("ci", 2*most)}, "STALE", "the signature by ci is 180 days old, at most 90 days are allowed; none by release counts either"},
		"somebody else's, new and old": {anyOf, []Signature{at("gateway", 0), at("gateway", 2*most)}, "UNTRUSTED", "no signature by ci or release (found 1 by gateway)"},
		"none":                         {anyOf, nil, "UNSIGNED", ""},
		"one signer for two":           {allOf, []Signature{{Authority: "ci", Signer: "x", Time: now}, {Authority: "release", Signer: "x", Time: now}}, "UNTRUSTED", "2 signers are wanted"},
	} {
		v := pullRule(t, PullDocument{SignedBy: &c.by}).Judge(subject, Evidence{Signatures: c.signatures}, now)
		consistent(t, v)
		if codes(v.Reasons()) != c.code || c.code != "" && !strings.HasPrefix(v.Reasons()[0].Why, c.why) {
			t.Errorf("%s: got %+v, want %s: %s", name, v.Reasons(), c.code, c.why)
		}
		if c.code == "STALE" && !strings.HasPrefix(v.Reasons()[0].Fix, "build the image again, and have it signed by ") {
			t.Errorf("%s: the fix is %s", name, v.Reasons()[0].Fix)
		}
		if c.code != "" && !strings.Contains(v.Reasons()[0].Requirement, ", at most 90 days old") {
			t.Errorf("%s: the requirement does not say how old: %s", name, v.Reasons()[0].Requirement)
		}
	}
}

func TestTheAgeOfSignaturesIsCompiled(t *testing.T) {
	for want, pull := range map[string]PullDocument{
		"[0].pull.signed_by.max_age: is negative":                                                        {SignedBy: &SignedBy{Any: []string{"ci"}, MaxAge: -1}},
		"[0].pull.signed_by.trust_statement_time: means nothing without max_age; leave it out":           {SignedBy: &SignedBy{Any: []string{"ci"}, TrustStatementTime: true}},
		"[0].pull.attested[0].by: max_age and trust_statement_time stand beside by, not in it":           {Attested: []AttestedDocument{{Predicate: "vuln", By: &SignedBy{Any: []string{"ci"}, MaxAge: 1}}}},
		"[0].pull.attested[0].by: max_age and trust_statement_time stand beside by, not in it (trusted)": {Attested: []AttestedDocument{{Predicate: "vuln", By: &SignedBy{Any: []string{"ci"}, TrustStatementTime: true}}}},
	} {
		_, err := Compile([]Document{{Name: "a", Repositories: []string{"**"}, Pull: &pull}}, known())
		if all := faults(t, err); len(all) != 1 || all[0] != strings.TrimSuffix(want, " (trusted)") {
			t.Errorf("got %q, want %q", all, want)
		}
	}
}
