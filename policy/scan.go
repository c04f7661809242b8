package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// scanRule is what a push demands of the scans of its image, compiled.
type scanRule struct {
	ScanDocument

	scanners   []string
	fixable    Severity // from which on a finding with a fix is refused; beyond Unknown for never
	unfixable  Severity // the same for one without
	deny, warn *expression
	packages   *expression
	exceptions []findingException
}

// never is a threshold that no finding reaches: it is above what nobody could rate.
const never = Unknown + 100

// findingException is a permission to carry a finding, compiled.
type findingException struct {
	id, pkg string // empty for any
	until   time.Time
}

func (e findingException) covers(f *Finding, at time.Time) bool {
	return at.Before(e.until) && (e.id == "" || f.called(e.id)) && (e.pkg == "" || e.pkg == f.Package)
}

// called reports that a vulnerability has a name.
func (f *Finding) called(name string) bool {
	return strings.EqualFold(f.ID, name) || slices.ContainsFunc(f.Aliases, func(a string) bool { return strings.EqualFold(a, name) })
}

// Scanners are the names of those that have to scan what is pushed under this rule.
func (r *Rule) Scanners() []string {
	if r == nil || r.scan == nil {
		return nil
	}
	return slices.Clone(r.scan.scanners)
}

// judgeScans holds what the scanners said against the rule. Each of them has to have said something.
func (r *Rule) judgeScans(s Subject, image Image, at time.Time) (reasons, warnings []Reason) {
	if r.scan == nil || !image.Runnable {
		return nil, nil
	}
	if len(r.scan.scanners) == 0 {
		return []Reason{r.scan.reason(s, "", NotScanned, "no scanner is named", "")}, nil // not compiled
	}
	for _, name := range r.scan.scanners {
		scan, scanned := image.Scans[name]
		if !scanned {
			reasons = append(reasons, r.scan.reason(s, name, NotScanned, "it was not scanned by "+name, "")) // our fault, and no reason to let it pass
			continue
		}
		refused, warned := r.scan.judge(s, name, &scan, at)
		reasons, warnings = append(reasons, refused...), append(warnings, warned...)
	}
	return reasons, warnings
}

func (q *scanRule) reason(s Subject, name string, code Code, why, fix string) Reason {
	return Reason{
		Code: code, Requirement: strings.TrimSpace("scan " + name), Subject: s.Digest.String(),
		Why: shown(maxReason, "%s", why), Fix: shown(maxFix, "%s", fix),
	}
}

// judge holds one scan against the rule.
func (q *scanRule) judge(s Subject, name string, scan *Scan, at time.Time) (reasons, warnings []Reason) {
	refuse := func(code Code, why, fix string) {
		reasons = append(reasons, q.reason(s, name, code, why, fix))
	}
	switch {
	case later(scan.Database, scan.Finished).After(at.Add(maxSkew)):
		refuse(FutureDated, "the scan is from the future", "set the clock of the scanner")
	case scan.Database.IsZero() && !q.AdmitUndatedDatabase:
		refuse(StaleDatabase, "the scanner "+name+" does not tell how old its database is",
			"ask whoever keeps the gateway for a scanner that tells, or for admit_undated_database")
	case !scan.Database.IsZero() && at.Sub(scan.Database) > q.MaxDatabaseAge:
		refuse(StaleDatabase, fmt.Sprintf("the database of the scanner %s is %s old, at most %s are allowed", name, span(at.Sub(scan.Database)), span(q.MaxDatabaseAge)),
			"ask whoever keeps the gateway to update it")
	}
	if why := incomplete(scan); why != "" {
		fix := "make sure that the image carries the database of its package manager"
		if !scan.Counted && len(scan.Unmatched) == 0 { // no image makes this scanner tell
			fix = "ask whoever keeps the gateway for a scanner that tells how many packages it sees, or for on_incomplete: warn"
		}
		reason := q.reason(s, name, IncompleteScan, "the scan by "+name+" "+why, fix)
		if q.OnIncomplete == warn {
			warnings = append(warnings, reason)
		} else {
			reasons = append(reasons, reason)
		}
	}

	refused, warned, excepted, err := q.sort(scan, at)
	if err != nil {
		refuse(ExpressionFailed, err.Error(), "ask whoever keeps the policy to mend the expression")
		return reasons, warnings
	}
	if len(refused) > 0 {
		reasons = append(reasons, q.list(s, name, refused))
	}
	if len(warned) > 0 {
		warnings = append(warnings, q.list(s, name, warned))
	}
	if reason := q.judgePackages(s, name, scan); reason != nil {
		reasons = append(reasons, *reason)
	}
	if len(excepted) > 0 {
		warnings = append(warnings, q.reason(s, name, FindingsExcepted, "excepted: "+excepted[0].summary()+andMore(len(excepted)-1), ""))
	}
	return reasons, warnings
}

