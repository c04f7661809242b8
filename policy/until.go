package policy

import "time"

// Until is a time before which a verdict on this evidence, given at a time, is the same: nothing but time changes, and none of
// the limits that the rule sets is passed. It may be earlier than it had to be. Zero is never.
func (r *Rule) Until(ev Evidence, at time.Time) time.Time {
	h := &horizon{at: at, until: ev.Until}
	if r == nil {
		return h.until
	}
	if by := r.demandedSignatures(); by != nil && by.MaxAge > 0 {
		for _, sig := range ev.Signatures {
			h.mark(by.time(sig), -maxSkew)
			h.markAge(by.time(sig), by.MaxAge)
		}
	}
	for _, q := range r.attested {
		for i := range ev.Attestations {
			q.limits(&ev.Attestations[i], h)
		}
	}
	return h.until
}

// Weighs reports that a pull under this rule is judged by what attestations say, which takes longer than to look at
// signatures.
func (r *Rule) Weighs() bool { return r != nil && len(r.attested) > 0 }

// limits marks every moment at which a comparison of a time that the attestation tells turns out differently.
func (q *requirement) limits(a *Attestation, h *horizon) {
	for _, made := range []time.Time{a.Vouched, a.Facts.Claimed} {
		h.mark(made, -maxSkew)
		h.markAge(made, q.MaxAge)
		if q.VEX != nil {
			h.markAge(made, q.VEX.MaxAge)
		}
	}
	scan := a.Facts.Scan
	if scan == nil {
		return
	}
	h.mark(scan.Finished, -maxSkew)
	h.markAge(scan.Finished, q.MaxAge)
	h.mark(scan.Database, -maxSkew)
	h.markAge(scan.Database, q.MaxDatabaseAge)
	if q.Grace == nil {
		return
	}
	for i := range scan.Findings {
		published := scan.Findings[i].Published
		h.mark(published, -maxSkew)
		h.markAge(published, q.Grace.NewFindings)
		h.markAge(published, q.Grace.KnownExploited)
	}
}

// horizon is the first of several moments that is not before a time.
type horizon struct{ at, until time.Time }

func (h *horizon) mark(t time.Time, after time.Duration) {
	moment := t.Add(after)
	if t.IsZero() || moment.Before(h.at) || !h.until.IsZero() && !moment.Before(h.until) {
		return
	}
	h.until = moment
}

func (h *horizon) markAge(t time.Time, most time.Duration) {
	if most > 0 {
		h.mark(t, most)
	}
}
