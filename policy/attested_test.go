package policy

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// The attestations that the tests begin with: in order, and made an hour ago.
func aScan(authority string) Attestation {
	return Attestation{
		PredicateType: ScanByCosign, Authority: authority, Signed: subject.Digest, Evidence: digest.FromString(authority), Vouched: now.Add(-time.Hour),
		Facts: Facts{Claimed: now.Add(-2 * time.Hour), Scan: &Scan{
			Scanner: "trivy", Finished: now.Add(-2 * time.Hour), Database: now.Add(-24 * time.Hour), Packages: 3, Counted: true,
			Findings: []Finding{{ID: "CVE-1", Package: "zlib", Version: "1", Severity: Medium, Fix: FixNone, CVSS: 5}},
		}},
	}
}

func aProvenance(authority string) Attestation {
	return Attestation{
		PredicateType: Provenance1, Authority: authority, Signed: subject.Digest, Evidence: digest.FromString("p" + authority), Vouched: now.Add(-time.Hour),
		Facts: Facts{Claimed: now.Add(-2 * time.Hour), Document: map[string]any{"a": "b"}, Provenance: &Provenance{
			Builder: "https://github.com/acme/ci", BuildType: "t", Repository: "https://github.com/acme/app", Ref: "refs/heads/main",
			Workflow: ".github/workflows/release.yml", Trigger: "push",
		}},
	}
}

func changed(a Attestation, change func(*Attestation)) Attestation {
	if a.Facts.Scan != nil {
		scan := *a.Facts.Scan
		scan.Findings = slices.Clone(scan.Findings)
		a.Facts.Scan = &scan
	}
	if a.Facts.Provenance != nil {
		p := *a.Facts.Provenance
		a.Facts.Provenance = &p
	}
	change(&a)
	return a
}

func demand(predicate string, by SignedBy, change ...func(*AttestedDocument)) AttestedDocument {
	doc := AttestedDocument{Predicate: predicate, By: &by}
	for _, c := range change {
		c(&doc)
	}
	return doc
}

// What a push attests is had anew by sealing the image again, and by nothing that a person can do with cosign.
func TestWhatTheSealAttestsIsMendedByTheSeal(t *testing.T) {
	seal := "push it through the gateway again, or seal what is there: sealgate seal " + subject.String()
	cosign := "cosign attest --type vuln"
	stale := func(authority string) Evidence { return Evidence{Attestations: []Attestation{aScan(authority)}} }
	for name, c := range map[string]struct {
		demand AttestedDocument
		push   func(*PushDocument)
		ev     Evidence
		fix    string
	}{
		"a stale scan":             {demand("vuln", SignedBy{Any: []string{"gateway"}}, func(d *AttestedDocument) { d.MaxAge = time.Hour }), nil, stale("gateway"), seal},
		"a stale database":         {demand("vuln", SignedBy{Any: []string{"gateway"}}, func(d *AttestedDocument) { d.MaxDatabaseAge = time.Hour }), nil, stale("gateway"), "update the scanner's database, then " + seal},
		"no scan":                  {demand("vuln", SignedBy{Any: []string{"ci", "gateway"}}), nil, Evidence{}, seal},
		"no summary":               {demand("vsa", SignedBy{Any: []string{"gateway"}}), nil, Evidence{}, seal},
		"no scan, of two wanted":   {demand("vuln", SignedBy{All: []string{"ci", "gateway"}}), nil, Evidence{}, cosign},
		"a scan of somebody else":  {demand("vuln", SignedBy{Any: []string{"ci"}}, func(d *AttestedDocument) { d.MaxAge = time.Hour }), nil, stale("ci"), cosign},
		"nothing is scanned":       {demand("vuln", SignedBy{Any: []string{"gateway"}}), func(p *PushDocument) { p.Scan, p.Seal.Scan = nil, false }, Evidence{}, cosign},
		"another key seals":        {demand("vuln", SignedBy{Any: []string{"gateway"}}), func(p *PushDocument) { p.Seal.Signer = "spare" }, Evidence{}, cosign},
		"nothing is said of it":    {demand("vsa", SignedBy{Any: []string{"gateway"}}), func(p *PushDocument) { p.Seal.Summary = false }, Evidence{}, "cosign attest --type https://slsa.dev/verification_summary/v1"},
		"a predicate of one's own": {demand("https://acme.dev/review/v1", SignedBy{Any: []string{"gateway"}}), nil, Evidence{}, "cosign attest --type https://acme.dev/review/v1"},
	} {
		push := &PushDocument{Scan: &ScanDocument{Scanner: "default"}, Seal: &SealDocument{Signer: "gateway", Scan: true, Summary: true}}
		if c.push != nil {
			c.push(push)
		}
		rule := mustCompile(t, Document{Name: "a", Repositories: []string{"**"}, Pull: &PullDocument{Attested: []AttestedDocument{c.demand}}, Push: push}).Rule(subject.Repo)
		v := rule.Judge(subject, c.ev, now)
		if v.Admitted() || !strings.Contains(v.Reasons()[0].Fix, c.fix) {
			t.Errorf("%s: got %+v, want %s", name, v.Reasons(), c.fix)
		}
	}
}