// judgePackages looks at each package, vulnerable or not. Nil is fine.
func (q *scanRule) judgePackages(s Subject, name string, scan *Scan) *Reason {
	if q.packages == nil {
		return nil
	}
	if len(scan.Inventory) == 0 {
		reason := q.reason(s, name, IncompleteScan, "the scan by "+name+" does not list the image's packages", "ask whoever keeps the gateway for a scanner that does")
		return &reason
	}
	var denied []string
	v := &variables{facts: &Facts{Scan: scan}}
	for i := range scan.Inventory {
		v.pkg = &scan.Inventory[i]
		yes, err := q.packages.holds(v)
		if err != nil {
			reason := q.reason(s, name, ExpressionFailed, fmt.Sprintf("%s cannot be judged by deny_packages: %v", v.pkg.Name, err), "ask whoever keeps the policy to mend the expression")
			return &reason
		}
		if yes {
			denied = append(denied, v.pkg.line())
		}
	}
	if len(denied) == 0 {
		return nil
	}
	reason := q.reason(s, name, ForbiddenPackage, "it has the package "+denied[0]+andMore(len(denied)-1), "leave it out, or take another in its place")
	reason.Findings = denied
	if len(denied) > maxListed {
		reason.Findings = append(slices.Clip(denied[:maxListed]), fmt.Sprintf("and %d more", len(denied)-maxListed))
	}
	return &reason
}

// line is a package in a list.
func (p *Package) line() string {
	text := strings.TrimSpace(shown(80, "%s %s", p.Name, p.Version))
	if len(p.Licenses) > 0 {
		text += " (" + shown(80, "%s", strings.Join(p.Licenses, ", ")) + ")"
	}
	return text
}

// incomplete says why a scan is not one of the whole image, empty when it is.
func incomplete(scan *Scan) string {
	switch {
	case len(scan.Unmatched) > 0:
		return "could not look up " + scan.Unmatched[0] + andMore(len(scan.Unmatched)-1)
	case len(scan.Findings) > 0:
		return ""
	case scan.Counted && scan.Packages <= 0:
		return "recognised no package at all"
	case !scan.Counted:
		return "found nothing, and does not tell how many packages it looked at"
	}
	return ""
}

// sort puts findings where they belong, the worst first.
func (q *scanRule) sort(scan *Scan, at time.Time) (refused, warned, excepted []*Finding, err error) {
	v := &variables{facts: &Facts{Scan: scan}}
	seen := map[string]bool{}
	for i := range scan.Findings {
		f := &scan.Findings[i]
		if key := f.ID + "\x00" + f.Package + "\x00" + f.Version; seen[key] {
			continue // at another place in the image
		} else {
			seen[key] = true
		}
		v.finding = f
		forbidden, err := q.forbids(f, v)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("%s cannot be judged by deny: %w", f.ID, err)
		}
		switch {
		case forbidden && slices.ContainsFunc(q.exceptions, func(e findingException) bool { return e.covers(f, at) }):
			excepted = append(excepted, f)
		case forbidden:
			refused = append(refused, f)
		case q.warn != nil:
			yes, err := q.warn.holds(v)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("%s cannot be judged by warn: %w", f.ID, err)
			}
			if yes {
				warned = append(warned, f)
			}
		}
	}
	for _, list := range [][]*Finding{refused, warned, excepted} {
		slices.SortStableFunc(list, compareFindings)
	}
	return refused, warned, excepted, nil
}

