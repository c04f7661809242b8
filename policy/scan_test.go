package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// scanned is an image that a scanner saw, with a fresh database and what it found.
func scanned(findings ...Finding) Image {
	image := spotless()
	image.Scans = map[string]Scan{"default": {
		Scanner: "grype", Finished: now, Database: now.Add(-time.Hour), Packages: 40, Counted: true, Findings: findings,
	}}
	return image
}

// scanning is a document whose push is scanned by default.
func scanning(change ...func(*ScanDocument)) Document {
	doc := full()
	doc.Push.Scan = &ScanDocument{Scanner: "default"}
	for _, c := range change {
		c(doc.Push.Scan)
	}
	return doc
}

func found(severity Severity, fix Fix) Finding {
	f := Finding{ID: "CVE-2026-1", Package: "openssl", Version: "3.0.1", Severity: severity, Fix: fix}
	if fix == FixAvailable {
		f.FixedVersion = "3.0.2"
	}
	return f
}

func judgeScan(t *testing.T, doc Document, image Image) Verdict {
	t.Helper()
	return mustCompile(t, doc).Rule("prod/app").JudgePush(subject, image, now)
}

func codesOf(reasons []Reason) (all []Code) {
	for _, r := range reasons {
		all = append(all, r.Code)
	}
	return all
}

func TestScansAreJudgedByTheirFindings(t *testing.T) {
	exploited := found(Low, FixNone)
	exploited.KnownExploited = true
	for name, c := range map[string]struct {
		change   func(*ScanDocument)
		findings []Finding
		want     Code // empty: it is admitted
	}{
		"nothing was found":                                 {findings: nil},
		"a critical finding without a fix":                  {findings: []Finding{found(Critical, FixNone)}, want: ForbiddenFinding},
		"a high finding with a fix":                         {findings: []Finding{found(High, FixAvailable)}, want: ForbiddenFinding},
		"a high finding without a fix":                      {findings: []Finding{found(High, FixNone)}},
		"a high finding of which nobody says whether":       {findings: []Finding{found(High, FixUnknown)}},
		"a medium finding with a fix":                       {findings: []Finding{found(Medium, FixAvailable)}},
		"what nobody could rate may be anything":            {findings: []Finding{found(Unknown, FixNone)}, want: ForbiddenFinding},
		"a low one that is exploited":                       {findings: []Finding{exploited}, want: ForbiddenFinding},
		"exploited, and that is allowed":                    {func(d *ScanDocument) { d.KnownExploited = "allow" }, []Finding{exploited}, ""},
		"a threshold of its own":                            {func(d *ScanDocument) { d.Fixable = "medium" }, []Finding{found(Medium, FixAvailable)}, ForbiddenFinding},
		"never, and not even what nobody could rate":        {func(d *ScanDocument) { d.Fixable, d.Unfixable = "never", "never" }, []Finding{found(Unknown, FixNone)}, ""},
		"a condition stands in the place of the thresholds": {func(d *ScanDocument) { d.Deny = `finding.package == "log4j"` }, []Finding{found(Critical, FixAvailable)}, ""},
		"a condition":                                       {func(d *ScanDocument) { d.Deny = `finding.package == "openssl"` }, []Finding{found(None, FixNone)}, ForbiddenFinding},
		"a condition beside a threshold":                    {func(d *ScanDocument) { d.Deny, d.Unfixable = `finding.package == "log4j"`, "critical" }, []Finding{found(Critical, FixNone)}, ForbiddenFinding},
		"a condition over what was not told":                {func(d *ScanDocument) { d.Deny = `finding.epss > 0.5` }, []Finding{found(Low, FixNone)}, ExpressionFailed},
		"a warning over what was not told":                  {func(d *ScanDocument) { d.Warn = `finding.epss > 0.5` }, []Finding{found(Low, FixNone)}, ExpressionFailed},
	} {
		t.Run(name, func(t *testing.T) {
			doc := scanning()
			if c.change != nil {
				c.change(doc.Push.Scan)
			}
			v := judgeScan(t, doc, scanned(c.findings...))
			var want []Code
			if c.want != "" {
				want = []Code{c.want}
			}
			if got := codesOf(v.Reasons()); !slices.Equal(got, want) || v.Admitted() != (c.want == "") {
				t.Errorf("got %v, want %v: %+v", got, want, v.Reasons())
			}
		})
	}
}