// judged is what becomes of evidence under a rule that demands this and nothing else.
func judged(t testing.TB, doc AttestedDocument, ev Evidence) Verdict {
	t.Helper()
	return pullRule(t, PullDocument{Attested: []AttestedDocument{doc}}).Judge(subject, ev, now)
}

func attested(all ...Attestation) Evidence { return Evidence{Attestations: all} }

var byCI = SignedBy{Any: []string{"ci"}}

func TestAnAttestationIsByTheRightOneAboutTheRightThing(t *testing.T) {
	anybody := SignedBy{Any: []string{"gateway", "ci"}}
	both := SignedBy{All: []string{"gateway", "ci"}}
	two := SignedBy{Of: []string{"gateway", "ci", "release"}, AtLeast: 2}
	other := func(a *Attestation) { a.PredicateType = "https://spdx.dev/Document" }
	for name, c := range map[string]struct {
		doc  AttestedDocument
		ev   Evidence
		want string
	}{
		"by the one":                     {demand("vuln", byCI), attested(aScan("ci")), ""},
		"by another":                     {demand("vuln", byCI), attested(aScan("gateway")), "NOT_ATTESTED"},
		"by nobody":                      {demand("vuln", byCI), Evidence{}, "NOT_ATTESTED"},
		"a signature is none":            {demand("vuln", byCI), by("ci"), "NOT_ATTESTED"},
		"of another type":                {demand("vuln", byCI), attested(changed(aScan("ci"), other)), "NOT_ATTESTED"},
		"right one wrong type, and back": {demand("vuln", byCI), attested(changed(aScan("ci"), other), aScan("release")), "NOT_ATTESTED"},
		"a type with a tail":             {demand("vuln", byCI), attested(changed(aScan("ci"), func(a *Attestation) { a.PredicateType += "evil" })), "NOT_ATTESTED"},
		"any of two":                     {demand("vuln", anybody), attested(aScan("ci")), ""},
		"all of two":                     {demand("vuln", both), attested(aScan("ci"), aScan("gateway")), ""},
		"one of all of two":              {demand("vuln", both), attested(aScan("ci"), aScan("ci")), "NOT_ATTESTED"},
		"all of two, who are one": {demand("vuln", both), attested(
			changed(aScan("ci"), func(a *Attestation) { a.Signer = "x" }), changed(aScan("gateway"), func(a *Attestation) { a.Signer = "x" })), "NOT_ATTESTED"},
		"two of three":                     {demand("vuln", two), attested(aScan("ci"), aScan("release")), ""},
		"one of three, twice":              {demand("vuln", two), attested(aScan("ci"), aScan("ci")), "NOT_ATTESTED"},
		"a type by its URI":                {demand("https://acme.dev/x", byCI), attested(Attestation{PredicateType: "https://acme.dev/x", Authority: "ci", Facts: Facts{Document: map[string]any{}}}), ""},
		"a type by its URI, of other case": {demand("https://acme.dev/x", byCI), attested(Attestation{PredicateType: "https://acme.dev/X", Authority: "ci"}), "NOT_ATTESTED"},
		"malformed":                        {demand("vuln", byCI), attested(changed(aScan("ci"), func(a *Attestation) { a.Facts, a.Malformed = Facts{}, "scanner is missing" })), "ATTESTATION_MALFORMED"},
		"a scan that holds none":           {demand("vuln", byCI), attested(changed(aScan("ci"), func(a *Attestation) { a.Facts = Facts{} })), "ATTESTATION_MALFORMED"},
		"something was not read":           {demand("vuln", byCI), Evidence{Attestations: []Attestation{aScan("ci")}, Unread: []Rejection{{Why: "large"}}}, "EVIDENCE_UNREAD"},
	} {
		v := judged(t, c.doc, c.ev)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q (%+v)", name, got, c.want, v.Reasons())
		}
	}
}

