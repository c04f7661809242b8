package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// maxSkew is how far ahead of ours the clock of a log, a timestamp authority or a scanner may be.
const maxSkew = 5 * time.Minute

// requirement is a demand for an attestation, compiled.
type requirement struct {
	AttestedDocument

	types       []string
	kind        Kind
	deny, where *expression
	provenance  []provenanceMatch

	sealed bool // a push attests it, by one of those who may
}

// provenanceMatch is a demand on one field of provenance, which has to match one of the patterns.
type provenanceMatch struct {
	field  string
	accept func(value string) bool
	want   []string
}

// words is the requirement as the policy has it.
func (q *requirement) words() string {
	_, _, by := q.By.wants()
	return "attested " + q.Predicate + " by " + by
}

// judge returns nil when the requirement is met, and what was let pass all the same.
//
// Of several attestations the newest counts, whoever made it: an older scan by one authority does not outweigh what another
// one found since. An attestation is passed over only where others are certainly newer: one of the same authority, or as
// many of others as the rule wants. All that are not passed over must be in order. So whatever is taken away, an attestation
// that refused the image goes on to do so.
func (q *requirement) judge(s Subject, ev Evidence, at time.Time) (refused *Reason, warnings []Reason) {
	if q.PerPlatform && ev.Index {
		return nil, nil // an index runs nowhere; what it lists is judged for itself
	}
	reason := &Reason{Requirement: q.words(), Subject: s.Digest.String()}
	if len(ev.Unread) > 0 {
		reason.Code = EvidenceUnread
		reason.Why = shown(maxWhy, "what is attached could not be read as a whole: %s", ev.Unread[0].Why)
		reason.Fix = "ask whoever keeps the registry to remove it"
		return reason, nil
	}

	names, need, _ := q.By.wants()
	newest, candidates := q.candidates(s, ev, names)
	if need < 1 || len(newest) < need {
		q.sayNotAttested(reason, ev, names, need, newest)
		if q.sealed && need-len(newest) == 1 {
			reason.Fix = sealAgain(s)
		}
		return reason, nil
	}
	if need > 1 && distinctOf(candidates).distinct(names) < need {
		reason.Code, reason.Causes = NotAttested, ev.causes()
		reason.Why = shown(maxWhy, "no %s attestation by %d different signers (one is accepted for several authorities)", q.Predicate, need)
		reason.Fix = shown(maxFix, "have it attested by somebody else too: %s", q.command())
		return reason, nil
	}
	heard := q.listen(s, ev)
	for _, a := range candidates {
		if passedOver(a.Authority, q.time(a), newest, need) {
			continue
		}
		let := &leniency{subject: s, heard: heard, at: at}
		if code, why, fix := q.check(a, let); code != "" {
			reason.Code, reason.Fix = code, fix
			switch {
			case q.sealed && code == Stale:
				reason.Fix = sealAgain(s)
			case q.sealed && code == StaleDatabase:
				reason.Fix = shown(maxFix, "update the scanner's database, then %s", sealAgain(s))
			}
			reason.Why = shown(maxWhy, "%s by %s %s", q.Predicate, a.Authority, why)
			return reason, nil
		}
		warnings = append(warnings, let.warnings(q, a.Authority)...)
	}
	return nil, warnings
}

// candidates are the attestations that may meet the requirement, and the time of the newest one of each authority, as far as
// times are known.
func (q *requirement) candidates(s Subject, ev Evidence, names []string) (newest map[string]time.Time, all []*Attestation) {
	newest = make(map[string]time.Time, len(names))
	for i := range ev.Attestations {
		a := &ev.Attestations[i]
		if !slices.Contains(names, a.Authority) || !slices.Contains(q.types, a.PredicateType) || q.PerPlatform && a.Signed != s.Digest {
			continue
		}
		all = append(all, a)
		newest[a.Authority] = later(newest[a.Authority], q.time(a))
	}
	return newest, all
}

// distinctOf is who signed what, in the form in which signers are told apart.
func distinctOf(candidates []*Attestation) (ev Evidence) {
	for _, a := range candidates {
		ev.Signatures = append(ev.Signatures, Signature{Authority: a.Authority, Signer: a.Signer})
	}
	return ev
}

