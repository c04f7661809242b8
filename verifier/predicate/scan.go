package predicate

import (
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/sealgate/sealgate/policy"
)

// The formats of scans. Cosign's predicate holds the report of a scanner as it is, in-toto's holds a list of its own:
//
//   - https://github.com/sigstore/cosign/blob/main/specs/COSIGN_VULN_ATTESTATION_SPEC.md
//   - https://github.com/in-toto/attestation/blob/main/spec/predicates/vuln.md, versions 0.1 and 0.2
//
// What neither has a word for, our own seals say in fields that begin with sealgate_.
var (
	scanFields      = fieldsOf("scanner!", "metadata!", "sealgate_packages")
	metadataFields  = fieldsOf("scanStartedOn", "scanFinishedOn!")
	cosignScanner   = fieldsOf("uri!", "version", "db", "result!")
	inTotoScanner   = fieldsOf("uri!", "version", "db!", "result!")
	cosignDatabase  = fieldsOf("lastUpdate")
	inTotoDatabase  = fieldsOf("lastUpdate!")
	inTotoFlat      = fieldsOf("id", "severity", "vulnerability", "sealgate_finding")
	inTotoNested    = fieldsOf("id!", "severity!")
	inTotoSeverity  = fieldsOf("method!", "score!")
	errNoFinding    = errors.New("an entry of the result that is no vulnerability")
	errTwoReports   = errors.New("a result that could be the report of two scanners")
	errNoReport     = errors.New("a result that is none of Trivy's JSON, Grype's JSON and SARIF")
	errManyFindings = fmt.Errorf("more than %d findings", MaxFindings)
)

func readScan(predicateType string, r io.Reader) (policy.Facts, error) {
	s := newStream(r, MaxBytes)
	scan := &policy.Scan{}
	var reported time.Time
	packages := -1
	s.object(scanFields, func(key string) {
		switch key {
		case "sealgate_packages":
			packages = s.whole(key)
		case "scanner":
			reported = readScanner(s, predicateType, scan)
		case "metadata":
			s.object(metadataFields, func(key string) {
				t, err := moment(s.string())
				if s.err == nil && err != nil {
					s.fail("%s: %w", key, err)
				}
				if key == "scanFinishedOn" {
					scan.Finished = t
				}
			})
		}
	})
	if err := s.finish(); err != nil {
		return policy.Facts{}, err
	}
	scan.Finished = older(scan.Finished, reported)
	if packages >= 0 && !scan.Counted { // what the report itself counts is more to the point
		scan.Packages, scan.Counted = packages, true
	}
	return policy.Facts{Claimed: scan.Finished, Scan: scan}, nil
}

// readScanner returns when the scan ended by the report inside, zero where that does not say.
func readScanner(s *stream, predicateType string, scan *policy.Scan) (reported time.Time) {
	inToto := predicateType == policy.ScanByInToto01 || predicateType == policy.ScanByInToto02
	scanner, database := cosignScanner, cosignDatabase
	if inToto {
		scanner, database = inTotoScanner, inTotoDatabase
	}
	report := policy.Scan{}
	s.object(scanner, func(key string) {
		switch key {
		case "uri":
			scan.Scanner = s.required("scanner.uri")
		case "version":
			scan.Version = s.string()
		case "db":
			s.object(database, func(string) {
				text := s.string()
				if text == "" && !inToto {
					return // Trivy leaves it empty
				}
				t, err := moment(text)
				if s.err == nil && err != nil {
					s.fail("scanner.db.lastUpdate: %w", err)
				}
				scan.Database = t
			})
		case "result":
			if inToto {
				readInTotoResult(s, predicateType, scan)
				return
			}
			readReport(s, &report, nil)
			scan.Findings, scan.Packages, scan.Counted = report.Findings, report.Packages, report.Counted
		}
	})
	scan.Database = older(scan.Database, report.Database)
	return report.Finished
}

// older is the earlier of two times of which one may be unknown: a wrapper makes nothing younger than what is in it.
func older(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func addFinding(s *stream, scan *policy.Scan, f policy.Finding) {
	if s.err != nil {
		return
	}
	if f.ID == "" {
		s.fail("%w", errNoFinding)
		return
	}
	if len(scan.Findings) == MaxFindings {
		s.fail("%w", errManyFindings)
		return
	}
	scan.Findings = append(scan.Findings, f)
}

// readInTotoResult reads in-toto's own list. Version 0.1 has an object around each entry in its text, and none in its
// example.
func readInTotoResult(s *stream, predicateType string, scan *policy.Scan) {
	s.array(func() {
		f := policy.Finding{}
		ids, ratings := 0, 0
		read := func(key string) {
			switch key {
			case "id":
				ids++
				f.ID = s.required(key)
			case "severity":
				ratings++
				readInTotoSeverity(s, &f)
			}
		}
		s.object(inTotoFlat, func(key string) {
			switch {
			case key == "sealgate_finding":
				readOurFinding(s, &f)
			case key != "vulnerability":
				read(key)
			case predicateType == policy.ScanByInToto01:
				s.object(inTotoNested, read)
			default:
				s.skip()
			}
		})
		if ids != 1 || ratings != 1 {
			s.fail("%w", errNoFinding)
		}
		addFinding(s, scan, f)
	})
}

// readInTotoSeverity takes the worst of several ratings: words by their meaning, numbers as CVSS scores.
func readInTotoSeverity(s *stream, f *policy.Finding) {
	s.array(func() {
		var score string
		s.object(inTotoSeverity, func(key string) {
			text := s.string()
			if key == "score" {
				score = text
			}
		})
		if number, err := strconv.ParseFloat(score, 64); err == nil {
			if number < 0 || number > 10 || number != number {
				s.fail("a score of %.40q", score)
				return
			}
			f.CVSS = max(f.CVSS, number)
			f.Severity = worse(f.Severity, severityOfScore(number))
			return
		}
		if severity, ok := severityOf(score); ok {
			f.Severity = worse(f.Severity, severity)
		}
	})
}

var ourFinding = fieldsOf("package", "version", "purl", "fixed", "fixedVersion", "cvss", "epss", "knownExploited", "aliases")

// readOurFinding reads what our own seals say of a finding besides.
func readOurFinding(s *stream, f *policy.Finding) {
	s.object(ourFinding, func(key string) {
		switch key {
		case "package":
			f.Package = s.string()
		case "version":
			f.Version = s.string()
		case "purl":
			f.PURL = s.string()
		case "fixed":
			f.Fix = policy.FixNone
			if s.bool() {
				f.Fix = policy.FixAvailable
			}
		case "fixedVersion":
			f.FixedVersion = s.string()
		case "cvss":
			f.CVSS = max(f.CVSS, readScore(s))
		case "epss":
			f.EPSS = readProbability(s)
		case "knownExploited":
			f.KnownExploited = s.bool()
		case "aliases":
			s.array(func() { addAlias(s, f, s.required("an alias")) })
		}
	})
}

// whole reads a number of things.
func (s *stream) whole(what string) int {
	n := s.number()
	if s.err == nil && (n < 0 || n > 1<<31 || n != float64(int(n))) {
		s.fail("%s is %v", what, n)
		return 0
	}
	return int(n)
}
