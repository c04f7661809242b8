package policy

import "slices"

// Standing is what a piece of evidence is to a rule. It is told to people and decides nothing: [Rule.Judge] does.
type Standing uint8

// The standings, the weakest first.
const (
	Unasked  Standing = iota // the rule asks for nothing of the kind by this authority
	Outdated                 // it asks for it, and passes over this one, because others are certainly newer
	Decides                  // it is looked at
)

// StandingOfSignature says what a signature is to the rule.
func (r *Rule) StandingOfSignature(sig Signature) Standing {
	if r == nil || r.pull == nil || r.pull.SignedBy == nil {
		return Unasked
	}
	if names, _, _ := r.pull.SignedBy.wants(); slices.Contains(names, sig.Authority) {
		return Decides
	}
	return Unasked
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
