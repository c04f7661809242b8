package policy

import (
	"strings"
	"testing"
	"time"
)

func compileOne(t testing.TB, source string, kind Kind, perFinding bool) *expression {
	t.Helper()
	var c expressions
	e, err := c.compile(source, kind, perFinding)
	if err != nil {
		t.Fatalf("%s: %v", source, err)
	}
	return e
}

func TestExpressionsOverFindings(t *testing.T) {
	scan := &Facts{Scan: &Scan{Scanner: "trivy", Packages: 3, Counted: true, Findings: make([]Finding, 2)}}
	full := Finding{ID: "CVE-1", Package: "openssl", Version: "3.0", PURL: "pkg:deb/debian/openssl@3.0", FixedVersion: "3.1", Fix: FixAvailable, Severity: High, CVSS: 7.5,
		EPSS: 0.25, KnownExploited: true, Published: time.Date(2026, 11, 2, 0, 0, 0, 0, time.UTC)}
	bare := Finding{ID: "CVE-2"}
	for source, want := range map[string][2]string{ // over a full finding, and over one of which nothing is told
		`finding.severity >= HIGH`:                                 {"true", "true"},
		`finding.severity > HIGH`:                                  {"false", "true"},
		`finding.severity == HIGH`:                                 {"true", "false"},
		`finding.severity == UNKNOWN`:                              {"false", "true"},
		`finding.severity >= HIGH && finding.severity <= CRITICAL`: {"true", "false"},
		`finding.severity < HIGH`:                                  {"false", "false"},
		`finding.severity in [LOW, MEDIUM]`:                        {"false", "false"},
		`NONE < LOW && LOW < MEDIUM && MEDIUM < HIGH && HIGH < CRITICAL && CRITICAL < UNKNOWN`: {"true", "true"},
		`finding.severity >= HIGH && finding.fixed`:                                            {"true", "the attestation does not tell finding.fixed"},
		`finding.severity <= LOW && finding.fixed`:                                             {"false", "false"}, // what decides is told
		`finding.id == "CVE-2" || finding.fixed`:                                               {"true", "true"},
		`!finding.fixed`:                                                                       {"false", "the attestation does not tell finding.fixed"},
		`finding.cvss >= 7.0`:                                                                  {"true", "the attestation does not tell finding.cvss"},
		`finding.epss > 0.1`:                                                                   {"true", "the attestation does not tell finding.epss"},
		`finding.known_exploited`:                                                              {"true", "false"},
		`finding.published > timestamp("2026-11-01T00:00:00Z")`:                                {"true", "the attestation does not tell finding.published"},
		`finding.package.startsWith("open")`:                                                   {"true", "the attestation does not tell finding.package"},
		`finding.purl.matches("^pkg:deb/.*$")`:                                                 {"true", "the attestation does not tell finding.purl"},
		`finding.version == "3.0" && finding.fixed_version == "3.1"`:                           {"true", "the attestation does not tell finding.version"},
		`finding.id in ["CVE-1", "CVE-3"]`:                                                     {"true", "false"},
		`scan.packages == 3 && scan.findings == 2 && scan.scanner == "trivy"`:                  {"true", "true"},
		`scan.version == ""`:                                                                   {"the attestation does not tell scan.version", "the attestation does not tell scan.version"},
		`true`:                                                                                 {"true", "true"},
	} {
		e := compileOne(t, source, KindScan, true)
		for i, f := range []Finding{full, bare} {
			yes, err := e.holds(&variables{facts: scan, finding: &f})
			got := "false"
			if yes {
				got = "true"
			}
			if err != nil {
				got = err.Error()
			}
			if got != want[i] {
				t.Errorf("%s over %s: got %s, want %s", source, f.ID, got, want[i])
			}
		}
	}
}

func TestExpressionsOverOtherKinds(t *testing.T) {
	for _, c := range []struct {
		kind   Kind
		facts  Facts
		source string
		want   string
	}{
		{KindSBOM, Facts{SBOM: &SBOM{Format: "spdx", Name: "app", Packages: 3}}, `sbom.packages > 2 && sbom.format == "spdx" && sbom.name == "app"`, "true"},
		{KindProvenance, Facts{Provenance: &Provenance{Builder: "b", BuildType: "t", Repository: "r", Ref: "f", Digest: "d", Workflow: "w", Trigger: "e", Materials: 1}},
			`provenance.builder + provenance.build_type + provenance.source_repository + provenance.ref + provenance.digest + provenance.workflow + provenance.trigger == "btrfdwe" && provenance.materials == 1`, "true"},
		{KindProvenance, Facts{Provenance: &Provenance{Builder: "b"}}, `provenance.ref == "refs/heads/main"`, "the attestation does not tell provenance.ref"},
		{KindProvenance, Facts{Provenance: &Provenance{}, Document: map[string]any{"runDetails": map[string]any{"builder": map[string]any{"id": "https://x"}}}},
			`predicate.runDetails.builder.id.startsWith("https://")`, "true"},
		{KindProvenance, Facts{Provenance: &Provenance{}, Document: map[string]any{}}, `predicate.runDetails.builder.id == "x"`, "no such key: runDetails"},
		{KindProvenance, Facts{Provenance: &Provenance{}, Document: map[string]any{"runDetails": "x"}}, `predicate.runDetails.builder.id == "x"`, "no such key: builder"},
		{KindSummary, Facts{Summary: &Summary{Verifier: "v", Resource: "r", Policy: "p", Result: "PASSED", Levels: []string{"L3"}}},
			`vsa.result == "PASSED" && "L3" in vsa.levels && vsa.verifier == "v" && vsa.resource == "r" && vsa.policy == "p"`, "true"},
		{KindTests, Facts{Tests: &Tests{Result: "PASSED", Passed: 2}}, `tests.result == "PASSED" && tests.passed == 2 && tests.warned + tests.failed == 0`, "true"},
		{"", Facts{Document: map[string]any{"n": 1.0, "list": []any{"a", map[string]any{"b": true}}}}, `predicate.n == 1 && predicate.list.exists(x, x == "a") && predicate.list[1].b == true`, "true"},
		{"", Facts{Document: map[string]any{"approved": "yes"}}, `predicate.approved == true`, "false"},
		{"", Facts{Document: map[string]any{"approved": nil}}, `predicate.approved == true`, "false"},
		{"", Facts{Document: map[string]any{}}, `has(predicate.approved)`, "false"},
		{"", Facts{}, `has(predicate.approved)`, "no such attribute"},
	} {
		yes, err := compileOne(t, c.source, c.kind, false).holds(&variables{facts: &c.facts})
		got := "false"
		if yes {
			got = "true"
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %s, want %s", c.source, got, c.want)
		}
	}
}

