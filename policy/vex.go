package policy

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
)

const (
	// defaultStatementAge is how long somebody's word that a finding does not matter is taken for, where the rule names no
	// time: a quarter of a year.
	defaultStatementAge = 90 * 24 * time.Hour

	// maxGrace bounds how long a new finding may be let pass.
	maxGrace = 90 * 24 * time.Hour
)

// justifications are what OpenVEX accepts as the reason for not_affected: section "Status Justifications" of
// https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md.
var justifications = []string{
	"component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
	"vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist",
}

// statements are what those whom a requirement listens to say about vulnerabilities of one subject, by every name of the
// vulnerability.
type statements struct {
	about map[string][]statement

	// all are those that concern every vulnerability: attestations that could not be read, and may say anything.
	all []statement
}

// statement is somebody's word about one vulnerability.
type statement struct {
	*VEXStatement // nil for one that could not be read

	authority string
	signed    digest.Digest // what was attested
	attested  time.Time     // zero where nobody vouches for a time
}

// listen collects the statements of those that the requirement names. Without such a demand there are none.
func (q *requirement) listen(s Subject, ev Evidence) *statements {
	heard := &statements{}
	if q.VEX == nil {
		return heard
	}
	heard.about = map[string][]statement{}
	for i := range ev.Attestations {
		a := &ev.Attestations[i]
		if !slices.Contains(q.VEX.By, a.Authority) || KindOf(a.PredicateType) != KindVEX || q.PerPlatform && a.Signed != s.Digest {
			continue
		}
		one := statement{authority: a.Authority, signed: a.Signed, attested: a.Vouched}
		if a.Malformed != "" || a.Facts.VEX == nil {
			heard.all = append(heard.all, one)
			continue
		}
		if one.attested.IsZero() && q.VEX.TrustStatementTime {
			one.attested = a.Facts.Claimed
		}
		for j := range a.Facts.VEX.Statements {
			one.VEXStatement = &a.Facts.VEX.Statements[j]
			names := append([]string{one.Vulnerability}, one.Aliases...)
			slices.Sort(names)
			for _, name := range slices.Compact(names) {
				heard.about[name] = append(heard.about[name], one)
			}
		}
	}
	return heard
}

// clears returns the statement by which a finding does not count, nil where there is none.
//
// It has to be about this image or this very package, to give a reason, to be of a known time and not older than the rule
// wants; and nobody whom the rule listens to may have said anything else at that time or since, about whatever product. What
// has no time may have been said just now. So a doubt outweighs a clearance, and a withdrawn one does not come back.
func (h *statements) clears(s Subject, f *Finding, longest time.Duration, at time.Time) *statement {
	candidates := slices.Clone(h.all)
	for _, name := range append([]string{f.ID}, f.Aliases...) {
		candidates = append(candidates, h.about[name]...)
	}

	var newest *statement
	for i := range candidates {
		c := &candidates[i]
		if c.frees(s, f) && !c.attested.IsZero() && !c.attested.After(at.Add(maxSkew)) && at.Sub(c.attested) <= longest &&
			(newest == nil || c.after(newest)) {
			newest = c
		}
	}
	if newest == nil {
		return nil
	}
	for i := range candidates {
		if c := &candidates[i]; c.doubts() && !newest.after(c) {
			return nil
		}
	}
	return newest
}

// frees reports that the statement says that a finding in the image does not matter.
func (t *statement) frees(s Subject, f *Finding) bool {
	return t.VEXStatement != nil && !t.doubts() && slices.ContainsFunc(t.Products, func(p VEXProduct) bool {
		return p.covers(s.Digest, f) || p.covers(t.signed, f)
	})
}

// doubts reports that the statement does not say that the image is safe from the vulnerability.
func (t *statement) doubts() bool {
	switch {
	case t.VEXStatement == nil:
		return true
	case t.Status == "fixed":
		return false
	}
	return t.Status != "not_affected" || !slices.Contains(justifications, t.Justification)
}

// after reports that a statement was made after another one: in a later attestation, or later by their own times within one.
func (t *statement) after(other *statement) bool {
	switch {
	case t.attested.IsZero() || other.attested.IsZero():
		return false
	case !t.attested.Equal(other.attested):
		return t.attested.After(other.attested)
	case t.VEXStatement == nil || other.VEXStatement == nil:
		return false
	}
	return t.Time.After(other.Time)
}

// covers reports that the product is the image with a digest, and the finding in one of the parts that are named, if any
// are; or that it is the finding's package itself.
func (p VEXProduct) covers(image digest.Digest, f *Finding) bool {
	if !isImage(p.ID, image) {
		return isPackage(p.ID, f.PURL)
	}
	return len(p.Subcomponents) == 0 || slices.ContainsFunc(p.Subcomponents, func(part string) bool { return isPackage(part, f.PURL) })
}

// isImage reports that a package URL names an image by its digest. The name does not count: pkg:oci/app is an app of any
// registry.
func isImage(purl string, d digest.Digest) bool {
	name, version, _ := cutPackageURL(purl)
	return strings.HasPrefix(name, "pkg:oci/") && d != "" && version == d.String()
}