func (q *scanRule) forbids(f *Finding, v *variables) (bool, error) {
	threshold := q.unfixable
	if f.Fix == FixAvailable {
		threshold = q.fixable
	}
	switch {
	case threshold < never && f.Severity.rank() >= threshold.rank():
		return true, nil
	case q.KnownExploited == deny && f.KnownExploited:
		return true, nil
	case q.deny != nil:
		return q.deny.holds(v)
	}
	return false, nil
}

// CompareFindings orders findings as a person should read them: the worst first.
func CompareFindings(a, b Finding) int { return compareFindings(&a, &b) }

func compareFindings(a, b *Finding) int {
	exploited := func(f *Finding) int {
		if f.KnownExploited {
			return 1
		}
		return 0
	}
	return cmp.Or(
		cmp.Compare(exploited(b), exploited(a)), cmp.Compare(b.Severity.rank(), a.Severity.rank()), cmp.Compare(b.Fix, a.Fix),
		cmp.Compare(b.CVSS, a.CVSS), cmp.Compare(a.Package, b.Package), cmp.Compare(a.ID, b.ID),
	)
}

// maxListed is how many findings a refused person is shown; line after line of them helps nobody.
const maxListed = 10

// list is the reason for findings, which come in their order.
func (q *scanRule) list(s Subject, name string, findings []*Finding) Reason {
	reason := q.reason(s, name, ForbiddenFinding, "it has "+findings[0].summary()+andMore(len(findings)-1), fixOf(findings))
	for i, f := range findings {
		if i == maxListed {
			reason.Findings = append(reason.Findings, fmt.Sprintf("and %d more", len(findings)-i))
			break
		}
		reason.Findings = append(reason.Findings, f.line())
	}
	return reason
}