// A rule that wants a scan admits nothing without it, whatever else is missing or found.
func TestThreat152_WithoutAScanNothingIsClean(t *testing.T) {
	both := scanning(func(d *ScanDocument) { d.Scanner, d.Scanners = "", []string{"default", "second"} })
	later := func(change func(*Scan)) Image {
		image := scanned()
		scan := image.Scans["default"]
		change(&scan)
		image.Scans["default"] = scan
		return image
	}
	for name, c := range map[string]struct {
		doc   Document
		image Image
		want  []Code
	}{
		"nobody scanned it":                     {scanning(), spotless(), []Code{NotScanned}},
		"only one of two scanned it":            {both, scanned(), []Code{NotScanned}},
		"another scanner than the rule's":       {scanning(func(d *ScanDocument) { d.Scanner = "second" }), scanned(), []Code{NotScanned}},
		"no package was recognised":             {scanning(), later(func(s *Scan) { s.Packages = 0 }), []Code{IncompleteScan}},
		"nobody counted the packages":           {scanning(), later(func(s *Scan) { s.Counted = false }), []Code{IncompleteScan}},
		"some packages could not be looked up":  {scanning(), later(func(s *Scan) { s.Unmatched = []string{"npm: the database has nothing of it"} }), []Code{IncompleteScan}},
		"the database's age is unknown":         {scanning(), later(func(s *Scan) { s.Database = time.Time{} }), []Code{StaleDatabase}},
		"the database is old":                   {scanning(), later(func(s *Scan) { s.Database = now.Add(-DefaultMaxDatabaseAge - time.Second) }), []Code{StaleDatabase}},
		"the database is just young enough":     {scanning(), later(func(s *Scan) { s.Database = now.Add(-DefaultMaxDatabaseAge) }), nil},
		"the database is from the future":       {scanning(), later(func(s *Scan) { s.Database = now.Add(maxSkew + time.Second) }), []Code{FutureDated}},
		"a layer cannot be inspected":           {scanning(), flawed(), []Code{Uninspectable}},
		"the zero scan":                         {scanning(), later(func(s *Scan) { *s = Scan{} }), []Code{StaleDatabase, IncompleteScan}},
		"an index needs none of its own":        {scanning(), Image{}, nil},
		"the image was not inspected, but this": {scanning(), Image{Runnable: true, Scans: scanned().Scans}, []Code{Uninspectable}},
	} {
		t.Run(name, func(t *testing.T) {
			v := judgeScan(t, c.doc, c.image)
			if got := codesOf(v.Reasons()); !slices.Equal(got, c.want) || v.Admitted() != (len(c.want) == 0) {
				t.Errorf("got %v, want %v: %+v", got, c.want, v.Reasons())
			}
		})
	}
	if needs := mustCompile(t, scanning(func(*ScanDocument) {})).Rule("prod/app").ImageNeeds(); !needs.Layers {
		t.Error("an image that is scanned is not inspected")
	}
}

// Whoever pushes cannot make a scanner count.
func TestAScanThatIsIncompleteSaysWhoCanMendIt(t *testing.T) {
	for packages, want := range map[int]string{0: "database of its package manager", -1: "on_incomplete: warn"} {
		image := scanned()
		scan := image.Scans["default"]
		scan.Packages, scan.Counted, scan.Findings = packages, packages >= 0, nil
		image.Scans["default"] = scan
		reasons := judgeScan(t, scanning(), image).Reasons()
		if len(reasons) != 1 || !strings.Contains(reasons[0].Fix, want) {
			t.Errorf("%d packages: got %+v, want %q", packages, reasons, want)
		}
	}
}

func flawed() Image {
	image := scanned()
	image.Content.Flaws = []Flaw{{Why: "its tar cannot be read"}}
	return image
}

// listing is an image whose packages are listed.
func listing(packages ...Package) Image {
	image := scanned()
	scan := image.Scans["default"]
	scan.Inventory = packages
	image.Scans["default"] = scan
	return image
}

