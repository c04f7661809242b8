package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/sealgate/sealgate/policy"
)

// severityColours are what terminals are told: https://en.wikipedia.org/wiki/ANSI_escape_code#Colors
var severityColours = map[policy.Severity]string{
	policy.Unknown: "35", policy.Critical: "1;31", policy.High: "31", policy.Medium: "33", policy.Low: "36",
}

// table is the result for people.
func (r *scanResult) table(w io.Writer) {
	s := &r.report.Scan
	fmt.Fprintf(w, "%s  %s\n", r.typed, r.image.Manifest.Digest)
	fmt.Fprintf(w, "  scanner   %s\n", policy.Printable(strings.TrimSpace(s.Scanner+" "+s.Version)))
	if !s.Database.IsZero() {
		fmt.Fprintf(w, "  database  %s\n", s.Database.UTC().Format(time.RFC3339))
	}
	if s.Counted {
		fmt.Fprintf(w, "  packages  %d\n", s.Packages)
	}
	for _, what := range s.Unmatched {
		fmt.Fprintf(w, "  not looked up: %s\n", what)
	}
	fmt.Fprintf(w, "  findings  %s\n", countSeverities(s.Findings))
	if len(s.Findings) == 0 {
		return
	}

	fmt.Fprintln(w)
	var text strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SEVERITY\tVULNERABILITY\tPACKAGE\tINSTALLED\tFIXED IN")
	for _, f := range s.Findings {
		fixed := f.FixedVersion
		if f.Fix == policy.FixNone {
			fixed = "no fix"
		}
		if f.KnownExploited {
			fixed += " (exploited)"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", f.Severity, policy.Printable(f.ID), policy.Printable(f.Package), policy.Printable(f.Version), policy.Printable(fixed))
	}
	_ = t.Flush() // a builder takes everything
	p, i := newPainter(w), -1
	for line := range strings.Lines(text.String()) { // coloured last: escapes have no width
		if i >= 0 {
			word := s.Findings[i].Severity.String()
			line = p.paint(severityColours[s.Findings[i].Severity], word) + strings.TrimPrefix(line, word)
		}
		_, _ = io.WriteString(w, line)
		i++
	}
}

func countSeverities(findings []policy.Finding) string {
	counts := map[string]int{}
	for _, f := range findings {
		counts[f.Severity.String()]++
	}
	var parts []string
	names := policy.SeverityNames()
	for i := len(names) - 1; i >= 0; i-- {
		if n := counts[names[i]]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, strings.ToLower(names[i])))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// scanJSON is the result for programs; it is a promise.
type scanJSON struct {
	Image     string        `json:"image"` // as typed
	Digest    digest.Digest `json:"digest"`
	Scanner   string        `json:"scanner"`
	Version   string        `json:"version,omitempty"`
	Started   time.Time     `json:"started"`
	Finished  time.Time     `json:"finished"`
	Database  *time.Time    `json:"database,omitempty"` // when it was updated
	Packages  *int          `json:"packages,omitempty"` // that were looked up
	Unmatched []string      `json:"unmatched"`          // what could not be
	Findings  []findingJSON `json:"findings"`
}

type findingJSON struct {
	ID             string   `json:"id"`
	Aliases        []string `json:"aliases,omitempty"`
	Severity       string   `json:"severity"`
	Package        string   `json:"package"`
	Version        string   `json:"version"`
	PURL           string   `json:"purl,omitempty"`
	Fixed          *bool    `json:"fixed,omitempty"` // whether there is a fix, as far as it is told
	FixedVersion   string   `json:"fixed_version,omitempty"`
	CVSS           float64  `json:"cvss,omitempty"`
	EPSS           float64  `json:"epss,omitempty"`
	KnownExploited bool     `json:"known_exploited,omitempty"`
}

func (r *scanResult) json() scanJSON {
	s := r.report.Scan
	out := scanJSON{
		Image: r.typed, Digest: r.image.Manifest.Digest, Scanner: s.Scanner, Version: s.Version,
		Started: r.report.Started.UTC(), Finished: s.Finished.UTC(), Unmatched: append([]string{}, s.Unmatched...), Findings: []findingJSON{},
	}
	if !s.Database.IsZero() {
		database := s.Database.UTC()
		out.Database = &database
	}
	if s.Counted {
		out.Packages = &s.Packages
	}
	for _, f := range s.Findings {
		one := findingJSON{
			ID: f.ID, Aliases: f.Aliases, Severity: f.Severity.String(), Package: f.Package, Version: f.Version, PURL: f.PURL,
			FixedVersion: f.FixedVersion, CVSS: f.CVSS, EPSS: f.EPSS, KnownExploited: f.KnownExploited,
		}
		if f.Fix != policy.FixUnknown {
			fixed := f.Fix == policy.FixAvailable
			one.Fixed = &fixed
		}
		out.Findings = append(out.Findings, one)
	}
	return out
}

// SARIF 2.1.0, as GitHub's code scanning takes it:
// https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool struct {
			Driver sarifDriver `json:"driver"`
		} `json:"tool"`
		Automation sarifID       `json:"automationDetails"`
		Results    []sarifResult `json:"results"`
		ColumnKind string        `json:"columnKind"`
	}
	sarifDriver struct {
		Name           string      `json:"name"`
		FullName       string      `json:"fullName"`
		InformationURI string      `json:"informationUri"`
		Version        string      `json:"version,omitempty"`
		Rules          []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string          `json:"id"`
		Name             string          `json:"name"`
		ShortDescription sarifText       `json:"shortDescription"`
		FullDescription  sarifText       `json:"fullDescription"`
		Default          sarifLevel      `json:"defaultConfiguration"`
		HelpURI          string          `json:"helpUri"`
		Help             sarifText       `json:"help"`
		Properties       sarifProperties `json:"properties"`
	}
	sarifProperties struct {
		Severity  string   `json:"security-severity"`
		Precision string   `json:"precision"`
		Tags      []string `json:"tags"`
	}
	sarifLevel struct {
		Level string `json:"level"`
	}
	sarifID struct {
		ID string `json:"id"`
	}
	sarifText struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID       string            `json:"ruleId"`
		RuleIndex    int               `json:"ruleIndex"`
		Level        string            `json:"level"`
		Message      sarifText         `json:"message"`
		Locations    []sarifLocation   `json:"locations"`
		Fingerprints map[string]string `json:"partialFingerprints"`
	}
	sarifLocation struct {
		Physical struct {
			Artifact struct {
				URI string `json:"uri"`
			} `json:"artifactLocation"`
			Region struct {
				StartLine int `json:"startLine"`
			} `json:"region"`
		} `json:"physicalLocation"`
		Message sarifText `json:"message"`
	}
)

