package predicate

import (
	"strconv"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// SARIF 2.1.0: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html. Scanners put the CVSS score of a rule into
// its property security-severity, as GitHub asks for. Nothing there says which package it is, nor whether it is fixed.
var (
	sarifRun        = fieldsOf("tool!", "results!", "invocations")
	sarifInvocation = fieldsOf("executionSuccessful!")
	sarifTool       = fieldsOf("driver!")
	sarifDriver     = fieldsOf("name", "version", "rules")
	sarifRule       = fieldsOf("id!", "properties")
	sarifProperties = fieldsOf("security-severity")
	sarifResult     = fieldsOf("ruleId", "ruleIndex", "rule", "kind", "suppressions")
	sarifReference  = fieldsOf("id")
)

func readRuns(s *stream, scan *policy.Scan) {
	runs := 0
	s.array(func() {
		runs++
		scores := map[string]float64{}
		first := len(scan.Findings)
		s.object(sarifRun, func(key string) {
			switch key {
			case "tool":
				s.object(sarifTool, func(string) {
					s.object(sarifDriver, func(key string) { readDriver(s, key, scan, scores) })
				})
			case "results":
				s.array(func() { readSarifResult(s, scan) })
			case "invocations":
				s.array(func() {
					s.object(sarifInvocation, func(string) {
						if !s.bool() {
							s.fail("a scan that did not succeed")
						}
					})
				})
			}
		})
		// Rules may stand behind the results that they are about.
		for i := first; i < len(scan.Findings); i++ {
			f := &scan.Findings[i]
			if score, ok := scores[f.ID]; ok {
				f.CVSS, f.Severity = score, severityOfScore(score)
			}
		}
	})
	if runs == 0 {
		s.fail("a SARIF report without a run")
	}
}

func readDriver(s *stream, key string, scan *policy.Scan, scores map[string]float64) {
	switch key {
	case "name":
		scan.Scanner = s.string()
	case "version":
		scan.Version = s.string()
	case "rules":
		s.array(func() {
			id, text := "", ""
			s.object(sarifRule, func(key string) {
				if key == "id" {
					id = s.required("a rule's id")
					return
				}
				s.object(sarifProperties, func(string) { text = s.string() })
			})
			if s.err != nil || text == "" {
				return
			}
			score, err := strconv.ParseFloat(text, 64)
			if err != nil || !(score >= 0 && score <= 10) {
				s.fail("a security-severity of %.40q", text)
				return
			}
			if len(scores) == maxRules {
				s.fail("more than %d rules", maxRules)
				return
			}
			scores[id] = max(scores[id], score)
		})
	}
}

func readSarifResult(s *stream, scan *policy.Scan) {
	f := policy.Finding{}
	s.object(sarifResult, func(key string) {
		switch key {
		case "ruleId":
			f.ID = s.required(key)
		case "rule":
			s.object(sarifReference, func(string) {
				if id := s.required("rule.id"); f.ID == "" {
					f.ID = id
				}
			})
		default:
			s.skip() // a result counts, however the scanner plays it down
		}
	})
	addFinding(s, scan, f)
}

// readMoment reads a time that a format may leave empty.
func readMoment(s *stream, what string, into *time.Time) {
	text := s.string()
	if text == "" || s.err != nil {
		return
	}
	t, err := moment(text)
	if err != nil {
		s.fail("%s: %w", what, err)
		return
	}
	*into = t
}