func TestPackagesAreJudgedWhetherTheyAreVulnerableOrNot(t *testing.T) {
	gpl := Package{Name: "readline", Version: "8.2", PURL: "pkg:deb/debian/readline@8.2", Ecosystem: "Debian:12", Licenses: []string{"GPL-3.0"}}
	bare := Package{Name: "left-pad"}
	for name, c := range map[string]struct {
		deny  string
		image Image
		want  []Code
	}{
		"by name":                      {`pkg.name == "readline"`, listing(bare, gpl), []Code{ForbiddenPackage}},
		"by licence":                   {`pkg.licenses.exists(l, l.startsWith("GPL-"))`, listing(bare, gpl), []Code{ForbiddenPackage}},
		"by package URL":               {`pkg.purl.startsWith("pkg:deb/")`, listing(gpl), []Code{ForbiddenPackage}},
		"nothing of it":                {`pkg.name == "log4j-core"`, listing(bare, gpl), nil},
		"what is not told":             {`pkg.version == "8.2"`, listing(bare), []Code{ExpressionFailed}},
		"a scanner that lists nothing": {`pkg.name == "readline"`, scanned(), []Code{IncompleteScan}},
	} {
		v := judgeScan(t, scanning(func(d *ScanDocument) { d.DenyPackages = c.deny }), c.image)
		if got := codesOf(v.Reasons()); !slices.Equal(got, c.want) || v.Admitted() != (len(c.want) == 0) {
			t.Errorf("%s: got %v, want %v: %+v", name, got, c.want, v.Reasons())
		}
	}
	v := judgeScan(t, scanning(func(d *ScanDocument) { d.DenyPackages = "true" }), listing(gpl, bare))
	if got := v.Reasons()[0]; got.Why != "it has the package readline 8.2 (GPL-3.0), and 1 more" || len(got.Findings) != 2 {
		t.Errorf("got %+v", got)
	}
}

func TestAnExceptionEndsAndCoversNoMoreThanItSays(t *testing.T) {
	ghsa := found(Critical, FixNone)
	ghsa.ID, ghsa.Aliases = "GHSA-1", []string{"CVE-2026-1"}
	for name, c := range map[string]struct {
		exception FindingExceptionDocument
		finding   Finding
		admitted  bool
	}{
		"by id":                 {FindingExceptionDocument{ID: "CVE-2026-1"}, found(Critical, FixNone), true},
		"by another name":       {FindingExceptionDocument{ID: "cve-2026-1"}, ghsa, true},
		"by package":            {FindingExceptionDocument{Package: "openssl"}, found(Critical, FixNone), true},
		"by both":               {FindingExceptionDocument{ID: "CVE-2026-1", Package: "openssl"}, found(Critical, FixNone), true},
		"another id":            {FindingExceptionDocument{ID: "CVE-2026-12"}, found(Critical, FixNone), false},
		"another package":       {FindingExceptionDocument{ID: "CVE-2026-1", Package: "openssl-dev"}, found(Critical, FixNone), false},
		"it ended yesterday":    {FindingExceptionDocument{ID: "CVE-2026-1", Until: now.AddDate(0, 0, -1).Format(time.DateOnly)}, found(Critical, FixNone), false},
		"today is its last day": {FindingExceptionDocument{ID: "CVE-2026-1", Until: now.Format(time.DateOnly)}, found(Critical, FixNone), true},
	} {
		t.Run(name, func(t *testing.T) {
			c.exception.Reason = "reviewed"
			if c.exception.Until == "" {
				c.exception.Until = "2030-01-01"
			}
			v := judgeScan(t, scanning(func(d *ScanDocument) { d.Exceptions = []FindingExceptionDocument{c.exception} }), scanned(c.finding))
			if v.Admitted() != c.admitted {
				t.Errorf("admitted %v: %+v", v.Admitted(), v.Reasons())
			}
			if c.admitted && !slices.Contains(codesOf(v.Warnings()), FindingsExcepted) {
				t.Errorf("nobody is told: %+v", v.Warnings())
			}
		})
	}
}