// What GitHub takes: results of one run, of which it shows the 5,000 worst, bytes of a rule's id, characters of a description.
// A line of a report is some 1 KB and compresses to a twentieth, so that the 10 MB of an upload are never reached.
const (
	maxSarifResults = 25_000
	maxSarifID      = 255
	maxSarifText    = 1000
)

func (r *scanResult) sarif() sarifLog {
	run := sarifRun{ColumnKind: "utf16CodeUnits", Results: []sarifResult{}}
	// What is uploaded replaces what was there under the same id: each image has its own.
	run.Automation.ID = "sealgate/" + r.image.Repo + "/"
	run.Tool.Driver = sarifDriver{Name: "sealgate", FullName: "sealgate scan", InformationURI: "https://github.com/sealgate/sealgate", Rules: []sarifRule{}}
	if version := strings.TrimPrefix(thisBuild().Version, "v"); version != "" && version[0] >= '0' && version[0] <= '9' {
		run.Tool.Driver.Version = version
	}
	rules, prints := map[string]int{}, map[string]int{}
	for _, f := range r.report.Findings {
		if len(run.Results) == maxSarifResults {
			break // they come with the worst first
		}
		f.ID = shortened(f.ID, maxSarifID)
		index, known := rules[f.ID]
		if !known {
			index = len(run.Tool.Driver.Rules)
			rules[f.ID] = index
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRuleOf(f))
		}
		result, print := r.sarifResult(f, index), r.fingerprint(f)
		prints[print]++ // a package may be there in two versions
		result.Fingerprints = map[string]string{"primaryLocationLineHash": print + ":" + strconv.Itoa(prints[print])}
		run.Results = append(run.Results, result)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifRuleOf(f policy.Finding) sarifRule {
	title := shortened(fmt.Sprintf("%s: %s vulnerability in %s", f.ID, strings.ToLower(f.Severity.String()), f.Package), maxSarifText)
	help := title + "."
	if f.FixedVersion != "" {
		help += shortened(fmt.Sprintf(" Update %s to %s.", f.Package, f.FixedVersion), maxSarifText)
	}
	return sarifRule{
		ID: f.ID, Name: "KnownVulnerability", ShortDescription: sarifText{title}, FullDescription: sarifText{title},
		Default: sarifLevel{sarifLevelOf(f.Severity)}, HelpURI: "https://osv.dev/vulnerability/" + url.PathEscape(f.ID), Help: sarifText{help},
		Properties: sarifProperties{sarifScore(f), "very-high", []string{"security", "vulnerability", f.Severity.String()}},
	}
}

func (r *scanResult) sarifResult(f policy.Finding, rule int) sarifResult {
	message := fmt.Sprintf("%s %s has %s (%s)", f.Package, f.Version, f.ID, strings.ToLower(f.Severity.String()))
	if f.FixedVersion != "" {
		message += ", fixed in " + f.FixedVersion
	}
	location := sarifLocation{Message: sarifText{shortened(f.Package+" "+f.Version, maxSarifText)}}
	location.Physical.Artifact.URI = r.image.Repo
	location.Physical.Region.StartLine = 1
	return sarifResult{
		RuleID: f.ID, RuleIndex: rule, Level: sarifLevelOf(f.Severity),
		Message: sarifText{shortened(message, maxSarifText)}, Locations: []sarifLocation{location},
	}
}

// fingerprint is what GitHub tells one alert from another by. It stays the same when the image is built again.
func (r *scanResult) fingerprint(f policy.Finding) string {
	sum := sha256.Sum256([]byte(r.image.Repo + "\x00" + f.ID + "\x00" + f.Package))
	return hex.EncodeToString(sum[:8])
}

// shortened is a text of at most so many bytes. What it is cut at is not in the middle of a character.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit-len("…")], "") + "…"
}

func sarifLevelOf(s policy.Severity) string {
	switch s {
	case policy.None, policy.Low:
		return "note"
	case policy.Medium:
		return "warning"
	}
	return "error"
}

// sarifScore is a number by which GitHub finds the severity again: above 9 is critical, 7 high, 4 medium. What nobody could
// rate may be anything.
func sarifScore(f policy.Finding) string {
	lowest, below, standard := 0.0, 0.0, 0.0
	switch f.Severity {
	case policy.Low:
		lowest, below, standard = 0.1, 4, 2
	case policy.Medium:
		lowest, below, standard = 4, 7, 5.5
	case policy.High:
		lowest, below, standard = 7, 9, 8
	case policy.Critical:
		lowest, below, standard = 9, 10.1, 9.5
	case policy.Unknown:
		return "10.0"
	}
	if f.CVSS >= lowest && f.CVSS < below {
		standard = f.CVSS
	}
	return strconv.FormatFloat(standard, 'f', 1, 64)
}