// passedOver reports that an attestation of a time is certainly outdated. What has no time may be the newest of all, and
// outdates nothing.
func passedOver(authority string, made time.Time, newest map[string]time.Time, need int) bool {
	if made.IsZero() {
		return false
	}
	others := 0
	for name, t := range newest {
		switch {
		case !t.After(made):
		case name == authority:
			return true
		default:
			others++
		}
	}
	return others >= need
}

// time is when an attestation was made, as far as the rule believes it. Zero is unknown.
func (q *requirement) time(a *Attestation) time.Time {
	if a.Vouched.IsZero() && q.TrustStatementTime && a.Malformed == "" {
		return a.Facts.Claimed
	}
	return a.Vouched
}

// check says what is wrong with one attestation; the code is empty when nothing is. why goes on after "vuln by ci".
func (q *requirement) check(a *Attestation, let *leniency) (code Code, why, fix string) {
	at := let.at
	again := "attest it again: " + q.command()
	if a.Malformed != "" {
		return Malformed, "cannot be read: " + a.Malformed, again
	}
	made, scan := q.time(a), a.Facts.Scan
	latest, oldest := made, made
	if q.kind == KindScan {
		if scan == nil {
			return Malformed, "holds no scan", again
		}
		latest, oldest = later(made, scan.Finished), earlier(made, scan.Finished)
	}
	switch {
	case latest.After(at.Add(maxSkew)):
		return FutureDated, "is from the future, " + latest.UTC().Format(time.RFC3339), "set the clock of whoever attested it"
	case q.MaxAge > 0 && (made.IsZero() || q.kind == KindScan && scan.Finished.IsZero()):
		return Untimed, "has no time that a log or a timestamp authority vouches for", "attest it with a timestamp authority or a log, or set trust_statement_time"
	case q.MaxAge > 0 && at.Sub(oldest) > q.MaxAge:
		return Stale, fmt.Sprintf("is %s old, at most %s are allowed", span(at.Sub(oldest)), span(q.MaxAge)), again
	}
	if scan != nil && q.kind == KindScan {
		if code, why, fix := q.checkScan(scan, at); code != "" {
			return code, why, fix
		}
	}
	if code, why := q.checkProvenance(a.Facts.Provenance); code != "" {
		return code, why, "build it where the policy wants it built"
	}
	if code, why := q.evaluate(a, let); code != "" {
		return code, why, "fix what is found and push again; the policy's words are in the requirement"
	}
	return "", "", ""
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func (q *requirement) checkScan(scan *Scan, at time.Time) (code Code, why, fix string) {
	switch {
	case scan.Database.After(at.Add(maxSkew)):
		return FutureDated, "used a database from the future", "set the clock of whoever scanned it"
	case q.MaxDatabaseAge > 0 && scan.Database.IsZero():
		return StaleDatabase, "does not tell how old its database was", "scan with a scanner that tells when its database was updated"
	case q.MaxDatabaseAge > 0 && at.Sub(scan.Database) > q.MaxDatabaseAge:
		return StaleDatabase, fmt.Sprintf("used a database that is %s old, at most %s are allowed", span(at.Sub(scan.Database)), span(q.MaxDatabaseAge)),
			"update the database, scan and attest it again"
	case len(scan.Findings) == 0 && scan.Counted && scan.Packages <= 0:
		return IncompleteScan, "found nothing in no packages at all", "make sure that the scanner reads the image's packages"
	case len(scan.Findings) == 0 && !scan.Counted && !q.AdmitUncounted:
		return IncompleteScan, "found nothing, and does not tell how many packages it looked at",
			"attest a report that lists packages, or set admit_uncounted"
	}
	return "", "", ""
}

func (q *requirement) checkProvenance(p *Provenance) (code Code, why string) {
	for _, match := range q.provenance {
		if p == nil {
			return Malformed, "holds no provenance"
		}
		value, _ := p.variable(match.field).(string)
		switch {
		case value == "":
			return ProvenanceMismatch, "does not tell its " + strings.ReplaceAll(match.field, "_", " ")
		case !match.accept(value):
			return ProvenanceMismatch, fmt.Sprintf("has the %s %s, wanted %s",
				strings.ReplaceAll(match.field, "_", " "), shown(80, "%s", value), shown(80, "%s", strings.Join(match.want, " or ")))
		}
	}
	return "", ""
}

// evaluate asks the expressions.
func (q *requirement) evaluate(a *Attestation, let *leniency) (code Code, why string) {
	v := &variables{facts: &a.Facts}
	if q.where != nil {
		yes, err := q.where.holds(v)
		if err != nil {
			return ExpressionFailed, "cannot be judged by where: " + err.Error()
		}
		if !yes {
			return ForbiddenContent, "does not meet where: " + q.where.source
		}
	}
	switch {
	case q.deny == nil:
		return "", ""
	case q.kind == KindScan:
		return q.denied(v, let)
	}
	yes, err := q.deny.holds(v)
	if err != nil {
		return ExpressionFailed, "cannot be judged by deny: " + err.Error()
	}
	if yes {
		return ForbiddenContent, "meets deny: " + q.deny.source
	}
	return "", ""
}

// denied looks at each finding that nothing takes away.
func (q *requirement) denied(v *variables, let *leniency) (code Code, why string) {
	n, first := 0, (*Finding)(nil)
	for i := range v.facts.Scan.Findings {
		v.finding = &v.facts.Scan.Findings[i]
		yes, err := q.deny.holds(v)
		if (yes || err != nil) && let.pass(q, v.finding) {
			continue
		}
		if err != nil {
			return ExpressionFailed, fmt.Sprintf("cannot be judged by deny: %v (%s)", err, v.finding.ID)
		}
		if yes {
			n++
		}
		if yes && (first == nil || v.finding.Severity.rank() > first.Severity.rank()) {
			first = v.finding
		}
	}
	if first == nil {
		return "", ""
	}
	why = "found " + first.ID
	if first.Package != "" {
		why += " in " + strings.TrimSpace(first.Package+" "+first.Version)
	}
	why += ", " + first.Severity.String()
	if first.FixedVersion != "" {
		why += ", fixed in " + first.FixedVersion
	}
	if n > 1 {
		why += fmt.Sprintf(", and %d more that are denied", n-1)
	}
	return ForbiddenFinding, why
}

// sayNotAttested words that too few have attested it.
func (q *requirement) sayNotAttested(reason *Reason, ev Evidence, names []string, need int, newest map[string]time.Time) {
	missing := slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, attested := newest[name]
		return attested
	})
	found, others := 0, []string{}
	for _, a := range ev.Attestations {
		if !slices.Contains(q.types, a.PredicateType) {
			continue
		}
		found++
		if !slices.Contains(others, a.Authority) {
			others = append(others, a.Authority)
		}
	}
	detail := "found none"
	switch {
	case found > 0:
		detail = fmt.Sprintf("found %d by %s", found, strings.Join(others, ", "))
	case len(ev.Rejected) > 0:
		detail = "found what does not count: " + ev.Rejected[0].Why
	}
	if q.PerPlatform && found > 0 {
		detail += "; the manifest itself needs it"
	}
	reason.Code, reason.Causes = NotAttested, ev.causes()
	reason.Why = shown(maxWhy, "no %s attestation by %s (%s)", q.Predicate, strings.Join(missing, or(need, names)), detail)
	reason.Fix = shown(maxFix, "have it attested by %s: %s", strings.Join(missing, or(need, names)), q.command())
}

// command is how cosign attests it.
func (q *requirement) command() string {
	name := q.Predicate
	switch q.Predicate {
	case "spdx":
		name = "spdxjson"
	case "sbom":
		name = "cyclonedx"
	case "slsa-provenance":
		name = "slsaprovenance1"
	case "vsa", "test-result":
		name = q.types[0]
	}
	return "cosign attest --type " + name + " --predicate FILE {pinned}"
}

const (
	maxWhy = 200 // bytes
	maxFix = 300
)

// shown words a reason in one line. What it quotes was written by whoever attested it.
func shown(limit int, format string, args ...any) string {
	text := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) { // line ends, escapes of terminals, marks that reverse the text
			return ' '
		}
		return c
	}, fmt.Sprintf(format, args...))
	if len(text) <= limit {
		return text
	}
	const dots = "…"
	cut := limit - len(dots)
	for cut > 0 && text[cut]&0xC0 == 0x80 { // never inside a character
		cut--
	}
	return text[:cut] + dots
}

// span words a duration in days, hours or minutes.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	case d >= time.Hour:
		return fmt.Sprintf("%d hours", int(d/time.Hour))
	}
	return fmt.Sprintf("%d minutes", int(d/time.Minute))
}