func TestARefusalListsTheWorstFindingsAndWhatMendsThem(t *testing.T) {
	var findings []Finding
	for i := range 30 {
		f := found(High, FixAvailable)
		f.ID = fmt.Sprintf("CVE-2026-%d", 100+i)
		findings = append(findings, f)
	}
	worst := found(Critical, FixAvailable)
	worst.ID, worst.Package, worst.Version, worst.FixedVersion, worst.KnownExploited = "CVE-2026-9", "zlib\x1b[31m\n", "1.2", "1.3", true
	findings = append(findings, worst, worst)

	v := judgeScan(t, scanning(), scanned(findings...))
	if len(v.Reasons()) != 1 {
		t.Fatalf("got %+v", v.Reasons())
	}
	r := v.Reasons()[0]
	if want := "it has CVE-2026-9 in zlib [31m  1.2 (critical, exploited, fixed in 1.3), and 30 more"; r.Why != want {
		t.Errorf("got  %s\nwant %s", r.Why, want)
	}
	if want := "update zlib [31m  to 1.3, openssl to 3.0.2, and build the image again"; r.Fix != want {
		t.Errorf("got  %s\nwant %s", r.Fix, want)
	}
	if len(r.Findings) != maxListed+1 || r.Findings[maxListed] != "and 21 more" || !strings.HasPrefix(r.Findings[0], "CRITICAL  CVE-2026-9 ") {
		t.Errorf("got %q", r.Findings)
	}
	for _, line := range append(r.Findings, r.Why, r.Fix) {
		if strings.ContainsFunc(line, func(c rune) bool { return c < ' ' || c == 0x7f }) {
			t.Errorf("a scanner's words reach a terminal as they are: %q", line)
		}
	}
}

func TestEveryFieldOfAScanMatters(t *testing.T) {
	age := func(image Image, database time.Time) Image {
		scan := image.Scans["default"]
		scan.Database = database
		image.Scans["default"] = scan
		return image
	}
	second := scanned()
	second.Scans["second"] = Scan{Database: now, Packages: 1, Counted: true, Findings: []Finding{found(Critical, FixNone)}}
	empty := scanned()
	empty.Scans["default"] = Scan{Database: now, Counted: true}
	exploited := found(Low, FixNone)
	exploited.KnownExploited = true
	excepted := func(d *ScanDocument) {
		d.Exceptions = []FindingExceptionDocument{{ID: "CVE-2026-1", Package: "openssl", Until: "2030-01-01", Reason: "reviewed"}}
	}
	warns := func(image Image) func(*Policy) any {
		return func(p *Policy) any { return len(p.Rule("prod/app").JudgePush(subject, image, now).Warnings()) }
	}
	covered := map[string]bool{}
	for _, c := range []struct {
		field         string
		before, after func(*ScanDocument)
		asked         func(*Policy) any
	}{
		{"Scanner", nil, func(d *ScanDocument) { d.Scanner = "second" }, pushes(second)},
		{"Scanners", nil, func(d *ScanDocument) { d.Scanner, d.Scanners = "", []string{"default", "second"} }, pushes(second)},
		{"Fixable", nil, func(d *ScanDocument) { d.Fixable = "critical" }, pushes(scanned(found(High, FixAvailable)))},
		{"Unfixable", nil, func(d *ScanDocument) { d.Unfixable = "high" }, pushes(scanned(found(High, FixNone)))},
		{"KnownExploited", nil, func(d *ScanDocument) { d.KnownExploited = "allow" }, pushes(scanned(exploited))},
		{"Deny", nil, func(d *ScanDocument) { d.Deny = "true" }, pushes(scanned(found(Low, FixNone)))},
		{"Warn", nil, func(d *ScanDocument) { d.Warn = "true" }, warns(scanned(found(Low, FixNone)))},
		{"DenyPackages", nil, func(d *ScanDocument) { d.DenyPackages = `pkg.licenses.exists(l, l.startsWith("AGPL-"))` }, pushes(listing(Package{Name: "ghostscript", Licenses: []string{"AGPL-3.0"}}))},
		{"MaxDatabaseAge", nil, func(d *ScanDocument) { d.MaxDatabaseAge = time.Minute }, pushes(scanned())},
		{"AdmitUndatedDatabase", nil, func(d *ScanDocument) { d.AdmitUndatedDatabase = true }, pushes(age(scanned(), time.Time{}))},
		{"OnIncomplete", nil, func(d *ScanDocument) { d.OnIncomplete = "warn" }, pushes(empty)},
		{"Exceptions", nil, excepted, pushes(scanned(found(Critical, FixNone)))},
		{"Exceptions.ID", excepted, func(d *ScanDocument) { d.Exceptions[0].ID = "CVE-2" }, pushes(scanned(found(Critical, FixNone)))},
		{"Exceptions.Package", excepted, func(d *ScanDocument) { d.Exceptions[0].Package = "zlib" }, pushes(scanned(found(Critical, FixNone)))},
		{"Exceptions.Until", excepted, func(d *ScanDocument) { d.Exceptions[0].Until = "2026-01-01" }, pushes(scanned(found(Critical, FixNone)))},
		{"Exceptions.Reason", excepted, func(d *ScanDocument) { d.Exceptions[0].Reason = "another" }, func(p *Policy) any { return p.Version() }}, // for reviewers
	} {
		doc := scanning()
		if c.before != nil {
			c.before(doc.Push.Scan)
		}
		before := c.asked(mustCompile(t, doc))
		c.after(doc.Push.Scan)
		if after := c.asked(mustCompile(t, doc)); before == after {
			t.Errorf("%s changes nothing: %v", c.field, after)
		}
		covered[c.field] = true
	}
	eachField(reflect.TypeFor[ScanDocument](), nil, func(_ []int, name string) {
		if !covered[name] {
			t.Errorf("no case shows what %s does", name)
		}
	})
}

