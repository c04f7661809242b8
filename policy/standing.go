package policy

import (
	"slices"
	"time"
)

// Standing is what a piece of evidence is to a rule. It is told to people and decides nothing: [Rule.Judge] does.
type Standing uint8

// The standings, the weakest first.
const (
	Unasked  Standing = iota // the rule asks for nothing of the kind by this authority
	Outdated                 // it asks for it, and passes over this one, because others are certainly newer
	Late                     // it asks for it, and this one is too old, or nobody says how old it is
	Decides                  // it is looked at
)

// StandingOfSignature says what a signature is to the rule at a time. why goes on after "the signature", where it is [Late].
func (r *Rule) StandingOfSignature(sig Signature, at time.Time) (standing Standing, why string) {
	by := r.demandedSignatures()
	if by == nil {
		return Unasked, ""
	}
	if names, _, _ := by.wants(); !slices.Contains(names, sig.Authority) {
		return Unasked, ""
	}
	if code, why := by.late(sig, at); code != "" {
		return Late, why
	}
	return Decides, ""
}

// StandingOfAttestations says what each of the evidence's attestations is to the rule.
func (r *Rule) StandingOfAttestations(s Subject, ev Evidence) []Standing {
	all := make([]Standing, len(ev.Attestations))
	if r == nil {
		return all
	}
	for _, q := range r.attested {
		if q.PerPlatform && ev.Index {
			continue
		}
		names, need, _ := q.By.wants()
		newest, candidates := q.candidates(s, ev, names)
		for i := range ev.Attestations {
			a := &ev.Attestations[i]
			standing := Unasked
			switch {
			case slices.Contains(candidates, a) && passedOver(a.Authority, q.time(a), newest, need):
				standing = Outdated
			case slices.Contains(candidates, a), q.hears(a):
				standing = Decides
			}
			all[i] = max(all[i], standing)
		}
	}
	return all
}

// hears reports an attestation that may take a finding from deny.
func (q *requirement) hears(a *Attestation) bool {
	return q.VEX != nil && slices.Contains(q.VEX.By, a.Authority) && KindOf(a.PredicateType) == KindVEX
}
