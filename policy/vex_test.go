package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// aWord is an OpenVEX attestation of half an hour ago about the one finding of aScan, that it is not there.
func aWord(authority, status string, change ...func(*VEXStatement)) Attestation {
	st := VEXStatement{
		Vulnerability: "CVE-1", Products: []VEXProduct{{ID: "pkg:oci/app@" + subject.Digest.String()}}, Status: status,
		Justification: "component_not_present", Time: now.Add(-time.Hour),
	}
	for _, c := range change {
		c(&st)
	}
	return Attestation{
		PredicateType: "https://openvex.dev/ns/v0.2.0", Authority: authority, Signed: subject.Digest, Evidence: digest.FromString("v" + authority),
		Vouched: now.Add(-30 * time.Minute), Facts: Facts{Claimed: now.Add(-time.Hour), VEX: &VEX{Author: "a", Statements: []VEXStatement{st}}},
	}
}

// listening denies the finding of aScan and listens to ci.
func listening(change func(*AttestedDocument)) func(*AttestedDocument) {
	return func(d *AttestedDocument) {
		d.Deny, d.VEX = "finding.severity >= MEDIUM", &VEXDocument{By: []string{"ci"}}
		change(d)
	}
}

func graceful(newFindings, knownExploited time.Duration) func(*AttestedDocument) {
	return func(d *AttestedDocument) {
		d.Deny, d.Grace = "finding.severity >= MEDIUM", &GraceDocument{NewFindings: newFindings, KnownExploited: knownExploited}
	}
}

// published is a scan whose finding became public some time ago.
func published(ago time.Duration, exploited bool) Evidence {
	return attested(changed(aScan("ci"), func(a *Attestation) {
		a.Facts.Scan.Findings[0].Published, a.Facts.Scan.Findings[0].KnownExploited = now.Add(-ago), exploited
	}))
}

