package policy

import (
	"strings"
	"testing"
	"time"
)

func TestFaultsOfAttestationsHaveTheirPlace(t *testing.T) {
	for name, c := range map[string]struct {
		doc  AttestedDocument
		want string
	}{
		"a word about an SBOM":     {demand("sbom", byCI, func(d *AttestedDocument) { d.VEX = &VEXDocument{By: []string{"ci"}} }), `: vex and grace are about findings`},
		"grace without deny":       {demand("vuln", byCI, func(d *AttestedDocument) { d.Grace = &GraceDocument{} }), `: vex and grace are about findings`},
		"nobody's word":            {demand("vuln", byCI, listening(func(d *AttestedDocument) { d.VEX.By = nil })), `.vex.by: names nobody`},
		"an unknown one's word":    {demand("vuln", byCI, listening(func(d *AttestedDocument) { d.VEX.By = []string{"ci", "x"} })), `.vex.by[1]: unknown authority "x"`},
		"a word twice":             {demand("vuln", byCI, listening(func(d *AttestedDocument) { d.VEX.By = []string{"ci", "ci"} })), `.vex.by[1]: names "ci" twice`},
		"a word of negative age":   {demand("vuln", byCI, listening(func(d *AttestedDocument) { d.VEX.MaxAge = -1 })), `.vex.max_age: is negative`},
		"endless grace":            {demand("vuln", byCI, graceful(91*24*time.Hour, 0)), `.grace.new_findings: is not between 0 and 90 days`},
		"negative grace":           {demand("vuln", byCI, graceful(1, -1)), `.grace.known_exploited: is not between`},
		"more grace for worse":     {demand("vuln", byCI, graceful(1, 2)), `.grace.known_exploited: is longer than new_findings`},
		"no predicate":             {demand("", byCI), `.predicate: "" is none of vuln, spdx,`},
		"a word that is no name":   {demand("vulnerabilities", byCI), `.predicate: "vulnerabilities" is none of`},
		"a space":                  {demand("https://x/ y", byCI), `.predicate: "https://x/ y" is none of`},
		"one version of many":      {demand(ScanByCosign, byCI), `.predicate: write the short name vuln`},
		"by nobody":                {AttestedDocument{Predicate: "vuln"}, `.by: names nobody`},
		"by no form":               {demand("vuln", SignedBy{}), `.by: write exactly one of any, all`},
		"by an unknown one":        {demand("vuln", SignedBy{Any: []string{"x"}}), `.by.any[0]: unknown authority "x"`},
		"by one key twice":         {demand("vuln", SignedBy{Of: []string{"ci", "again"}, AtLeast: 2}), `.by.of[1]: "again" is the same key as "ci"`},
		"a negative age":           {demand("vuln", byCI, func(d *AttestedDocument) { d.MaxAge = -1 }), `.max_age: is negative`},
		"a negative database age":  {demand("vuln", byCI, func(d *AttestedDocument) { d.MaxDatabaseAge = -1 }), `.max_database_age: is negative`},
		"a database of an SBOM":    {demand("sbom", byCI, func(d *AttestedDocument) { d.MaxDatabaseAge = 1 }), `.max_database_age: is for vuln alone`},
		"uncounted provenance":     {demand("vsa", byCI, func(d *AttestedDocument) { d.AdmitUncounted = true }), `.admit_uncounted: is for vuln alone`},
		"the time of tests":        {demand("test-result", byCI, func(d *AttestedDocument) { d.TrustStatementTime = true }), `.trust_statement_time: test-result attestations tell no time`},
		"a misspelt deny":          {demand("vuln", byCI, func(d *AttestedDocument) { d.Deny = "finding.severity >= HIHG" }), `.deny: at character 21, before "HIHG": undeclared reference to 'HIHG'`},
		"a where about findings":   {demand("vuln", byCI, func(d *AttestedDocument) { d.Where = "finding.fixed" }), `.where: at character`},
		"the builder of a scan":    {demand("vuln", byCI, func(d *AttestedDocument) { d.Builder = []string{"x"} }), `.builder: is for slsa-provenance alone`},
		"no builder":               {demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.Builder = []string{} }), `.builder: accepts nothing`},
		"an empty trigger":         {demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.Trigger = []string{"push", ""} }), `.trigger[1]: is empty`},
		"a star in a repository":   {demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.SourceRepository = []string{"https://github.com/acme/*"} }), `.source_repository[0]: "https://github.com/acme/*" holds a star`},
		"git+ before a repository": {demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.SourceRepository = []string{"git+https://x/y"} }), `.source_repository[0]: leave git+ out`},
		"a class in a ref":         {demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.Ref = []string{"refs/heads/[a]"} }), `.ref[0]: pattern "refs/heads/[a]"`},
		"an index by nobody":       {demand("vuln", byCI, func(d *AttestedDocument) { d.PerPlatform = true }), `.per_platform: leaves an index to nobody's word`},
	} {
		doc := full()
		doc.Pull = &PullDocument{Attested: []AttestedDocument{c.doc}}
		p, err := Compile([]Document{doc}, known())
		if p != nil || err == nil || !strings.HasPrefix(faults(t, err)[0], "[0].pull.attested[0]"+c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	doc := full()
	doc.Pull = &PullDocument{AdmitUnverified: true, Attested: []AttestedDocument{demand("vuln", byCI)}}
	if _, err := Compile([]Document{doc}, known()); err == nil || faults(t, err)[0] != "[0].pull.admit_unverified: contradicts attested; leave one of them out" {
		t.Errorf("got %v", err)
	}
}

func TestARuleTellsWhichAttestationsItNeeds(t *testing.T) {
	r := pullRule(t, PullDocument{Attested: []AttestedDocument{demand("slsa-provenance", byCI), demand("https://acme.dev/x", byCI), demand("vsa", byCI)}})
	needs := r.Needs()
	for predicateType, want := range map[string]bool{
		Provenance02: true, Provenance1: true, "https://acme.dev/x": true, "https://slsa.dev/verification_summary/v1": true,
		"": false, "https://acme.dev": false, "https://acme.dev/x/": false, ScanByCosign: false, Provenance02 + "\n" + Provenance1: false,
	} {
		if needs.Includes(predicateType) != want {
			t.Errorf("%q: got %v, want %v", predicateType, !want, want)
		}
	}
	if !r.NeedsEvidence() || !needs.Attestations() || (*Rule)(nil).Needs().Attestations() || pullRule(t, PullDocument{SignedBy: &byCI}).Needs().Attestations() {
		t.Error("who needs attestations is told wrong")
	}
	if (Needs{}).Includes("") {
		t.Error("nothing is needed, and that is found")
	}
	handmade := &Rule{pull: &PullDocument{Attested: []AttestedDocument{demand("vuln", byCI)}}}
	if v := handmade.Judge(subject, attested(aScan("ci")), now); v.Admitted() {
		t.Error("a demand that was not compiled is met")
	}
}