func TestThreat066And067_ScansHaveAnAge(t *testing.T) {
	age := func(d *AttestedDocument) { d.MaxAge = 24 * time.Hour }
	trust := func(d *AttestedDocument) { d.TrustStatementTime = true }
	database := func(d *AttestedDocument) { d.MaxDatabaseAge = 72 * time.Hour }
	scan := func(vouched, finished, database time.Duration) Evidence {
		return attested(changed(aScan("ci"), func(a *Attestation) {
			a.Vouched, a.Facts.Scan.Finished, a.Facts.Scan.Database = now.Add(-vouched), now.Add(-finished), now.Add(-database)
			a.Facts.Claimed = a.Facts.Scan.Finished
		}))
	}
	untimed := func(claimed time.Time) Evidence {
		return attested(changed(aScan("ci"), func(a *Attestation) {
			a.Vouched, a.Facts.Claimed, a.Facts.Scan.Finished = time.Time{}, claimed, claimed
		}))
	}
	const day, hour = 24 * time.Hour, time.Hour
	for name, c := range map[string]struct {
		doc  AttestedDocument
		ev   Evidence
		want string
	}{
		"young":                              {demand("vuln", byCI, age), scan(hour, 2*hour, hour), ""},
		"exactly as old as allowed":          {demand("vuln", byCI, age), scan(day, day, hour), ""},
		"a second older":                     {demand("vuln", byCI, age), scan(day+time.Second, hour, hour), "STALE"},
		"attested now, scanned long ago":     {demand("vuln", byCI, age), scan(hour, day+time.Second, hour), "STALE"},
		"attested ahead, within the skew":    {demand("vuln", byCI), scan(-5*time.Minute, hour, hour), ""},
		"attested in the future":             {demand("vuln", byCI), scan(-5*time.Minute-time.Second, hour, hour), "FUTURE_DATED"},
		"scanned in the future":              {demand("vuln", byCI), scan(hour, -6*time.Minute, hour), "FUTURE_DATED"},
		"a database of the future":           {demand("vuln", byCI), scan(hour, hour, -6*time.Minute), "FUTURE_DATED"},
		"without a time, no limit":           {demand("vuln", byCI), untimed(now), ""},
		"without a time, a limit":            {demand("vuln", byCI, age), untimed(now), "UNTIMED"},
		"its own time, which the rule takes": {demand("vuln", byCI, age, trust), untimed(now.Add(-hour)), ""},
		"its own time, too old":              {demand("vuln", byCI, age, trust), untimed(now.Add(-25 * hour)), "STALE"},
		"its own time, of the future":        {demand("vuln", byCI, age, trust), untimed(now.Add(hour)), "FUTURE_DATED"},
		"no time of its own either":          {demand("vuln", byCI, age, trust), untimed(time.Time{}), "UNTIMED"},
		"its own time beside a vouched one":  {demand("vuln", byCI, age, trust), scan(25*hour, hour, hour), "STALE"},
		"a young database":                   {demand("vuln", byCI, database), scan(hour, hour, 72*hour), ""},
		"an old database, freshly scanned":   {demand("vuln", byCI, age, database), scan(hour, hour, 73*hour), "STALE_DATABASE"},
		"a database of unknown age":          {demand("vuln", byCI, database), attested(changed(aScan("ci"), func(a *Attestation) { a.Facts.Scan.Database = time.Time{} })), "STALE_DATABASE"},
	} {
		v := judged(t, c.doc, c.ev)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q (%+v)", name, got, c.want, v.Reasons())
		}
	}
}

