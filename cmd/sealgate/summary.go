package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// summary is what an attestation says, in a few words. One of the fields is set, or none. Its JSON is a promise.
type summary struct {
	Malformed  string             `json:"malformed,omitempty"` // why it cannot be read
	Claimed    *time.Time         `json:"claimed,omitempty"`   // the time that it gives itself
	Scan       *scanSummary       `json:"scan,omitempty"`
	SBOM       *sbomSummary       `json:"sbom,omitempty"`
	Provenance *provenanceSummary `json:"provenance,omitempty"`
	VEX        *vexSummary        `json:"vex,omitempty"`
	Verdict    *verdictSummary    `json:"verdict,omitempty"`
	Tests      *testSummary       `json:"tests,omitempty"`
}

type scanSummary struct {
	Scanner  string         `json:"scanner"`
	Version  string         `json:"version,omitempty"`
	Finished *time.Time     `json:"finished,omitempty"`
	Database *time.Time     `json:"database,omitempty"` // when it was last updated
	Packages *int           `json:"packages,omitempty"` // that the scanner saw, where it tells
	Findings map[string]int `json:"findings"`           // by severity
	Fixable  int            `json:"fixable"`
}

type sbomSummary struct {
	Format   string `json:"format"`
	Name     string `json:"name,omitempty"`
	Packages int    `json:"packages"`
}

type provenanceSummary struct {
	Builder    string `json:"builder,omitempty"`
	Repository string `json:"source_repository,omitempty"`
	Ref        string `json:"ref,omitempty"`
	Commit     string `json:"commit,omitempty"`
	Workflow   string `json:"workflow,omitempty"`
	Trigger    string `json:"trigger,omitempty"`
	Materials  int    `json:"materials"`
}

type vexSummary struct {
	Author     string         `json:"author,omitempty"`
	Statements map[string]int `json:"statements"` // by status
}

type verdictSummary struct {
	Verifier string   `json:"verifier"`
	Result   string   `json:"result"`
	Policy   string   `json:"policy,omitempty"`
	Levels   []string `json:"levels,omitempty"`
}

type testSummary struct {
	Result string `json:"result"`
	Passed int    `json:"passed"`
	Warned int    `json:"warned"`
	Failed int    `json:"failed"`
}

// severities are in the order in which people want to read them.
var severities = []policy.Severity{policy.Critical, policy.High, policy.Medium, policy.Low, policy.None, policy.Unknown}

// mostListed bounds what is repeated of an attestation's lists.
const mostListed = 16

// summarise says what an attestation says. All of it was signed, and written by somebody else.
func summarise(a *policy.Attestation) *summary {
	if a.Malformed != "" {
		return &summary{Malformed: plain(a.Malformed)}
	}
	f := a.Facts
	s := &summary{Claimed: told(f.Claimed)}
	if f.Scan != nil {
		s.Scan = summariseScan(f.Scan)
	}
	if f.SBOM != nil {
		s.SBOM = &sbomSummary{Format: plain(f.SBOM.Format), Name: plain(f.SBOM.Name), Packages: f.SBOM.Packages}
	}
	if p := f.Provenance; p != nil {
		s.Provenance = &provenanceSummary{
			Builder: plain(p.Builder), Repository: plain(p.Repository), Ref: plain(p.Ref), Commit: plain(p.Digest),
			Workflow: plain(p.Workflow), Trigger: plain(p.Trigger), Materials: p.Materials,
		}
	}
	if f.VEX != nil {
		s.VEX = &vexSummary{Author: plain(f.VEX.Author), Statements: map[string]int{}}
		for _, one := range f.VEX.Statements {
			if status := plain(one.Status); s.VEX.Statements[status] > 0 || len(s.VEX.Statements) < mostListed {
				s.VEX.Statements[status]++
			}
		}
	}
	if v := f.Summary; v != nil {
		s.Verdict = &verdictSummary{Verifier: plain(v.Verifier), Result: plain(v.Result), Policy: plain(v.Policy)}
		for _, level := range v.Levels[:min(len(v.Levels), mostListed)] {
			s.Verdict.Levels = append(s.Verdict.Levels, plain(level))
		}
	}
	if f.Tests != nil {
		s.Tests = &testSummary{Result: plain(f.Tests.Result), Passed: f.Tests.Passed, Warned: f.Tests.Warned, Failed: f.Tests.Failed}
	}
	return s
}