func TestExpressionsThatCannotBeMeantDoNotCompile(t *testing.T) {
	for _, c := range []struct {
		source     string
		kind       Kind
		perFinding bool
		want       string
	}{
		{`finding.severity >= HGIH`, KindScan, true, `at character 21, before "HGIH": undeclared reference to 'HGIH'; there are finding.id, `},
		{`finding.sevrity >= HIGH`, KindScan, true, `at character `},
		{"true &&\n  finding.severity >= 3", KindScan, true, `at line 2, character 20, before ">= 3": found no matching overload for '_>=_'`},
		{`finding.severity >= "HIGH"`, KindScan, true, `at character 18, before ">= \"HIGH\"": found no matching overload`},
		{`finding.severity == "HIGH"`, KindScan, true, `at character 18`},
		{`finding.fixed`, KindScan, false, `at character `},
		{`predicate.x == 1`, KindScan, false, `at character 1, before "predicate.x == 1": undeclared reference`},
		{`predicate.x == 1`, KindSBOM, false, `at character 1`},
		{`scan.packages > 1`, KindProvenance, false, `at character `},
		{`predicate.approved`, "", false, `the expression is of type dyn, it must be true or false`},
		{`1 + 1`, "", false, `the expression is of type int`},
		{`finding.severity >= `, KindScan, true, `at character `},
		{`)`, "", false, `at character 1, before ")": Syntax error`},
		{`a.b.c(`, "", false, `at character `},
		{``, "", false, `at character 1, before "": Syntax error`},
		{`predicate.id.matches("https://x")`, "", false, `the pattern "https://x" matches a part of a text; write ^(...)$ around it`},
		{`predicate.id.matches("^a|b$")`, "", false, `the pattern "^a|b$" matches a part`},
		{`predicate.id.matches("^a$|b")`, "", false, `the pattern`},
		{`predicate.id.matches("(?m)^a$")`, "", false, `the pattern`},
		{`predicate.id.matches(predicate.pattern)`, "", false, `the pattern of matches must be written out`},
		{`matches("x", "x")`, "", false, `the pattern "x"`},
		{`"` + strings.Repeat("x", maxExpression) + `" == ""`, "", false, `the expression is longer than 4096 bytes`},
		{strings.Repeat("(", 100) + "true" + strings.Repeat(")", 100), "", false, `at character `},
		{`[1,2,3,4,5,6,7,8,9,10].all(a, [1,2,3,4,5,6,7,8,9,10].all(b, [1,2,3,4,5,6,7,8,9,10].all(c, [1,2,3,4,5,6,7,8,9,10].all(d, [1,2,3,4,5,6,7,8,9,10].all(e, [1,2,3,4,5,6,7,8,9,10].all(f, a+b+c+d+e+f > 0))))))`,
			KindScan, true, `the expression is too costly`},
	} {
		var all expressions
		e, err := all.compile(c.source, c.kind, c.perFinding)
		if e != nil || err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%.80s: got %v, want %s", c.source, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("an error of several lines: %q", err)
		}
	}
}

// Whoever attests something decides how long a list is, not how long we look at it.
func TestACostlyEvaluationFails(t *testing.T) {
	list := make([]any, 10_000)
	for i := range list {
		list[i] = float64(i)
	}
	facts := &Facts{Document: map[string]any{"list": list}}
	e := compileOne(t, `predicate.list.all(a, predicate.list.all(b, a == b || a != b))`, "", false)
	if yes, err := e.holds(&variables{facts: facts}); yes || err == nil || !strings.Contains(err.Error(), "cost limit") {
		t.Errorf("got %v, %v", yes, err)
	}
}

func BenchmarkExpression(b *testing.B) {
	facts := &Facts{Scan: &Scan{}}
	f := &Finding{ID: "CVE-1", Severity: High, Fix: FixAvailable}
	e := compileOne(b, `finding.severity >= HIGH && finding.fixed`, KindScan, true)
	b.ReportAllocs()
	for b.Loop() {
		if yes, err := e.holds(&variables{facts: facts, finding: f}); !yes || err != nil {
			b.Fatal(yes, err)
		}
	}
}