func TestThreat069_OnlyTheRightWordAboutTheRightThingClearsAFinding(t *testing.T) {
	const hour = time.Hour
	product := func(ids ...string) func(*VEXStatement) {
		return func(st *VEXStatement) { st.Products = []VEXProduct{{ID: ids[0], Subcomponents: ids[1:]}} }
	}
	made := func(ago time.Duration, a Attestation) Attestation {
		a.Vouched = now.Add(-ago)
		return a
	}
	image, encoded := "pkg:oci/app@"+subject.Digest.String(), "pkg:oci/app@sha256%3A"+subject.Digest.Encoded()
	malformed := func(a Attestation) Attestation {
		a.Malformed, a.Facts = "nonsense", Facts{}
		return a
	}
	both := func(d *AttestedDocument) { d.VEX.By = []string{"ci", "release"} }
	for name, c := range map[string]struct {
		words  []Attestation
		change func(*AttestedDocument)
		clears bool
	}{
		"nobody's":                                   {},
		"that it is not affected":                    {words: []Attestation{aWord("ci", "not_affected")}, clears: true},
		"that it is fixed":                           {words: []Attestation{aWord("ci", "fixed", func(st *VEXStatement) { st.Justification = "" })}, clears: true},
		"that it is affected":                        {words: []Attestation{aWord("ci", "affected")}},
		"that it is looked into":                     {words: []Attestation{aWord("ci", "under_investigation")}},
		"without a justification":                    {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Justification = "" })}},
		"with a justification of one's own":          {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Justification = "we think so" })}},
		"of somebody who may sign but not say this":  {words: []Attestation{aWord("release", "not_affected")}},
		"of another predicate type":                  {words: []Attestation{changed(aWord("ci", "not_affected"), func(a *Attestation) { a.PredicateType += "x" })}},
		"about another vulnerability":                {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Vulnerability = "CVE-11" })}},
		"about another name of it":                   {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Vulnerability, st.Aliases = "GHSA-1", []string{"CVE-1"} })}, clears: true},
		"about a name that the scan has":             {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Vulnerability = "ALIAS-1" })}, clears: true},
		"about no product":                           {words: []Attestation{aWord("ci", "not_affected", func(st *VEXStatement) { st.Products = nil })}},
		"about the image, its digest encoded":        {words: []Attestation{aWord("ci", "not_affected", product(encoded+"?repository_url=x"))}, clears: true},
		"about another image":                        {words: []Attestation{aWord("ci", "not_affected", product("pkg:oci/app@sha256:"+strings.Repeat("0", 64)))}},
		"about an image of no digest":                {words: []Attestation{aWord("ci", "not_affected", product("pkg:oci/app"))}},
		"about no digest, of what has none":          {words: []Attestation{changed(aWord("ci", "not_affected", product("pkg:oci/app")), func(a *Attestation) { a.Signed = "" })}},
		"about an image by tag":                      {words: []Attestation{aWord("ci", "not_affected", product("pkg:oci/app@v1"))}},
		"about the digest, of another type":          {words: []Attestation{aWord("ci", "not_affected", product("pkg:generic/app@"+subject.Digest.String()))}},
		"about the package in the image":             {words: []Attestation{aWord("ci", "not_affected", product(image, "pkg:deb/debian/zlib@1"))}, clears: true},
		"about another package in the image":         {words: []Attestation{aWord("ci", "not_affected", product(image, "pkg:deb/debian/zlib2@1"))}},
		"about another version in the image":         {words: []Attestation{aWord("ci", "not_affected", product(image, "pkg:deb/debian/zlib@11"))}},
		"about any version in the image":             {words: []Attestation{aWord("ci", "not_affected", product(image, "pkg:deb/debian/zlib"))}},
		"about the package":                          {words: []Attestation{aWord("ci", "not_affected", product("pkg:deb/debian/zlib@1"))}, clears: true},
		"about the package for its processor":        {words: []Attestation{aWord("ci", "not_affected", product("pkg:deb/debian/zlib@1?arch=amd64"))}, clears: true},
		"about the package for another processor":    {words: []Attestation{aWord("ci", "not_affected", product("pkg:deb/debian/zlib@1?arch=arm64"))}},
		"about a part of the package":                {words: []Attestation{aWord("ci", "not_affected", product("pkg:deb/debian/zlib@1#lib"))}},
		"about the package elsewhere":                {words: []Attestation{aWord("ci", "not_affected", product("pkg:deb/ubuntu/zlib@1"))}},
		"about what is no package URL":               {words: []Attestation{aWord("ci", "not_affected", product("zlib@1"))}},
		"of a year ago":                              {words: []Attestation{made(365*24*hour, aWord("ci", "not_affected"))}},
		"of eighty days ago":                         {words: []Attestation{made(80*24*hour, aWord("ci", "not_affected"))}, clears: true},
		"of tomorrow":                                {words: []Attestation{made(-24*hour, aWord("ci", "not_affected"))}},
		"of no time":                                 {words: []Attestation{changed(aWord("ci", "not_affected"), func(a *Attestation) { a.Vouched = time.Time{} })}},
		"later: affected":                            {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), made(hour, aWord("ci", "affected"))}},
		"later: affected, by another who is heard":   {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), made(hour, aWord("release", "affected"))}, change: both},
		"later: affected, by one who is not heard":   {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), made(hour, aWord("release", "affected"))}, clears: true},
		"later: affected, about whatever":            {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), made(hour, aWord("ci", "affected", product("pkg:oci/b")))}},
		"at the same time: affected":                 {words: []Attestation{made(hour, aWord("ci", "not_affected")), made(hour, aWord("ci", "affected"))}},
		"at no time: affected":                       {words: []Attestation{made(hour, aWord("ci", "not_affected")), changed(aWord("ci", "affected"), func(a *Attestation) { a.Vouched = time.Time{} })}},
		"earlier: affected":                          {words: []Attestation{made(hour, aWord("ci", "not_affected")), made(2*hour, aWord("ci", "affected"))}, clears: true},
		"later: without a justification":             {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), made(hour, aWord("ci", "not_affected", func(st *VEXStatement) { st.Justification = "" }))}},
		"later: what cannot be read":                 {words: []Attestation{made(2*hour, aWord("ci", "not_affected")), malformed(made(hour, aWord("ci", "affected")))}},
		"earlier: what cannot be read":               {words: []Attestation{made(hour, aWord("ci", "not_affected")), malformed(made(2*hour, aWord("ci", "affected")))}, clears: true},
		"later in one document: affected":            {words: []Attestation{inOneDocument(aWord("ci", "not_affected"), "affected", hour/2)}},
		"earlier in one document: affected":          {words: []Attestation{inOneDocument(aWord("ci", "not_affected"), "affected", 2*hour)}, clears: true},
		"at the same time in one document: affected": {words: []Attestation{inOneDocument(aWord("ci", "not_affected"), "affected", hour)}},
	} {
		scan := changed(aScan("ci"), func(a *Attestation) {
			a.Facts.Scan.Findings[0].PURL, a.Facts.Scan.Findings[0].Aliases = "pkg:deb/debian/zlib@1?arch=amd64&distro=debian-12", []string{"ALIAS-1"}
		})
		change := c.change
		if change == nil {
			change = func(*AttestedDocument) {}
		}
		verdict := judged(t, demand("vuln", byCI, listening(change)), attested(append(c.words, scan)...))
		if verdict.Admitted() != c.clears {
			t.Errorf("%s: admitted is %v, want %v: %+v", name, verdict.Admitted(), c.clears, verdict.Reasons())
		}
		if !c.clears && verdict.Reasons()[0].Code != ForbiddenFinding {
			t.Errorf("%s: got %+v", name, verdict.Reasons())
		}
		if c.clears && (len(verdict.Warnings()) != 1 || verdict.Warnings()[0].Code != FindingsCleared) {
			t.Errorf("%s: what was cleared is not told: %+v", name, verdict.Warnings())
		}
	}
}