func andMore(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

// summary is a finding in a sentence.
func (f *Finding) summary() string {
	text := shown(60, "%s", f.ID)
	if f.Package != "" {
		text += " in " + strings.TrimSpace(shown(80, "%s %s", f.Package, f.Version))
	}
	text += " (" + strings.ToLower(f.Severity.String())
	if f.KnownExploited {
		text += ", exploited"
	}
	if f.FixedVersion != "" {
		text += ", fixed in " + shown(40, "%s", f.FixedVersion)
	}
	return text + ")"
}

// line is a finding in a list.
func (f *Finding) line() string {
	text := fmt.Sprintf("%-8s  %-18s  %s", f.Severity, shown(60, "%s", f.ID), strings.TrimSpace(shown(80, "%s %s", f.Package, f.Version)))
	switch {
	case f.FixedVersion != "":
		text += "  fixed in " + shown(40, "%s", f.FixedVersion)
	case f.Fix == FixNone:
		text += "  no fix"
	}
	if f.KnownExploited {
		text += "  exploited"
	}
	return text
}

// fixOf says what to do about findings.
func fixOf(findings []*Finding) string {
	fixes := map[string]string{} // the version by package; the first is that of the worst finding
	var order []string
	for _, f := range findings {
		if f.FixedVersion == "" || f.Package == "" || fixes[f.Package] != "" {
			continue
		}
		fixes[f.Package] = f.FixedVersion
		order = append(order, f.Package)
	}
	if len(order) == 0 {
		return "no version without it is known: leave the package out, or ask whoever keeps the policy for an exception with a date"
	}
	const most = 5
	text := "update "
	for i, name := range order {
		if i == most {
			text += fmt.Sprintf(" and %d more", len(order)-i)
			break
		}
		if i > 0 {
			text += ", "
		}
		text += shown(60, "%s", name) + " to " + shown(40, "%s", fixes[name])
	}
	return text + ", and build the image again"
}

// severityByName is for thresholds. What nobody could rate is above them all.
var severityByName = map[string]Severity{"low": Low, "medium": Medium, "high": High, "critical": Critical, "never": never}

// compileScan checks what is written about scans, and fills in the defaults.
func (r *Rule) compileScan(doc ScanDocument, known Known, fault func(path, format string, args ...any)) {
	const path = ".push.scan"
	q := &scanRule{ScanDocument: doc, scanners: slices.Clone(doc.Scanners)}
	switch {
	case doc.Scanner != "" && doc.Scanners != nil:
		fault(path+".scanners", "contradicts scanner; leave one of them out")
	case doc.Scanner != "":
		q.scanners = []string{doc.Scanner}
	case len(doc.Scanners) == 0:
		fault(path, "names no scanner; write scanner, or a list of scanners")
	}
	for i, name := range q.scanners {
		here := path + ".scanner"
		if doc.Scanners != nil {
			here = fmt.Sprintf("%s.scanners[%d]", path, i)
		}
		if _, ok := known.Scanners[name]; !ok {
			fault(here, "unknown scanner %q; scanners has %s", name, enumerate(known.Scanners))
		}
		if slices.Index(q.scanners, name) < i {
			fault(here, "names %q twice", name)
		}
	}

	fixable, unfixable := "high", "critical"
	if doc.Deny != "" {
		fixable, unfixable = "never", "never" // who writes his own condition means that one
	}
	q.fixable = threshold(path+".fixable", cmp.Or(doc.Fixable, fixable), fault)
	q.unfixable = threshold(path+".unfixable", cmp.Or(doc.Unfixable, unfixable), fault)
	q.KnownExploited = oneOfWords(path+".known_exploited", cmp.Or(doc.KnownExploited, deny), fault, allow, deny)
	q.OnIncomplete = oneOfWords(path+".on_incomplete", cmp.Or(doc.OnIncomplete, deny), fault, warn, deny)
	if doc.MaxDatabaseAge < 0 {
		fault(path+".max_database_age", "is negative")
	}
	q.MaxDatabaseAge = cmp.Or(doc.MaxDatabaseAge, DefaultMaxDatabaseAge)

	var compiler expressions
	for _, e := range []struct {
		key, source string
		into        **expression
	}{{".deny", doc.Deny, &q.deny}, {".warn", doc.Warn, &q.warn}} {
		if e.source == "" {
			continue
		}
		compiled, err := compiler.compile(e.source, KindScan, true)
		if err != nil {
			fault(path+e.key, "%w", err)
		}
		*e.into = compiled
	}
	if doc.DenyPackages != "" {
		compiled, err := compiler.compile(doc.DenyPackages, kindPackage, false)
		if err != nil {
			fault(path+".deny_packages", "%w", err)
		}
		q.packages = compiled
	}
	for i, e := range doc.Exceptions {
		here := fmt.Sprintf("%s.exceptions[%d]", path, i)
		until, err := known.exceptedUntil(e.Until)
		if err != nil {
			fault(here+".until", "%w", err)
		}
		if e.ID == "" && e.Package == "" {
			fault(here, "covers everything; name an id, a package, or both")
		}
		if strings.TrimSpace(e.Reason) == "" {
			fault(here+".reason", "is missing; say why, for whoever reviews it")
		}
		q.exceptions = append(q.exceptions, findingException{e.ID, e.Package, until})
	}
	r.scan = q
}

// DefaultMaxDatabaseAge is how old a scanner's database may be where a policy does not say.
const DefaultMaxDatabaseAge = 5 * 24 * time.Hour

func threshold(path, word string, fault func(path, format string, args ...any)) Severity {
	severity, ok := severityByName[word]
	if !ok {
		fault(path, "%q is none of low, medium, high, critical, never", word)
		return Low
	}
	return severity
}

func oneOfWords(path, word string, fault func(path, format string, args ...any), words ...string) string {
	if !slices.Contains(words, word) {
		fault(path, "%q is none of %s", word, strings.Join(words, ", "))
	}
	return word
}