// isPackage reports that a package URL of a statement names a package of a scan: with its version, and with the qualifiers
// that the statement has.
func isPackage(purl, found string) bool {
	name, version, qualifiers := cutPackageURL(purl)
	foundName, foundVersion, foundQualifiers := cutPackageURL(found)
	if name == "" || version == "" || name != foundName || version != foundVersion {
		return false
	}
	for key, want := range qualifiers {
		if !slices.Equal(foundQualifiers[key], want) {
			return false
		}
	}
	return true
}

// cutPackageURL takes a package URL apart: https://github.com/package-url/purl-spec. The name goes from the scheme to the
// version; it is empty for what is none. A URL with a subpath names a part of a package, and is none here.
func cutPackageURL(purl string) (name, version string, qualifiers url.Values) {
	rest, query, _ := strings.Cut(purl, "?")
	if !strings.HasPrefix(rest, "pkg:") || strings.Contains(purl, "#") {
		return "", "", nil
	}
	if at := strings.LastIndexByte(rest, '@'); at > strings.LastIndexByte(rest, '/') {
		rest, version = rest[:at], rest[at+1:]
	}
	name, err := url.PathUnescape(rest)
	if err != nil {
		return "", "", nil
	}
	if version, err = url.PathUnescape(version); err != nil {
		return "", "", nil
	}
	if qualifiers, err = url.ParseQuery(query); err != nil {
		return "", "", nil
	}
	return name, version, qualifiers
}

// inGrace reports that a finding is so new that the rule lets it pass for now.
func (q *requirement) inGrace(f *Finding, at time.Time) bool {
	if q.Grace == nil || f.Published.IsZero() || f.Published.After(at.Add(maxSkew)) {
		return false
	}
	allowed := q.Grace.NewFindings
	if f.KnownExploited {
		allowed = q.Grace.KnownExploited
	}
	return at.Sub(f.Published) < allowed
}

// leniency is what lets findings pass that a rule denies, and which it let pass.
type leniency struct {
	subject Subject
	heard   *statements
	at      time.Time

	cleared, graced int
	firstCleared    string // with whose word it was
	firstGraced     string
}

// pass reports that a denied finding does not count, and remembers it.
func (l *leniency) pass(q *requirement, f *Finding) bool {
	if q.VEX != nil {
		if word := l.heard.clears(l.subject, f, q.VEX.MaxAge, l.at); word != nil {
			if l.cleared++; l.cleared == 1 {
				l.firstCleared = fmt.Sprintf("%s is %s by the word of %s", f.ID, strings.TrimSpace(word.Status+" "+word.Justification), word.authority)
			}
			return true
		}
	}
	if q.inGrace(f, l.at) {
		if l.graced++; l.graced == 1 {
			l.firstGraced = fmt.Sprintf("%s was published on %s", f.ID, f.Published.UTC().Format(time.DateOnly))
		}
		return true
	}
	return false
}

// warnings words what was let pass in a scan of an authority.
func (l *leniency) warnings(q *requirement, authority string) (list []Reason) {
	for _, passed := range []struct {
		code       Code
		count      int
		first, fix string
	}{
		{FindingsCleared, l.cleared, l.firstCleared, ""},
		{FindingsInGrace, l.graced, l.firstGraced, "update what it names before the grace ends"},
	} {
		if passed.count == 0 {
			continue
		}
		why := passed.first
		if passed.count > 1 {
			why += fmt.Sprintf(", and %d more", passed.count-1)
		}
		list = append(list, Reason{
			Code: passed.code, Requirement: q.words(), Subject: l.subject.Digest.String(),
			Why: shown(maxWhy, "%s by %s: %s", q.Predicate, authority, why), Fix: passed.fix,
		})
	}
	return list
}

// compileLeniency checks what takes findings from deny.
func (q *requirement) compileLeniency(known Known, fault func(path, format string, args ...any)) {
	if (q.VEX != nil || q.Grace != nil) && (q.kind != KindScan || q.Deny == "") {
		fault("", "vex and grace are about findings that deny refuses: predicate vuln, with deny")
		return
	}
	if vex := q.VEX; vex != nil {
		if len(vex.By) == 0 {
			fault(".vex.by", "names nobody whose word counts")
		}
		for i, name := range vex.By {
			here := fmt.Sprintf(".vex.by[%d]", i)
			if _, ok := known.Authorities[name]; !ok {
				fault(here, "unknown authority %q; authorities has %s", name, enumerate(known.Authorities))
			}
			if slices.Index(vex.By, name) < i {
				fault(here, "names %q twice", name)
			}
		}
		switch {
		case vex.MaxAge < 0:
			fault(".vex.max_age", "is negative")
		case vex.MaxAge == 0:
			vex.MaxAge = defaultStatementAge
		}
	}
	if grace := q.Grace; grace != nil {
		for _, g := range []struct {
			key  string
			span time.Duration
		}{{"new_findings", grace.NewFindings}, {"known_exploited", grace.KnownExploited}} {
			if g.span < 0 || g.span > maxGrace {
				fault(".grace."+g.key, "is not between 0 and %s", span(maxGrace))
			}
		}
		if grace.KnownExploited > grace.NewFindings {
			fault(".grace.known_exploited", "is longer than new_findings, for what is worse")
		}
	}
}