func TestThreat065_AScanThatSawNothingIsNotClean(t *testing.T) {
	clean := func(packages int, counted bool) Evidence {
		return attested(changed(aScan("ci"), func(a *Attestation) {
			a.Facts.Scan.Findings, a.Facts.Scan.Packages, a.Facts.Scan.Counted = nil, packages, counted
		}))
	}
	admit := func(d *AttestedDocument) { d.AdmitUncounted = true }
	for name, c := range map[string]struct {
		doc  AttestedDocument
		ev   Evidence
		want string
	}{
		"nothing in some packages":           {demand("vuln", byCI), clean(1, true), ""},
		"nothing in no packages":             {demand("vuln", byCI), clean(0, true), "INCOMPLETE_SCAN"},
		"nothing in no packages, uncounted":  {demand("vuln", byCI, admit), clean(0, true), "INCOMPLETE_SCAN"},
		"nothing, uncounted":                 {demand("vuln", byCI), clean(0, false), "INCOMPLETE_SCAN"},
		"nothing, uncounted, which is taken": {demand("vuln", byCI, admit), clean(0, false), ""},
		"something, uncounted: it saw that":  {demand("vuln", byCI), attested(changed(aScan("ci"), func(a *Attestation) { a.Facts.Scan.Counted = false })), ""},
	} {
		v := judged(t, c.doc, c.ev)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestThreat068_TheNewestDecides(t *testing.T) {
	critical := func(d *AttestedDocument) { d.Deny = "finding.severity >= HIGH" }
	bad := func(authority string, ago time.Duration) Attestation {
		return changed(aScan(authority), func(a *Attestation) { a.Vouched, a.Facts.Scan.Findings[0].Severity = now.Add(-ago), Critical })
	}
	good := func(authority string, ago time.Duration) Attestation {
		return changed(aScan(authority), func(a *Attestation) { a.Vouched = now.Add(-ago) })
	}
	untimed := func(a Attestation) Attestation { a.Vouched = time.Time{}; return a }
	const h = time.Hour
	anybody, both, two := SignedBy{Any: []string{"gateway", "ci"}}, SignedBy{All: []string{"gateway", "ci"}}, SignedBy{Of: []string{"gateway", "ci", "release"}, AtLeast: 2}
	trust := func(d *AttestedDocument) { d.TrustStatementTime = true }
	for name, c := range map[string]struct {
		doc  AttestedDocument
		ev   Evidence
		want string
	}{
		"older clean, newer critical":                   {demand("vuln", byCI, critical), attested(good("ci", 2*h), bad("ci", h)), "FORBIDDEN_FINDING"},
		"older critical, newer clean":                   {demand("vuln", byCI, critical), attested(bad("ci", 2*h), good("ci", h)), ""},
		"the same, listed in the other order":           {demand("vuln", byCI, critical), attested(good("ci", h), bad("ci", 2*h)), ""},
		"both of one moment":                            {demand("vuln", byCI, critical), attested(good("ci", h), bad("ci", h)), "FORBIDDEN_FINDING"},
		"a critical one without a time":                 {demand("vuln", byCI, critical), attested(good("ci", h), untimed(bad("ci", h))), "FORBIDDEN_FINDING"},
		"a clean one without a time outdates nothing":   {demand("vuln", byCI, critical), attested(untimed(good("ci", h)), bad("ci", 2*h)), "FORBIDDEN_FINDING"},
		"any: another one found it since":               {demand("vuln", anybody, critical), attested(good("gateway", 2*h), bad("ci", h)), "FORBIDDEN_FINDING"},
		"any: another one found it before":              {demand("vuln", anybody, critical), attested(good("gateway", h), bad("ci", 2*h)), ""},
		"any: somebody else's is not asked":             {demand("vuln", anybody, critical), attested(good("gateway", 2*h), bad("release", h)), ""},
		"all: each must be clean":                       {demand("vuln", both, critical), attested(good("gateway", h), bad("ci", 2*h)), "FORBIDDEN_FINDING"},
		"two of three: the two newest decide":           {demand("vuln", two, critical), attested(good("gateway", h), good("ci", 2*h), bad("release", 3*h)), ""},
		"two of three: one of the two newest":           {demand("vuln", two, critical), attested(good("gateway", h), bad("ci", 2*h), good("release", 3*h)), "FORBIDDEN_FINDING"},
		"two of three: one without a time":              {demand("vuln", two, critical), attested(good("gateway", h), good("ci", 2*h), untimed(bad("release", 3*h))), "FORBIDDEN_FINDING"},
		"newer nonsense":                                {demand("vuln", byCI, critical), attested(good("ci", 2*h), changed(good("ci", h), func(a *Attestation) { a.Malformed = "x" })), "ATTESTATION_MALFORMED"},
		"older nonsense":                                {demand("vuln", byCI, critical), attested(good("ci", h), changed(good("ci", 2*h), func(a *Attestation) { a.Malformed = "x" })), ""},
		"their own times, which the rule does not take": {demand("vuln", byCI, critical), attested(untimed(good("ci", h)), untimed(changed(bad("ci", h), func(a *Attestation) { a.Facts.Claimed = now.Add(-9 * h) }))), "FORBIDDEN_FINDING"},
		"their own times, which the rule takes":         {demand("vuln", byCI, critical, trust), attested(untimed(good("ci", h)), untimed(changed(bad("ci", h), func(a *Attestation) { a.Facts.Claimed = now.Add(-9 * h) }))), ""},
	} {
		v := judged(t, c.doc, c.ev)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

func TestThreat018_WhatIsDemandedOfEachPlatform(t *testing.T) {
	index := digest.FromString("the index")
	inherited := changed(aScan("ci"), func(a *Attestation) { a.Signed = index })
	platform := func(d *AttestedDocument) { d.PerPlatform = true }
	judge := func(ev Evidence, change ...func(*AttestedDocument)) string {
		ev.Signatures = by("ci").Signatures
		pull := PullDocument{SignedBy: &byCI, Attested: []AttestedDocument{demand("vuln", byCI, change...)}}
		return codes(pullRule(t, pull).Judge(subject, ev, now).Reasons())
	}
	onIndex := Evidence{Index: true}
	for name, c := range map[string][2]string{
		"on the index, which will do":         {judge(attested(inherited)), ""},
		"on the index, which will not do":     {judge(attested(inherited), platform), "NOT_ATTESTED"},
		"on the manifest itself":              {judge(attested(aScan("ci")), platform), ""},
		"nothing, of the index":               {judge(onIndex, platform), ""},
		"nothing, of the index, which needs ": {judge(onIndex), "NOT_ATTESTED"},
	} {
		if c[0] != c[1] {
			t.Errorf("%s: got %q, want %q", name, c[0], c[1])
		}
	}
}

func TestThreat071_ProvenanceIsMatchedAsAWhole(t *testing.T) {
	ev := attested(aProvenance("ci"))
	for _, c := range []struct {
		change func(*AttestedDocument)
		want   string
	}{
		{func(d *AttestedDocument) { d.Builder = []string{"x", "https://github.com/acme/ci"} }, ""},
		{func(d *AttestedDocument) { d.Builder = []string{"https://github.com/acme/c"} }, "PROVENANCE_MISMATCH"},
		{func(d *AttestedDocument) { d.Builder = []string{"https://github.com/acme/ci2"} }, "PROVENANCE_MISMATCH"},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/heads/main"} }, ""},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/heads/mai"} }, "PROVENANCE_MISMATCH"},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/heads/main-evil"} }, "PROVENANCE_MISMATCH"},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/heads/*"} }, ""},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/*"} }, "PROVENANCE_MISMATCH"},
		{func(d *AttestedDocument) { d.Ref = []string{"refs/tags/v*", "refs/**"} }, ""},
		{func(d *AttestedDocument) { d.Ref = []string{"heads/main"} }, "PROVENANCE_MISMATCH"},
	} {
		doc := demand("slsa-provenance", byCI, c.change)
		v := judged(t, doc, ev)
		consistent(t, v)
		if got := codes(v.Reasons()); got != c.want {
			t.Errorf("%+v: got %q, want %q", doc, got, c.want)
		}
	}
	silent := attested(changed(aProvenance("ci"), func(a *Attestation) { a.Facts.Provenance.Ref = "" }))
	if v := judged(t, demand("slsa-provenance", byCI, func(d *AttestedDocument) { d.Ref = []string{"**"} }), silent); codes(v.Reasons()) != "PROVENANCE_MISMATCH" {
		t.Errorf("a ref that is not told matches: %+v", v)
	}
}

// Kyverno CVE-2025-29778, again: each field of a demand refuses what it does not match.
func TestEveryFieldOfAnAttestationMatters(t *testing.T) {
	old := attested(changed(aScan("ci"), func(a *Attestation) { a.Vouched = time.Time{} }))
	clean := attested(changed(aScan("ci"), func(a *Attestation) { a.Facts.Scan.Findings, a.Facts.Scan.Counted = nil, false }))
	onIndex := attested(changed(aScan("ci"), func(a *Attestation) { a.Signed = "" }))
	onIndex.Signatures = by("ci").Signatures
	covered := map[string]bool{
		"By.Any": true, "By.All": true, "By.Of": true, "By.AtLeast": true, // TestAnAttestationIsByTheRightOne
		"By.MaxAge": true, "By.TrustStatementTime": true, // TestTheAgeOfSignaturesIsCompiled
	}
	for field, c := range map[string]struct {
		ev        Evidence
		yes, no   func(*AttestedDocument)
		predicate string
	}{
		"Predicate":          {attested(aScan("ci")), func(*AttestedDocument) {}, func(d *AttestedDocument) { d.Predicate = "sbom" }, "vuln"},
		"By":                 {attested(aScan("ci")), func(*AttestedDocument) {}, func(d *AttestedDocument) { d.By = &SignedBy{Any: []string{"release"}} }, "vuln"},
		"MaxAge":             {attested(aScan("ci")), func(d *AttestedDocument) { d.MaxAge = 3 * time.Hour }, func(d *AttestedDocument) { d.MaxAge = time.Minute }, "vuln"},
		"MaxDatabaseAge":     {attested(aScan("ci")), func(d *AttestedDocument) { d.MaxDatabaseAge = 25 * time.Hour }, func(d *AttestedDocument) { d.MaxDatabaseAge = time.Hour }, "vuln"},
		"TrustStatementTime": {old, func(d *AttestedDocument) { d.MaxAge, d.TrustStatementTime = 24*time.Hour, true }, func(d *AttestedDocument) { d.MaxAge = 24 * time.Hour }, "vuln"},
		"AdmitUncounted":     {clean, func(d *AttestedDocument) { d.AdmitUncounted = true }, func(*AttestedDocument) {}, "vuln"},
		"Deny":               {attested(aScan("ci")), func(d *AttestedDocument) { d.Deny = "finding.severity > MEDIUM" }, func(d *AttestedDocument) { d.Deny = "finding.severity >= MEDIUM" }, "vuln"},
		"VEX":                {attested(aScan("ci"), aWord("ci", "not_affected")), listening(func(*AttestedDocument) {}), func(d *AttestedDocument) { d.Deny = "true" }, "vuln"},
		"VEX.By":             {attested(aScan("ci"), aWord("ci", "not_affected")), listening(func(*AttestedDocument) {}), listening(func(d *AttestedDocument) { d.VEX.By = []string{"release"} }), "vuln"},
		"VEX.MaxAge":         {attested(aScan("ci"), aWord("ci", "not_affected")), listening(func(*AttestedDocument) {}), listening(func(d *AttestedDocument) { d.VEX.MaxAge = time.Minute }), "vuln"},
		"VEX.TrustStatementTime": {attested(aScan("ci"), changed(aWord("ci", "not_affected"), func(a *Attestation) { a.Vouched = time.Time{} })),
			listening(func(d *AttestedDocument) { d.VEX.TrustStatementTime = true }), listening(func(*AttestedDocument) {}), "vuln"},
		"Grace":                {published(5*24*time.Hour, false), graceful(6*24*time.Hour, 0), func(d *AttestedDocument) { d.Deny = "true" }, "vuln"},
		"Grace.NewFindings":    {published(5*24*time.Hour, false), graceful(6*24*time.Hour, 0), graceful(4*24*time.Hour, 0), "vuln"},
		"Grace.KnownExploited": {published(5*24*time.Hour, true), graceful(7*24*time.Hour, 6*24*time.Hour), graceful(7*24*time.Hour, 4*24*time.Hour), "vuln"},
		"Where":                {attested(aScan("ci")), func(d *AttestedDocument) { d.Where = "scan.packages == 3" }, func(d *AttestedDocument) { d.Where = "scan.packages == 4" }, "vuln"},
		"Builder":              {attested(aProvenance("ci")), func(d *AttestedDocument) { d.Builder = []string{"https://github.com/acme/ci"} }, func(d *AttestedDocument) { d.Builder = []string{"x"} }, "slsa-provenance"},
		"SourceRepository":     {attested(aProvenance("ci")), func(d *AttestedDocument) { d.SourceRepository = []string{"https://github.com/acme/app"} }, func(d *AttestedDocument) { d.SourceRepository = []string{"https://github.com/acme/ap"} }, "slsa-provenance"},
		"Ref":                  {attested(aProvenance("ci")), func(d *AttestedDocument) { d.Ref = []string{"refs/heads/main"} }, func(d *AttestedDocument) { d.Ref = []string{"refs/heads/dev"} }, "slsa-provenance"},
		"Workflow":             {attested(aProvenance("ci")), func(d *AttestedDocument) { d.Workflow = []string{".github/workflows/release.yml"} }, func(d *AttestedDocument) { d.Workflow = []string{"release.yml"} }, "slsa-provenance"},
		"Trigger":              {attested(aProvenance("ci")), func(d *AttestedDocument) { d.Trigger = []string{"push"} }, func(d *AttestedDocument) { d.Trigger = []string{"pull_request"} }, "slsa-provenance"},
		"PerPlatform":          {onIndex, func(*AttestedDocument) {}, func(d *AttestedDocument) { d.PerPlatform = true }, "vuln"},
	} {
		covered[field] = true
		for want, change := range map[bool]func(*AttestedDocument){true: c.yes, false: c.no} {
			rule := pullRule(t, PullDocument{SignedBy: &byCI, Attested: []AttestedDocument{demand(c.predicate, byCI, change)}})
			ev := c.ev
			ev.Signatures = by("ci").Signatures
			if v := rule.Judge(subject, ev, now); v.Admitted() != want {
				t.Errorf("%s: admitted is %v, want %v: %+v", field, v.Admitted(), want, v.Reasons())
			}
		}
	}
	eachField(reflect.TypeFor[AttestedDocument](), nil, func(_ []int, name string) {
		if !covered[name] {
			t.Errorf("no case shows what %s does", name)
		}
	})
}

// What strangers wrote is shown in one short line.
func TestThreat115_ReasonsQuoteInOneLine(t *testing.T) {
	evil := "CVE\n\x1b[31m\u202e" + strings.Repeat("é", 500)
	ev := attested(changed(aScan("ci"), func(a *Attestation) { a.Facts.Scan.Findings[0] = Finding{ID: evil, Package: evil, Version: evil} }))
	v := judged(t, demand("vuln", byCI, func(d *AttestedDocument) { d.Deny = "true" }), ev)
	consistent(t, v)
	if why := v.Reasons()[0].Why; strings.ContainsAny(why, "\n\x1b\u202e") || len(why) > 200 {
		t.Errorf("got %q", why)
	}
	v = judged(t, demand("vuln", byCI), attested(changed(aScan("ci"), func(a *Attestation) { a.Malformed = evil })))
	consistent(t, v)
}

// I10 for attestations: taking away one that is in order never turns a refusal into an admit, nor does taking away all of
// them. One that is not in order can be hidden only from whoever looks, and he says that he could not.
func FuzzJudgeAttested(f *testing.F) {
	f.Add([]byte{0, 1, 2}, uint8(0), uint8(1), []byte{0, 1})
	f.Add([]byte{88, 37, 65}, uint8(0), uint8(1), []byte{0, 1}) // one without a time beside two that have one
	f.Add([]byte{17, 33, 130, 64}, uint8(1), uint8(2), []byte{0, 1, 2})
	f.Add([]byte{200, 7, 90, 33, 34, 35}, uint8(2), uint8(2), []byte{0, 1, 2})
	names := []string{"gateway", "ci", "release", "stranger"}
	f.Fuzz(func(t *testing.T, made []byte, form, atLeast uint8, list []byte) {
		var wanted []string
		for _, i := range list {
			if name := names[i%3]; !slices.Contains(wanted, name) {
				wanted = append(wanted, name)
			}
		}
		if len(wanted) == 0 || len(made) > 12 {
			return
		}
		who, need := SignedBy{}, 1
		switch form % 3 {
		case 0:
			who.Any = wanted
		case 1:
			who.All, need = wanted, len(wanted)
		case 2:
			need = 1 + int(atLeast)%len(wanted)
			who.Of, who.AtLeast = wanted, need
		}
		// Each byte is an attestation: two bits for who, one for bad, three for when, of which 0 is no time.
		var ev Evidence
		good := func(i int) bool { return made[i]&4 == 0 }
		for i, b := range made {
			a := changed(aScan(names[b&3]), func(a *Attestation) { a.Evidence = digest.FromString(fmt.Sprint(i)) })
			if !good(i) {
				a.Facts.Scan.Findings[0].Severity = Critical
			}
			if when := b >> 3 & 7; when == 0 {
				a.Vouched = time.Time{}
			} else {
				a.Vouched = now.Add(-time.Duration(when) * time.Hour)
			}
			ev.Attestations = append(ev.Attestations, a)
		}
		rule := pullRule(t, PullDocument{Attested: []AttestedDocument{demand("vuln", who, func(d *AttestedDocument) { d.Deny = "finding.severity >= HIGH" })}})

		v := rule.Judge(subject, ev, now)
		consistent(t, v)
		have := map[string]bool{}
		for i, a := range ev.Attestations {
			if good(i) && slices.Contains(wanted, a.Authority) {
				have[a.Authority] = true
			}
		}
		if v.Admitted() && len(have) < need {
			t.Errorf("%d of %v are in order, %d are wanted, and it is admitted", len(have), have, need)
		}
		if rule.Judge(subject, Evidence{}, now).Admitted() {
			t.Error("nothing is admitted")
		}
		unread := ev
		unread.Unread = []Rejection{{Why: "x"}}
		if rule.Judge(subject, unread, now).Admitted() {
			t.Error("what was not read is admitted")
		}
		reversed := Evidence{Attestations: slices.Clone(ev.Attestations)}
		slices.Reverse(reversed.Attestations)
		if rule.Judge(subject, reversed, now).Admitted() != v.Admitted() {
			t.Errorf("the order of %+v decides", made)
		}
		for i := range ev.Attestations {
			less := Evidence{Attestations: slices.Delete(slices.Clone(ev.Attestations), i, i+1)}
			admitted := rule.Judge(subject, less, now).Admitted()
			if good(i) && admitted && !v.Admitted() {
				t.Errorf("%v by %+v: refused, and admitted without attestation %d, which is in order", made, who, i)
			}
			if !good(i) && !admitted && v.Admitted() && slices.Contains(wanted, ev.Attestations[i].Authority) && need == 1 {
				// It was passed over, so it cannot have helped, except by being the newer of its own authority.
				t.Errorf("%v by %+v: admitted, and refused without attestation %d, which is not in order", made, who, i)
			}
		}
	})
}

// G14: twenty demands with expressions, cold.
func BenchmarkJudgeTwentyExpressions(b *testing.B) {
	var all []AttestedDocument
	for range 10 {
		all = append(all,
			demand("vuln", byCI, func(d *AttestedDocument) {
				d.MaxAge, d.Deny = 24*time.Hour, "finding.severity >= HIGH && finding.fixed"
			}),
			demand("slsa-provenance", byCI, func(d *AttestedDocument) {
				d.Where = `predicate.a == "b" && provenance.builder.startsWith("https://github.com/acme/")`
			}))
	}
	rule := pullRule(b, PullDocument{Attested: all})
	ev := attested(aScan("ci"), aProvenance("ci"))
	b.ReportAllocs()
	for b.Loop() {
		if v := rule.Judge(subject, ev, now); !v.Admitted() {
			b.Fatal(v.Reasons())
		}
	}
}