func TestWhatIsWrongWithAScanIsSaidWhereItIs(t *testing.T) {
	for want, change := range map[string]func(*Document){
		"[0].push.seal.scan: nothing is scanned; write push.scan, or leave it out":                                   func(d *Document) { d.Push.Seal.Scan = true },
		"[0].push.seal.sbom: nothing is scanned, so there is no bill of materials; write push.scan, or leave it out": func(d *Document) { d.Push.Seal.SBOM = true },
	} {
		doc := full()
		change(&doc)
		if _, err := Compile([]Document{doc}, known()); err == nil || faults(t, err)[0] != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
	for want, change := range map[string]func(*ScanDocument){
		"[0].push.scan: names no scanner; write scanner, or a list of scanners":            func(d *ScanDocument) { d.Scanner = "" },
		"[0].push.scan.scanners: contradicts scanner; leave one of them out":               func(d *ScanDocument) { d.Scanners = []string{"second"} },
		`[0].push.scan.scanner: unknown scanner "trivy"; scanners has default, second`:     func(d *ScanDocument) { d.Scanner = "trivy" },
		`[0].push.scan.scanners[1]: names "default" twice`:                                 func(d *ScanDocument) { d.Scanner, d.Scanners = "", []string{"default", "default"} },
		`[0].push.scan.fixable: "HIGH" is none of low, medium, high, critical, never`:      func(d *ScanDocument) { d.Fixable = "HIGH" },
		`[0].push.scan.unfixable: "unknown" is none of low, medium, high, critical, never`: func(d *ScanDocument) { d.Unfixable = "unknown" },
		`[0].push.scan.known_exploited: "warn" is none of allow, deny`:                     func(d *ScanDocument) { d.KnownExploited = "warn" },
		`[0].push.scan.on_incomplete: "allow" is none of warn, deny`:                       func(d *ScanDocument) { d.OnIncomplete = "allow" },
		`[0].push.scan.deny_packages: at character 1, before "finding.id == 'x'": undeclared reference to 'finding'; there are pkg.name, pkg.version, pkg.purl, pkg.ecosystem, pkg.licenses`: func(d *ScanDocument) { d.DenyPackages = "finding.id == 'x'" },
		"[0].push.scan.max_database_age: is negative": func(d *ScanDocument) { d.MaxDatabaseAge = -1 },
		`[0].push.scan.deny: at character 18, before "== 'HIGH'": found no matching overload for '_==_' applied to '(severity, string)'`: func(d *ScanDocument) { d.Deny = "finding.severity == 'HIGH'" },
		"[0].push.scan.exceptions[0]: covers everything; name an id, a package, or both":                                                 func(d *ScanDocument) { d.Exceptions = []FindingExceptionDocument{{Until: "2027-01-31", Reason: "x"}} },
		`[0].push.scan.exceptions[0].until: "soon" is no day; write it like "2027-01-31"`: func(d *ScanDocument) {
			d.Exceptions = []FindingExceptionDocument{{ID: "x", Until: "soon", Reason: "x"}}
		},
		"[0].push.scan.exceptions[0].reason: is missing; say why, for whoever reviews it": func(d *ScanDocument) { d.Exceptions = []FindingExceptionDocument{{ID: "x", Until: "2027-01-31"}} },
	} {
		_, err := Compile([]Document{scanning(change)}, known())
		if err == nil || faults(t, err)[0] != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