func summariseScan(scan *policy.Scan) *scanSummary {
	s := &scanSummary{
		Scanner: plain(scan.Scanner), Version: plain(scan.Version), Finished: told(scan.Finished), Database: told(scan.Database),
		Findings: map[string]int{},
	}
	if scan.Counted {
		s.Packages = &scan.Packages
	}
	for _, finding := range scan.Findings {
		s.Findings[strings.ToLower(finding.Severity.String())]++
		if finding.Fix == policy.FixAvailable {
			s.Fixable++
		}
	}
	return s
}

// told is a time that somebody told.
func told(at time.Time) *time.Time {
	if at.IsZero() {
		return nil
	}
	at = at.UTC()
	return &at
}

// rows are the summary for people.
func (s *summary) rows(p painter) (rows [][2]string) {
	if s == nil {
		return nil
	}
	row := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	if s.Malformed != "" {
		row("malformed", "%s", p.paint(red, s.Malformed))
	}
	if scan := s.Scan; scan != nil {
		row("found", "%s", scan.words(p))
		by := strings.TrimSpace(scan.Scanner + " " + scan.Version)
		if scan.Finished != nil {
			by += ", " + scan.Finished.Format(time.RFC3339)
		}
		row("scanner", "%s", by)
		if scan.Database != nil {
			row("database", "of %s", scan.Database.Format(time.RFC3339))
		}
	}
	if s.SBOM != nil {
		row("lists", "%d packages, %s %s", s.SBOM.Packages, s.SBOM.Format, s.SBOM.Name)
	}
	if pr := s.Provenance; pr != nil {
		for _, one := range [][2]string{
			{"builder", pr.Builder}, {"source", strings.TrimSpace(pr.Repository + " " + pr.Ref)}, {"commit", pr.Commit},
			{"workflow", pr.Workflow}, {"trigger", pr.Trigger},
		} {
			row(one[0], "%s", one[1])
		}
	}
	if s.VEX != nil {
		row("states", "%s", counted(s.VEX.Statements, nil))
	}
	if s.Verdict != nil {
		row("verdict", "%s by %s", s.Verdict.Result, s.Verdict.Verifier)
	}
	if s.Tests != nil {
		row("tests", "%s: %d passed, %d warned, %d failed", s.Tests.Result, s.Tests.Passed, s.Tests.Warned, s.Tests.Failed)
	}
	return slices.DeleteFunc(rows, func(row [2]string) bool { return row[1] == "" })
}

func (s *scanSummary) words(p painter) string {
	packages := "an untold number of"
	if s.Packages != nil {
		packages = fmt.Sprint(*s.Packages)
	}
	if len(s.Findings) == 0 {
		return "nothing in " + packages + " packages"
	}
	var names []string
	for _, severity := range severities {
		names = append(names, strings.ToLower(severity.String()))
	}
	found := counted(s.Findings, names)
	if s.Findings["critical"] > 0 {
		found = p.paint(red, found)
	}
	return fmt.Sprintf("%s; %d with a fix; in %s packages", found, s.Fixable, packages)
}

// counted words counts, in an order or by name.
func counted(counts map[string]int, order []string) string {
	if order == nil {
		for name := range counts {
			order = append(order, name)
		}
		slices.Sort(order)
	}
	var words []string
	for _, name := range order {
		if counts[name] > 0 {
			words = append(words, fmt.Sprintf("%d %s", counts[name], name))
		}
	}
	return strings.Join(words, ", ")
}

// predicateName is what people call a predicate type.
func predicateName(predicateType string) string {
	names := map[policy.Kind]string{
		policy.KindScan: "scan", policy.KindSBOM: "SBOM", policy.KindProvenance: "provenance", policy.KindVEX: "VEX",
		policy.KindSummary: "verification summary", policy.KindTests: "test result",
	}
	if name := names[policy.KindOf(predicateType)]; name != "" {
		return name
	}
	return predicateType
}