// inOneDocument adds a statement of some time ago to the document of an attestation, whose own was made an hour ago.
func inOneDocument(a Attestation, status string, ago time.Duration) Attestation {
	more := a.Facts.VEX.Statements[0]
	more.Status, more.Time = status, now.Add(-ago)
	a.Facts.VEX = &VEX{Author: "a", Statements: append([]VEXStatement{more}, a.Facts.VEX.Statements...)}
	return a
}

func TestOneClearedFindingClearsNoOther(t *testing.T) {
	scan := changed(aScan("ci"), func(a *Attestation) {
		a.Facts.Scan.Findings = append(a.Facts.Scan.Findings, Finding{ID: "CVE-2", Package: "bash", Severity: High})
	})
	verdict := judged(t, demand("vuln", byCI, listening(func(*AttestedDocument) {})), attested(scan, aWord("ci", "not_affected")))
	if verdict.Admitted() || !strings.Contains(verdict.Reasons()[0].Why, "found CVE-2 in bash, HIGH") || strings.Contains(verdict.Reasons()[0].Why, "more") {
		t.Errorf("got %+v", verdict.Reasons())
	}
}

func TestAWordAboutAnIndexClearsNothingPerPlatform(t *testing.T) {
	onIndex := changed(aWord("ci", "not_affected"), func(a *Attestation) { a.Signed = digest.FromString("an index") })
	for perPlatform, clears := range map[bool]bool{false: true, true: false} {
		ev := attested(aScan("ci"), onIndex)
		ev.Signatures = by("ci").Signatures
		rule := pullRule(t, PullDocument{SignedBy: &byCI, Attested: []AttestedDocument{
			demand("vuln", byCI, listening(func(d *AttestedDocument) { d.PerPlatform = perPlatform })),
		}})
		if v := rule.Judge(subject, ev, now); v.Admitted() != clears {
			t.Errorf("per_platform %v: admitted is %v: %+v", perPlatform, v.Admitted(), v.Reasons())
		}
	}
}

func TestWhatWasLetPassIsTold(t *testing.T) {
	for name, c := range map[string]struct {
		ev     Evidence
		change func(*AttestedDocument)
		code   Code
		why    string
	}{
		"by somebody's word": {attested(aScan("ci"), aWord("ci", "not_affected")), listening(func(*AttestedDocument) {}), FindingsCleared,
			"vuln by ci: CVE-1 is not_affected component_not_present by the word of ci"},
		"by grace": {published(5*24*time.Hour, false), graceful(6*24*time.Hour, 0), FindingsInGrace, "vuln by ci: CVE-1 was published on "},
	} {
		verdict := judged(t, demand("vuln", byCI, c.change), c.ev)
		if w := verdict.Warnings(); !verdict.Admitted() || len(w) != 1 || w[0].Code != c.code || !strings.HasPrefix(w[0].Why, c.why) {
			t.Errorf("%s: got %v %+v", name, verdict.Admitted(), w)
		}
	}
}

func TestGraceEndsAndIsForWhatIsKnownToBeNew(t *testing.T) {
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		ev     Evidence
		passes bool
	}{
		"new":                             {published(10*day-time.Second, false), true},
		"not new any more":                {published(10*day, false), false},
		"exploited, within its own grace": {published(2*day-time.Second, true), true},
		"exploited":                       {published(2*day, true), false},
		"of an unknown date":              {attested(aScan("ci")), false},
		"of tomorrow":                     {published(-day, false), false},
	} {
		if verdict := judged(t, demand("vuln", byCI, graceful(10*day, 2*day)), c.ev); verdict.Admitted() != c.passes {
			t.Errorf("%s: admitted is %v, want %v: %+v", name, verdict.Admitted(), c.passes, verdict.Reasons())
		}
	}
}

func TestARuleThatListensNeedsTheWords(t *testing.T) {
	with := pullRule(t, PullDocument{Attested: []AttestedDocument{demand("vuln", byCI, listening(func(*AttestedDocument) {}))}})
	without := pullRule(t, PullDocument{Attested: []AttestedDocument{demand("vuln", byCI)}})
	if word := "https://openvex.dev/ns/v0.2.0"; !with.Needs().Includes(word) || without.Needs().Includes(word) {
		t.Errorf("with: %v, without: %v", with.Needs(), without.Needs())
	}
}
